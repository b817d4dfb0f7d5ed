package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// entry is one event that JetStream has acknowledged to its publisher.
type entry struct {
	kind  events.Kind
	id    tokenworker.EventID
	token string // the access token of an acquired event
	seq   uint64 // as acknowledged
	tries int    // more than 1: it may stand in the stream under a second sequence

	message events.Message // as published
}

// ledger remembers what was acknowledged, connection by connection, in the order of publishing: each connection has one
// publisher, who waits for each acknowledgement. It is safe for concurrent use.
type ledger struct {
	mu      sync.Mutex
	entries map[tokenworker.Key][]entry
	total   int
	retried int
}

func newLedger() *ledger { return &ledger{entries: map[tokenworker.Key][]entry{}} }

func (l *ledger) add(k tokenworker.Key, e entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries[k] = append(l.entries[k], e)
	l.total++
	if e.tries > 1 {
		l.retried++
	}
}

// oneOfEach is one message of each connection, as they are now.
func (l *ledger) oneOfEach(rng *rand.Rand) map[tokenworker.Key]events.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := map[tokenworker.Key]events.Message{}
	for key, entries := range l.entries {
		one[key] = entries[rng.IntN(len(entries))].message
	}
	return one
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// check compares the store with the ledger: each acknowledged event has left its id in its connection's record, and each
// record is what its last event says, with its token set and its stamp.
func (l *ledger) check(ctx context.Context, e *env, v *view) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for key, entries := range l.entries {
		g.Go(func() error { return checkOne(ctx, e, v, key, entries) })
	}
	return g.Wait() //nolint:wrapcheck // our own
}

// checkOne compares one record with the events of its connection.
func checkOne(ctx context.Context, e *env, v *view, key tokenworker.Key, entries []entry) error {
	r, err := v.store.Get(ctx, key)
	if errors.Is(err, tokenworker.ErrNotFound) {
		e.broke("%s: there is no record, of %d acknowledged events", key, len(entries))
		return nil
	} else if err != nil {
		return fmt.Errorf("reading a record: %w", err)
	}
	for i, sent := range entries {
		if !slices.Contains(r.Seen, sent.id) {
			e.broke("%s: event %d of %d (%s, sequence %d) was acknowledged and is lost", key, i+1, len(entries), sent.kind,
				sent.seq)
		}
	}
	return checkLast(ctx, e, v, &r, entries)
}

// checkLast compares a record with its last event.
func checkLast(ctx context.Context, e *env, v *view, r *tokenworker.Record, entries []entry) error {
	last := entries[len(entries)-1]
	if r.Stamp.Epoch != 1 || r.Generation != 0 || last.tries == 1 && r.Stamp.Sequence != last.seq {
		e.broke("%s: the stamp is %s, want that of its last event, 1/%d", r.Key, r.Stamp, last.seq)
	}
	if last.kind == events.Disconnect {
		if r.Status != tokenworker.Disconnecting && r.Status != tokenworker.Disconnected || r.Sealed != nil {
			e.broke("%s: was disconnected last, and is %s", r.Key, r.Status)
		}
		return nil
	}
	if r.Status != tokenworker.Active {
		e.broke("%s: was acquired last, and is %s", r.Key, r.Status)
		return nil
	}
	set, err := v.openSet(ctx, r.Key, r.Fence, r.Sealed)
	switch {
	case errors.Is(err, tokenworker.ErrSealBroken):
		e.broke("%v", err)
	case err != nil:
		return err
	case string(set.AccessToken.Reveal()) != last.token:
		e.broke("%s: holds another token than the one acquired last", r.Key)
	}
	return nil
}
