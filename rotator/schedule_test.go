package rotator_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/rotator"
)

var (
	noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	key  = tokenworker.Key{OrgID: "acme", ProviderID: "finch", CompanyID: "c-1"}
)

// set is a token set with what the schedule looks at; a zero duration after noon is no expiry.
func set(refreshable bool, expires, grant time.Duration) tokenworker.TokenSet {
	s := tokenworker.TokenSet{AccessToken: tokenworker.SecretString("a")}
	if refreshable {
		s.RefreshToken = tokenworker.SecretString("r")
	}
	if expires != 0 {
		s.ExpiresAt = noon.Add(expires)
	}
	if grant != 0 {
		s.GrantExpiresAt = noon.Add(grant)
	}
	return s
}

func TestDue(t *testing.T) {
	const day = 24 * time.Hour
	for _, tc := range []struct {
		name     string
		schedule rotator.Schedule
		set      tokenworker.TokenSet
		from, to time.Duration // after noon; due in [from, to)
	}{
		{name: "an hour: in the twenty minutes before the end, within the first five of them",
			set: set(true, time.Hour, 0), from: 40 * time.Minute, to: 45 * time.Minute},
		{name: "five minutes: soon enough for retries", set: set(true, 300*time.Second, 0), from: 200 * time.Second, to: 225 * time.Second},
		{name: "sixty days: no more than a day early", set: set(true, 60*day, 0), from: 59 * day, to: 59*day + 6*time.Hour},
		{name: "a provider that refuses early refreshes", schedule: rotator.Schedule{MaxLead: time.Minute},
			set: set(true, time.Hour, 0), from: 59 * time.Minute, to: 59*time.Minute + 15*time.Second},
		{name: "half of the lifetime", schedule: rotator.Schedule{Lead: 0.5},
			set: set(true, time.Hour, 0), from: 30 * time.Minute, to: 37*time.Minute + 30*time.Second},
		{name: "refreshable, of unknown lifetime: taken for an hour", set: set(true, 0, 0), from: 40 * time.Minute, to: 45 * time.Minute},
		{name: "a grant that ends before its access token", set: set(true, 2*time.Hour, time.Hour), from: 40 * time.Minute, to: 45 * time.Minute},
		{name: "a grant that outlives its access token", set: set(true, time.Hour, 90*day), from: 40 * time.Minute, to: 45 * time.Minute},
		{name: "a grant that ends before the assumed lifetime", set: set(true, 0, 30*time.Minute), from: 20 * time.Minute, to: 22*time.Minute + 30*time.Second},
		{name: "not refreshable: when it expires", set: set(false, time.Hour, 0), from: time.Hour, to: time.Hour + 1},
		{name: "not refreshable, its grant ends first", set: set(false, time.Hour, time.Minute), from: time.Minute, to: time.Minute + 1},
		{name: "not refreshable, only the grant is known to end", set: set(false, 0, day), from: day, to: day + 1},
		{name: "refreshable and expired when it came: at once", set: set(true, -time.Hour, 0), from: 0, to: 1},
		{name: "not refreshable and expired when it came: at once", set: set(false, -time.Hour, 0), from: 0, to: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			due := tc.schedule.Due(key, noon, tc.set)
			if from, to := noon.Add(tc.from), noon.Add(tc.to); due.Before(from) || !due.Before(to) {
				t.Errorf("due %s, want between %s and %s", due, from, to)
			}
		})
	}
	t.Run("neither refreshable nor known to expire: never", func(t *testing.T) {
		if due := (rotator.Schedule{}).Due(key, noon, set(false, 0, 0)); !due.IsZero() {
			t.Errorf("due %s", due)
		}
	})
	t.Run("an expiry centuries away does not overflow", func(t *testing.T) {
		far := tokenworker.TokenSet{RefreshToken: tokenworker.SecretString("r"), ExpiresAt: time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)}
		due := rotator.Schedule{}.Due(key, noon, far)
		if early := far.ExpiresAt.Sub(due); early <= 18*time.Hour || early > 24*time.Hour {
			t.Errorf("due %s, %s early", due, early)
		}
	})
}

