package rotator

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/provider"
)

// revokeFor is how long a revocation is tried.
const revokeFor = 7 * 24 * time.Hour

// revoke revokes, at the provider, every set that waits for it, under a claim that may be taken over: revoking twice is
// harmless.
func (r *Rotator) revoke(ctx context.Context, rec tokenworker.Record, announced []tokenworker.AttemptID) error {
	now := r.cfg.Now()
	policy, enabled := r.providers.Policy(rec.Key.ProviderID)
	if err := r.mayClaim(post, policy); err != nil {
		return err
	}
	claim := tokenworker.Claim{
		Owner: r.cfg.Process, Attempt: tokenworker.NewAttemptID(), At: now, Until: now.Add(r.cfg.ClaimFor),
	}
	rec, _, err := r.store.Update(ctx, rec, tokenworker.ClaimRevocations(claim, now, announced...))
	if errors.Is(err, tokenworker.ErrFenced) {
		return nil
	} else if err != nil {
		return err
	}
	result := tokenworker.Revocation{
		Attempt: claim.Attempt, RetryAt: now.Add(revokeBackoff(rec, now)), DueAt: now.Add(announceAgain),
		Remove: now.Add(tokenworker.TombstoneAge),
	}
	kind := events.Revoked
	var givenUp [][]byte
	waiting := rec.Waiting()
	for i, sealed := range waiting {
		// The end of the claim, from a time that was taken before the look at it: a pause since then leaves less, or nothing,
		// to send in.
		start, left := time.Now(), claim.Until.Sub(r.cfg.Now())
		if left < r.cfg.ClaimFor/3 {
			result.Left, result.Code = append(result.Left, waiting[i:]...), codeTooLate
			break
		}
		spare, err := r.mustSpare(ctx, rec, policy)
		if err != nil {
			return err // the claim is taken over when it has expired
		}
		answer := provider.Answer{Outcome: provider.Unsupported, Code: codeNewerGrant}
		if !spare {
			answer = r.revokeOne(ctx, rec.Key, policy, enabled, sealed, start.Add(left))
		}
		r.metrics.revocations.WithLabelValues(rec.Key.ProviderID, answer.Outcome.String(), string(answer.Code)).Inc()
		switch answer.Outcome {
		case provider.OK, provider.Reauth: // Reauth: it was dead already
			result.Done = append(result.Done, sealed)
			continue
		case provider.Unsupported:
			givenUp = append(givenUp, sealed)
		default:
			if now.After(rec.RevokeSince.Add(revokeFor)) {
				givenUp = append(givenUp, sealed)
			} else {
				result.Left = append(result.Left, sealed)
			}
		}
		result.Code, kind = string(answer.Code), events.RevokeFailed
		result.RetryAt = later(result.RetryAt, now.Add(answer.RetryAfter))
	}
	if len(result.Left) > 0 {
		result.Left = append(result.Left, givenUp...) // until the attempt that ends it all, which tells of them
	} else {
		result.Done = append(result.Done, givenUp...)
	}
	if len(waiting) > 0 && len(result.Left) == 0 {
		result.Owed = r.owed(claim.Attempt, tokenworker.Fence{Stamp: rec.Disconnected}, result.Code, kind)
	}
	next, err := r.updateDurably(ctx, rec, tokenworker.Revoked(result))
	if err != nil {
		return err
	}
	return r.announceOwn(ctx, next, claim.Attempt)
}

// revokeBackoff is how long to wait for the next try: as long as the revocation has waited already, so that tries become
// half as frequent each time. It counts nothing, because the failures of a record are those of its refreshes.
func revokeBackoff(rec tokenworker.Record, now time.Time) time.Duration {
	waited := now.Sub(rec.RevokeSince)
	d := min(max(waited, firstBackoff), lastBackoff)
	return d/2 + jitter(rec.Key, int(waited/firstBackoff), d/2)
}

// revokeOne revokes one sealed set by the end of the claim, from which on an acquisition that has dropped the set may be
// checked. Its turn at the provider must come a third of a claim before that.
func (r *Rotator) revokeOne(
	ctx context.Context, k tokenworker.Key, policy provider.Policy, enabled bool, sealed []byte, end time.Time,
) provider.Answer {
	if !enabled {
		return provider.Answer{Outcome: provider.Misconfigured, Code: provider.CodeNotEnabled}
	}
	plain, err := r.sealer.OpenListed(ctx, k, sealed)
	if errors.Is(err, tokenworker.ErrSealBroken) {
		r.cfg.Logger.ErrorContext(ctx, "a set to revoke does not open", slog.String("key", k.String()))
		return provider.Answer{Outcome: provider.Unsupported, Code: codeSealBroken}
	} else if err != nil {
		return provider.Answer{Outcome: provider.NotSpent, Code: codeKeyRefused}
	}
	defer clear(plain)
	set, err := tokenworker.DecodeTokenSet(plain)
	if err != nil {
		return provider.Answer{Outcome: provider.Unsupported, Code: codeSealBroken}
	}
	third := r.cfg.ClaimFor / 3
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	waiting, waited := context.WithDeadline(ctx, end.Add(-third))
	done, err := r.limits.enter(waiting, cause{key: k}, policy)
	waited()
	if err != nil {
		return provider.Answer{Outcome: provider.NotSpent, Code: provider.CodeCanceled}
	}
	ctx, cancel = context.WithTimeout(ctx, third)
	defer cancel()
	answer := r.providers.Revoke(ctx, k, set)
	done(answer)
	return answer
}
