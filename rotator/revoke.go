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
func (r *Rotator) revoke(ctx context.Context, rec tokenworker.Record) error {
	now := r.cfg.Now()
	if rec.DueAt.After(now) {
		return nil
	}
	policy, enabled := r.providers.Policy(rec.Key.ProviderID)
	if !enabled && len(rec.Revoke) > 0 && now.Before(rec.RevokeAt.Add(revokeFor)) {
		return r.postpone(ctx, rec, string(provider.CodeNotEnabled), now.Add(postponed))
	}
	claim := tokenworker.Claim{
		Owner: r.cfg.Process, Attempt: tokenworker.NewAttemptID(), At: now, Until: now.Add(r.cfg.ClaimFor),
	}
	rec, _, err := r.store.Update(ctx, rec, tokenworker.ClaimRevocations(claim, now))
	if errors.Is(err, tokenworker.ErrFenced) {
		return nil
	} else if err != nil {
		return err
	}
	result := tokenworker.Revocation{Attempt: claim.Attempt, Remove: now.Add(tokenworker.TombstoneAge)}
	kind := events.Revoked
	for _, sealed := range rec.Revoke {
		answer := r.revokeOne(ctx, rec.Key, policy, enabled, sealed)
		r.metrics.revocations.WithLabelValues(rec.Key.ProviderID, answer.Outcome.String(), string(answer.Code)).Inc()
		switch answer.Outcome {
		case provider.OK, provider.Reauth: // Reauth: it was dead already
			result.Done = append(result.Done, sealed)
			continue
		case provider.Unsupported:
			result.Done = append(result.Done, sealed)
		default:
			if now.After(rec.RevokeAt.Add(revokeFor)) {
				result.Done = append(result.Done, sealed)
			}
		}
		result.Code, kind = string(answer.Code), events.RevokeFailed
		if answer.RetryAfter > 0 {
			result.DueAt = later(result.DueAt, now.Add(answer.RetryAfter))
		}
	}
	result.DueAt = later(result.DueAt, now.Add(backoff(rec.Key, rec.Failures+1)))
	if len(result.Done) == len(rec.Revoke) {
		result.DueAt = now.Add(announceAgain)
		if len(rec.Revoke) > 0 {
			result.Owed = r.owed(claim.Attempt, rec.Fence, result.Code, kind)
		} else {
			result.DueAt = time.Time{}
		}
	}
	result.Refresh = now
	next, err := r.updateDurably(ctx, rec, tokenworker.Revoked(result))
	if err != nil {
		return err
	}
	return r.announceOwn(ctx, next, claim.Attempt)
}

// revokeOne revokes one sealed set.
func (r *Rotator) revokeOne(
	ctx context.Context, k tokenworker.Key, policy provider.Policy, enabled bool, sealed []byte,
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
	done, err := r.limits.enter(ctx, k.ProviderID, policy)
	if err != nil {
		return provider.Answer{Outcome: provider.NotSpent, Code: provider.CodeCanceled}
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.ClaimFor/3)
	defer cancel()
	answer := r.providers.Revoke(ctx, k, set)
	done(answer)
	return answer
}
