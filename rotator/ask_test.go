package rotator_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/rotator"
)

// asked is what a request to refresh comes to.
func (r *rig) asked(rot *rotator.Rotator, k tokenworker.Key) string {
	r.t.Helper()
	outcome, err := rot.Ask(r.t.Context(), k)
	must(r.t, err)
	return outcome
}

func TestRequestsToRefreshSpendOneRotationInHalfAMinute(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	rots := []*rotator.Rotator{r.rotator("p1"), r.rotator("p2")}
	r.acquire(conn)
	if got := r.asked(rots[0], conn); got != "" {
		t.Fatalf("the first request came to %q", got)
	}
	for i := range 100 {
		if got := r.asked(rots[i%2], conn); got != events.RefreshedLately {
			t.Fatalf("request %d came to %q", i, got)
		}
	}
	r.advance(31 * time.Second)
	if got := r.asked(rots[1], conn); got != "" {
		t.Errorf("half a minute later a request came to %q", got)
	}
	if rec, posts := r.get(conn), r.server.Totals().Posts; posts != 2 || rec.Generation != 2 {
		t.Errorf("%d posts, generation %d; want 2 of each", posts, rec.Generation)
	}
}

func TestRequestsToRefreshWaitAsLongAsTheProviderSays(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	rot := r.rotator("p1")
	r.acquire(conn)
	must(t, r.server.Inject(demoprovider.Fault{Kind: demoprovider.RateLimited, RetryAfter: 20 * time.Minute}))
	if got := r.asked(rot, conn); got != "" {
		t.Fatalf("the first request came to %q", got)
	}
	for range 100 {
		r.advance(5 * time.Second)
		if got := r.asked(rot, conn); got != events.RefreshBackingOff {
			t.Fatalf("a request came to %q", got)
		}
	}
	if posts := r.server.Totals().Posts; posts != 1 {
		t.Errorf("%d posts during the wait that the provider asked for", posts)
	}
	r.advance(12 * time.Minute)
	if got := r.asked(rot, conn); got != "" {
		t.Errorf("after the wait a request came to %q", got)
	}
}

func TestARequestToRefreshMakesTheConnectionDueWhileItsProviderIsDown(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	rot := r.rotator("p1")
	r.acquire(conn)
	must(t, r.server.Inject(demoprovider.Fault{Kind: demoprovider.Unavailable, Count: 10}))
	for i := range 10 { // pause the provider
		k := tokenworker.Key{OrgID: "acme", ProviderID: "demo", CompanyID: fmt.Sprint("down-", i)}
		r.acquire(k)
		r.asked(rot, k)
	}
	posts, was := r.server.Totals().Posts, r.get(conn)
	if got := r.asked(rot, conn); got != events.RefreshDeferred {
		t.Fatalf("the request came to %q", got)
	}
	rec := r.get(conn)
	if rec.DueAt.After(r.clock.Now()) || !was.DueAt.After(r.clock.Now()) || rec.Failures != 0 || r.server.Totals().Posts != posts {
		t.Errorf("due at %s (before at %s), now %s, %d failures, %d posts more", rec.DueAt, was.DueAt, r.clock.Now(), rec.Failures,
			r.server.Totals().Posts-posts)
	}
	later := r.rotator("p2") // where it is not paused
	if _, err := later.Sweep(t.Context(), "demo", 0); err != nil {
		t.Fatal(err)
	}
	if rec := r.get(conn); rec.Generation != 1 {
		t.Errorf("a sweep has left it at generation %d", rec.Generation)
	}
}

func TestARequestToRefreshDoesNotWaitForAProviderThatHangs(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	rot := r.rotator("p1")
	key := func(i int) tokenworker.Key {
		return tokenworker.Key{OrgID: "acme", ProviderID: "demo", CompanyID: fmt.Sprint(i)}
	}
	const held = 2
	for i := range held + 10 {
		r.acquire(key(i))
	}
	must(t, r.server.Inject(demoprovider.Fault{Kind: demoprovider.Slow, Count: held, AnswerDelay: 5 * time.Second}))
	ended := make(chan string, held)
	for i := range held {
		go func() { ended <- r.asked(rot, key(i)) }()
	}
	r.eventually("the provider hangs", func() bool { return r.server.Totals().Posts == held })
	for i := range 10 { // while those two hang
		if got := r.asked(rot, key(held+i)); got != events.RefreshDeferred {
			t.Errorf("a request came to %q", got)
		}
		if rec := r.get(key(held + i)); rec.DueAt.After(r.clock.Now()) {
			t.Error("the connection is not due")
		}
	}
	for range held {
		if got := <-ended; got != "" {
			t.Errorf("a request that had its turn came to %q", got)
		}
	}
}

// The provider's rate leaves no room for the request within the time that its handler has.
func TestRequestsToRefreshDoNotWaitForARateThatIsSlowerThanTheyMay(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings+"    rate_limit: 0.001\n")
	second := tokenworker.Key{OrgID: "acme", ProviderID: "demo", CompanyID: "2"}
	r.acquire(conn)
	r.acquire(second)
	rot := r.rotator("p1")
	if got := r.asked(rot, conn); got != "" {
		t.Fatalf("the first request came to %q", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got, err := rot.Ask(ctx, second)
	if err != nil || got != events.RefreshDeferred {
		t.Errorf("the second request came to %q, error %v", got, err)
	}
	if due := r.get(second).DueAt; due.After(r.clock.Now()) {
		t.Errorf("the connection is due %s from now", due.Sub(r.clock.Now()))
	}
}
