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
)

// plan decides on an active record whose set can be refreshed, as a pure function of now. A claim lasts for length. Forced
// says that the set is to be refreshed although it is not due.
//
// A claim means that its token may have been posted. For a provider that rotates strictly, an expired claim frees nobody:
// the access token that still works is served, and only when it has expired, and any paused process's request has timed out,
// is the token posted once more.
func plan(r *tokenworker.Record, p provider.Policy, length time.Duration, now time.Time, forced bool) (step, time.Time) {
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
	// A failure has moved the due time: an attempt that was unresolved is not followed by another at once.
	if !forced && now.Before(r.DueAt) {
		return wait, r.DueAt
	}
	settled := c.Until.Add(p.Margin)
	switch {
	case p.Rotation == provider.Static:
		return repost, now
	case now.Before(settled) && inWindow(c, p, length, settled):
		return wait, settled // WaitWire
	case !now.Before(settled) && inWindow(c, p, length, now):
		return repost, now
	}
	at := lastResortAt(r, p)
	if now.Before(at) {
		return wait, at
	}
	return lastResort, now
}

// inWindow reports whether a token that a grace provider may have taken can be posted again at a time (RoomForPost): by the
// end of the claim and the margin, when the request has arrived or never will, its window, counted from the first claim, is
// still open. A window too short for that is never used, and the provider treated as a strict one.
func inWindow(c *tokenworker.Claim, p provider.Policy, length time.Duration, at time.Time) bool {
	return p.Rotation == provider.Grace && at.Add(length+p.Margin).Before(c.At.Add(p.GracePeriod))
}

// lastResortAt is when the token of a claimed record may be posted once more.
func lastResortAt(r *tokenworker.Record, p provider.Policy) time.Time {
	return later(r.Claim.Until.Add(p.Margin), r.ExpiresAt)
}

// afterUnknown is when to look again at a record whose attempt is unresolved.
func afterUnknown(r *tokenworker.Record, p provider.Policy, length time.Duration, now time.Time) time.Time {
	retry, settled := now.Add(backoff(r.Key, r.Failures+1)), r.Claim.Until.Add(p.Margin)
	switch {
	case p.Rotation == provider.Static:
		return later(retry, r.Claim.Until)
	case inWindow(r.Claim, p, length, settled):
		return settled
	case r.Claim.LastResort:
		return later(retry, lastResortAt(r, p))
	}
	return lastResortAt(r, p)
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
