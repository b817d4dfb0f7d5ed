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
	const usual = tokenworker.UsualSeen
	run(t, store, []situation{
		{
			name:  "the last id before some may be forgotten",
			given: remembering(usual-1, 0),
			when:  acquired(event(101)), want: tokenworker.Applied,
		}, {
			name:  "a newer acquisition waits for no older id",
			given: remembering(usual, 0),
			when:  acquired(event(101)), want: tokenworker.Applied,
		}, {
			name:  "nor does a newer disconnect",
			given: remembering(usual, 0),
			when:  disconnected(event(101)), want: tokenworker.Applied,
		}, {
			name:  "a stale acquisition is remembered beside them",
			given: remembering(usual, 0),
			when:  acquired(event(99)), want: tokenworker.Stale,
		}, {
			name:  "a stale disconnect is remembered beside them",
			given: remembering(usual, 0),
			when:  disconnected(event(99)), want: tokenworker.Stale,
		}, {
			name:  "the oldest is still known",
			given: remembering(usual+1, 0),
			when:  acquired(event(101, repeating(1))), want: tokenworker.Repeated,
		}, {
			name:  "an acquisition that entered after the window forgets those before it",
			given: remembering(usual, 0),
			when:  acquired(event(101, after(later))), want: tokenworker.Applied,
		}, {
			name:  "a disconnect that entered after the window forgets them too",
			given: remembering(usual, 0),
			when:  disconnected(event(101, after(later))), want: tokenworker.Applied,
		}, {
			name:  "an acquisition that comes back after the window keeps what waits for revocation",
			given: slices.Concat(remembering(usual-1, 0), []step{disconnected(event(101))}),
			when:  acquired(event(102, after(later)), keeping, never), want: tokenworker.Applied,
		}, {
			name:  "only ids older than the window are forgotten",
			given: remembering(usual, 3),
			when:  acquired(event(102, after(later))), want: tokenworker.Applied,
		}, {
			name:  "a stale event may forget what the applied event has allowed to forget",
			given: remembering(usual, usual-1),
			when:  disconnected(event(99, after(later))), want: tokenworker.Stale,
		},
	})
}

// remembering leads to a record that reflects the acquisition at sequence 100 and remembers n ids in all: the last so many
// of them of events after the window, the others around start.
func remembering(n, young uint64) []step {
	steps := make([]step, 0, n)
	for i := range n {
		seq, at := i+1, after(0)
		if i == n-1 {
			seq = 100
		}
		if i >= n-young {
			at = after(later)
		}
		steps = append(steps, acquired(event(seq, at)))
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
