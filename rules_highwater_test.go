package tokenworker_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

func TestAStreamIsRolledBackWhenItHasGivenLessThanIsKnown(t *testing.T) {
	mark := tokenworker.Stamp{Epoch: 2, Sequence: 100}
	for _, tc := range []struct {
		name string
		last tokenworker.Stamp
		want error
	}{
		{name: "nothing was published since", last: mark},
		{name: "more was published since", last: tokenworker.Stamp{Epoch: 2, Sequence: 101}},
		{name: "one less", last: tokenworker.Stamp{Epoch: 2, Sequence: 99}, want: tokenworker.ErrRolledBack},
		{name: "empty", last: tokenworker.Stamp{Epoch: 2}, want: tokenworker.ErrRolledBack},
		{name: "an older stream, longer than this one", last: tokenworker.Stamp{Epoch: 1, Sequence: 1000}, want: tokenworker.ErrRolledBack},
		{name: "a newer stream than the store knows", last: tokenworker.Stamp{Epoch: 3, Sequence: 1}, want: tokenworker.ErrRolledBack},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tokenworker.CheckHighWater(tc.last, mark); !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
		})
	}
}

func TestATimeAloneNeverTellsARollback(t *testing.T) {
	for name, seq := range map[string]uint64{"a lower sequence": 4, "the same sequence": 5} {
		t.Run(name, func(t *testing.T) {
			before, e := holding(5), event(seq)
			e.Entered, e.ID = entered(5).Add(time.Hour), event(99).ID
			for what, rule := range map[string]tokenworker.Rule{
				"acquisition": func(r *tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error) {
					return r.Acquire(&tokenworker.Acquisition{Event: e, Sealed: sealed(seq)})
				},
				"disconnect": func(r *tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error) {
					return r.Disconnect(&tokenworker.Disconnection{Event: e})
				},
			} {
				if _, v, err := rule(before); v != tokenworker.Stale || err != nil {
					t.Errorf("%s: verdict %v, error %v; want stale", what, v, err)
				}
			}
		})
	}
}
