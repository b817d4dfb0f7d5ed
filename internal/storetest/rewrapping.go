package storetest

import (
	"crypto/rand"
	"testing"

	"github.com/tokenworker/tokenworker"
)

// rewrapped replaces the sets of the acquisitions at these sequences.
func rewrapped(seqs ...uint64) *updating {
	var sets []tokenworker.Rewrapped
	for _, seq := range seqs {
		old := acquired(event(seq)).Sealed
		sets = append(sets, tokenworker.Rewrapped{Old: old, New: append([]byte("again "), old...)})
	}
	return ruled(tokenworker.Rewrapping(sets))
}

func testRewrapping(t *testing.T, store Store) {
	run(t, store, []situation{
		{
			name:  "a set is replaced by what it is under another key",
			given: []step{acquired(event(1))},
			when:  rewrapped(1), want: tokenworker.Applied,
		}, {
			name: "where there is no record none is made",
			when: rewrapped(1), want: tokenworker.Stale,
		}, {
			name:  "a set that was refreshed meanwhile is left to the refresh",
			given: []step{acquired(event(1)), refreshed(set(1, 0), 1)},
			when:  rewrapped(1), want: tokenworker.Stale,
		}, {
			name:  "a set that was replaced meanwhile is not brought back",
			given: []step{acquired(event(1)), acquired(event(2))},
			when:  rewrapped(1), want: tokenworker.Stale,
		}, {
			name:  "a set that was disconnected meanwhile is replaced where it waits for revocation",
			given: []step{acquired(event(1)), disconnected(event(2))},
			when:  rewrapped(1), want: tokenworker.Applied,
		}, {
			name:  "several are replaced at once, each in its place",
			given: []step{acquired(event(1)), disconnected(event(2)), acquired(event(3), keeping)},
			when:  rewrapped(3, 1), want: tokenworker.Applied,
		}, {
			name:  "nothing is replaced while a revocation is under way",
			given: []step{acquired(event(1)), disconnected(event(2)), revoking(1, 0)},
			when:  rewrapped(1), want: tokenworker.Stale,
		}, {
			name:  "a refresh in flight is not fenced off",
			given: []step{acquired(event(1)), claimed(set(1, 0), 1, "r0", 0), rewrapped(1)},
			when:  refreshed(set(1, 0), 1), want: tokenworker.Applied,
		}, {
			name:  "nor is a claim of what was read before",
			given: []step{acquired(event(1)), rewrapped(1)},
			when:  claimed(set(1, 0), 1, "r0", 0), want: tokenworker.Applied,
		}, {
			name:  "an event after it is as new as before",
			given: []step{acquired(event(1)), rewrapped(1)},
			when:  acquired(event(2)), want: tokenworker.Applied,
		}, {
			name:  "a tombstone has nothing to replace",
			given: []step{acquired(event(1)), disconnected(event(2)), revoking(1, 0), revoked(1)},
			when:  rewrapped(1), want: tokenworker.Stale,
		},
	})

	t.Run("every record of every organization is listed", func(t *testing.T) {
		m, want := newMirror(store), map[tokenworker.Key]bool{}
		for range 3 {
			org := uniqueOrg()
			for range 40 {
				k := tokenworker.Key{OrgID: org + ":#", ProviderID: "acme", CompanyID: rand.Text()}
				m.follow(t, k, acquired(event(1)))
				want[k] = true
			}
			name := "org/" + tokenworker.EscapePart(org+":#")
			requirePut(t, store, wrapped(name, 1), nil, wrapped(name, 1))
		}
		for r, err := range store.AllRecords(t.Context()) {
			if err != nil {
				t.Fatalf("AllRecords: %v", err)
			}
			if want[r.Key] {
				requireSame(t, "the listed record", r, *m.records[r.Key])
				delete(want, r.Key) // one that comes twice is no longer wanted
			} else if m.records[r.Key] != nil {
				t.Errorf("%s is listed twice", r.Key)
			}
		}
		if len(want) > 0 {
			t.Errorf("%d records are not listed", len(want))
		}
		for _, err := range store.AllRecords(t.Context()) {
			if err != nil {
				t.Errorf("AllRecords: %v", err)
			}
			break // it can be left early
		}
	})

	t.Run("wrapped keys of every kind are listed", func(t *testing.T) {
		want := map[string]tokenworker.WrappedKey{}
		for _, kind := range []string{"org", "pool", "event"} {
			k := wrapped(kind+"/"+rand.Text()+"%23", 1)
			requirePut(t, store, k, nil, k)
			want[k.Name] = k
		}
		for k, err := range store.AllWrappedKeys(t.Context()) {
			if err != nil {
				t.Fatalf("AllWrappedKeys: %v", err)
			}
			if w, ok := want[k.Name]; ok {
				requireSameKey(t, k, w)
				delete(want, k.Name)
			}
		}
		if len(want) > 0 {
			t.Errorf("not listed: %v", want)
		}
	})
}
