package main

import (
	"context"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

func testHistory(n int) *history { return newHistory(rand.New(rand.NewPCG(1, 2)), n, "org") }

// rules is a store that does what the rules say, in memory.
type rules struct {
	records map[tokenworker.Key]*tokenworker.Record
}

func (s *rules) apply(k tokenworker.Key, next tokenworker.Record, v tokenworker.Verdict, err error) (tokenworker.Verdict, error) {
	if err == nil {
		s.records[k] = &next
	}
	return v, err
}

func (s *rules) Acquire(_ context.Context, a *tokenworker.Acquisition) (tokenworker.Verdict, error) {
	next, v, err := s.records[a.Key].Acquire(a)
	return s.apply(a.Key, next, v, err)
}

func (s *rules) Disconnect(_ context.Context, d *tokenworker.Disconnection) (tokenworker.Verdict, error) {
	next, v, err := s.records[d.Key].Disconnect(d)
	return s.apply(d.Key, next, v, err)
}

func (s *rules) Update(
	_ context.Context, rec tokenworker.Record, rule tokenworker.Rule,
) (tokenworker.Record, tokenworker.Verdict, error) {
	next, v, err := rule(s.records[rec.Key])
	v, err = s.apply(rec.Key, next, v, err)
	return next, v, err
}

func (s *rules) Records(_ context.Context, org string) iter.Seq2[tokenworker.Record, error] {
	return func(yield func(tokenworker.Record, error) bool) {
		for k, r := range s.records {
			if k.OrgID == org && !yield(*r, nil) {
				return
			}
		}
	}
}

// deliverAll delivers the history to the rules, in order or in reverse, and returns what differs from what is expected.
func deliverAll(t *testing.T, h *history, reversed bool) *report {
	t.Helper()
	s := &rules{map[tokenworker.Key]*tokenworker.Record{}}
	if err := prepare(t.Context(), h, s); err != nil {
		t.Fatal(err)
	}
	messages := slices.Clone(h.messages)
	if reversed {
		slices.Reverse(messages)
	}
	e := &env{report: &report{}}
	for _, m := range messages {
		if err := deliver(t.Context(), m, s); err != nil {
			e.broke("%v", err)
		}
	}
	got, err := readStates(t.Context(), s, h.orgs())
	if err != nil {
		t.Fatal(err)
	}
	e.compareStates("test", got, h.expected())
	return e.report
}

func TestInOrderTheRulesLeaveWhatIsExpected(t *testing.T) {
	if r := deliverAll(t, testHistory(5000), false); r.broken > 0 {
		t.Fatal(r.examples)
	}
}

func TestWithoutTheHoldBackAHistoryBreaks(t *testing.T) {
	if r := deliverAll(t, testHistory(5000), true); r.broken == 0 {
		t.Fatal("repeats that overtake their originals changed nothing: the history attacks nothing")
	}
}

func TestAHistoryHoldsEveryKindOfEvent(t *testing.T) {
	h := testHistory(5000)
	var acquisitions, disconnects, repeats, resyncs, spent int
	seen := map[tokenworker.EventID]bool{}
	sets := map[tokenworker.Fingerprint]bool{}
	for _, s := range h.spent {
		sets[s.acquire.Spendable] = true
	}
	for i, m := range h.messages {
		e := m.event()
		if i > 0 && e.Stamp.Compare(h.messages[i-1].event().Stamp) <= 0 {
			t.Fatal("the stream is not in order")
		}
		age := e.Entered.Sub(time.Unix(e.ID.Time, 0))
		switch {
		case seen[e.ID]:
			repeats++
			if age <= holdBackAfter || age > tokenworker.Window {
				t.Fatalf("a repeat %s after its time: the stream or the worker would have refused it", age)
			}
		case m.disconnect != nil:
			disconnects++
		case m.acquire.Spendable != (tokenworker.Fingerprint{}) && sets[m.acquire.Spendable]:
			resyncs++
		default:
			acquisitions++
		}
		seen[e.ID] = true
		if m.acquire != nil {
			sets[m.acquire.Spendable] = true
			for _, s := range h.spent {
				if s.acquire.Spendable == m.acquire.Spendable {
					spent++
				}
			}
		}
	}
	for what, n := range map[string]int{
		"acquisitions": acquisitions, "disconnects": disconnects, "repeats": repeats, "resyncs": resyncs,
		"of spent tokens": spent,
	} {
		if n < 20 {
			t.Errorf("only %d %s in 5,000 events", n, what)
		}
	}
}
