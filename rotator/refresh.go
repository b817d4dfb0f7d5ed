package rotator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/provider"
)

// Codes of failures that are the worker's own, beside those of package provider.
const (
	codeKeyRefused = "key_refused" // the key service refuses the organization's key
	codeSealBroken = "seal_broken" // the stored set does not open
	codeExpired    = "expired"     // it cannot be refreshed and its time is up
	codeTooLate    = "too_late"    // the claim had run too far before the request could be sent
	codeUnsealable = "unsealable"  // what the provider returned is larger than a record takes
	codeInRescue   = "in_rescue"   // its successor waits in the rescue stream
	codeUnresolved = "unresolved"  // none of the last resorts was answered
)

// postponed is how long a record waits that cannot be attempted before somebody acts.
const postponed = 15 * time.Minute

// Do looks at one connection and does what is due: announces what is owed, refreshes, revokes what waits for it. Forced, it
// refreshes a set that is not due. A connection that another attempt holds is left to it.
//
// The outcome of a refresh is in the record and in the announcements; the error says that one of the worker's own services
// failed, and matches [tokenworker.ErrUnavailable] as a rule.
func (r *Rotator) Do(ctx context.Context, k tokenworker.Key, forced bool) error {
	rec, err := r.store.Get(ctx, k)
	if errors.Is(err, tokenworker.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	return r.do(ctx, rec, forced)
}

// Replace refreshes one token set of a connection, named by its fence, although it is not due, and returns the record as it
// is afterwards. However many ask for the successor of a set, here and in other processes, the provider is asked once: a set
// that is no longer the current one is not refreshed, one that another attempt holds is left to it, and after a failure the
// record's due time is waited for, as by everybody else. Of a set that cannot be refreshed the provider is asked whether it is
// still good. The error is the store's, which matches [tokenworker.ErrNotFound] when there is no such connection, or one of
// [Rotator.Do].
func (r *Rotator) Replace(ctx context.Context, k tokenworker.Key, from tokenworker.Fence) (tokenworker.Record, error) {
	rec, err := r.store.Get(ctx, k)
	if err != nil || rec.Fence != from || rec.Failures > 0 && r.cfg.Now().Before(rec.DueAt) {
		return rec, err
	}
	if err := r.do(ctx, rec, true); err != nil {
		return rec, err
	}
	return r.store.Get(ctx, k)
}

// do does what is due of the record as it was read.
func (r *Rotator) do(ctx context.Context, rec tokenworker.Record, forced bool) error {
	rec, announced, err := r.settleOwed(ctx, rec)
	if err != nil {
		return err
	}
	if rec.Status == tokenworker.Active {
		if err = r.refresh(ctx, rec, announced, forced); errors.Is(err, errPaused) {
			return err
		} else if errors.Is(err, tokenworker.ErrFenced) {
			err = nil
		}
	}
	if rec.Marks() {
		var marking error
		rec, marking = r.markSiblings(ctx, rec)
		err = errors.Join(err, marking)
	}
	// SendLater: while there may be siblings that do not show, nothing is sent that could end a newer grant of theirs.
	if rec.Marks() && r.cfg.Now().Before(rec.Siblings.Until.Add(siblingsFor)) || rec.RevokeAt.IsZero() || rec.RevokeAt.After(r.cfg.Now()) {
		return err
	}
	return errors.Join(err, r.revoke(ctx, rec, announced))
}

// refresh does what the plan says of an active record.
func (r *Rotator) refresh(ctx context.Context, rec tokenworker.Record, announced []tokenworker.AttemptID, forced bool) error {
	policy, enabled := r.providers.Policy(rec.Key.ProviderID)
	now := r.cfg.Now()
	step, at := plan(&rec, policy, r.terms(), now, forced)
	switch {
	case step == wait && at.After(rec.DueAt):
		return r.postpone(ctx, rec, "", at) // another attempt holds it, which is no failure
	case step == wait:
		return nil
	case !enabled:
		return r.postpone(ctx, rec, string(provider.CodeNotEnabled), now.Add(postponed))
	}
	if err := r.mayClaim(step, policy); err != nil {
		return err
	}
	set, err := r.open(ctx, rec)
	switch {
	case errors.Is(err, tokenworker.ErrKeyRefused):
		return r.postpone(ctx, rec, codeKeyRefused, now.Add(postponed))
	case errors.Is(err, tokenworker.ErrSealBroken):
		r.cfg.Logger.ErrorContext(ctx, "a stored token set does not open", slog.String("key", rec.Key.String()))
		return r.postpone(ctx, rec, codeSealBroken, now.Add(postponed))
	case err != nil:
		return err
	case set.RefreshToken.IsEmpty():
		return r.expire(ctx, rec, policy, set)
	}
	if rec.Claim != nil && policy.Rotates() {
		rescued, err := r.rescue.has(ctx, rec.Key, func(f *tokenworker.Refresh, stamp string) bool {
			return f != nil && f.From == rec.Fence || f == nil && stamp == rec.Stamp.String()
		})
		if err != nil {
			return err
		}
		if rescued { // LookInRescue
			return r.postpone(ctx, rec, codeInRescue, now.Add(firstBackoff))
		}
	}
	if step == giveUp {
		return r.giveUpOn(ctx, rec)
	}
	return r.spend(ctx, rec, announced, policy, set)
}

// open opens the record's token set.
func (r *Rotator) open(ctx context.Context, rec tokenworker.Record) (tokenworker.TokenSet, error) {
	plain, err := r.sealer.Open(ctx, rec.Key, rec.Fence, rec.Sealed)
	if err != nil {
		return tokenworker.TokenSet{}, err
	}
	defer clear(plain)
	return tokenworker.DecodeTokenSet(plain)
}

// spend claims the set, posts its refresh token once, and makes durable what comes of it. Nothing slow stands between the
// claim and the request.
func (r *Rotator) spend(
	ctx context.Context, rec tokenworker.Record, announced []tokenworker.AttemptID, policy provider.Policy,
	set tokenworker.TokenSet,
) error {
	done, err := r.limits.enter(ctx, cause{key: rec.Key}, policy)
	if err != nil {
		return err
	}
	var answer provider.Answer // zero until something is sent
	defer func() { done(answer) }()

	if prepared := r.providers.Prepare(ctx, rec.Key); prepared.Outcome != provider.OK {
		answer = prepared
		return r.postpone(ctx, rec, string(prepared.Code),
			r.cfg.Now().Add(max(prepared.RetryAfter, backoff(rec.Key, rec.Failures+1))))
	}
	seal, err := r.sealer.Prepare(ctx, rec.Key, rec.Next())
	if err != nil {
		return err
	}
	var spends tokenworker.Fingerprint
	if policy.Rotates() {
		spends = tokenworker.NewFingerprint(rec.Key, set.RefreshToken)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if rec, err = r.claim(ctx, rec, spends, announced); err != nil {
		return err
	}
	answer = r.post(ctx, rec, set)
	r.metrics.refreshes.WithLabelValues(rec.Key.ProviderID, answer.Outcome.String(), string(answer.Code)).Inc()
	r.cfg.Logger.DebugContext(ctx, "refresh answered", slog.String("key", rec.Key.String()),
		slog.String("outcome", answer.Outcome.String()), slog.String("code", string(answer.Code)))
	return r.conclude(ctx, attempt{rec, policy, set, seal}, answer)
}

// attempt is one attempt to refresh a set.
type attempt struct {
	rec    tokenworker.Record // as it was claimed
	policy provider.Policy
	set    tokenworker.TokenSet // whose refresh token it spends
	seal   func([]byte) ([]byte, error)
}

// post makes the one request of an attempt. Shutdown does not cancel it; its deadline lies well inside the claim. A claim
// that has run too far, because this process was paused, is not used any more.
func (r *Rotator) post(ctx context.Context, rec tokenworker.Record, set tokenworker.TokenSet) provider.Answer {
	start, third := time.Now(), r.cfg.ClaimFor/3
	left := rec.Claim.Until.Sub(r.cfg.Now()) - third
	if left < third {
		return provider.Answer{Outcome: provider.NotSpent, Code: codeTooLate}
	}
	// From a time that was taken before the look at the claim: a pause since then leaves less, or nothing, to send in.
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), start.Add(left))
	defer cancel()
	return r.providers.Refresh(ctx, rec.Key, set)
}

