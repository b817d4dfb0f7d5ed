package storetest

import (
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

// ofCompany lets a disconnect end the company's connections everywhere.
func ofCompany(d *tokenworker.Disconnection) *tokenworker.Disconnection {
	d.SiblingsUntil = d.Entered.Add(20 * time.Second)
	return d
}

// marked is the disconnect at the sequence seq as it reaches a sibling.
func marked(seq uint64) *updating {
	return ruled(tokenworker.Marking(tokenworker.Mark{
		Stamp: event(seq).Stamp, Entered: event(seq).Entered, RevokeAt: event(seq).Entered.Add(20 * time.Second),
		Remove: start.Add(90 * 24 * time.Hour), Owed: owed(5, "disconnected"),
	}))
}

// looked is the end of a look for the siblings of the disconnect at sequence 2.
func looked(again time.Time) *updating {
	return ruled(tokenworker.Marked(tokenworker.Siblings{Stamp: event(2).Stamp}, again))
}

// ofAll is ofCompany for an acquisition, which may be late.
func ofAll(a *tokenworker.Acquisition) { a.SiblingsUntil = a.Entered.Add(20 * time.Second) }

func testMarks(t *testing.T, store Store) {
	left := []step{acquired(event(1)), ofCompany(disconnected(event(2)))}
	asking := tokenworker.Siblings{At: start.Add(time.Minute), Until: start.Add(2 * time.Minute)}
	again := func(a *tokenworker.Acquisition) { a.ID = event(20).ID } // the same, under an id that is new
	run(t, store, []situation{
		{
			name:  "a disconnect of a company leaves work",
			given: []step{acquired(event(1))},
			when:  ofCompany(disconnected(event(2))), want: tokenworker.Applied,
		}, {
			name: "none where there was no connection",
			when: ofCompany(disconnected(event(2))), want: tokenworker.Applied,
		}, {
			name:  "nor where all was revoked before",
			given: []step{acquired(event(1)), disconnected(event(2)), revoking(1, 0), revoked(1)},
			when:  ofCompany(disconnected(event(3))), want: tokenworker.Applied,
		}, {
			name:  "a set that is still to be revoked is enough",
			given: []step{acquired(event(1)), disconnected(event(2))},
			when:  ofCompany(disconnected(event(3))), want: tokenworker.Applied,
		}, {
			name:  "a late acquisition shows that there was a connection",
			given: []step{ofCompany(disconnected(event(2)))},
			when:  acquired(event(1), ofAll), want: tokenworker.Revoking,
		}, {
			name:  "also one that is dropped beside a newer grant",
			given: []step{ofCompany(disconnected(event(2))), acquired(event(3))},
			when:  acquired(event(1), ofAll), want: tokenworker.Stale,
		}, {
			name:  "but work that is done stays done",
			given: append(left, looked(time.Time{})),
			when:  acquired(event(1), again, ofAll), want: tokenworker.Revoking,
		}, {
			name:  "also where a newer grant is already there",
			given: []step{acquired(event(3))},
			when:  ofCompany(disconnected(event(2))), want: tokenworker.Stale,
		}, {
			name:  "a later one replaces it",
			given: left,
			when:  ofCompany(disconnected(event(3))), want: tokenworker.Applied,
		}, {
			name:  "a disconnect of a connection alone leaves it",
			given: append(left, acquired(event(3), never)),
			when:  disconnected(event(4)), want: tokenworker.Applied,
		}, {
			name:  "a new acquisition leaves it",
			given: left,
			when:  acquired(event(3), never), want: tokenworker.Applied,
		}, {
			name:  "the end of the revocation leaves it",
			given: append(left, revoking(1, 0)),
			when:  revoked(1), want: tokenworker.Applied,
		}, {
			name:  "a look that may have missed some is repeated",
			given: left,
			when:  looked(start.Add(time.Minute)), want: tokenworker.Applied,
		}, {
			name:  "the last look ends it",
			given: left,
			when:  looked(time.Time{}), want: tokenworker.Applied,
		}, {
			name:  "a look for the siblings of an earlier disconnect does not",
			given: append(left, ofCompany(disconnected(event(3)))),
			when:  looked(time.Time{}), want: tokenworker.Stale,
		}, {
			name:  "an older sibling is disconnected",
			given: []step{acquired(event(1))},
			when:  marked(2), want: tokenworker.Applied,
		}, {
			name:  "one that needs a login too",
			given: []step{acquired(event(1)), claimed(set(1, 0), 1, "r0", 0), ruled(tokenworker.GrantDead(failure(1)))},
			when:  marked(2), want: tokenworker.Applied,
		}, {
			name:  "a newer one stays",
			given: []step{acquired(event(3))},
			when:  marked(2), want: tokenworker.Stale,
		}, {
			name:  "work of its own that is left is about the later disconnect",
			given: left,
			when:  marked(3), want: tokenworker.Applied,
		}, {
			name:  "marking twice marks once",
			given: []step{acquired(event(1)), marked(2)},
			when:  marked(2), want: tokenworker.Stale,
		}, {
			name:  "a tombstone takes the stamp and stays one",
			given: []step{acquired(event(1)), disconnected(event(2)), revoking(1, 0), revoked(1), announcedLast()},
			when:  marked(3), want: tokenworker.Applied,
		}, {
			name: "what is not there is not marked",
			when: marked(2), want: tokenworker.Stale,
		}, {
			name:  "a refresh in flight that meets a mark is revoked",
			given: []step{acquired(event(1)), claimed(set(1, 0), 1, "r0", 0), marked(2)},
			when:  refreshed(set(1, 0), 1), want: tokenworker.Revoking,
		}, {
			name:  "a set that may have been ended is checked soon",
			given: []step{acquired(event(1), never)},
			when:  ruled(tokenworker.Checking(set(1, 0), start.Add(time.Minute))), want: tokenworker.Applied,
		}, {
			name:  "a newer set is not",
			given: []step{acquired(event(1)), acquired(event(2))},
			when:  ruled(tokenworker.Checking(set(1, 0), start.Add(time.Minute))), want: tokenworker.Stale,
		}, {
			name:  "what the provider has disconnected becomes a tombstone",
			given: []step{acquired(event(1))},
			when:  ruled(tokenworker.Ended(set(1, 0), start.Add(90*24*time.Hour), owed(1, "disconnected"), start.Add(time.Minute), asking)),
			want:  tokenworker.Applied,
		}, {
			name:  "which keeps the work that a disconnect has left",
			given: append(left, acquired(event(3))),
			when: ruled(tokenworker.Ended(set(3, 0), start.Add(90*24*time.Hour), owed(1, "disconnected"), start.Add(time.Minute),
				asking)),
			want: tokenworker.Applied,
		}, {
			name:  "but not while a refresh is unresolved",
			given: []step{acquired(event(1)), claimed(set(1, 0), 1, "r0", 0)},
			when:  ruled(tokenworker.Ended(set(1, 0), start, owed(1, "disconnected"), start, asking)),
			want:  tokenworker.Stale,
		},
	})
}
