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
			before: revoking(5, func(r *tokenworker.Record) { r.Revoke, r.RevokeAt = nil, time.Time{} })},
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

func TestRevoked(t *testing.T) {
	type edits = []func(*tokenworker.Record)
	removeAt, refreshAt := noon.Add(90*24*time.Hour), noon.Add(time.Hour)
	ended := func(code string, done ...[]byte) tokenworker.Rule { // of attempt 9
		return tokenworker.Revoked(tokenworker.Revocation{
			Attempt: tokenworker.AttemptID{9}, Done: done, Code: code, DueAt: later, Refresh: refreshAt, Remove: removeAt, Owed: owed(9),
		})
	}
	left := func(sets ...[]byte) func(*tokenworker.Record) {
		return func(r *tokenworker.Record) { r.Revoke = sets }
	}
	free := func(r *tokenworker.Record) { r.Revoking = nil }
	nothingWaits := func(r *tokenworker.Record) { r.Revoke, r.RevokeAt = nil, time.Time{} }
	fails := func(r *tokenworker.Record) { r.Failures, r.FailureCode, r.DueAt = r.Failures+1, "busy", later }
	entombed := func(r *tokenworker.Record) { // with all that a late event must be measured against, and no more
		*r = tokenworker.Record{
			Key: r.Key, Status: tokenworker.Disconnected, Fence: r.Fence, Entered: r.Entered, Disconnected: r.Disconnected,
			Seen: r.Seen, Spent: r.Spent, Revision: r.Revision, Owed: owed(9), DueAt: later, RemoveAt: removeAt,
		}
	}
	told := func(r *tokenworker.Record) { // what a disconnect has left of the set's details
		r.Scope, r.Subject, r.AcquiredAt, r.RefreshedAt = "payroll", "user-1", noon, noon
	}
	for _, tc := range []verdictCase{
		{
			"a disconnected record becomes a tombstone that says nothing about the set",
			revoking(5, revokes(9), seen(3), spent(1), failedBefore, told, revision(3)), ended("", sealed(1)), tokenworker.Applied,
			edits{entombed},
		},
		{
			"so does one that had nothing to revoke", revoking(5, revokes(9), nothingWaits), ended(""), tokenworker.Applied,
			edits{entombed},
		},
		{
			"what could not be revoked remains, and is tried again later", revoking(5, waiting(1), revokes(9), failedBefore),
			ended("busy", sealed(1)), tokenworker.Applied, edits{free, left(sealed(100)), fails, owes(9)},
		},
		{
			"what was added meanwhile remains", revoking(5, waiting(1), revokes(9)), ended("busy", sealed(100)), tokenworker.Applied,
			edits{free, left(sealed(1)), fails, owes(9)},
		},
		{
			"what is done is done, though another has taken the claim over", revoking(5, waiting(1), revokes(1)),
			ended("busy", sealed(1)), tokenworker.Applied, edits{left(sealed(100)), fails, owes(9)},
		},
		{
			"a new grant beside it is due for its refresh", holding(9, waiting(1), revokes(9)), ended("", sealed(100)),
			tokenworker.Applied, edits{free, nothingWaits, owes(9), dueAt(refreshAt)},
		},
		{
			"a new grant that has dropped what was being revoked may have died with it, and is checked", holding(9),
			ended("", sealed(1)), tokenworker.Applied, edits{owes(9), dueAt(refreshAt)},
		},
		{
			"a dead grant beside it is due for the announcement alone", holding(9, waiting(1), reauthRequired, revokes(9)),
			ended("", sealed(100)), tokenworker.Applied, edits{free, nothingWaits, owes(9), dueAt(later)},
		},
		{"another has finished it: nothing changes", tombstone(5), ended("", sealed(1)), tokenworker.Repeated, nil},
		{"nothing is revoked of what is not there", nil, ended("", sealed(1)), tokenworker.Stale, nil},
	} {
		t.Run(tc.name, tc.run)
	}
}
