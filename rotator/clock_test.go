package rotator_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/rotator"
)

func TestAWorkerWhoseClockIsOffLeavesClaimsToOthers(t *testing.T) {
	unanswered := demoprovider.Fault{Kind: demoprovider.GatewayTimeout, Count: 1}
	for _, c := range []struct {
		name     string
		settings string
		off      time.Duration
		after    []demoprovider.Fault // what the first attempt meets, made by a worker whose clock is good
		posts    int
	}{
		{"a little: it claims", strictSettings, 4 * time.Minute, nil, 1},
		{"by more than 4 min 30 s: it takes no claim", strictSettings, 4*time.Minute + 31*time.Second, nil, 0},
		{"by 30 s: it makes a last resort", strictSettings, 30 * time.Second, []demoprovider.Fault{unanswered}, 2},
		{"by more: it makes none", strictSettings, 31 * time.Second, []demoprovider.Fault{unanswered}, 1},
		{"by more than 30 s at a brief window: it takes no claim", graceSettings, 31 * time.Second, nil, 0},
		{"the same, to post again: it does not", graceSettings, 31 * time.Second, []demoprovider.Fault{unanswered}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, demoprovider.Policy{}, c.settings)
			r.acquire(conn)
			r.advance(50 * time.Minute)
			if c.after != nil {
				must(t, r.server.Inject(c.after...))
				do(t, r.rotator("p1"), conn)
				r.advance(20 * time.Minute)
			}
			r.off = c.off
			err := r.rotator("p2").Do(t.Context(), conn, true)
			got := r.server.Totals().Posts
			if got != c.posts {
				t.Errorf("%d requests, want %d", got, c.posts)
			}
			if left := len(c.after) == c.posts; left != errors.Is(err, tokenworker.ErrUnavailable) {
				t.Errorf("left to others: %t, error %v", left, err)
			}
		})
	}
}

func TestARevocationIsNotClaimedByAClockThatIsOff(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.acquire(conn)
	r.disconnect(conn)
	r.off = 5 * time.Minute
	if err := r.rotator("p1").Do(t.Context(), conn, false); !errors.Is(err, tokenworker.ErrUnavailable) || r.get(conn).Revoking != nil {
		t.Errorf("error %v, claim %v", err, r.get(conn).Revoking)
	}
}

// Two healthy workers: that which claims is 4 min 29 s behind the store, that which judges 29 s ahead.
func TestTwoWorkersMinutesApartPostNoTokenAtOnce(t *testing.T) {
	r := newRig(t, demoprovider.Policy{AccessLifetime: 5 * time.Minute}, strictSettings)
	r.acquire(conn)
	behind := r.rotator("behind", func(c *rotator.Config) {
		c.Now = func() time.Time { return r.clock.Now().Add(-4*time.Minute - 29*time.Second) }
	})
	ahead := r.rotator("ahead", func(c *rotator.Config) {
		c.Now = func() time.Time { return r.clock.Now().Add(29 * time.Second) }
	})
	must(t, r.server.Inject(demoprovider.Fault{Kind: demoprovider.GatewayTimeout, Count: 1}))
	must(t, behind.Do(t.Context(), conn, true))
	for range 30 { // the claim lasts for a minute, and what was sent by its end acts within the margin of two
		r.advance(6 * time.Second)
		must(t, ahead.Do(t.Context(), conn, true))
	}
	if got := r.server.Totals().Posts; got != 1 {
		t.Fatalf("%d requests while one of the first attempt may still act", got)
	}
	r.advance(10 * time.Minute)
	do(t, ahead, conn)
	if got := r.server.Totals().Posts; got != 2 {
		t.Errorf("%d requests; the last resort is the second", got)
	}
}

func TestALastResortThatNobodyAnswersIsGivenUp(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.acquire(conn)
	must(t, r.server.Inject(demoprovider.Fault{Kind: demoprovider.Unavailable}))
	for looks := 0; r.get(conn).Status == tokenworker.Active; looks++ {
		if looks > 100 {
			t.Fatal("after 100 looks it is not given up")
		}
		r.advance(max(time.Second, r.get(conn).DueAt.Sub(r.clock.Now())))
		do(t, r.rotator("p1"), conn)
	}
	rec, posts := r.get(conn), r.server.Totals().Posts
	if rec.Status != tokenworker.ReauthRequired || rec.FailureCode != "unresolved" || posts < 8 || posts > 20 {
		t.Errorf("status %s, code %q after %d requests", rec.Status, rec.FailureCode, posts)
	}
	if len(rec.Sealed) == 0 || len(rec.Acquired) != 1 {
		t.Errorf("%d bytes sealed, %d spent: the set is kept to be revoked, and its token may be spent", len(rec.Sealed), len(rec.Acquired))
	}
	if got := r.notices(); got[max(0, len(got)-15):] != "reauth_required" {
		t.Errorf("announced %q", got)
	}
}