// conclude makes durable how an attempt ended. Whatever becomes of ctx, it tries until the shutdown limit.
func (r *Rotator) conclude(ctx context.Context, a attempt, answer provider.Answer) error {
	now, rec, policy := r.cfg.Now(), a.rec, a.policy
	failure := tokenworker.Failure{
		Attempt: rec.Claim.Attempt, Code: string(answer.Code), DueAt: now.Add(max(answer.RetryAfter, backoff(rec.Key, rec.Failures+1))),
		Owed: r.owed(rec.Claim.Attempt, rec.Fence, string(answer.Code), events.RefreshFailed),
	}
	outcome := r.confirmed(ctx, rec, policy, a.set, answer)
	var rule tokenworker.Rule
	switch outcome {
	case provider.OK:
		refresh, err := r.refreshed(a, answer)
		if err == nil {
			return r.save(ctx, rec, refresh)
		}
		r.cfg.Logger.ErrorContext(ctx, "a refreshed set cannot be sealed", slog.String("key", rec.Key.String()), slog.Any("error", err))
		failure.Code, failure.DueAt = codeUnsealable, afterUnknown(&rec, policy, r.terms(), now)
		rule = tokenworker.Unresolved(failure)
	case provider.NotSpent, provider.Unsupported:
		rule = tokenworker.NothingSpent(failure)
	case provider.Misconfigured:
		r.cfg.Logger.ErrorContext(ctx, "the provider refuses the worker's client", slog.String("provider", rec.Key.ProviderID),
			slog.String("code", string(answer.Code)))
		failure.DueAt = now.Add(max(answer.RetryAfter, untilMended(&rec, now)))
		rule = tokenworker.NothingSpent(failure)
	case provider.Reauth:
		failure.Owed = r.owed(rec.Claim.Attempt, rec.Fence, string(answer.Code), events.ReauthRequired)
		failure.DueAt = now.Add(announceAgain)
		rule = tokenworker.GrantDead(failure)
	default:
		failure.DueAt = afterUnknown(&rec, policy, r.terms(), now)
		rule = tokenworker.Unresolved(failure)
	}
	next, err := r.updateDurably(ctx, rec, rule)
	if err != nil {
		return err
	}
	return r.announceOwn(ctx, next, rec.Claim.Attempt)
}

