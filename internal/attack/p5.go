package main

// P5 A minted token survives: what the provider has answered is saved, in the store or in the rescue stream, whatever of
// the two is down.
//
// Breaks that were tried, and what the attack said:
//
//	save: no rescue stream, and no second try                     "an answer was given up: service unavailable: taken down"

import (
	"context"
	"fmt"
	"iter"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/internal/attack/process"
	"github.com/tokenworker/tokenworker/internal/attack/proxy"
	"github.com/tokenworker/tokenworker/rotator"
	"github.com/tokenworker/tokenworker/streams"
)

var p5 = promise{
	name: "P5", unit: "refreshes in flight", usual: 120, full: 1000,
	attacks: []attack{
		{"the store goes down between the provider's answers and their commits", func(ctx context.Context, e *env, n int) error {
			return loseStore(ctx, e, n, false)
		}},
		{"the store and NATS go down, and the store comes back first", func(ctx context.Context, e *env, n int) error {
			return loseStore(ctx, e, n, true)
		}},
	},
}

// fragileStore is a store that can be down.
type fragileStore struct {
	*embedded.Store
	down    atomic.Bool
	refused atomic.Int64
}

func (f *fragileStore) up() error {
	if f.down.Load() {
		f.refused.Add(1)
		return fmt.Errorf("%w: taken down", tokenworker.ErrUnavailable)
	}
	return nil
}

func (f *fragileStore) Get(ctx context.Context, k tokenworker.Key) (tokenworker.Record, error) {
	if err := f.up(); err != nil {
		return tokenworker.Record{}, err
	}
	return f.Store.Get(ctx, k) //nolint:wrapcheck // as the store says
}

func (f *fragileStore) Update(
	ctx context.Context, rec tokenworker.Record, rule tokenworker.Rule,
) (tokenworker.Record, tokenworker.Verdict, error) {
	if err := f.up(); err != nil {
		return tokenworker.Record{}, 0, err
	}
	return f.Store.Update(ctx, rec, rule) //nolint:wrapcheck // as the store says
}

func (f *fragileStore) Due(ctx context.Context, id string, shard int, at time.Time) iter.Seq2[tokenworker.Key, error] {
	if err := f.up(); err != nil {
		return func(yield func(tokenworker.Key, error) bool) { yield(tokenworker.Key{}, err) }
	}
	return f.Store.Due(ctx, id, shard, at)
}

// atOneProvider is how many requests one replica has under way at one provider; as many names of the provider are
// in the catalogue as n refreshes at a time need.
const atOneProvider = 8

// loseStore refreshes n connections at once, several times, and each time takes the store down when the provider has
// answered all of them and the answers are on their way.
func loseStore(ctx context.Context, e *env, n int, natsToo bool) error {
	outages, length := 3, 2*time.Second
	if n >= 1000 {
		outages, length = 10, time.Minute
	}
	s, err := openSite(ctx, e, siteConfig{
		settings: "    rotation: strict\n    revocation_scope: family\n", providers: (n + atOneProvider - 1) / atOneProvider,
	})
	if err != nil {
		return err
	}
	defer s.close()
	fragile := &fragileStore{Store: s.store}
	r, err := s.rotator(fragile, e.log)
	if err != nil {
		return err
	}
	stop := running(ctx, r)
	defer func() { _ = stop() }()
	for i := range n {
		if err := s.acquire(ctx, s.key(i)); err != nil {
			return err
		}
	}
	rescued := 0
	for range outages {
		kept, err := s.outage(ctx, e, r, fragile, n, length, natsToo)
		if err != nil {
			return err
		}
		rescued += kept
	}
	if !natsToo && rescued == 0 {
		e.broke("no answer went to the rescue stream: nothing was tried")
	}
	// Once more in peace: the token that was saved is the one that works, or the provider says so.
	if err := s.refreshAll(ctx, r, n); err != nil {
		return err
	}
	records, err := s.records(ctx, n)
	if err != nil {
		return err
	}
	for _, rec := range records {
		if want := uint64(outages + 1); rec.Generation != want || rec.Claim != nil {
			e.broke("%s: %s at generation %d, want %d; %s", rec.Key, rec.Status, rec.Generation, want, rec.FailureCode)
		}
	}
	held, err := s.judgeHeld(ctx, e, records)
	if err != nil {
		return err
	}
	if t := s.server.Totals(); held != n || t.Reuses+t.Doubtful > 0 {
		e.broke("%d of %d connections are held, %d tokens were reused, %d in doubt", held, n, t.Reuses, t.Doubtful)
	}
	e.did("%d outages of %s with %d refreshes in flight, %d answers rescued, %d writes refused", outages, length, n, rescued,
		fragile.refused.Load())
	return nil
}

// refreshAll refreshes the first n connections at once.
func (s *site) refreshAll(ctx context.Context, r *rotator.Rotator, n int) error {
	var g errgroup.Group
	for i := range n {
		g.Go(func() error { return r.Do(ctx, s.key(i), true) })
	}
	return g.Wait() //nolint:wrapcheck // our own
}

// outage refreshes all connections and takes the store down in the middle. It returns how many answers were rescued.
func (s *site) outage(
	ctx context.Context, e *env, r *rotator.Rotator, store *fragileStore, n int, length time.Duration, natsToo bool,
) (rescued int, err error) {
	// The answers wait until all requests are processed, so that all of them find the store down.
	if err := s.server.Inject(demoprovider.Fault{Kind: demoprovider.Slow, AnswerDelay: answersAfter(n)}); err != nil {
		return 0, fmt.Errorf("slowing the provider down: %w", err)
	}
	before := s.server.Totals().AccessMinted
	ended := make(chan error, 1)
	go func() { ended <- s.refreshAll(ctx, r, n) }()
	if err := process.Await(ctx, time.Minute, "all requests are processed", func() (bool, error) {
		return s.server.Totals().AccessMinted >= before+n, nil
	}); err != nil {
		return 0, fmt.Errorf("%w; of this outage %d are", err, s.server.Totals().AccessMinted-before)
	}
	s.server.ClearFaults()
	store.down.Store(true)
	if natsToo {
		s.proxy.Set(proxy.Cut)
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(answersAfter(n) + length):
	}
	if !natsToo {
		kept, err := s.waiting(ctx, streams.Rescue)
		if err != nil {
			return 0, err
		}
		rescued = int(kept)
	}
	store.down.Store(false)
	if err := <-ended; err != nil {
		e.broke("an answer was given up: %v", err)
	}
	s.proxy.Set(proxy.Open)
	return rescued, process.Await(ctx, time.Minute, "the rescue stream is empty", func() (bool, error) { //nolint:wrapcheck // our own
		left, err := s.waiting(ctx, streams.Rescue)
		return err == nil && left == 0, nil
	})
}

// answersAfter is how long answers are held back: long enough to send n requests.
func answersAfter(n int) time.Duration { return 2*time.Second + time.Duration(n)*8*time.Millisecond }
