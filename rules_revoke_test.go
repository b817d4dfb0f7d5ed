package tokenworker_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

func TestClaimRevocations(t *testing.T) {
	claim := tokenworker.Claim{Owner: "replica-1", Attempt: tokenworker.AttemptID{9}, Until: noon.Add(time.Hour)}
	for _, tc := range []struct {
		name   string
		before *tokenworker.Record
		now    time.Time
		fenced bool
	}{
		{name: "what a disconnect left is claimed", before: revoking(5)},
		{name: "so is what a newer grant has kept", before: holding(9, waiting(1))},
		{name: "so is a disconnected record with nothing to revoke, which must become a tombstone",
			before: revoking(5, func(r *tokenworker.Record) { r.Revoke = nil })},
		{name: "a claim holds while it lasts", before: revoking(5, revokes(1)), now: noon.Add(time.Minute - 1), fenced: true},
		{name: "an expired one is taken over: revoking twice is harmless", before: revoking(5, revokes(1)), now: noon.Add(time.Minute)},
		{name: "a claim whose reply was lost is one's own", before: revoking(5, revokes(9))},
		{name: "a claim to refresh is another matter", before: holding(9, waiting(1), claimed(1))},
		{name: "no record, no claim", before: nil, fenced: true},
		{name: "nothing to revoke, no claim", before: holding(9), fenced: true},
		{name: "nor of a tombstone", before: tombstone(5), fenced: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.now.IsZero() {
				tc.now = noon
			}
			got, verdict, err := tokenworker.ClaimRevocations(claim, tc.now)(tc.before)
			if tc.fenced {
				if !errors.Is(err, tokenworker.ErrFenced) || !reflect.DeepEqual(got, tokenworker.Record{}) {
					t.Fatalf("got %+v, %v; want nothing and ErrFenced", got, err)
				}
				return
			}
			if err != nil || verdict != tokenworker.Applied {
				t.Fatalf("verdict %s, error %v", verdict, err)
			}
			if got.Revoking == nil || *got.Revoking != claim {
				t.Errorf("claim %+v, want %+v", got.Revoking, claim)
			}
			got.Revoking = tc.before.Revoking
			if !reflect.DeepEqual(got, *tc.before) {
				t.Errorf("a claim changed more than the claim: %+v", got)
			}
		})
	}
}

func TestClaimsCrossOffWhatIsAnnounced(t *testing.T) {
	ids := []tokenworker.AttemptID{{7}, {9}}
	for name, c := range map[string]struct {
		rule   tokenworker.Rule
		before *tokenworker.Record
	}{
		"to refresh": {
			tokenworker.Claiming(tokenworker.Fence{Stamp: stamp(5)}, tokenworker.Claim{Attempt: tokenworker.AttemptID{1}},
				tokenworker.Fingerprint{}, tokenworker.AttemptID{}, ids...),
			holding(5, owes(7), owes(8), owes(9)),
		},
		"to revoke": {
			tokenworker.ClaimRevocations(tokenworker.Claim{Attempt: tokenworker.AttemptID{1}}, noon, ids...),
			revoking(5, owes(7), owes(8), owes(9)),
		},
	} {
		next, _, err := c.rule(c.before)
		if err != nil || len(next.Owed) != 1 || !next.Owes(tokenworker.AttemptID{8}) || len(c.before.Owed) != 3 {
			t.Errorf("%s: error %v, owes %v", name, err, next.Owed)
		}
	}
}

