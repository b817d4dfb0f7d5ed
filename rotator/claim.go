package rotator

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/tokenworker/tokenworker"
)

// codeUnclaimed is why nothing was posted when the store did not answer the claim.
const codeUnclaimed = "claim_unanswered"

// claim claims the record's set for one attempt to post the token with the given fingerprint, and returns the record as
// claimed. The caller's patience does not count: a claim that is written and not used leaves the set in doubt.
func (r *Rotator) claim(
	ctx context.Context, rec tokenworker.Record, spends tokenworker.Fingerprint, announced []tokenworker.AttemptID,
) (tokenworker.Record, error) {
	now := r.cfg.Now()
	claim := tokenworker.Claim{
		Owner: r.cfg.Process, Attempt: tokenworker.NewAttemptID(), At: now, Until: now.Add(r.cfg.ClaimFor),
		LastResort: rec.Claim != nil,
	}
	var replaces tokenworker.AttemptID
	if rec.Claim != nil {
		replaces, claim.At = rec.Claim.Attempt, rec.Claim.At // FromFirst
	}
	claiming, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.AttemptTimeout)
	claimed, _, err := r.store.Update(claiming, rec, tokenworker.Claiming(rec.Fence, claim, spends, replaces, announced...))
	cancel()
	switch {
	case errors.Is(err, tokenworker.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		r.giveBack(ctx, rec, claim, err)
	case errors.Is(err, tokenworker.ErrFenced):
		r.forget(ctx, rec.Key, claim)
	}
	return claimed, err
}

// forget takes back what a claim that was lost may have left of its attempt (AfterClaim): it may have arrived, its reply been lost, and
// an event have ended it before the store's client tried again. Failing, the token counts as spent, which is safe.
func (r *Rotator) forget(ctx context.Context, k tokenworker.Key, claim tokenworker.Claim) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.AttemptTimeout)
	defer cancel()
	_, _, err := r.store.Update(ctx, tokenworker.Record{Key: k}, tokenworker.NothingSpent(tokenworker.Failure{Attempt: claim.Attempt}))
	if err != nil {
		r.cfg.Logger.WarnContext(ctx, "what a lost claim has left could not be taken back",
			slog.String("key", k.String()), slog.Any("error", err))
	}
}

// Over reports whether an attempt at a refresh token has ended for good: no process holds it any more, and no answer of it waits
// in the rescue stream. A worker whose clock is off cannot tell (JudgeNear).
func (r *Rotator) Over(ctx context.Context, k tokenworker.Key, a tokenworker.Attempt) (bool, error) {
	policy, _ := r.providers.Policy(k.ProviderID)
	if r.store.ClockOff() > r.terms().judge() || r.cfg.Now().Before(r.terms().settled(a.Until, policy)) {
		return false, nil
	}
	waits, err := r.rescue.has(ctx, k, func(f *tokenworker.Refresh, _ string) bool { return f == nil || f.Attempt == a.ID })
	return err == nil && !waits, err
}

// giveBack settles a claim whose write was not answered. It may have arrived, or arrive later; nothing was posted with it, and
// from here on nothing will be (OwnId). It tries until the store has answered once, or the claim has expired, or the shutdown
// limit; then the attempt counts as unresolved, which is safe.
func (r *Rotator) giveBack(ctx context.Context, rec tokenworker.Record, claim tokenworker.Claim, cause error) {
	log := r.cfg.Logger.With(slog.String("key", rec.Key.String()), slog.String("attempt", claim.Attempt.String()))
	log.WarnContext(ctx, "a claim was not answered; it is given back", slog.Any("error", cause))
	failure := tokenworker.Failure{Attempt: claim.Attempt, Code: codeUnclaimed, DueAt: r.cfg.Now().Add(backoff(rec.Key, 1))}
	rule := tokenworker.Unclaimed(rec.Fence, failure, rec.Claim)
	for try := 1; r.cfg.Now().Before(claim.Until); try++ {
		// With its key alone, so that the record is read as it is by now.
		attempt, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.AttemptTimeout)
		_, _, err := r.store.Update(attempt, tokenworker.Record{Key: rec.Key}, rule)
		cancel()
		if err == nil {
			return
		}
		log.WarnContext(ctx, "a claim cannot be given back; trying again", slog.Int("try", try), slog.Any("error", err))
		select {
		case <-r.giveUp:
			return
		case <-time.After(retryAfter(try)):
		}
	}
	log.WarnContext(ctx, "a claim could not be given back and counts as unresolved")
}
