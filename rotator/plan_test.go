package rotator

import (
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/provider"
)

const never time.Duration = -1 // due

func TestPlan(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	at := now.Add
	claimed := func(ago, length time.Duration) *tokenworker.Claim {
		return &tokenworker.Claim{At: now.Add(-ago), Until: now.Add(length - ago)}
	}
	repeated := func(ago, length time.Duration) *tokenworker.Claim { // a last resort, after an attempt of long ago
		c := claimed(ago, length)
		c.At, c.LastResort = c.At.Add(-2*lastResortsFor), true
		return c
	}
	strict := provider.Policy{Rotation: provider.Strict, Margin: 2 * time.Minute}
	grace := provider.Policy{Rotation: provider.Grace, GracePeriod: 30 * time.Minute, Margin: 2 * time.Minute}
	brief := provider.Policy{Rotation: provider.Grace, GracePeriod: 10 * time.Minute, Margin: 2 * time.Minute}
	tooBrief := provider.Policy{Rotation: provider.Grace, GracePeriod: 8 * time.Minute, Margin: 2 * time.Minute}
	static := provider.Policy{Rotation: provider.Static, Margin: 2 * time.Minute}
	for _, c := range []struct {
		name   string
		policy provider.Policy
		due    time.Duration
		expiry time.Duration
		claim  *tokenworker.Claim
		forced bool
		want   step
		at     time.Duration
	}{
		{name: "nothing is done before it is due", policy: strict, due: time.Minute, expiry: time.Hour, want: wait, at: time.Minute},
		{name: "what is due is posted", policy: strict, due: 0, expiry: time.Hour, want: post},
		{name: "what is forced is posted", policy: strict, due: time.Minute, expiry: time.Hour, forced: true, want: post},
		{name: "what has expired is posted", policy: strict, due: -time.Hour, expiry: -time.Minute, want: post},

		{name: "a running claim is left alone", policy: static, claim: claimed(10*time.Second, time.Minute), want: wait, at: 50 * time.Second},
		{name: "a running claim is left alone, forced or not", policy: grace, claim: claimed(10*time.Second, time.Minute), forced: true, want: wait, at: 50 * time.Second},
		{name: "static: the token is posted again once the claim is over", policy: static, claim: claimed(61*time.Second, time.Minute), want: repost},
		{name: "static: not before the backoff", policy: static, due: 5 * time.Second, claim: claimed(61*time.Second, time.Minute), want: wait, at: 5 * time.Second},
		{name: "what is never due is not posted", policy: strict, due: never, want: wait},
		{name: "unless it is forced", policy: strict, due: never, forced: true, want: post},

		{name: "grace, a brief window: not before a request on its way has arrived, by clocks a minute apart", policy: brief,
			claim: claimed(3*time.Minute, time.Minute), want: wait, at: time.Minute},
		{name: "grace, a brief window: again inside it", policy: brief, claim: claimed(4*time.Minute, time.Minute), want: repost},
		{name: "grace, a brief window: as long as the request arrives inside it, by clocks a minute apart", policy: brief,
			claim: claimed(6*time.Minute-time.Second, time.Minute), want: repost},
		{name: "grace, a brief window: as strict when it could arrive after it", policy: brief, expiry: time.Hour,
			claim: claimed(6*time.Minute, time.Minute), want: wait, at: time.Hour},
		{name: "grace: not before a request on its way has arrived, by clocks five minutes apart", policy: grace,
			claim: claimed(7*time.Minute, time.Minute), want: wait, at: time.Minute},
		{name: "grace: again inside the window", policy: grace, claim: claimed(8*time.Minute, time.Minute), want: repost},
		{name: "grace: as long as the request arrives inside the window, by clocks five minutes apart", policy: grace,
			claim: claimed(22*time.Minute-time.Second, time.Minute), want: repost},
		{name: "grace: as strict when it could arrive after the window", policy: grace, expiry: time.Hour,
			claim: claimed(22*time.Minute, time.Minute), want: wait, at: time.Hour},
		{name: "grace: as strict in a window too short to wait first", policy: tooBrief, expiry: time.Hour,
			claim: claimed(70*time.Second, time.Minute), want: wait, at: time.Hour},
		{name: "grace: also past the margin", policy: tooBrief, expiry: time.Hour, claim: claimed(5*time.Minute, time.Minute), want: wait, at: time.Hour},
		{name: "grace: as strict after the window", policy: grace, expiry: time.Hour, claim: claimed(31*time.Minute, time.Minute), want: wait, at: time.Hour},
		{name: "strict: an expired claim frees nobody", policy: strict, expiry: time.Hour, claim: claimed(10*time.Minute, time.Minute), want: wait, at: time.Hour},
		{name: "strict: nor does force", policy: strict, expiry: time.Hour, claim: claimed(10*time.Minute, time.Minute), forced: true, want: wait, at: time.Hour},
		{name: "strict: at expiry, within the margin of the claim, nothing", policy: strict, expiry: -time.Minute, claim: claimed(2*time.Minute, time.Minute), want: wait, at: 6 * time.Minute},
		{name: "strict: nor past it, while the other worker's clock may be five minutes behind", policy: strict, expiry: -time.Minute,
			claim: claimed(8*time.Minute-time.Second, time.Minute), want: wait, at: time.Second},
		{name: "strict: at expiry, past margin and allowance, the last resort", policy: strict, expiry: -time.Second, claim: claimed(10*time.Minute, time.Minute), want: lastResort},
		{name: "strict: of unknown expiry, past margin and allowance, the last resort", policy: strict, claim: claimed(10*time.Minute, time.Minute), want: lastResort},
		{name: "strict: a last resort is not hastened", policy: strict, due: time.Minute, expiry: -time.Hour, claim: repeated(10*time.Minute, time.Minute),
			forced: true, want: wait, at: time.Minute},
		{name: "strict: it is repeated", policy: strict, expiry: -lastResortsFor + time.Minute, claim: repeated(time.Hour, time.Minute), want: lastResort},
		{name: "strict: but not for ever", policy: strict, expiry: -lastResortsFor, claim: repeated(time.Hour, time.Minute), want: giveUp},
		{name: "strict: once it is tried, however late", policy: strict, expiry: -2 * lastResortsFor, claim: claimed(3*lastResortsFor, time.Minute), want: lastResort},
		{name: "unknown rotation counts as strict", policy: provider.Policy{}, expiry: time.Hour, claim: claimed(10*time.Minute, time.Minute), want: wait, at: time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &tokenworker.Record{Claim: c.claim}
			if c.due != never {
				r.DueAt = at(c.due)
			}
			if c.expiry != 0 {
				r.ExpiresAt = at(c.expiry)
			}
			got, when := plan(r, c.policy, terms{time.Minute, tokenworker.ClockSkew}, now, c.forced)
			if got != c.want || !when.Equal(at(c.at)) && c.due != never {
				t.Errorf("plan = %d at %s, want %d at %s", got, when.Sub(now), c.want, c.at)
			}
		})
	}
}

