package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

// racers is how many calls are under way at once on one record.
const racers = 16

func testRaces(t *testing.T, store Store) {
	t.Run("events that race end in the state of their order", func(t *testing.T) {
		events := []step{
			acquired(event(1), keeping), acquired(event(2), keeping), disconnected(event(3)), acquired(event(4), keeping),
			disconnected(event(5)), acquired(event(6), keeping), disconnected(event(7)), disconnected(event(8)),
		}
		for _, last := range []int{4, 5, 6, 8} { // a grant and a disconnect, each after the other and after its like
			m, key := newMirror(store), uniqueKey()
			deliveries := append([]step(nil), events[:last]...)
			deliveries = append(deliveries, events[:last]...)
			rand.Shuffle(len(deliveries), func(i, j int) { deliveries[i], deliveries[j] = deliveries[j], deliveries[i] })
			for _, d := range deliveries {
				place(d, key)
			}
			verdicts := race(t, len(deliveries), func(i int) (tokenworker.Verdict, error) {
				return deliver(t, store, deliveries[i])
			})
			repeated := 0
			for _, v := range verdicts {
				if v == tokenworker.Repeated {
					repeated++
				}
			}
			if repeated != last {
				t.Errorf("%d of %d events, delivered twice each, are repeats", repeated, last)
			}

			inOrder := uniqueKey()
			m.follow(t, inOrder, events[:last]...)
			got, want := outcomeOf(t.Context(), t, store, key), outcomeOf(t.Context(), t, store, inOrder)
			if got != want {
				t.Errorf("after %d events: %+v, want %+v", last, got, want)
			}
			if r, err := store.Get(t.Context(), key); err != nil || len(r.Seen) != last {
				t.Errorf("%d ids remembered of %d events, error %v", len(r.Seen), last, err)
			}
		}
	})

	claim := func(i int) *updating { return claimed(set(1, 0), byte(i+1), fmt.Sprint("r", i), 0) }
	lastResort := func(i int) *updating { return claimed(set(1, 0), byte(i+1), "r0", 100) }
	for _, c := range []struct {
		name   string
		given  []step
		update func(i int) *updating
		spent  int
	}{
		{"one of many claims wins", []step{acquired(event(1))}, claim, 1},
		{"one of many last resorts wins", []step{acquired(event(1)), claimed(set(1, 0), 100, "r0", 0)}, lastResort, 1},
		{
			"one of many takes an expired revocation over",
			[]step{acquired(event(1)), disconnected(event(2)), revoking(100, 0)},
			func(i int) *updating { return revoking(byte(i+1), time.Minute) }, 0,
		},
	} {
		for k := range knowledges {
			t.Run(fmt.Sprintf("%s, knowledge %d", c.name, k), func(t *testing.T) {
				m, key := newMirror(store), uniqueKey()
				m.follow(t, key, c.given...)
				rec := m.known(key, k)
				won := race(t, racers, func(i int) (bool, error) {
					_, _, err := store.Update(t.Context(), rec, c.update(i).rule)
					if errors.Is(err, tokenworker.ErrFenced) {
						return false, nil
					}
					return err == nil, err
				})
				requireOne(t, won)
				if r, err := store.Get(t.Context(), key); err != nil || len(r.Acquired) != c.spent {
					t.Errorf("%d tokens spent, error %v; want %d", len(r.Acquired), err, c.spent)
				}
			})
		}
	}

	t.Run("a claim is not lost to stale events that are noted meanwhile", func(t *testing.T) {
		m, key := newMirror(store), uniqueKey()
		m.follow(t, key, acquired(event(100)))
		read := m.known(key, asItIs)
		won := race(t, racers, func(i int) (bool, error) {
			if i > 0 {
				a := acquired(event(uint64(i)))
				a.Key = key
				_, err := store.Acquire(t.Context(), a)
				return false, err
			}
			_, _, err := store.Update(t.Context(), read, claimed(set(100, 0), 1, "r0", 0).rule)
			return err == nil, err
		})
		requireOne(t, won)
		if r, err := store.Get(t.Context(), key); err != nil || len(r.Seen) != racers || r.Claim == nil {
			t.Errorf("%d ids, claim %v, error %v; want %d ids and the claim", len(r.Seen), r.Claim, err, racers)
		}
	})

	t.Run("a refresh that races a disconnect is never lost", func(t *testing.T) {
		for range 4 {
			m, key := newMirror(store), uniqueKey()
			m.follow(t, key, acquired(event(1)))
			steps := []step{place(refreshed(set(1, 0), 1), key), place(disconnected(event(2)), key)}
			race(t, len(steps), func(i int) (tokenworker.Verdict, error) { return deliver(t, store, steps[i]) })
			r, err := store.Get(t.Context(), key)
			if err != nil || r.Status != tokenworker.Disconnecting || r.Sealed != nil {
				t.Fatalf("status %s, error %v; want disconnecting, no set", r.Status, err)
			}
			minted := string(refresh(set(1, 0), 1).Sealed)
			if last := len(r.Revoke) - 1; last < 0 || string(r.Revoke[last].Sealed) != minted {
				t.Errorf("the minted set is not on the revoke list: %q", r.Revoke)
			}
		}
	})
}

// deliver takes a step without comparing it with anything.
func deliver(t *testing.T, store Store, s step) (tokenworker.Verdict, error) {
	switch s := s.(type) {
	case *tokenworker.Acquisition:
		return store.Acquire(t.Context(), s)
	case *tokenworker.Disconnection:
		return store.Disconnect(t.Context(), s)
	case *updating:
		_, v, err := store.Update(t.Context(), tokenworker.Record{Key: s.key}, s.rule)
		return v, err
	}
	return 0, fmt.Errorf("no event: %T", s)
}

// race makes n calls at once and returns what each gave, once all are done. An error fails the test.
func race[T any](t *testing.T, n int, call func(i int) (T, error)) []T {
	t.Helper()
	results := make([]T, n)
	gate := make(chan struct{})
	var done sync.WaitGroup
	for i := range n {
		done.Go(func() {
			<-gate
			var err error
			if results[i], err = call(i); err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		})
	}
	close(gate)
	done.Wait()
	return results
}

// requireOne fails unless exactly one call won.
func requireOne(t *testing.T, won []bool) {
	t.Helper()
	winners := 0
	for _, w := range won {
		if w {
			winners++
		}
	}
	if winners != 1 {
		t.Errorf("%d calls won, want 1", winners)
	}
}
