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
	for i := range int64(tokenworker.MaxSeen + 36) {
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
			if c.want == tokenworker.Applied && !slices.Contains(next.Acquired, spends) {
				t.Error("its refresh token is not among those that may be spent")
			}
		})
	}
}

func TestOnlyTheSetThatIsSupersededGivesUp(t *testing.T) {
	fence := tokenworker.Fence{Stamp: tokenworker.Stamp{Epoch: 1, Sequence: 7}}
	spends := tokenworker.Fingerprint{1}
	owed := &tokenworker.Owed{Attempt: tokenworker.NewAttemptID()}
	rule := tokenworker.Superseding(fence, tokenworker.Failure{Code: "superseded", DueAt: time.Unix(100, 0), Owed: owed}, spends)
	next, verdict, err := rule(&tokenworker.Record{
		Status: tokenworker.Active, Fence: fence, Sealed: []byte("kept"), Claim: &tokenworker.Claim{},
	})
	if err != nil || verdict != tokenworker.Applied || next.Status != tokenworker.ReauthRequired || next.Claim != nil ||
		next.Sealed == nil || !next.Owes(owed.Attempt) || !slices.Contains(next.Acquired, spends) {
		t.Errorf("%v, %v: %+v", verdict, err, next)
	}
	for _, r := range []*tokenworker.Record{
		nil, {Status: tokenworker.Active, Fence: fence.Next()}, {Status: tokenworker.Disconnecting, Fence: fence},
	} {
		if _, verdict, err := rule(r); verdict != tokenworker.Stale || err != nil {
			t.Errorf("%+v: %v, %v; want it stale", r, verdict, err)
		}
	}
}

func TestOnlyWhatWasDisconnectedThenIsSpared(t *testing.T) {
	fence := tokenworker.Fence{Stamp: tokenworker.Stamp{Epoch: 1, Sequence: 7}}
	remove := time.Unix(100, 0)
	rule := tokenworker.Sparing(fence.Stamp, remove)
	next, verdict, err := rule(&tokenworker.Record{
		Status: tokenworker.Disconnecting, Fence: fence, Disconnected: fence.Stamp, Revoke: listed([]byte{1}), RevokeAt: remove,
		Owed: []tokenworker.Owed{{}},
	})
	if err != nil || verdict != tokenworker.Applied || next.Status != tokenworker.Disconnected || next.Revoke != nil ||
		next.Disconnected != fence.Stamp || !next.RemoveAt.Equal(remove) || !next.DueAt.Equal(remove) {
		t.Errorf("%v, %v: %+v", verdict, err, next)
	}
	for _, r := range []*tokenworker.Record{
		nil, {Status: tokenworker.Active, Fence: fence}, {Status: tokenworker.Disconnecting},
	} {
		if _, verdict, err := rule(r); verdict != tokenworker.Stale || err != nil {
			t.Errorf("%+v: %v, %v; want it stale", r, verdict, err)
		}
	}
}
