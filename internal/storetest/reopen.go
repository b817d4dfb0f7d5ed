package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

// TestReopen checks that what store was given is still there in the store that reopen returns. Reopen ends the first
// one, as a restart of the process would.
func TestReopen(t *testing.T, store Store, reopen func() Store) {
	m, grant, gone := newMirror(store), uniqueKey(), uniqueKey()
	m.follow(t, grant, acquired(event(1)), claimed(set(1, 0), 1, "r0", 0), refreshed(set(1, 0), 1), claimed(set(1, 1), 2, "r1", 0))
	m.follow(t, gone, acquired(event(1)), disconnected(event(2)), revoking(1, 0))
	key := wrapped("org/"+grant.OrgID, 1)
	requirePut(t, store, key, nil, key)
	epoch, err := store.TakeEpoch(t.Context())
	if err != nil {
		t.Fatalf("TakeEpoch: %v", err)
	}

	m.Store = reopen()
	m.compare(t.Context(), t, grant)
	m.compare(t.Context(), t, gone)
	if got, err := m.WrappedKey(t.Context(), key.Name); err != nil {
		t.Errorf("WrappedKey: %v", err)
	} else {
		requireSameKey(t, got, key)
	}
	if got, err := m.TakeEpoch(t.Context()); err != nil || got <= epoch {
		t.Errorf("epoch %d, error %v; want one above %d", got, err, epoch)
	}
	m.follow(t, grant, acquired(event(1)), refreshed(set(1, 1), 2))
	m.follow(t, gone, acquired(event(1)), acquired(event(3)))
}

// testContexts checks that a context's end comes back as itself, so that a shutdown is not taken for an outage.
func testContexts(t *testing.T, store Store) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	expired, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	key := uniqueKey()
	a := place(acquired(event(1)), key).(*tokenworker.Acquisition)
	d := place(disconnected(event(2)), key).(*tokenworker.Disconnection)
	calls := map[string]func(context.Context) error{
		"Acquire":    func(ctx context.Context) error { _, err := store.Acquire(ctx, a); return err },
		"Disconnect": func(ctx context.Context) error { _, err := store.Disconnect(ctx, d); return err },
		"Get":        func(ctx context.Context) error { _, err := store.Get(ctx, key); return err },
		"Records": func(ctx context.Context) error {
			for _, err := range store.Records(ctx, key.OrgID) {
				return err
			}
			return nil
		},
		"Update": func(ctx context.Context) error {
			_, _, err := store.Update(ctx, tokenworker.Record{Key: key}, claimed(set(1, 0), 1, "r0", 0).rule)
			return err
		},
		"Due": func(ctx context.Context) error {
			for _, err := range store.Due(ctx, key.ProviderID, 0, start) {
				return err
			}
			return nil
		},
		"WrappedKey": func(ctx context.Context) error { _, err := store.WrappedKey(ctx, "pool/1"); return err },
		"PutWrappedKey": func(ctx context.Context) error {
			_, err := store.PutWrappedKey(ctx, wrapped("org/"+key.OrgID, 1), nil)
			return err
		},
		"WrappedKeys":      func(ctx context.Context) error { _, err := store.WrappedKeys(ctx, "event/"); return err },
		"DeleteWrappedKey": func(ctx context.Context) error { return store.DeleteWrappedKey(ctx, "pool/none") },
		"PutCheckpoint": func(ctx context.Context) error {
			_, err := store.PutCheckpoint(ctx, checkpoint(1, 1))
			return err
		},
		"LastCheckpoint": func(ctx context.Context) error { _, err := store.LastCheckpoint(ctx); return err },
		"Checkpoints": func(ctx context.Context) error {
			for _, err := range store.Checkpoints(ctx, 1) {
				return err
			}
			return nil
		},
		"HighWater": func(ctx context.Context) error { _, err := store.HighWater(ctx); return err },
		"RaiseHighWater": func(ctx context.Context) error {
			return store.RaiseHighWater(ctx, tokenworker.Stamp{Epoch: 1, Sequence: 1})
		},
		"TakeEpoch": func(ctx context.Context) error { _, err := store.TakeEpoch(ctx); return err },
	}
	for name, call := range calls {
		if err := call(canceled); !errors.Is(err, context.Canceled) || errors.Is(err, tokenworker.ErrUnavailable) {
			t.Errorf("%s under a canceled context: error %v", name, err)
		}
		if err := call(expired); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, tokenworker.ErrUnavailable) {
			t.Errorf("%s under an expired context: error %v", name, err)
		}
	}
}
