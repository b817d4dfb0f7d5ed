package storetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

// later is a time after which the ids of events around start need no longer be remembered.
const later = tokenworker.Window + tokenworker.ClockSkew + time.Hour

func testSeen(t *testing.T, store Store) {
	const full, spare = tokenworker.MaxSeen, tokenworker.SeenSpare
	run(t, store, []situation{
		{
			name:  "the last id that there is room for",
			given: remembering(full-spare-1, 0),
			when:  acquired(event(101)), want: tokenworker.Applied,
		}, {
			name:  "no room for a newer acquisition but what is left to disconnects",
			given: remembering(full-spare, 0),
			when:  acquired(event(101)), want: tokenworker.Full,
		}, {
			name:  "no room for a stale acquisition but what is left to disconnects",
			given: remembering(full-spare, 0),
			when:  acquired(event(99)), want: tokenworker.Full,
		}, {
			name:  "the last id of a disconnect that there is room for",
			given: remembering(full-1, 0),
			when:  disconnected(event(101)), want: tokenworker.Applied,
		}, {
			name:  "the last id of a stale disconnect that there is room for",
			given: remembering(full-1, 0),
			when:  disconnected(event(99)), want: tokenworker.Stale,
		}, {
			name:  "no room for a newer acquisition",
			given: remembering(full, 0),
			when:  acquired(event(101)), want: tokenworker.Full,
		}, {
			name:  "no room for a newer disconnect",
			given: remembering(full, 0),
			when:  disconnected(event(101)), want: tokenworker.Full,
		}, {
			name:  "no room for a stale acquisition",
			given: remembering(full, 0),
			when:  acquired(event(99)), want: tokenworker.Full,
		}, {
			name:  "a repeat needs no room",
			given: remembering(full, 0),
			when:  acquired(event(101, repeating(1))), want: tokenworker.Repeated,
		}, {
			name:  "an acquisition that entered after the window makes room for itself",
			given: remembering(full, 0),
			when:  acquired(event(101, after(later))), want: tokenworker.Applied,
		}, {
			name:  "a disconnect that entered after the window makes room for itself",
			given: remembering(full, 0),
			when:  disconnected(event(101, after(later))), want: tokenworker.Applied,
		}, {
			name:  "an acquisition that comes back after the window keeps what waits for revocation",
			given: slices.Concat(remembering(full-1, 0), []step{disconnected(event(101))}),
			when:  acquired(event(102, after(later)), keeping, never), want: tokenworker.Applied,
		}, {
			name:  "only ids older than the window make room",
			given: remembering(full, 3),
			when:  acquired(event(102, after(later))), want: tokenworker.Applied,
		}, {
			name:  "a stale event may forget what the applied event has allowed to forget",
			given: remembering(full, full-1),
			when:  disconnected(event(99, after(later))), want: tokenworker.Stale,
		},
	})
}

// remembering leads to a record that reflects the acquisition at sequence 100 and remembers n ids in all: the last so many
// of them of events after the window, the others around start. Those that acquisitions leave no room for are of
// disconnects.
func remembering(n, young uint64) []step {
	const acquisitions = tokenworker.MaxSeen - tokenworker.SeenSpare
	steps := make([]step, 0, n)
	at := func(i uint64) func(*tokenworker.Event) {
		if i >= n-young {
			return after(later)
		}
		return after(0)
	}
	for i := range min(n, acquisitions) - 1 {
		steps = append(steps, acquired(event(i+1, at(i))))
	}
	steps = append(steps, acquired(event(100, at(n-1))))
	for i := uint64(acquisitions); i < n; i++ {
		steps = append(steps, disconnected(event(i, at(i-1))))
	}
	return steps
}

func testLimits(t *testing.T, store Store) {
	run(t, store, []situation{
		{
			name: "the largest set is stored",
			when: acquired(event(1), ofBytes(tokenworker.MaxSealedBytes)), want: tokenworker.Applied,
		}, {
			name:  "the largest set is revoked",
			given: []step{acquired(event(1), ofBytes(tokenworker.MaxSealedBytes))},
			when:  disconnected(event(2)), want: tokenworker.Applied,
		}, {
			name:  "a record with as many of the largest sets as it can hold",
			given: largestSets(),
			when:  acquired(event(99), ofBytes(tokenworker.MaxSealedBytes), keeping), want: tokenworker.Applied,
		},
	})

	t.Run("a larger set is refused and changes nothing", func(t *testing.T) {
		m, key := newMirror(store), uniqueKey()
		large := acquired(event(1), ofBytes(tokenworker.MaxSealedBytes+1))
		large.Key = key
		if _, err := store.Acquire(t.Context(), large); !errors.Is(err, tokenworker.ErrTooLarge) {
			t.Errorf("Acquire: error %v, want ErrTooLarge", err)
		}
		m.compare(t.Context(), t, key)
		m.follow(t, key, acquired(event(2)))
		minted := refresh(set(2, 0), 1, func(f *tokenworker.Refresh) { f.Sealed = large.Sealed })
		for _, status := range []string{"a current set", "a set to revoke"} {
			_, _, err := store.Update(t.Context(), tokenworker.Record{Key: key}, tokenworker.Committing(minted))
			if !errors.Is(err, tokenworker.ErrTooLarge) {
				t.Errorf("Update that adds %s: error %v, want ErrTooLarge", status, err)
			}
			m.compare(t.Context(), t, key)
			m.follow(t, key, disconnected(event(3)))
		}
	})
}

// largestSets is fullRevokeList with sets of MaxSealedBytes.
func largestSets() []step {
	var steps []step
	for i := range uint64(tokenworker.MaxRevoke) {
		steps = append(steps, acquired(event(2*i+1), ofBytes(tokenworker.MaxSealedBytes), keeping), disconnected(event(2*i+2)))
	}
	return steps
}
