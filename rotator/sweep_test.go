package rotator_test

import (
	"context"
	"iter"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/rotator"
)

// sharded is a store of many shards, all of which hang at one provider. The other's connections are in the first.
type sharded struct {
	faulty
	hanging atomic.Int64
	release chan struct{}
}

func (s *sharded) Shards() int { return 80 } // more than there are sweeps at once

func (s *sharded) Due(ctx context.Context, id string, shard int, at time.Time) iter.Seq2[tokenworker.Key, error] {
	switch {
	case id == "a-hanging":
		return func(func(tokenworker.Key, error) bool) {
			s.hanging.Add(1)
			defer s.hanging.Add(-1)
			select {
			case <-s.release:
			case <-ctx.Done():
			}
		}
	case shard > 0:
		return func(func(tokenworker.Key, error) bool) {}
	}
	return s.faulty.Due(ctx, id, 0, at)
}

func TestSweepsOfAProviderThatHangsLeaveRoomForOthers(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.acquire(conn)
	for _, id := range []string{"a-hanging", "demo"} { // whose jobs are published in this order
		must(t, r.db.NoteProvider(t.Context(), id))
	}
	r.advance(50 * time.Minute)
	store := &sharded{faulty: faulty{r.db, r}, release: make(chan struct{})}
	rot, err := rotator.New(rotator.Config{Process: "p", Now: r.clock.Now, Tick: 24 * time.Hour}, r.js, store, r.sealer, r.gate)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- rot.Run(ctx) }()
	r.eventually("sweeps hang", func() bool { return store.hanging.Load() > 0 })
	r.eventually("the other provider's connection is refreshed", func() bool { return r.get(conn).Generation == 1 })
	if n := store.hanging.Load(); n == 0 || n > 4 {
		t.Errorf("%d sweeps of one provider are under way, want 4 at most", n)
	}
	close(store.release)
	cancel()
	must(t, <-ended)
}
