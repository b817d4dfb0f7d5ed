package tokenworker_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

// later is when to look again after what the tests of this file and the next do.
var later = noon.Add(8 * time.Hour)

// failing is how attempt 9 ended.
func failing(with ...func(*tokenworker.Failure)) tokenworker.Failure {
	f := tokenworker.Failure{Attempt: tokenworker.AttemptID{9}, Code: "busy", DueAt: later, Owed: owed(9)}
	for _, edit := range with {
		edit(&f)
	}
	return f
}

// fails is what a failure leaves in every record that it applies to.
func fails(r *tokenworker.Record) {
	r.Failures, r.FailureCode, r.DueAt = r.Failures+1, "busy", later
	owes(9)(r)
}

func unclaimed(r *tokenworker.Record) { r.Claim = nil }

func warned(r *tokenworker.Record) { r.Warned = true }

func TestAttemptsThatBringNothing(t *testing.T) {
	type edits = []func(*tokenworker.Record)
	spentNothing, unresolved, dead := tokenworker.NothingSpent, tokenworker.Unresolved, tokenworker.GrantDead
	quiet := func(f *tokenworker.Failure) { f.Owed = nil }
	for _, tc := range []verdictCase{
		{
			"nothing was spent: the claim is given back", holding(5, claimed(9)), spentNothing(failing()), tokenworker.Applied,
			edits{fails, unclaimed},
		},
		{
			"that of a last resort stays, because the attempt before it is as unresolved as it was",
			holding(5, claimed(9), lastResort), spentNothing(failing()), tokenworker.Applied, edits{fails},
		},
		{
			"nobody knows whether it was spent: the claim stays", holding(5, claimed(9)), unresolved(failing()),
			tokenworker.Applied, edits{fails},
		},
		{
			"the grant is dead: a new login is needed, and the set is kept to be revoked", holding(5, claimed(9)), dead(failing()),
			tokenworker.Applied, edits{fails, unclaimed, reauthRequired},
		},
		{
			"a last resort may find that too", holding(5, claimed(9), lastResort), dead(failing()),
			tokenworker.Applied, edits{fails, unclaimed, reauthRequired},
		},
		{
			"failures in a row are counted, the last one's code kept", holding(5, claimed(9), failedBefore), unresolved(failing()),
			tokenworker.Applied, edits{fails},
		},
		{
			"a failure that owes nothing leaves what is owed", holding(5, claimed(9), owes(1)), unresolved(failing(quiet)),
			tokenworker.Applied, edits{fails, onlyOwes(1)},
		},
		{
			"one that owes something too, beside it", holding(5, claimed(9), owes(1)), unresolved(failing()),
			tokenworker.Applied, edits{fails, onlyOwes(1), owes(9)},
		},
		{
			"what waits for revocation has its own due time", holding(5, claimed(9), waiting(1)), spentNothing(failing()),
			tokenworker.Applied, edits{fails, unclaimed},
		},
	} {
		t.Run(tc.name, tc.run)
	}

	for name, rule := range map[string]func(tokenworker.Failure) tokenworker.Rule{
		"nothing spent": spentNothing, "unresolved": unresolved, "grant dead": dead,
	} {
		for _, tc := range []verdictCase{
			{name: "of no record", before: nil},
			{name: "of a set that another attempt has claimed since", before: holding(5, claimed(1))},
			{name: "of a set whose claim was given back", before: holding(5)},
			{name: "of a set that a newer acquisition has replaced", before: holding(12)},
			{name: "of a set that was disconnected", before: revoking(12)},
			{name: "of a set that is known to be dead", before: holding(5, claimed(9), reauthRequired)},
		} {
			tc.decide, tc.verdict = rule(failing()), tokenworker.Stale
			t.Run("stale is "+name+" "+tc.name, tc.run)
		}
	}
}

