package tokenworker_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

func TestRememberingIDs(t *testing.T) {
	// The record reflects an event that entered at noon; it remembers so many ids, the first old ones of which are past the
	// window by then.
	remembering := func(ids, old int) *tokenworker.Record {
		r := holding(1000)
		r.Entered, r.Seen = noon, nil
		for i := range ids {
			at := noon
			if i < old {
				at = noon.Add(-tokenworker.Window - tokenworker.ClockSkew - time.Second)
			}
			r.Seen = append(r.Seen, tokenworker.EventID{Hash: [16]byte{1, byte(i), byte(i >> 8)}, Time: at.Unix()})
		}
		return r
	}
	usual, full := remembering(64, 0), remembering(1024, 0)
	late := func(from *tokenworker.Record) *tokenworker.Record {
		return edited(*revoking(1000), func(r *tokenworker.Record) { r.Seen, r.Entered = from.Seen, noon })
	}
	at := func(seq uint64, when time.Time) tokenworker.Event {
		e := event(seq)
		e.Entered = when
		return e
	}
	acquire := func(e tokenworker.Event) decision {
		return func(r *tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error) {
			return r.Acquire(&tokenworker.Acquisition{Event: e, Sealed: sealed(1), Spendable: fingerprint(1)})
		}
	}
	disconnect := func(e tokenworker.Event) decision {
		return func(r *tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error) {
			return r.Disconnect(&tokenworker.Disconnection{Event: e})
		}
	}
	stale, newer := at(500, noon.Add(-time.Hour)), at(2000, noon.Add(time.Minute))
	nextDay := at(2000, noon.Add(tokenworker.Window+tokenworker.ClockSkew+time.Second))
	spent := spent(1)
	for _, tc := range []struct {
		name    string
		before  *tokenworker.Record
		event   tokenworker.Event
		decide  func(tokenworker.Event) decision
		verdict tokenworker.Verdict
		ids     int // remembered afterwards
	}{
		{"a newer acquisition waits for no older id", usual, newer, acquire, tokenworker.Applied, 65},
		{"nor does a newer disconnect", usual, newer, disconnect, tokenworker.Applied, 65},
		{"nor a stale acquisition", usual, stale, acquire, tokenworker.Stale, 65},
		{"nor a stale disconnect", usual, stale, disconnect, tokenworker.Stale, 65},
		{"nor a spent token", edited(*usual, spent), newer, acquire, tokenworker.Spent, 65},
		{"nor a late acquisition", late(usual), stale, acquire, tokenworker.Revoking, 65},
		{"past the bound a newer acquisition has the oldest forgotten", full, newer, acquire, tokenworker.Applied, 1024},
		{"and so has a newer disconnect", full, newer, disconnect, tokenworker.Applied, 1024},
		{"past the bound a stale acquisition waits", full, stale, acquire, tokenworker.Full, 1024},
		{"and so does a stale disconnect", full, stale, disconnect, tokenworker.Full, 1024},
		{"and a spent token", edited(*full, spent), newer, acquire, tokenworker.Full, 1024},
		{"and a late acquisition", late(full), stale, acquire, tokenworker.Full, 1024},
		{"the last that there is room for", remembering(1023, 0), stale, acquire, tokenworker.Stale, 1024},
		{"a newer event drops the ids past the window", remembering(64, 10), newer, acquire, tokenworker.Applied, 55},
		{"a newer disconnect drops the ids past the window", remembering(64, 10), newer, disconnect, tokenworker.Applied, 55},
		{"a stale event drops what the record's own event allows", remembering(64, 10), stale, acquire, tokenworker.Stale, 55},
		{"a stale disconnect drops what the record's own event allows", remembering(64, 10), stale, disconnect, tokenworker.Stale, 55},
		{"a day later none of the old ids is needed", full, nextDay, acquire, tokenworker.Applied, 1},
		{"what is not applied allows nothing to be dropped, however new it is", edited(*usual, spent), nextDay, acquire, tokenworker.Spent, 65},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := clone(*tc.before)
			got, verdict, err := tc.decide(tc.event)(tc.before)
			if err != nil || verdict != tc.verdict {
				t.Fatalf("verdict %s, error %v; want %s", verdict, err, tc.verdict)
			}
			if len(got.Seen) != tc.ids {
				t.Errorf("%d ids remembered, want %d", len(got.Seen), tc.ids)
			}
			if remembered := slices.Contains(got.Seen, tc.event.ID); remembered != (verdict != tokenworker.Full) {
				t.Errorf("the event's id remembered: %t, under verdict %s", remembered, verdict)
			}
			if verdict == tokenworker.Full && !reflect.DeepEqual(got, before) {
				t.Error("an event that found no room changed the record")
			}
			if !reflect.DeepEqual(*tc.before, before) {
				t.Error("the record that was passed in changed")
			}
		})
	}
}

