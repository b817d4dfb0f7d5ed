package storetest

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

// retaining keeps the set among so many.
func retaining(last int) func(*tokenworker.Acquisition) {
	return func(a *tokenworker.Acquisition) { a.Retain = last }
}

// retainingRefresh is for refreshes what retaining is for acquisitions.
func retainingRefresh(last int) func(*tokenworker.Refresh) {
	return func(f *tokenworker.Refresh) { f.Retain = last }
}

// keptAcquisition is how the set of that acquisition is kept.
func keptAcquisition(seq uint64) tokenworker.RetainedSet {
	a := acquired(event(seq))
	return tokenworker.RetainedSet{
		Fence: tokenworker.Fence{Stamp: a.Stamp}, Sealed: a.Sealed, ExpiresAt: second(a.ExpiresAt), Scope: a.Scope,
		At: second(a.Entered.Add(-2 * time.Second)), // its own time
	}
}

// keptRefresh is how the outcome of that refresh is kept.
func keptRefresh(from tokenworker.Fence, attempt byte) tokenworker.RetainedSet {
	f := refresh(from, attempt)
	return tokenworker.RetainedSet{
		Fence: from.Next(), Sealed: f.Sealed, ExpiresAt: second(f.ExpiresAt), Scope: f.Scope, At: second(f.RefreshedAt),
	}
}

