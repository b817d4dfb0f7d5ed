package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenworker/tokenworker"
)

func testHistories(t *testing.T, store Store) {
	t.Run("a log in any order and any number of times gives what in-order exactly-once delivery gives", func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			log := drawLog(rt)
			inOrder, shuffled := newMirror(store), newMirror(store)
			want, got := uniqueKey(), uniqueKey()
			for _, l := range log {
				if l.original < 0 {
					mustDo(rt, inOrder, place(l.step(), want))
				}
			}
			for _, i := range drawDeliveries(rt, log) {
				mustDo(rt, shuffled, place(log[i].step(), got))
			}
			if got, want := outcomeOf(rt.Context(), rt, store, got), outcomeOf(rt.Context(), rt, store, want); got != want {
				rt.Fatalf("shuffled: %+v, in order: %+v", got, want)
			}
		})
	})

	t.Run("events and updates in any order are decided as the rules decide", func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			m, key := newMirror(store), uniqueKey()
			for range rapid.IntRange(1, 24).Draw(rt, "steps") {
				_, _ = m.do(rt.Context(), rt, place(drawStep(rt, m.records[key]), key)) // fails by itself
			}
		})
	})
}

func mustDo(rt *rapid.T, m *mirror, s step) {
	rt.Helper()
	if _, err := m.do(rt.Context(), rt, s); err != nil {
		rt.Fatalf("%T: %v", s, err)
	}
}

// line is one message of a log.
type line struct {
	event    tokenworker.Event
	isAcq    bool
	with     []func(*tokenworker.Acquisition)
	original int // the line that this one repeats, -1: none
}

// step is the message as it is delivered.
func (l line) step() step {
	if l.isAcq {
		return acquired(l.event, l.with...)
	}
	return disconnected(l.event)
}

// drawLog draws the log of one connection: acquisitions, disconnects, outbox repeats of both, and resyncs (an old token
// under a new id). It has at most MaxRevoke token sets, so that every order finds room on the revoke list, and no
// claims: what a resync does depends on what was spent when.
func drawLog(rt *rapid.T) []line {
	var log []line
	sets := 0
	keep := rapid.Bool().Draw(rt, "revocation spares newer grants")
	for n := rapid.IntRange(1, 10).Draw(rt, "messages"); len(log) < n; {
		seq := uint64(len(log) + 1)
		kinds := []string{"disconnect"}
		if sets < tokenworker.MaxRevoke {
			kinds = append(kinds, "acquire", "acquire", "resync")
		}
		if len(log) > 0 {
			kinds = append(kinds, "repeat")
		}
		switch rapid.SampledFrom(kinds).Draw(rt, "kind") {
		case "disconnect":
			log = append(log, line{event: event(seq), original: -1})
		case "acquire", "resync":
			l := line{event: event(seq), isAcq: true, original: -1}
			token := rapid.IntRange(0, sets).Draw(rt, "token") // a new one, or one that came before
			l.with = append(l.with, spending(fmt.Sprint("r", token)))
			if keep {
				l.with = append(l.with, keeping)
			}
			log = append(log, l)
			sets++
		case "repeat":
			i := rapid.IntRange(0, len(log)-1).Draw(rt, "original")
			l := log[i]
			if l.original < 0 {
				l.original = i
			}
			e := event(seq)
			e.ID = l.event.ID
			l.event = e
			log = append(log, l)
		}
	}
	return log
}

// drawDeliveries draws an order in which the lines arrive, each once or more. A repeat does not overtake its original
// (the consumer holds it back); there are no other limits.
func drawDeliveries(rt *rapid.T, log []line) []int {
	var all []int
	for i := range log {
		for range rapid.IntRange(1, 3).Draw(rt, "deliveries") {
			all = append(all, i)
		}
	}
	all = rapid.Permutation(all).Draw(rt, "order")
	for _, original := range all {
		if log[original].original >= 0 {
			continue
		}
		first := slices.Index(all, original)
		earliest := slices.IndexFunc(all, func(i int) bool { return i == original || log[i].original == original })
		all[first], all[earliest] = all[earliest], all[first]
	}
	return all
}