func TestForgettableStartsPastTheWindowAndTheSkewOfClocks(t *testing.T) {
	id := tokenworker.NewEventID("test", "1", noon)
	edge := noon.Add(tokenworker.Window + tokenworker.ClockSkew)
	if tokenworker.Forgettable(id, edge) {
		t.Error("forgettable at the edge, where a repeat may still be let in")
	}
	if !tokenworker.Forgettable(id, edge.Add(time.Second)) {
		t.Error("not forgettable past the edge")
	}
}

// Two decisions on one record, as two tries of a conditional write make, must not write into each other's lists.
func TestDecisionsDoNotShareMemory(t *testing.T) {
	roomy := func(r *tokenworker.Record) {
		r.Seen, r.Revoke = slices.Grow(r.Seen, 8), slices.Grow(r.Revoke, 8)
		r.Acquired, r.Spent = slices.Grow(r.Acquired, 8), slices.Grow(r.Spent, 8)
	}
	for _, tc := range []struct {
		name   string
		record *tokenworker.Record
		decide func(r *tokenworker.Record, seq uint64) tokenworker.Record
	}{
		{"acquire", holding(2, roomy), func(r *tokenworker.Record, seq uint64) tokenworker.Record {
			next, _, _ := r.Acquire(acquisition(seq))
			return next
		}},
		{"acquire late", revoking(50, roomy), func(r *tokenworker.Record, seq uint64) tokenworker.Record {
			next, _, _ := r.Acquire(acquisition(seq))
			return next
		}},
		{"disconnect", holding(2, waiting(1), roomy), func(r *tokenworker.Record, seq uint64) tokenworker.Record {
			next, _, _ := r.Disconnect(disconnection(seq))
			return next
		}},
		{"claim", holding(2, roomy), func(r *tokenworker.Record, seq uint64) tokenworker.Record {
			attempt := tokenworker.Claim{Attempt: tokenworker.AttemptID{byte(seq)}}
			next, _ := r.TakeClaim(r.Fence, attempt, fingerprint(byte(seq)), tokenworker.AttemptID{})
			return next
		}},
		{"revoke", revoking(5, waiting(3), roomy), func(r *tokenworker.Record, seq uint64) tokenworker.Record {
			done := tokenworker.Revocation{Done: [][]byte{sealed(seq % 2)}, Code: "busy"}
			next, _, _ := tokenworker.Revoked(done)(r)
			return next
		}},
		{"commit", revoking(5, roomy), func(r *tokenworker.Record, seq uint64) tokenworker.Record {
			next, _ := r.Commit(&tokenworker.Refresh{From: tokenworker.Fence{Stamp: stamp(1)}, Sealed: sealed(seq)})
			return next
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			first := tc.decide(tc.record, 10)
			kept := clone(first)
			tc.decide(tc.record, 11)
			if !reflect.DeepEqual(first, kept) {
				t.Errorf("a second decision changed the first:\n is %+v\nwas %+v", first, kept)
			}
		})
	}
}
