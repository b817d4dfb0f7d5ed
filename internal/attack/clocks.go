package main

// Clocks: no loss, no halt and no second post by the clock of one server or one worker.
//
// Breaks that were tried, and what the attack said:
//
//	terms.settled: the margin alone is waited for                 "acme:demo-0:0: token 0 was posted again while the first
//	                                                              request may still act", for each token

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/internal/attack/process"
)

var clocks = promise{
	name: "clocks", unit: "connections", usual: 20, full: 200,
	attacks: []attack{
		{"a worker 4 minutes behind claims, gets no answer and dies; another, whose clock is right, comes by", clockOfAWorker},
		{"a NATS server 10 minutes ahead for a while, and its events after that", clockOfAServer},
	},
}

// shifted builds a program with a clock that can be shifted.
func (e *env) shifted(ctx context.Context, name, pkg string) (string, error) {
	path := filepath.Join(e.dir, name)
	return path, process.BuildShifted(ctx, path, pkg) //nolint:wrapcheck // our own
}

func ahead(d time.Duration) string {
	return process.ShiftVariable + "=" + strconv.Itoa(int(d.Seconds()))
}

// perProvider is how many connections lose an answer at one provider: ten would have it paused.
const perProvider = 8

func clockKey(i int) tokenworker.Key {
	return tokenworker.Key{OrgID: "acme", ProviderID: siteProvider(i / perProvider), CompanyID: fmt.Sprint(i)}
}

// clockOfAWorker has a worker whose clock is 4 minutes behind claim tokens that have expired, and lose the answers. To one with the
// right clock the claims and the margin look over at once, and nothing but the allowance keeps it from posting the tokens again.
func clockOfAWorker(ctx context.Context, e *env, n int) error {
	binary, err := e.shifted(ctx, "tokenworker", workerPackage)
	if err != nil {
		return err
	}
	f, err := startReplicas(ctx, e, 2, siteConfig{settings: strictly, providers: 1 + n/perProvider})
	if err != nil {
		return err
	}
	defer f.close()
	behind, right := f.workers[0], f.workers[1]
	for _, w := range f.workers {
		if err := w.stop(); err != nil {
			return err
		}
	}
	behind.program.Path, behind.program.Env = binary, append(behind.program.Env, ahead(-4*time.Minute))
	if err := behind.start(ctx); err != nil {
		return err
	}
	if err := f.server.Inject(demoprovider.Fault{Kind: demoprovider.LostAnswer, Count: n}); err != nil {
		return fmt.Errorf("injecting a fault: %w", err)
	}
	expired := func(k tokenworker.Key) error { return f.acquire(ctx, k, 15*time.Minute, -6*time.Minute) } // by either clock
	for i := range n {
		if err := expired(clockKey(i)); err != nil {
			return err
		}
	}
	if err := process.Await(ctx, 2*time.Minute, "the worker that is behind has posted each token", func() (bool, error) {
		return f.server.Totals().Posts >= n, nil
	}); err != nil {
		return err //nolint:wrapcheck // our own
	}
	behind.process.Kill()
	if err := right.start(ctx); err != nil {
		return err
	}
	// One more of each provider, which is due after the others, shows that the worker has been through all.
	providers := 1 + n/perProvider
	for i := range providers {
		if err := expired(tokenworker.Key{OrgID: "acme", ProviderID: siteProvider(i), CompanyID: "last"}); err != nil {
			return err
		}
	}
	if err := process.Await(ctx, 2*time.Minute, "the other worker has refreshed what is due", func() (bool, error) {
		return f.server.Totals().Granted >= n+providers, nil
	}); err != nil {
		return err //nolint:wrapcheck // our own
	}
	for family := range f.server.Families() {
		posts := map[int]int{}
		for _, a := range family.Attempts {
			if posts[a.Token]++; posts[a.Token] > 1 {
				e.broke("%s: token %d was posted again while the first request may still act", family.Subject, a.Token)
			}
		}
	}
	e.did("%d tokens in doubt, %d requests in all", n, f.server.Totals().Posts)
	return nil
}

// clockOfAServer has events enter a stream 10 minutes in the future, and others after them by the right time.
func clockOfAServer(ctx context.Context, e *env, n int) error {
	binary, err := e.shifted(ctx, "nats-server", natsPackage)
	if err != nil {
		return err
	}
	f, err := startReplicas(ctx, e, 1, siteConfig{settings: strictly, providers: 1 + 3*n/perProvider})
	if err != nil {
		return err
	}
	defer f.close()
	stored := 0
	for _, by := range []time.Duration{0, 10 * time.Minute, 0} {
		f.nats.Kill()
		f.nats.Become(binary, ahead(by))
		if err := f.nats.Start(ctx); err != nil {
			return err //nolint:wrapcheck // our own
		}
		if err := f.awaitReads(ctx); err != nil {
			return err
		}
		for range n {
			if err := f.acquire(ctx, clockKey(stored), 0, time.Hour); err != nil {
				e.broke("with the server %s ahead, event %d: %v", by, stored, err)
			}
			stored++
		}
	}
	w := f.workers[0]
	if status, _, err := w.get(ctx, "/readyz"); w.ended() || err != nil || status != http.StatusOK {
		e.broke("the worker has halted (%t), or is not ready (%d): %v", w.ended(), status, err)
	}
	v, err := w.end(ctx, e)
	if err != nil {
		return err
	}
	defer v.close()
	for i := range stored {
		r, err := v.store.Get(ctx, clockKey(i))
		if err != nil || r.Status != tokenworker.Active {
			e.broke("%s is %q: %v", clockKey(i), r.Status, err)
		}
		if wasAhead := r.Entered.After(time.Now()); wasAhead != (i/n == 1) { // all of this takes less than ten minutes
			e.broke("%s entered the stream at %s, and now it is %s: nothing was tried", clockKey(i), r.Entered, time.Now())
		}
	}
	e.did("%d events, %d of them 10 minutes in the future", stored, n)
	return nil
}