func TestRevoked(t *testing.T) {
	type edits = []func(*tokenworker.Record)
	removeAt, retryAt := noon.Add(90*24*time.Hour), noon.Add(time.Hour)
	ended := func(left [][]byte, done ...[]byte) tokenworker.Rule { // of attempt 9
		v := tokenworker.Revocation{
			Attempt: tokenworker.AttemptID{9}, Done: done, Left: left, RetryAt: retryAt, DueAt: later, Remove: removeAt, Owed: owed(9),
		}
		if len(left) > 0 {
			v.Code = "busy"
		}
		return tokenworker.Revoked(v)
	}
	list := func(sets ...[]byte) [][]byte { return sets }
	left := func(sets ...[]byte) func(*tokenworker.Record) {
		return func(r *tokenworker.Record) { r.Revoke = listed(sets...) }
	}
	free := func(r *tokenworker.Record) { r.Revoking = nil }
	nothingWaits := func(r *tokenworker.Record) { r.Revoke, r.RevokeAt, r.RevokeSince = nil, time.Time{}, time.Time{} }
	fails := func(r *tokenworker.Record) { r.Failures, r.FailureCode = r.Failures+1, "busy" }
	again := func(r *tokenworker.Record) { r.RevokeAt = retryAt }
	entombed := func(r *tokenworker.Record) { // with all that a late event must be measured against, and no more
		*r = tokenworker.Record{
			Key: r.Key, Status: tokenworker.Disconnected, Fence: r.Fence, Entered: r.Entered, Disconnected: r.Disconnected,
			Seen: r.Seen, Acquired: r.Acquired, Revision: r.Revision, Owed: []tokenworker.Owed{*owed(9)}, DueAt: later, RemoveAt: removeAt,
		}
	}
	told := func(r *tokenworker.Record) { // what a disconnect has left of the set's details
		r.Scope, r.Subject, r.AcquiredAt, r.RefreshedAt = "payroll", "user-1", noon, noon
	}
	quiet := tokenworker.Revoked(tokenworker.Revocation{Attempt: tokenworker.AttemptID{9}, DueAt: later, Remove: removeAt})
	for _, tc := range []verdictCase{
		{
			"a disconnected record becomes a tombstone that says nothing about the set",
			revoking(5, revokes(9), seen(3), spent(1), failedBefore, told, revision(3)), ended(nil, sealed(1)), tokenworker.Applied,
			edits{entombed},
		},
		{
			"so does one that had nothing to revoke, and is due for nothing", revoking(5, revokes(9), left()), quiet,
			tokenworker.Applied, edits{entombed, func(r *tokenworker.Record) { r.Owed, r.DueAt = nil, time.Time{} }},
		},
		{
			"but for what it has owed before", revoking(5, revokes(9), left(), owes(9)), quiet, tokenworker.Applied, edits{entombed},
		},
		{
			"what could not be revoked remains, and is tried again later", revoking(5, waiting(1), revokes(9), failedBefore),
			ended(list(sealed(100)), sealed(1)), tokenworker.Applied, edits{free, left(sealed(100)), fails, again, owes(9)},
		},
		{
			"what was added meanwhile remains, due as it was", revoking(5, waiting(1), revokes(9)), ended(nil, sealed(1)),
			tokenworker.Applied, edits{free, left(sealed(100)), owes(9)},
		},
		{
			"also beside what could not be revoked", revoking(5, waiting(1), revokes(9)), ended(list(sealed(1))),
			tokenworker.Applied, edits{free, fails, owes(9)},
		},
		{
			"what is done is done, though another has taken the claim over", revoking(5, waiting(1), revokes(1)),
			ended(list(sealed(100)), sealed(1)), tokenworker.Applied, edits{left(sealed(100)), fails, again, owes(9)},
		},
		{
			"a new grant beside it keeps its due time", holding(9, waiting(1), revokes(9)), ended(nil, sealed(100)),
			tokenworker.Applied, edits{free, nothingWaits, owes(9)},
		},
		{
			"and, when something remains, its failures", holding(9, waiting(1), revokes(9), failedBefore), ended(list(sealed(100))),
			tokenworker.Applied, edits{free, again, owes(9)},
		},
		{
			"a new grant that has dropped what was being revoked keeps its due time", holding(9), ended(nil, sealed(1)),
			tokenworker.Applied, edits{owes(9)},
		},
		{
			"one that is never due becomes so for the announcement", holding(9, dueAt(time.Time{})), ended(nil, sealed(1)),
			tokenworker.Applied, edits{owes(9), dueAt(later)},
		},
		{
			"so does a dead grant", holding(9, waiting(1), reauthRequired, revokes(9), dueAt(time.Time{})), ended(nil, sealed(100)),
			tokenworker.Applied, edits{free, nothingWaits, owes(9), dueAt(later)},
		},
		{"another has finished it: nothing changes", tombstone(5), ended(nil, sealed(1)), tokenworker.Repeated, nil},
		{"nothing is revoked of what is not there", nil, ended(nil, sealed(1)), tokenworker.Stale, nil},
	} {
		t.Run(tc.name, tc.run)
	}
}

func TestDueIsTheEarlierOfWhatIsToBeDone(t *testing.T) {
	for _, tc := range []struct {
		name              string
		set, revoke, want time.Time
	}{
		{"nothing", time.Time{}, time.Time{}, time.Time{}},
		{"a set alone", noon, time.Time{}, noon},
		{"a revocation alone", time.Time{}, noon, noon},
		{"a set before a revocation", noon, later, noon},
		{"a revocation before a set", later, noon, noon},
	} {
		if got := (&tokenworker.Record{DueAt: tc.set, RevokeAt: tc.revoke}).Due(); !got.Equal(tc.want) {
			t.Errorf("%s: due %s, want %s", tc.name, got, tc.want)
		}
	}
}
