package main

// P2 Ordered: whatever the order and number of deliveries, the stored state is the one that in-order, exactly-once
// delivery would give.
//
// Breaks that were tried, and what the attack said:
//
//   - rules.go does not remember the id of a stale event (RememberStale): "shuffled three times over: org-0:p1:c%3A49 is
//     active at 1/1974, want active at 1/1904; same set: false", 4 of 168 connections on SQLite, 5 on DynamoDB.
//   - dynamo/events.go leaves contains(seen_ids, :id) out of its condition: the same for 14 of 52 connections, in order
//     once as well; on SQLite nothing.

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/internal/attack/proxy"
)

var p2 = promise{
	name: "P2", unit: "recorded events", usual: 600, full: 10_000,
	attacks: []attack{
		{"a recorded stream shuffled, three times over, on SQLite", shuffleOnSQLite},
		{"the same on DynamoDB, which throttles and loses replies", shuffleOnDynamoDB},
	},
}

// eventStore is what the attack needs of a store.
type eventStore interface {
	Acquire(ctx context.Context, a *tokenworker.Acquisition) (tokenworker.Verdict, error)
	Disconnect(ctx context.Context, d *tokenworker.Disconnection) (tokenworker.Verdict, error)
	Update(ctx context.Context, rec tokenworker.Record, rule tokenworker.Rule) (tokenworker.Record, tokenworker.Verdict, error)
	Records(ctx context.Context, orgID string) iter.Seq2[tokenworker.Record, error]
}

func shuffleOnSQLite(ctx context.Context, e *env, n int) error {
	open := func(name string) (eventStore, func() error, error) {
		s, err := embedded.OpenStore(ctx, filepath.Join(e.dir, name))
		if err != nil {
			return nil, nil, fmt.Errorf("opening a store: %w", err)
		}
		return s, s.Close, nil
	}
	ordered, closeOrdered, err := open("ordered.db")
	if err != nil {
		return err
	}
	defer closeOrdered() //nolint:errcheck // nothing is written after the last read
	shuffled, closeShuffled, err := open("shuffled.db")
	if err != nil {
		return err
	}
	defer closeShuffled() //nolint:errcheck // as above
	return e.compareOrders(ctx, newHistory(e.rand, n, "org"), ordered, shuffled)
}

