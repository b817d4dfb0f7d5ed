package storetest

import (
	"errors"
	"reflect"
	"testing"

	"github.com/tokenworker/tokenworker"
)

// testMeanwhile lets something be written between the reading of a record and its update, which must undo nothing of it.
// In the model that is NamedAttrs.
func testMeanwhile(t *testing.T, store Store) {
	given := []step{acquired(event(10)), claimed(set(10, 0), 1, "r0", 0)}
	for _, c := range []struct {
		name      string
		meanwhile []step
		update    *updating
		want      tokenworker.Verdict
	}{
		{
			name:      "a refresh keeps the id of a stale event that was noted",
			meanwhile: []step{acquired(event(1))}, update: refreshed(set(10, 0), 1), want: tokenworker.Applied,
		}, {
			name:      "a refresh keeps the stamp of a stale disconnect that was noted",
			meanwhile: []step{disconnected(event(1))}, update: refreshed(set(10, 0), 1), want: tokenworker.Applied,
		}, {
			name:      "a refresh keeps a late set that is to be revoked",
			meanwhile: []step{disconnected(event(2)), acquired(event(1), keeping)}, update: refreshed(set(10, 0), 1), want: tokenworker.Applied,
		}, {
			name:      "a failure keeps the id of a stale event that was noted",
			meanwhile: []step{acquired(event(1))}, update: ruled(tokenworker.NothingSpent(failure(1))), want: tokenworker.Applied,
		}, {
			name:      "a failure leaves a newer set alone",
			meanwhile: []step{acquired(event(11))}, update: ruled(tokenworker.NothingSpent(failure(1))), want: tokenworker.Stale,
		}, {
			name:      "a refresh does not bring back what was disconnected",
			meanwhile: []step{disconnected(event(11))}, update: refreshed(set(10, 0), 1), want: tokenworker.Revoking,
		}, {
			name:      "an announcement crosses off nothing that is owed since",
			meanwhile: []step{refreshed(set(10, 0), 1), failed(10)},
			update:    ruled(tokenworker.Announced(tokenworker.AttemptID{2})), want: tokenworker.Stale,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, key := newMirror(store), uniqueKey()
			m.follow(t, key, given...)
			read := m.known(key, asItIs)
			m.follow(t, key, c.meanwhile...)
			next, want, err := c.update.rule(m.records[key])
			if err != nil || want != c.want {
				t.Fatalf("the rule says %v, error %v; want %v", want, err, c.want)
			}
			r, got, err := store.Update(t.Context(), read, c.update.rule)
			if err != nil || got != want {
				t.Fatalf("verdict %v, error %v; want %v", got, err, want)
			}
			requireSame(t, "the returned record", r, next)
			m.records[key] = &next
			m.compare(t.Context(), t, key)
		})
	}

	t.Run("a claim that an old record had stands in nobody's way", func(t *testing.T) {
		m, key := newMirror(store), uniqueKey()
		m.follow(t, key, given...)
		read := m.known(key, asItIs)
		m.follow(t, key, ruled(tokenworker.NothingSpent(failure(1))))
		if _, _, err := store.Update(t.Context(), read, claimed(set(10, 0), 2, "r0", 0).rule); err != nil {
			t.Errorf("Update: %v", err)
		}
	})

	t.Run("a rule's error is returned and nothing written", func(t *testing.T) {
		m, key := newMirror(store), uniqueKey()
		m.follow(t, key, given...)
		refusal := errors.New("refused")
		r, _, err := store.Update(t.Context(), m.known(key, asItIs),
			func(*tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error) {
				return tokenworker.Record{}, 0, refusal
			})
		if !errors.Is(err, refusal) || !reflect.DeepEqual(r, tokenworker.Record{}) {
			t.Errorf("record %+v, error %v; want none and the rule's error", r, err)
		}
		m.compare(t.Context(), t, key)
	})
}
