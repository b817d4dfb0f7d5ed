package storetest

import (
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

// failure is how an attempt ended that brought nothing.
func failure(attempt byte, with ...func(*tokenworker.Failure)) tokenworker.Failure {
	f := tokenworker.Failure{
		Attempt: tokenworker.AttemptID{attempt}, Code: "temporarily_unavailable", DueAt: start.Add(50 * time.Minute),
		Owed: owed(attempt, "refresh_failed"),
	}
	for _, change := range with {
		change(&f)
	}
	return f
}

// quietly: nothing is to be announced.
func quietly(f *tokenworker.Failure) { f.Owed = nil }

// neverAgain: there is nothing to look at again.
func neverAgain(f *tokenworker.Failure) { f.DueAt = time.Time{} }

// failed is a refresh of the set of the acquisition at sequence seq that could not be attempted.
func failed(seq uint64) *updating {
	return ruled(tokenworker.Postponing(set(seq, 0), failure(9, quietly)))
}

func testFailures(t *testing.T, store Store) {
	claimedOnce := []step{acquired(event(1)), claimed(set(1, 0), 1, "r0", 0)}
	lastResort := []step{acquired(event(1)), claimed(set(1, 0), 1, "r0", 0), claimed(set(1, 0), 2, "r0", 1)}
	run(t, store, []situation{
		{
			name:  "an attempt that spent nothing gives its claim back",
			given: claimedOnce,
			when:  ruled(tokenworker.NothingSpent(failure(1))), want: tokenworker.Applied,
		}, {
			name:  "but not that of a last resort",
			given: lastResort,
			when:  ruled(tokenworker.NothingSpent(failure(2))), want: tokenworker.Applied,
		}, {
			name:  "a last resort whose claim was not answered gives back the one that it has taken over",
			given: lastResort,
			when:  ruled(tokenworker.Unclaimed(set(1, 0), failure(2), new(claim(1)))), want: tokenworker.Applied,
		}, {
			name:  "nor another attempt's",
			given: lastResort,
			when:  ruled(tokenworker.NothingSpent(failure(1))), want: tokenworker.Stale,
		}, {
			name:  "a claim that was not answered, and has arrived, is given back",
			given: claimedOnce,
			when:  ruled(tokenworker.Unclaimed(set(1, 0), failure(1), nil)), want: tokenworker.Applied,
		}, {
			name:  "one that has not is a failure",
			given: []step{acquired(event(1))},
			when:  ruled(tokenworker.Unclaimed(set(1, 0), failure(1), nil)), want: tokenworker.Applied,
		}, {
			name:  "an attempt that ends twice fails once",
			given: []step{acquired(event(1)), claimed(set(1, 0), 1, "r0", 0), ruled(tokenworker.NothingSpent(failure(1)))},
			when:  ruled(tokenworker.NothingSpent(failure(1))), want: tokenworker.Stale,
		}, {
			name:  "an unresolved attempt keeps its claim",
			given: claimedOnce,
			when:  ruled(tokenworker.Unresolved(failure(1))), want: tokenworker.Applied,
		}, {
			name:  "failures in a row are counted",
			given: []step{acquired(event(1)), claimed(set(1, 0), 1, "r0", 0), ruled(tokenworker.Unresolved(failure(1)))},
			when:  ruled(tokenworker.Unresolved(failure(1, quietly))), want: tokenworker.Applied,
		}, {
			name:  "a refresh ends them",
			given: []step{acquired(event(1)), claimed(set(1, 0), 1, "r0", 0), ruled(tokenworker.Unresolved(failure(1)))},
			when:  refreshed(set(1, 0), 1), want: tokenworker.Applied,
		}, {
			name:  "a grant that the provider calls dead needs a new login, and keeps its set",
			given: claimedOnce,
			when:  ruled(tokenworker.GrantDead(failure(1))), want: tokenworker.Applied,
		}, {
			name:  "a dead grant that nobody looks at again is not due",
			given: claimedOnce,
			when:  ruled(tokenworker.GrantDead(failure(1, neverAgain))), want: tokenworker.Applied,
		}, {
			name:  "a dead grant recovers by an answer that comes late",
			given: []step{acquired(event(1)), claimed(set(1, 0), 1, "r0", 0), ruled(tokenworker.GrantDead(failure(1)))},
			when:  refreshed(set(1, 0), 1), want: tokenworker.Applied,
		}, {
			name:  "a set that cannot be refreshed expires",
			given: []step{acquired(event(1))},
			when:  ruled(tokenworker.Expiring(set(1, 0), failure(1))), want: tokenworker.Applied,
		}, {
			name:  "a newer set does not",
			given: []step{acquired(event(1)), acquired(event(2))},
			when:  ruled(tokenworker.Expiring(set(1, 0), failure(1))), want: tokenworker.Stale,
		}, {
			name:  "a record that cannot be attempted is due later",
			given: []step{acquired(event(1))},
			when:  ruled(tokenworker.Postponing(set(1, 0), failure(1, quietly))), want: tokenworker.Applied,
		}, {
			name: "what is not there does not fail",
			when: ruled(tokenworker.Postponing(set(1, 0), failure(1))), want: tokenworker.Stale,
		}, {
			name:  "a failure without a code leaves none behind",
			given: []step{acquired(event(1)), failed(1)},
			when:  ruled(tokenworker.Postponing(set(1, 0), failure(1, func(f *tokenworker.Failure) { f.Code = "" }))), want: tokenworker.Applied,
		},
	})
}

func testAnnouncements(t *testing.T, store Store) {
	end := start.Add(24 * time.Hour)
	warned := ruled(tokenworker.Warning(set(1, 0), end, owed(1, "expiring")))
	run(t, store, []situation{
		{
			name:  "a warning is owed, and the record due at the end",
			given: []step{acquired(event(1))},
			when:  ruled(tokenworker.Warning(set(1, 0), end, owed(1, "expiring"))), want: tokenworker.Applied,
		}, {
			name:  "what is announced is owed no more",
			given: []step{acquired(event(1)), warned},
			when:  ruled(tokenworker.Announced(tokenworker.AttemptID{1})), want: tokenworker.Applied,
		}, {
			name:  "a record that needs a new login is not due once that is announced",
			given: []step{acquired(event(1)), claimed(set(1, 0), 1, "r0", 0), ruled(tokenworker.GrantDead(failure(1)))},
			when:  ruled(tokenworker.Announced(tokenworker.AttemptID{1})), want: tokenworker.Applied,
		}, {
			name:  "what another write owes stays owed",
			given: []step{acquired(event(1)), warned},
			when:  ruled(tokenworker.Announced(tokenworker.AttemptID{2})), want: tokenworker.Stale,
		}, {
			name:  "a refresh adds any number of events to what is owed",
			given: []step{acquired(event(1)), warned},
			when: refreshed(set(1, 0), 2, func(f *tokenworker.Refresh) {
				f.Owed, f.Warned = owed(2, "refreshed", "recovered", "expiring"), true
				f.Owed.Code = "because"
			}), want: tokenworker.Applied,
		}, {
			name:  "a claim crosses off what is announced",
			given: []step{acquired(event(1)), warned, failed(1)},
			when: ruled(tokenworker.Claiming(set(1, 0), claim(2), tokenworker.Fingerprint{}, tokenworker.AttemptID{},
				tokenworker.AttemptID{1})), want: tokenworker.Applied,
		}, {
			name:  "a refresh may owe nothing",
			given: []step{acquired(event(1)), warned},
			when:  refreshed(set(1, 0), 2, func(f *tokenworker.Refresh) { f.Owed = nil }), want: tokenworker.Applied,
		},
	})
}