func testRetained(t *testing.T, store Store) {
	for _, c := range []struct {
		name  string
		given []step
		want  []tokenworker.RetainedSet // kept, the newest first
		read  int                       // how many of them may be read
	}{
		{name: "nothing is kept unless it is asked for", given: []step{acquired(event(1)), refreshed(set(1, 0), 1)}},
		{
			name:  "acquired and refreshed sets are kept, the newest first",
			given: []step{acquired(event(1), retaining(3)), refreshed(set(1, 0), 1, retainingRefresh(3)), acquired(event(2), retaining(3))},
			want:  []tokenworker.RetainedSet{keptAcquisition(2), keptRefresh(set(1, 0), 1), keptAcquisition(1)}, read: 3,
		}, {
			name: "the oldest go that are too many",
			given: []step{
				acquired(event(1), retaining(2)), refreshed(set(1, 0), 1, retainingRefresh(2)), refreshed(set(1, 1), 2, retainingRefresh(2)),
			},
			want: []tokenworker.RetainedSet{keptRefresh(set(1, 1), 2), keptRefresh(set(1, 0), 1)}, read: 2,
		}, {
			name: "with a smaller number more of them go",
			given: []step{
				acquired(event(1), retaining(4)), acquired(event(2), retaining(4)), acquired(event(3), retaining(4)), acquired(event(4), retaining(1)),
			},
			want: []tokenworker.RetainedSet{keptAcquisition(4)}, read: 1,
		}, {
			name:  "what does not become current is not kept",
			given: []step{acquired(event(2), retaining(3)), acquired(event(1), retaining(3)), acquired(event(3, repeating(2)), retaining(3))},
			want:  []tokenworker.RetainedSet{keptAcquisition(2)}, read: 1,
		}, {
			name:  "turned off, what was kept stays",
			given: []step{acquired(event(1), retaining(3)), acquired(event(2)), refreshed(set(2, 0), 1)},
			want:  []tokenworker.RetainedSet{keptAcquisition(1)}, read: 1,
		}, {
			name:  "nothing of a disconnected connection is read",
			given: []step{acquired(event(1), retaining(3)), disconnected(event(2))},
			want:  []tokenworker.RetainedSet{keptAcquisition(1)},
		}, {
			name:  "beside a tombstone there is nothing",
			given: []step{acquired(event(1), retaining(3)), acquired(event(2)), disconnected(event(3)), revoking(1, 0), revoked(2)},
		}, {
			name:  "nor beside one that an erasure has left",
			given: []step{acquired(event(1), retaining(3)), disconnected(event(2)), ruled(tokenworker.Erasing(event(2).Stamp, nil, start, start))},
		}, {
			name:  "what comes after a disconnect is read, what was before it is not",
			given: []step{acquired(event(1), retaining(3)), disconnected(event(2)), acquired(event(3), keeping, retaining(3))},
			want:  []tokenworker.RetainedSet{keptAcquisition(3), keptAcquisition(1)}, read: 1,
		}, {
			name: "nothing is left of an earlier life",
			given: []step{
				acquired(event(1), retaining(3)), disconnected(event(2)), revoking(1, 0), revoked(1), acquired(event(3), retaining(3)),
			},
			want: []tokenworker.RetainedSet{keptAcquisition(3)}, read: 1,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, key := newMirror(store), uniqueKey()
			neighbour := key
			neighbour.CompanyID += "0" // its sort key begins with the other's
			m.follow(t, neighbour, acquired(event(1), retaining(2)))
			m.follow(t, key, c.given...)
			kept := requireRetained(t, store, key, c.want)
			if got := m.records[key].History(kept); len(got) != c.read {
				t.Errorf("%d of them are read, want %d", len(got), c.read)
			}
			requireRetained(t, store, neighbour, []tokenworker.RetainedSet{keptAcquisition(1)})
		})
	}

	t.Run("they are sorted as stamps are", func(t *testing.T) {
		key, last := uniqueKey(), tokenworker.Stamp{Epoch: math.MaxUint64, Sequence: math.MaxUint64}
		for _, stamp := range []tokenworker.Stamp{{Epoch: 1, Sequence: math.MaxUint64}, {Epoch: 255, Sequence: 1}, {Epoch: 256, Sequence: 1}, last} {
			a := acquired(event(1), retaining(2))
			a.Key, a.Stamp, a.ID = key, stamp, tokenworker.NewEventID("storetest", stamp.String(), a.Entered)
			if v, err := store.Acquire(t.Context(), a); err != nil || v != tokenworker.Applied {
				t.Fatalf("Acquire: %v, %v", v, err)
			}
		}
		kept, err := store.Retained(t.Context(), key)
		if err != nil || len(kept) != 2 || kept[0].Stamp != last || kept[1].Stamp.Epoch != 256 {
			t.Errorf("kept %+v, %v", kept, err)
		}
	})

	t.Run("a kept set is replaced by what it is under another key", func(t *testing.T) {
		m, key := newMirror(store), uniqueKey()
		m.follow(t, key, acquired(event(1), retaining(3)), acquired(event(2), retaining(3)))
		want := []tokenworker.RetainedSet{keptAcquisition(2), keptAcquisition(1)}
		again := tokenworker.Rewrapped{Old: want[1].Sealed, New: []byte("again")}
		for range 2 { // the second time it is no longer as it was
			if err := store.RewrapRetained(t.Context(), key, want[1].Fence, again); err != nil {
				t.Fatalf("RewrapRetained: %v", err)
			}
		}
		if err := store.RewrapRetained(t.Context(), key, set(9, 9), again); err != nil {
			t.Errorf("one that is not there: %v", err)
		}
		want[1].Sealed = again.New
		requireRetained(t, store, key, want)
		again = tokenworker.Rewrapped{Old: want[1].Sealed, New: bytes.Repeat([]byte("x"), tokenworker.MaxSealedBytes+1)}
		if err := store.RewrapRetained(t.Context(), key, want[1].Fence, again); !errors.Is(err, tokenworker.ErrTooLarge) {
			t.Errorf("error %v, want ErrTooLarge", err)
		}
	})

	t.Run("those are dropped that are not newer than a stamp", func(t *testing.T) {
		m, key := newMirror(store), uniqueKey()
		neighbour := key
		neighbour.CompanyID += "0"
		m.follow(t, neighbour, acquired(event(1), retaining(4)))
		m.follow(t, key, acquired(event(1), retaining(4)), acquired(event(2), retaining(4)), refreshed(set(2, 0), 1, retainingRefresh(4)),
			acquired(event(3), retaining(4)))
		for range 2 { // the second time there are none
			if err := store.DropRetained(t.Context(), key, event(2).Stamp); err != nil {
				t.Fatalf("DropRetained: %v", err)
			}
		}
		requireRetained(t, store, key, []tokenworker.RetainedSet{keptAcquisition(3)})
		requireRetained(t, store, neighbour, []tokenworker.RetainedSet{keptAcquisition(1)})
	})

	t.Run("of many at once no set that became current is missing", func(t *testing.T) {
		key := uniqueKey()
		race(t, racers, func(i int) (tokenworker.Verdict, error) {
			a := acquired(event(uint64(i+1)), retaining(tokenworker.MaxRetain))
			a.Key = key
			return store.Acquire(t.Context(), a)
		})
		r, err := store.Get(t.Context(), key)
		if err != nil {
			t.Fatalf("Get: %v", err)
		}
		kept, err := store.Retained(t.Context(), key)
		if err != nil || len(kept) == 0 || !reflect.DeepEqual(kept[0], r.RetainedSet()) {
			t.Errorf("the newest kept is not the current one: %+v, %v", kept, err)
		}
	})
}

func requireRetained(t *testing.T, store Store, k tokenworker.Key, want []tokenworker.RetainedSet) []tokenworker.RetainedSet {
	t.Helper()
	kept, err := store.Retained(t.Context(), k)
	if err != nil {
		t.Fatalf("Retained: %v", err)
	}
	for i := range kept {
		kept[i].ExpiresAt, kept[i].At = second(kept[i].ExpiresAt), second(kept[i].At)
	}
	if len(kept) != len(want) || len(want) > 0 && !reflect.DeepEqual(kept, want) {
		t.Errorf("kept\n\t%+v, want\n\t%+v", kept, want)
	}
	return kept
}