// drawStep draws anything that may happen to a record: likely something that concerns the set it holds.
func drawStep(rt *rapid.T, r *tokenworker.Record) step {
	seq := rapid.Uint64Range(1, 12).Draw(rt, "sequence")
	e := event(seq)
	if rapid.IntRange(0, 3).Draw(rt, "repeats") == 0 {
		e = event(seq, repeating(rapid.Uint64Range(1, 12).Draw(rt, "original")))
	}
	if rapid.IntRange(0, 9).Draw(rt, "entered much later") == 0 {
		e.Entered = e.Entered.Add(time.Hour)
	}
	from := set(seq, rapid.Uint64Range(0, 2).Draw(rt, "generation"))
	if r != nil && rapid.IntRange(0, 3).Draw(rt, "current set") > 0 {
		from = r.Fence
	}
	token := fmt.Sprint("r", rapid.IntRange(0, 3).Draw(rt, "token"))
	keep := rapid.Bool().Draw(rt, "revocation spares newer grants")

	switch rapid.SampledFrom([]string{"acquire", "acquire", "disconnect", "update", "update", "update"}).Draw(rt, "step") {
	case "disconnect":
		return disconnected(e)
	case "update":
		u := ruled(drawRule(rt, r, from))
		u.knows = rapid.SampledFrom([]knowledge{itsKey, asItIs, asItWas}).Draw(rt, "knows")
		return u
	default:
		a := acquired(e, spending(token), holding(token), over(rapid.ByteRange(0, 4).Draw(rt, "over")))
		a.KeepRevocations = keep
		if rapid.IntRange(0, 3).Draw(rt, "says little") == 0 {
			bare(a)
			never(a)
		}
		return a
	}
}

// drawRule draws a rule that is likely to apply.
func drawRule(rt *rapid.T, r *tokenworker.Record, from tokenworker.Fence) tokenworker.Rule {
	attempt := rapid.ByteRange(1, 4).Draw(rt, "attempt")
	at := start.Add(time.Duration(rapid.IntRange(0, 7200).Draw(rt, "at")) * time.Second)
	var held, revoking tokenworker.AttemptID
	if r != nil && r.Claim != nil {
		held = r.Claim.Attempt
	}
	if r != nil && r.Revoking != nil {
		revoking = r.Revoking.Attempt
	}
	f := failure(rapid.SampledFrom([]byte{attempt, held[0]}).Draw(rt, "fails"), func(f *tokenworker.Failure) { f.DueAt = at })
	switch rapid.SampledFrom([]string{
		"claim", "claim", "commit", "commit", "nothing spent", "unclaimed", "unresolved", "grant dead", "expiring", "postponing", "warning",
		"announced", "claim revocations", "claim revocations", "revoked", "revoked",
	}).Draw(rt, "rule") {
	case "claim":
		token := fmt.Sprint("r", rapid.IntRange(0, 3).Draw(rt, "spends"))
		return claimed(from, attempt, token, rapid.SampledFrom([]byte{0, held[0]}).Draw(rt, "replaces")).rule
	case "commit":
		return refreshed(from, attempt, func(f *tokenworker.Refresh) {
			f.KeepRevocations = rapid.Bool().Draw(rt, "revocation spares newer grants")
			f.Kept = rapid.Bool().Draw(rt, "kept")
		}).rule
	case "nothing spent":
		return tokenworker.NothingSpent(f)
	case "unclaimed":
		return tokenworker.Unclaimed(from, f, rapid.SampledFrom([]*tokenworker.Claim{nil, new(claim(held[0]))}).Draw(rt, "before"))
	case "unresolved":
		return tokenworker.Unresolved(f)
	case "grant dead":
		return tokenworker.GrantDead(f)
	case "expiring":
		return tokenworker.Expiring(from, f)
	case "postponing":
		return tokenworker.Postponing(from, f)
	case "warning":
		return tokenworker.Warning(from, at, owed(attempt, "expiring"))
	case "announced":
		a := tokenworker.AttemptID{attempt}
		if r != nil && len(r.Owed) > 0 {
			a = r.Owed[0].Attempt
		}
		return tokenworker.Announced(a)
	case "claim revocations":
		return tokenworker.ClaimRevocations(claim(attempt), at)
	default:
		v := tokenworker.Revocation{Attempt: revoking, Code: "unavailable", RetryAt: at, DueAt: at, Remove: at, Owed: owed(attempt, "revoked")}
		if r != nil && len(r.Revoke) > 0 {
			done := rapid.IntRange(0, len(r.Revoke)).Draw(rt, "done")
			waiting := r.Waiting()
			v.Done, v.Left = waiting[:done], waiting[done:]
		}
		return tokenworker.Revoked(v)
	}
}
