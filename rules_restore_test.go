package tokenworker_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

// idAt is an event id with a time of so many seconds.
func idAt(seconds int64) tokenworker.EventID {
	return tokenworker.NewEventID("source", fmt.Sprint(seconds), time.Unix(seconds, 0))
}

func TestRememberedIDsAreThereOnceAndTheNewestOfTooMany(t *testing.T) {
	before := tokenworker.Record{Status: tokenworker.Disconnecting, Seen: []tokenworker.EventID{idAt(1), idAt(2)}}
	next, verdict, err := tokenworker.Remembering([]tokenworker.EventID{idAt(2), idAt(3), idAt(3)})(&before)
	if err != nil || verdict != tokenworker.Applied || !slices.Equal(next.Seen, []tokenworker.EventID{idAt(1), idAt(2), idAt(3)}) {
		t.Errorf("%v, %v, ids %v", verdict, err, next.Seen)
	}
	if len(before.Seen) != 2 {
		t.Error("the record that was asked about has changed")
	}
	if _, verdict, _ := tokenworker.Remembering([]tokenworker.EventID{idAt(1)})(&before); verdict != tokenworker.Stale {
		t.Errorf("a known id is %v", verdict)
	}
	if next, verdict, _ := tokenworker.Remembering([]tokenworker.EventID{idAt(1)})(nil); verdict != tokenworker.Stale || next.Status != "" {
		t.Errorf("without a record it is %v and makes %+v", verdict, next)
	}
	var many []tokenworker.EventID
	for i := range int64(100) {
		many = append(many, idAt(i))
	}
	next, _, _ = tokenworker.Remembering(many)(&before)
	if len(next.Seen) != tokenworker.MaxSeen || slices.Contains(next.Seen, idAt(35)) || !slices.Contains(next.Seen, idAt(36)) {
		t.Errorf("of too many, %d are kept; want the %d newest", len(next.Seen), tokenworker.MaxSeen)
	}
}

func TestASetIsUnsettledOnce(t *testing.T) {
	fence := tokenworker.Fence{Stamp: tokenworker.Stamp{Epoch: 1, Sequence: 7}}
	other := tokenworker.Fence{Stamp: tokenworker.Stamp{Epoch: 1, Sequence: 8}}
	claim := tokenworker.Claim{Owner: "restore", Attempt: tokenworker.NewAttemptID(), Until: time.Unix(100, 0)}
	spends := tokenworker.Fingerprint{1}
	for _, c := range []struct {
		name   string
		record *tokenworker.Record
		want   tokenworker.Verdict
	}{
		{"an active record's set is claimed", &tokenworker.Record{Status: tokenworker.Active, Fence: fence}, tokenworker.Applied},
		{"an attempt that is unresolved stays", &tokenworker.Record{
			Status: tokenworker.Active, Fence: fence, Claim: &tokenworker.Claim{Attempt: tokenworker.NewAttemptID()},
		}, tokenworker.Stale},
		{"another set is left alone", &tokenworker.Record{Status: tokenworker.Active, Fence: other}, tokenworker.Stale},
		{"what is not served is left alone", &tokenworker.Record{Status: tokenworker.ReauthRequired, Fence: fence}, tokenworker.Stale},
		{"no record is none", nil, tokenworker.Stale},
	} {
		t.Run(c.name, func(t *testing.T) {
			next, verdict, err := tokenworker.Unsettling(fence, claim, spends)(c.record)
			if err != nil || verdict != c.want {
				t.Fatalf("verdict %v, error %v; want %v", verdict, err, c.want)
			}
			if claimed := next.Claim != nil && next.Claim.Attempt == claim.Attempt; claimed != (c.want == tokenworker.Applied) {
				t.Errorf("claimed as %+v", next.Claim)
			}
			if c.want == tokenworker.Applied && !slices.Contains(next.Spent, spends) {
				t.Error("its refresh token is not among those that may be spent")
			}
		})
	}
}