// giveUpOn ends a connection whose last resorts were never answered. Its set is kept to be revoked, and comes back to life
// should one of their answers be saved after all.
func (r *Rotator) giveUpOn(ctx context.Context, rec tokenworker.Record) error {
	attempt := tokenworker.NewAttemptID()
	r.cfg.Logger.ErrorContext(ctx, "no last resort was answered; the connection is given up", slog.String("key", rec.Key.String()))
	next, _, err := r.store.Update(ctx, rec, tokenworker.GivenUp(rec.Claim.Attempt, tokenworker.Failure{
		Attempt: attempt, Code: codeUnresolved, DueAt: r.cfg.Now().Add(announceAgain),
		Owed: r.owed(attempt, rec.Fence, codeUnresolved, events.ReauthRequired),
	}))
	if err != nil {
		return err
	}
	return r.announceOwn(ctx, next, attempt)
}

// confirmed is the outcome of an attempt. What calls the grant dead and does not count by itself is confirmed: by asking about
// the refresh token, which spends nothing, or by this having been a last resort, after which nothing else could save the
// connection. It is never confirmed by another request with the token.
func (r *Rotator) confirmed(
	ctx context.Context, rec tokenworker.Record, policy provider.Policy, set tokenworker.TokenSet, answer provider.Answer,
) provider.Outcome {
	isFalse := answer.Outcome == provider.Reauth && policy.FalseInvalidGrant
	if !isFalse && !answer.Doubted {
		return answer.Outcome
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.ClaimFor/3)
	defer cancel()
	said := r.providers.Introspect(ctx, rec.Key, set)
	lastWord := answer.Doubted && rec.Claim.LastResort && !r.cfg.Now().Before(rec.ExpiresAt)
	switch {
	case said.Outcome == provider.Reauth && said.OfRefreshToken:
		return provider.Reauth
	case said.Outcome == provider.OK && said.OfRefreshToken && isFalse:
		return provider.NotSpent
	case said.Outcome != provider.OK && lastWord:
		return provider.Reauth
	}
	return provider.Unknown
}