// shuffleOnDynamoDB has one call in 50 throttled, and the reply to one in 50 lost.
func shuffleOnDynamoDB(ctx context.Context, e *env, n int) error {
	c, err := openCloud(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	_, ordered, err := c.newTable(ctx)
	if err != nil {
		return err
	}
	shuffled, _, err := c.newTable(ctx)
	if err != nil {
		return err
	}
	h := newHistory(e.rand, n, "org") // with the same seed as on SQLite, so that the hashes can be compared
	faults := newFaultPlan(e.rand.Uint64(), 50, proxy.Throttle, proxy.DropReply)
	c.dynamoDB.SetFault(faults.next)
	err = e.compareOrders(ctx, h, ordered, shuffled)
	e.did("%d faults", faults.count())
	return err
}

// deliverers is how many deliveries run at once.
const deliverers = 16

// compareOrders delivers the history in order once to one store, and shuffled three times over to the other.
func (e *env) compareOrders(ctx context.Context, h *history, ordered, shuffled eventStore) error {
	want := h.expected()
	for _, way := range []struct {
		name    string
		store   eventStore
		deliver func(context.Context, *history, eventStore) error
	}{
		{"in order once", ordered, deliverInOrder},
		{"shuffled three times over", shuffled, func(ctx context.Context, h *history, s eventStore) error {
			return deliverShuffled(ctx, e.rand, h, s)
		}},
	} {
		if err := prepare(ctx, h, way.store); err != nil {
			return fmt.Errorf("spending tokens: %w", err)
		}
		if err := way.deliver(ctx, h, way.store); err != nil {
			return fmt.Errorf("delivering %s: %w", way.name, err)
		}
		got, err := readStates(ctx, way.store, h.orgs())
		if err != nil {
			return err
		}
		e.compareStates(way.name, got, want)
	}
	repeats, held := 0, 0
	for _, m := range h.messages {
		if len(m.earlier) > 0 {
			held++
		}
		if m.event().Entered.Unix() != m.event().ID.Time {
			repeats++
		}
	}
	e.did("%d events of %d connections, %d of them repeats, %d held back; state hash %.8x", len(h.messages), len(want),
		repeats, held, hash(want))
	return nil
}

// prepare brings a store to where the history begins.
func prepare(ctx context.Context, h *history, s eventStore) error {
	for _, p := range h.spent {
		if err := persist(ctx, func() error {
			_, err := s.Acquire(ctx, p.acquire)
			return err
		}); err != nil {
			return err
		}
		if err := persist(ctx, func() error {
			claiming := tokenworker.Claiming(tokenworker.Fence{Stamp: p.acquire.Stamp}, p.claim, p.acquire.Spendable,
				tokenworker.AttemptID{})
			_, _, err := s.Update(ctx, tokenworker.Record{Key: p.acquire.Key}, claiming)
			return err
		}); err != nil {
			return err
		}
		if err := persist(ctx, func() error { // the answer, which has rotated the token; the set looks as it was
			_, _, err := s.Update(ctx, tokenworker.Record{Key: p.acquire.Key}, tokenworker.Committing(&tokenworker.Refresh{
				Key: p.acquire.Key, From: tokenworker.Fence{Stamp: p.acquire.Stamp}, Attempt: p.claim.Attempt,
				Sealed: p.acquire.Sealed, Details: p.acquire.Details, RefreshedAt: p.claim.At, DueAt: p.acquire.DueAt,
			}))
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// deliverInOrder delivers every message once, those of one connection one after another.
func deliverInOrder(ctx context.Context, h *history, s eventStore) error {
	g, ctx := errgroup.WithContext(ctx)
	for lane := range uint32(deliverers) {
		g.Go(func() error {
			for _, m := range h.messages {
				f := fnv.New32a()
				_, _ = f.Write([]byte(m.event().Key.String()))
				if f.Sum32()%deliverers != lane {
					continue
				}
				if err := deliver(ctx, m, s); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait() //nolint:wrapcheck // the caller says what it was doing
}

// deliverShuffled delivers every message three times, in any order and several at once. A message that the worker would
// hold back waits, as it would there, until all earlier ones are settled.
func deliverShuffled(ctx context.Context, rng *rand.Rand, h *history, s eventStore) error {
	var queue []int
	for i := range h.messages {
		queue = append(queue, i, i, i)
	}
	rng.Shuffle(len(queue), func(i, j int) { queue[i], queue[j] = queue[j], queue[i] })
	settled := make([]atomic.Bool, len(h.messages))
	var mu sync.Mutex
	next := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		for {
			if len(queue) == 0 {
				return 0, false
			}
			i := queue[0]
			queue = queue[1:]
			if !slices.ContainsFunc(h.messages[i].earlier, func(j int) bool { return !settled[j].Load() }) {
				return i, true
			}
			queue = append(queue, i) // a delayed nak
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for range deliverers {
		g.Go(func() error {
			for i, ok := next(); ok; i, ok = next() {
				if err := deliver(ctx, h.messages[i], s); err != nil {
					return err
				}
				settled[i].Store(true)
			}
			return nil
		})
	}
	return g.Wait() //nolint:wrapcheck // the caller says what it was doing
}

// deliver hands one message to the store, as the worker does.
func deliver(ctx context.Context, m message, s eventStore) error {
	return persist(ctx, func() error {
		var v tokenworker.Verdict
		var err error
		if m.acquire != nil {
			v, err = s.Acquire(ctx, m.acquire)
		} else {
			v, err = s.Disconnect(ctx, m.disconnect)
		}
		if err == nil && v == tokenworker.Full {
			return errors.New("the record is full, which this history rules out")
		}
		return err
	})
}

// persist tries again while the store is not available.
func persist(ctx context.Context, try func() error) error {
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := try()
		if !errors.Is(err, tokenworker.ErrUnavailable) {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// readStates reads the state of every connection of the organizations.
func readStates(ctx context.Context, s eventStore, orgs []string) (map[tokenworker.Key]state, error) {
	states := map[tokenworker.Key]state{}
	for _, org := range orgs {
		for r, err := range s.Records(ctx, org) {
			if err != nil {
				return nil, fmt.Errorf("listing records: %w", err)
			}
			states[r.Key] = stateOf(&r)
		}
	}
	return states, nil
}

// compareStates reports each connection whose state is not the expected one, and hashes that differ.
func (e *env) compareStates(way string, got, want map[tokenworker.Key]state) {
	for key, w := range want {
		if g := got[key]; g != w {
			e.broke("%s: %s is %s at %s (disconnected %s), want %s at %s (disconnected %s); same set: %t", way, key,
				g.status, g.stamp, g.disconnected, w.status, w.stamp, w.disconnected, g.sealed == w.sealed)
		}
	}
	if hash(got) != hash(want) {
		e.broke("%s: the state hash is %x, want %x", way, hash(got), hash(want))
	}
}

// hash is over all states, in the order of their keys.
func hash(states map[tokenworker.Key]state) [32]byte {
	var lines []string
	for k, s := range states {
		lines = append(lines, fmt.Sprintf("%s %s %s %s %x\n", k, s.status, s.stamp, s.disconnected, s.sealed))
	}
	slices.Sort(lines)
	h := sha256.New()
	for _, l := range lines {
		h.Write([]byte(l))
	}
	return [32]byte(h.Sum(nil))
}