func TestSetsThatCannotBeRefreshed(t *testing.T) {
	type edits = []func(*tokenworker.Record)
	of5 := tokenworker.Fence{Stamp: stamp(5)}
	expire, postpone := tokenworker.Expiring(of5, failing()), tokenworker.Postponing(of5, failing())
	warn := tokenworker.Warning(of5, later, owed(9))
	refreshedOnce := func(r *tokenworker.Record) { r.Generation = 1 }
	for _, tc := range []verdictCase{
		{"its time is up: a new login is needed", holding(5), expire, tokenworker.Applied, edits{fails, reauthRequired}},
		{"nothing expires that is not there", nil, expire, tokenworker.Stale, nil},
		{"a newer set does not expire", holding(6), expire, tokenworker.Stale, nil},
		{"a refreshed set does not expire", holding(5, refreshedOnce), expire, tokenworker.Stale, nil},
		{"a set that an attempt is about to refresh does not expire", holding(5, claimed(1)), expire, tokenworker.Stale, nil},
		{"a set expires once", holding(5, reauthRequired), expire, tokenworker.Stale, nil},
		{"a disconnected record does not expire", revoking(5), expire, tokenworker.Stale, nil},

		{
			"its end is near: that is owed, and it is due at the end", holding(5), warn, tokenworker.Applied,
			edits{warned, owes(9), dueAt(later)},
		},
		{
			"a warning is given once; a record that is due before the end again is due at the end", holding(5, warned, owes(1)), warn,
			tokenworker.Repeated, edits{dueAt(later)},
		},
		{"nothing is warned of that is not there", nil, warn, tokenworker.Stale, nil},
		{"a newer set needs no warning", holding(6), warn, tokenworker.Stale, nil},
		{"a dead grant needs no warning", holding(5, reauthRequired), warn, tokenworker.Stale, nil},

		{"what cannot be attempted is due later", holding(5), postpone, tokenworker.Applied, edits{fails}},
		{
			"an unresolved claim stays", holding(5, claimed(1)), postpone, tokenworker.Applied, edits{fails},
		},
		{
			"what nothing has failed of is only due later", holding(5, failedBefore),
			tokenworker.Postponing(of5, tokenworker.Failure{DueAt: later}), tokenworker.Applied, edits{dueAt(later)},
		},
		{"a revocation is not postponed", revoking(5), postpone, tokenworker.Stale, nil},
		{"nothing is postponed that is not there", nil, postpone, tokenworker.Stale, nil},
		{"a newer set is not postponed", holding(6), postpone, tokenworker.Stale, nil},
		{"a dead grant, which is not due, does not become due", holding(5, reauthRequired, dueAt(time.Time{})), postpone, tokenworker.Stale, nil},
		{"a tombstone, which is not due, does not become due", tombstone(5), postpone, tokenworker.Stale, nil},
	} {
		t.Run(tc.name, tc.run)
	}
}

func TestASetIsHastenedUnlessItIsDueByItself(t *testing.T) {
	type edits = []func(*tokenworker.Record)
	of5 := tokenworker.Fence{Stamp: stamp(5)}
	checked := noon.Add(time.Hour) // by then what was disconnected before has been checked
	hasten := tokenworker.Hastening(of5, noon, checked)
	for _, tc := range []verdictCase{
		{"it is due at once", holding(5, dueAt(later)), hasten, tokenworker.Applied, edits{dueAt(noon)}},
		{"one that is never due by itself is, too", holding(5, dueAt(time.Time{})), hasten, tokenworker.Applied, edits{dueAt(noon)}},
		{"one that is due before stays so", holding(5, dueAt(noon.Add(-time.Hour))), hasten, tokenworker.Applied, nil},
		{"a disconnect that was checked long ago holds up nothing", holding(5, lastDisconnect(3), dueAt(later)), hasten, tokenworker.Applied, edits{dueAt(noon)}},
		{"one that is to be checked after a disconnect is", holding(5, lastDisconnect(3), dueAt(checked)), hasten, tokenworker.Stale, nil},
		{"back-off is kept", holding(5, failedBefore, dueAt(later)), hasten, tokenworker.Stale, nil},
		{"one that an attempt holds is due when that is settled", holding(5, claimed(1), dueAt(later)), hasten, tokenworker.Stale, nil},
		{"a newer set is not meant", holding(6, dueAt(later)), hasten, tokenworker.Stale, nil},
		{"a dead grant, which is not due, does not become due", holding(5, reauthRequired, dueAt(time.Time{})), hasten, tokenworker.Stale, nil},
		{"nothing becomes due that is not there", nil, hasten, tokenworker.Stale, nil},
		{"a row that a disconnect has ended stays as it is", revoking(5), hasten, tokenworker.Stale, nil},
		{"and so does its tombstone", tombstone(5), hasten, tokenworker.Stale, nil},
	} {
		t.Run(tc.name, tc.run)
	}
}

