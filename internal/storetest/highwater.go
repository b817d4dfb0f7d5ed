package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

func testEpochs(t *testing.T, store Store) {
	before := highWater(t, store).Epoch
	taken := race(t, racers, func(int) (uint64, error) { return store.TakeEpoch(t.Context()) })
	highest, seen := before, make(map[uint64]bool)
	for _, e := range taken {
		if e <= before || seen[e] {
			t.Errorf("epoch %d given twice, or not above %d", e, before)
		}
		seen[e] = true
		highest = max(highest, e)
	}
	if got := highWater(t, store); got.Epoch < highest {
		t.Errorf("epoch is %d; want at least %d", got.Epoch, highest)
	}
}

// testRolledBack lets a stream hand out sequences and then be rolled back. The mark tells; times do not.
func testRolledBack(t *testing.T, store Store) {
	epoch, err := store.TakeEpoch(t.Context())
	if err != nil {
		t.Fatalf("TakeEpoch: %v", err)
	}
	at := func(sequence uint64) tokenworker.Stamp { return tokenworker.Stamp{Epoch: epoch, Sequence: sequence} }
	raise := func(to tokenworker.Stamp) {
		t.Helper()
		if err := store.RaiseHighWater(t.Context(), to); err != nil {
			t.Fatalf("RaiseHighWater(%s): %v", to, err)
		}
	}
	look := func(last tokenworker.Stamp, want error) {
		t.Helper()
		if err := tokenworker.CheckHighWater(last, highWater(t, store)); !errors.Is(err, want) {
			t.Errorf("a stream at %s below a mark of %s: error %v, want %v", last, highWater(t, store), err, want)
		}
	}
	look(at(0), nil) // just made
	race(t, racers, func(i int) (struct{}, error) {
		return struct{}{}, store.RaiseHighWater(t.Context(), at(uint64(100-i)))
	})
	if got := highWater(t, store); got != at(100) {
		t.Fatalf("the mark is %s, want %s", got, at(100))
	}
	raise(at(99))
	raise(tokenworker.Stamp{Epoch: epoch - 1, Sequence: 1000})
	raise(tokenworker.Stamp{Epoch: epoch + 1, Sequence: 1000})
	look(at(100), nil)
	look(at(101), nil)
	look(at(99), tokenworker.ErrRolledBack)
	look(at(0), tokenworker.ErrRolledBack)
	look(tokenworker.Stamp{Epoch: epoch - 1, Sequence: 1000}, tokenworker.ErrRolledBack)
	look(tokenworker.Stamp{Epoch: epoch + 1, Sequence: 1000}, tokenworker.ErrRolledBack)
	if epoch, err = store.TakeEpoch(t.Context()); err != nil {
		t.Fatalf("TakeEpoch: %v", err)
	}
	look(at(0), nil) // the new stream starts anew

	run(t, store, []situation{
		{
			name:  "a lower sequence at a later time is late: its server's clock was wrong",
			given: []step{acquired(event(100))},
			when:  acquired(event(99, after(time.Hour))), want: tokenworker.Stale,
		}, {
			name:  "and so is a disconnect",
			given: []step{disconnected(event(100))},
			when:  disconnected(event(99, after(time.Hour))), want: tokenworker.Stale,
		}, {
			name:  "the same sequence at a later time changes nothing either",
			given: []step{acquired(event(100))},
			when:  acquired(event(100, after(time.Hour), other)), want: tokenworker.Stale,
		},
	})
}

func highWater(t *testing.T, store Store) tokenworker.Stamp {
	t.Helper()
	mark, err := store.HighWater(t.Context())
	if err != nil {
		t.Fatalf("HighWater: %v", err)
	}
	return mark
}

// other is another event at the same place.
func other(e *tokenworker.Event) { e.ID = event(e.Stamp.Sequence + 1000).ID }
