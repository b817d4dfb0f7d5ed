package rotator

import (
	"fmt"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/provider"
)

// terms are the times by which claims are kept and judged. A claim is judged by another worker's clock than the one that it
// was made by; docs/model/Clock.tla says how far the two may be apart, and the names of its rules stand in the comments.
type terms struct {
	length time.Duration // of a claim
	skew   time.Duration // how far two clocks may be apart
}

// judge is how far off the clock may be of a worker that judges another's claim (JudgeNear).
func (t terms) judge() time.Duration { return t.skew / 10 }

// claimer is how far off the clock may be of a worker that claims (ClaimNear). A grace provider's window may be too short to
// outwait clocks that are far apart; there only those claim whose clock is good.
func (t terms) claimer(p provider.Policy) time.Duration {
	if p.Rotation == provider.Grace && p.GracePeriod <= 2*(t.length+p.Margin+t.skew) {
		return t.judge()
	}
	return t.skew - t.judge()
}

// allowance is how far the clock of whoever claimed may be from that of whoever judges.
func (t terms) allowance(p provider.Policy) time.Duration { return t.claimer(p) + t.judge() }

// settled is when no request of a claim can still arrive, and nobody holds its answer unsaved: the claim's end, the margin
// (WaitMargin), and what the clocks may be apart (WaitSkew).
func (t terms) settled(end time.Time, p provider.Policy) time.Time {
	return end.Add(p.Margin + t.allowance(p))
}

// inWindow reports whether a token that a grace provider may have taken can be posted again at a time (RoomForPost,
// RoomForSkew): when the request has arrived or never will, its window, counted from the first claim, is still open. A window
// too short for that is never used, and the provider treated as a strict one.
func (t terms) inWindow(c *tokenworker.Claim, p provider.Policy, at time.Time) bool {
	return p.Rotation == provider.Grace && at.Add(t.length+p.Margin+t.allowance(p)).Before(c.At.Add(p.GracePeriod))
}

// errClockOff: this machine's clock is too far from the store's. Another worker's may be good.
var errClockOff = fmt.Errorf("%w: this machine's clock is off", tokenworker.ErrUnavailable)

// mayClaim reports whether this machine's clock, as the store's last answer shows it, is good enough for the step.
func (r *Rotator) mayClaim(s step, p provider.Policy) error {
	within := r.terms().claimer(p)
	if s == lastResort || s == repost && p.Rotates() {
		within = r.terms().judge()
	}
	off := r.store.ClockOff()
	r.metrics.clockOff.Set(off.Seconds())
	if off > within {
		return fmt.Errorf("%w by up to %s", errClockOff, off.Round(time.Second))
	}
	return nil
}

func (r *Rotator) terms() terms { return terms{r.cfg.ClaimFor, r.cfg.ClockSkew} }