func TestDueStaysWithinTheLifetime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rotator.Schedule{
			Lead:    rapid.Float64Range(0.001, 0.999).Draw(t, "lead"),
			MaxLead: time.Duration(rapid.Int64Range(1, int64(1000*time.Hour)).Draw(t, "max lead")),
		}
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		span := rapid.Int64Range(-int64(time.Hour), int64(20000*time.Hour))
		refreshable := rapid.Bool().Draw(t, "refreshable")
		expires, grant := time.Duration(span.Draw(t, "expires")), time.Duration(span.Draw(t, "grant"))
		given := set(refreshable, expires, grant)
		k := tokenworker.Key{OrgID: rapid.StringMatching(`[a-z]{1,8}`).Draw(t, "org"), ProviderID: "p", CompanyID: "c"}

		due := s.Due(k, noon, given)
		if again := s.Due(k, noon, given); !again.Equal(due) {
			t.Fatalf("due %s, then %s", due, again)
		}
		expiry := given.ExpiresAt
		if expiry.IsZero() && refreshable {
			expiry = noon.Add(rotator.AssumedLifetime)
		}
		if !given.GrantExpiresAt.IsZero() && (expiry.IsZero() || given.GrantExpiresAt.Before(expiry)) {
			expiry = given.GrantExpiresAt
		}
		lifetime := max(0, expiry.Sub(noon))
		warn := given.GrantExpiresAt.Add(-rotator.WarnBefore)
		warned := !given.GrantExpiresAt.IsZero() && warn.After(noon)
		switch lead := noon.Add(lifetime).Sub(due); {
		case expiry.IsZero() != due.IsZero():
			t.Fatalf("expiry %s, due %s", expiry, due)
		case expiry.IsZero():
		case warned && due.After(warn):
			t.Fatalf("due %s, after the warning at %s", due, warn)
		case warned && due.Equal(warn):
		case !refreshable && lead != 0:
			t.Fatalf("due %s before the end of what cannot be refreshed", lead)
		case due.Before(noon), lead < 0:
			t.Fatalf("due %s, outside of a lifetime of %s", due, lifetime)
		case lead > s.MaxLead, float64(lead) > s.Lead*float64(lifetime):
			t.Fatalf("lead %s of a lifetime of %s, under %+v", lead, lifetime, s)
		case refreshable && float64(lead) < 0.74*min(float64(s.MaxLead), s.Lead*float64(lifetime))-2:
			t.Fatalf("lead %s of a lifetime of %s, under %+v: jitter took more than a quarter", lead, lifetime, s)
		}
	})
}

func TestConnectionsThatExpireTogetherAreNotDueTogether(t *testing.T) {
	const connections, slots = 10_000, 10
	var counts [slots]int
	given := set(true, time.Hour, 0)
	spread := 5 * time.Minute // a quarter of twenty minutes
	for i := range connections {
		k := tokenworker.Key{OrgID: "acme", ProviderID: "finch", CompanyID: fmt.Sprintf("company-%d", i)}
		after := (rotator.Schedule{}).Due(k, noon, given).Sub(noon.Add(40 * time.Minute))
		counts[after*slots/spread]++
	}
	for i, n := range counts { // the standard deviation of a slot is 30
		if math.Abs(float64(n)-connections/slots) > 150 {
			t.Errorf("slot %d of %d holds %d of %d connections", i+1, slots, n, connections)
		}
	}
}

// A connection's place must not move with a release, or a whole fleet would shift at once: 62.618 s are five minutes times
// the first eight bytes of SHA-256 of the label, the key and the turn, taken as a fraction.
func TestJitterIsTheSameInEveryRelease(t *testing.T) {
	due := rotator.Schedule{}.Due(key, noon, set(true, time.Hour, 0))
	if want := "2026-11-21T12:41:02.617719186Z"; due.Format(time.RFC3339Nano) != want {
		t.Errorf("due %s, want %s", due.Format(time.RFC3339Nano), want)
	}
}

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		name     string
		schedule rotator.Schedule
		ok       bool
	}{
		{"the zero value", rotator.Schedule{}, true},
		{"a lead just below the lifetime", rotator.Schedule{Lead: 0.99}, true},
		{"a lead of the whole lifetime is always due", rotator.Schedule{Lead: 1}, false},
		{"a negative lead", rotator.Schedule{Lead: -0.1}, false},
		{"a lead that is no number", rotator.Schedule{Lead: math.NaN()}, false},
		{"a negative cap", rotator.Schedule{MaxLead: -time.Second}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.schedule.Validate(); (err == nil) != tc.ok {
				t.Errorf("error %v", err)
			}
		})
	}
}