func TestAnnounced(t *testing.T) {
	type edits = []func(*tokenworker.Record)
	announced := tokenworker.Announced(tokenworker.AttemptID{9}, tokenworker.AttemptID{8})
	nothing := func(r *tokenworker.Record) { r.Owed = nil }
	for _, tc := range []verdictCase{
		{
			"a dead grant is due for nothing else", holding(5, reauthRequired, owes(9)), announced, tokenworker.Applied,
			edits{nothing, dueAt(time.Time{})},
		},
		{
			"nor is a tombstone", edited(*tombstone(5), owes(9), dueAt(later)), announced, tokenworker.Applied,
			edits{nothing, dueAt(time.Time{})},
		},
		{"an active record stays due for its refresh", holding(5, owes(9)), announced, tokenworker.Applied, edits{nothing}},
		{
			"a disconnected one stays due for its revocation", revoking(5, owes(9), dueAt(later)), announced, tokenworker.Applied,
			edits{nothing, dueAt(time.Time{})},
		},
		{
			"a dead grant that owes more stays due for it", holding(5, reauthRequired, owes(9), owes(1), owes(8)), announced,
			tokenworker.Applied, edits{onlyOwes(1)},
		},
		{"what another write owes stays owed", holding(5, owes(1)), announced, tokenworker.Stale, nil},
		{"what is crossed off stays so", holding(5), announced, tokenworker.Stale, nil},
		{"nobody owes what is not there", nil, announced, tokenworker.Stale, nil},
	} {
		t.Run(tc.name, tc.run)
	}
}

func TestClaimingAndCommittingAreRules(t *testing.T) {
	before := holding(5)
	c := tokenworker.Claim{Attempt: tokenworker.AttemptID{9}}
	want, _ := before.TakeClaim(before.Fence, c, fingerprint(1), tokenworker.AttemptID{})
	got, v, err := tokenworker.Claiming(before.Fence, c, fingerprint(1), tokenworker.AttemptID{})(before)
	if err != nil || v != tokenworker.Applied || !reflect.DeepEqual(got, want) {
		t.Errorf("claiming: %+v, %s, %v; want %+v", got, v, err, want)
	}
	if _, _, err := tokenworker.Claiming(stampless(before), c, fingerprint(1), tokenworker.AttemptID{})(before); !errors.Is(err, tokenworker.ErrFenced) {
		t.Errorf("claiming another set: error %v, want ErrFenced", err)
	}
	f := &tokenworker.Refresh{From: before.Fence, Sealed: sealed(9), RefreshedAt: noon}
	want, wantV := before.Commit(f)
	if got, v, err := tokenworker.Committing(f)(before); err != nil || v != wantV || !reflect.DeepEqual(got, want) {
		t.Errorf("committing: %+v, %s, %v; want %+v, %s", got, v, err, want, wantV)
	}
}

// stampless is the fence of a set that the record does not hold.
func stampless(r *tokenworker.Record) tokenworker.Fence {
	return tokenworker.Fence{Generation: r.Generation}
}
