package rotator

import (
	"context"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/provider"
)

// Providers are the providers of the catalogue. Methods are safe for concurrent use. Each of the last three makes one
// request at most, returns by the context's deadline, and never shows a token.
type Providers interface {
	// Policy is that of any provider, known or not. It is enabled if requests may be sent to it.
	Policy(id string) (p provider.Policy, enabled bool)

	// Prepare does ahead what a call would otherwise have to do first. The answer is OK, or what the call would end with.
	Prepare(ctx context.Context, k tokenworker.Key) provider.Answer

	Refresh(ctx context.Context, k tokenworker.Key, set tokenworker.TokenSet) provider.Answer
	Revoke(ctx context.Context, k tokenworker.Key, set tokenworker.TokenSet) provider.Answer
	Introspect(ctx context.Context, k tokenworker.Key, set tokenworker.TokenSet) provider.Answer
}

// scheduleOf is the schedule of a provider's sets.
func scheduleOf(p provider.Policy) Schedule {
	return Schedule{MaxLead: p.LeadCap, Assumed: p.AssumedLifetime, Idle: p.IdleExpiry}
}

// DueAfter is when a set that was acquired or refreshed at a time is due by its provider's policy.
func DueAfter(p provider.Policy, k tokenworker.Key, at time.Time, set tokenworker.TokenSet) time.Time {
	return scheduleOf(p).Due(k, at, set)
}

// dueAfterAnswer is when a set that a provider has just sent is due: in time for a refresh token that the provider says will
// die unless it is used. One that dies with its grant is not kept alive by that.
func dueAfterAnswer(p provider.Policy, k tokenworker.Key, at time.Time, a provider.Answer) time.Time {
	s := scheduleOf(p)
	if idle := a.RefreshExpires.Sub(at); idle > 0 && !a.RefreshExpires.Equal(a.Set.GrantExpiresAt) && (s.Idle == 0 || idle < s.Idle) {
		s.Idle = idle
	}
	return s.Due(k, at, a.Set)
}

// SettledAfter is how long after a moment no request of a revocation that was begun before it can still arrive, nor one that
// siblings begin because what was stored then does not show to them yet.
func (r *Rotator) SettledAfter(p provider.Policy) time.Duration {
	settled := r.cfg.ClaimFor + p.Margin
	if p.DisconnectScope == provider.DisconnectsCompany {
		settled += r.store.IndexLag()
	}
	return settled
}