// refreshed seals what a provider returned. Sealing needs no service any more.
func (r *Rotator) refreshed(a attempt, answer provider.Answer) (*tokenworker.Refresh, error) {
	rec, policy, set := a.rec, a.policy, answer.Set
	plain, err := tokenworker.EncodeTokenSet(set)
	if err != nil {
		return nil, fmt.Errorf("encoding a refreshed set: %w", err)
	}
	defer clear(plain)
	sealed, err := a.seal(plain)
	if err != nil {
		return nil, fmt.Errorf("sealing a refreshed set: %w", err)
	}
	now := r.cfg.Now()
	kinds := []events.Kind{events.Refreshed}
	if rec.Status == tokenworker.ReauthRequired {
		kinds = append(kinds, events.Recovered)
	}
	warn := !rec.Warned && !set.GrantExpiresAt.IsZero() && !now.Before(set.GrantExpiresAt.Add(-WarnBefore))
	if warn {
		kinds = append(kinds, events.Expiring)
	}
	return &tokenworker.Refresh{
		Key: rec.Key, From: rec.Fence, Sealed: sealed, Token: set.Fingerprint(rec.Key),
		Kept:    set.RefreshToken.Equal(a.set.RefreshToken),
		Attempt: rec.Claim.Attempt, Details: set.Details(),
		RefreshedAt: now, DueAt: dueAfterAnswer(policy, rec.Key, now, answer), KeepRevocations: policy.RevokesNarrowly(),
		Retain: policy.Retain, Warned: warn,
		Owed: r.owed(rec.Claim.Attempt, rec.Next(), "", kinds...),
	}, nil
}

// expire looks at a set that cannot be refreshed. When its time is up it ends, and when its grant's is near it is warned of.
// Otherwise somebody wants to know whether it is still good: its provider is asked, if it can be.
func (r *Rotator) expire(ctx context.Context, rec tokenworker.Record, policy provider.Policy, set tokenworker.TokenSet) error {
	now, attempt := r.cfg.Now(), tokenworker.NewAttemptID()
	end := set.ExpiresAt
	if end.IsZero() || !set.GrantExpiresAt.IsZero() && set.GrantExpiresAt.Before(end) {
		end = set.GrantExpiresAt
	}
	over := func(code string) tokenworker.Rule {
		return tokenworker.Expiring(rec.Fence, tokenworker.Failure{
			Attempt: attempt, Code: code, DueAt: now.Add(announceAgain),
			Owed: r.owed(attempt, rec.Fence, code, events.ReauthRequired),
		})
	}
	var rule tokenworker.Rule
	if warn := set.GrantExpiresAt.Add(-WarnBefore); !end.IsZero() && !now.Before(end) {
		rule = over(codeExpired)
	} else if !set.GrantExpiresAt.IsZero() && !rec.Warned && !now.Before(warn) {
		rule = tokenworker.Warning(rec.Fence, end, r.owed(attempt, rec.Fence, "", events.Expiring))
	} else {
		answer, err := r.ask(ctx, rec.Key, policy, set)
		switch {
		case err != nil:
			return err
		case answer.Code == provider.CodeDisconnected:
			return r.ended(ctx, rec)
		case answer.Outcome != provider.Reauth:
			return r.postpone(ctx, rec, "", DueAfter(policy, rec.Key, now, set))
		}
		rule = over(string(answer.Code))
	}
	next, _, err := r.store.Update(ctx, rec, rule)
	if err != nil {
		return err
	}
	return r.announceOwn(ctx, next, attempt)
}

// ask asks the provider about a set.
func (r *Rotator) ask(
	ctx context.Context, k tokenworker.Key, policy provider.Policy, set tokenworker.TokenSet,
) (provider.Answer, error) {
	done, err := r.limits.enter(ctx, cause{key: k}, policy)
	if err != nil {
		return provider.Answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.ClaimFor/3)
	defer cancel()
	answer := r.providers.Introspect(ctx, k, set)
	done(answer)
	return answer, nil
}

// postpone moves the due time of a record that cannot be attempted now.
func (r *Rotator) postpone(ctx context.Context, rec tokenworker.Record, code string, until time.Time) error {
	_, _, err := r.store.Update(ctx, rec, tokenworker.Postponing(rec.Fence, tokenworker.Failure{Code: code, DueAt: until}))
	return err
}
