package rotator

import (
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/provider"
)

// step is what to do about an active record.
type step uint8

const (
	wait       step = iota // nothing before the given time
	post                   // spend the refresh token
	repost                 // spend it again: the attempt before it is unresolved, and the provider allows for that
	lastResort             // spend it again because nothing else can save the connection
	giveUp                 // no more: none of the last resorts was answered
)

// plan decides on an active record whose set can be refreshed, as a pure function of now. Forced says that the set is to be
// refreshed although it is not due.
//
// A claim means that its token may have been posted. For a provider that rotates strictly, an expired claim frees nobody:
// the access token that still works is served, and only when it has expired, and any paused process's request has timed out,
// is the token posted once more.
func plan(r *tokenworker.Record, p provider.Policy, t terms, now time.Time, forced bool) (step, time.Time) {
	c := r.Claim
	if c == nil {
		if forced || !r.DueAt.IsZero() && !now.Before(r.DueAt) {
			return post, now
		}
		return wait, r.DueAt
	}
	if now.Before(c.Until) {
		return wait, c.Until // its owner may be at work
	}
	// A failure has moved the due time: an attempt that was unresolved is not followed by another at once. Nobody hastens the
	// repeats of a last resort.
	if (!forced || c.LastResort && p.Rotates()) && now.Before(r.DueAt) {
		return wait, r.DueAt
	}
	settled := t.settled(c.Until, p)
	switch {
	case p.Rotation == provider.Static:
		return repost, now
	case now.Before(settled) && t.inWindow(c, p, settled):
		return wait, settled // WaitWire
	case !now.Before(settled) && t.inWindow(c, p, now):
		return repost, now
	}
	since := later(c.At, r.ExpiresAt)
	switch at := later(settled, r.ExpiresAt); {
	case now.Before(at):
		return wait, at
	case c.LastResort && c.Until.After(r.ExpiresAt) && !now.Before(since.Add(lastResortsFor)):
		return giveUp, now
	}
	return lastResort, now
}

// lastResortsFor is how long after its first the last resort is repeated while it ends without an answer, and each time after
// as long as it has been tried already: some 15 requests in all. What a strict provider has not answered by then may be
// dead, and a request that may count as reuse is not made for ever.
const lastResortsFor = 3 * 24 * time.Hour

// afterUnknown is when to look again at a record whose attempt is unresolved.
func afterUnknown(r *tokenworker.Record, p provider.Policy, t terms, now time.Time) time.Time {
	retry, settled := now.Add(backoff(r.Key, r.Failures+1)), t.settled(r.Claim.Until, p)
	switch {
	case p.Rotation == provider.Static:
		return later(retry, r.Claim.Until)
	case t.inWindow(r.Claim, p, settled):
		return settled
	case r.Claim.LastResort:
		tried := now.Sub(later(r.Claim.At, r.ExpiresAt))
		retry = later(retry, now.Add(tried))
	default:
		retry = settled
	}
	return later(later(retry, settled), r.ExpiresAt)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Delays after failures, doubling. The longest is what an outage may outlast its end by; it is short enough that within
// an hour connections that came due together have drifted apart (the attack on P10: with an hour, the first after an
// outage are 2.4 times the mean).
const (
	firstBackoff = 30 * time.Second
	lastBackoff  = 15 * time.Minute
)

// backoff is the delay after so many failures in a row, spread by a jitter of its own over a half of it.
func backoff(k tokenworker.Key, failures int) time.Duration {
	d := firstBackoff
	for range failures - 1 {
		if d *= 2; d >= lastBackoff {
			d = lastBackoff
			break
		}
	}
	return d/2 + jitter(k, failures, d/2)
}

// untilMended is how long a record waits that the provider has refused for the operator's fault, perhaps for a moment only: no
// longer than a quarter of what is left of the access token, or of its lifetime once that is over. Where neither is known,
// and at the most, it is postponed.
func untilMended(r *tokenworker.Record, now time.Time) time.Duration {
	if r.ExpiresAt.IsZero() {
		return postponed
	}
	left := r.ExpiresAt.Sub(now)
	if left <= 0 {
		left = r.ExpiresAt.Sub(later(r.AcquiredAt, r.RefreshedAt))
	}
	return min(max(left/4, soonestMended), postponed)
}

// soonestMended is how soon a provider that refuses the client is asked again at the earliest.
const soonestMended = 10 * time.Second