func TestBackoffDoublesToAQuarterOfAnHourAndIsSpread(t *testing.T) {
	k := tokenworker.Key{OrgID: "a", ProviderID: "b", CompanyID: "c"}
	places := map[time.Duration]bool{}
	for n := 1; n < 20; n++ {
		full := min(firstBackoff<<(n-1), lastBackoff)
		d := backoff(k, n)
		if d < full/2 || d >= full {
			t.Errorf("after %d failures: %s, want between %s and %s", n, d, full/2, full)
		}
		if full == lastBackoff {
			places[d] = true
		}
	}
	if len(places) < 10 {
		t.Errorf("at its longest, the delay of a connection takes %d values in 14 turns: delays add up in step", len(places))
	}
	if other := backoff(tokenworker.Key{OrgID: "a", ProviderID: "b", CompanyID: "d"}, 9); other == backoff(k, 9) {
		t.Error("two connections have the same delay")
	}
}

func TestTheRepeatsOfALastResortBecomeRareAndEnd(t *testing.T) {
	k := tokenworker.Key{OrgID: "a", ProviderID: "b", CompanyID: "c"}
	policy := provider.Policy{Rotation: provider.Strict, Margin: provider.DefaultMargin}
	in := terms{time.Minute, tokenworker.ClockSkew}
	begun := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	now, posts := begun, 0
	r := &tokenworker.Record{Key: k, Claim: &tokenworker.Claim{At: begun, Until: begun.Add(in.length)}}
	r.ExpiresAt = begun.Add(20 * time.Minute)
	for r.DueAt = afterUnknown(r, policy, in, now); ; r.DueAt = afterUnknown(r, policy, in, now) {
		now = r.DueAt
		did, _ := plan(r, policy, in, now, false)
		if did == giveUp {
			break
		} else if did != lastResort || posts > 100 {
			t.Fatalf("after %d last resorts, %s after the expiry: step %d", posts, now.Sub(r.ExpiresAt), did)
		}
		posts++
		r.Failures++
		r.Claim = &tokenworker.Claim{At: begun, Until: now.Add(in.length), LastResort: true}
	}
	if after := now.Sub(r.ExpiresAt); posts < 8 || posts > 20 || after < lastResortsFor || after > 2*lastResortsFor {
		t.Errorf("%d last resorts until %s after the expiry", posts, after)
	}
}

// A monotonic reading stands still while the machine is suspended, and claims do not.
func TestTimesHaveNoMonotonicReading(t *testing.T) {
	for name, c := range map[string]Config{"by default": {}, "by a clock that has one": {Now: time.Now}} {
		if now := c.WithDefaults().Now(); now != now.Round(0) {
			t.Errorf("%s: %s", name, now)
		}
	}
}
