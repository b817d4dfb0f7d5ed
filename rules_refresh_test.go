package tokenworker_test

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

func TestTakeClaim(t *testing.T) {
	claim := tokenworker.Claim{Owner: "replica-1", Attempt: tokenworker.AttemptID{9}, Until: noon.Add(time.Minute)}
	generation := func(n uint64) func(*tokenworker.Record) {
		return func(r *tokenworker.Record) { r.Generation = n }
	}
	expired := func(r *tokenworker.Record) { r.Claim.Until = noon.Add(-time.Hour) }
	for _, tc := range []struct {
		name     string
		before   *tokenworker.Record
		spends   tokenworker.Fingerprint
		replaces tokenworker.AttemptID
		spent    []tokenworker.Fingerprint
		fenced   bool
	}{
		{name: "a free set is claimed and its token counts as spent", before: holding(5, spent(1)), spends: fingerprint(2),
			spent: []tokenworker.Fingerprint{fingerprint(1), fingerprint(2)}},
		{name: "a token that does not rotate is not spent", before: holding(5)},
		{name: "a token claimed before is listed once", before: holding(5, spent(2)), spends: fingerprint(2),
			spent: []tokenworker.Fingerprint{fingerprint(2)}},
		{name: "no record, no claim", before: nil, fenced: true},
		{name: "another attempt holds the claim", before: holding(5, claimed(1)), fenced: true},
		{name: "an expired claim frees nobody", before: holding(5, claimed(1), expired), fenced: true},
		{name: "a last resort takes over the attempt that it names", before: holding(5, claimed(1), spent(2)),
			spends: fingerprint(2), replaces: tokenworker.AttemptID{1}, spent: []tokenworker.Fingerprint{fingerprint(2)}},
		{name: "a last resort does not take over another attempt", before: holding(5, claimed(2)),
			replaces: tokenworker.AttemptID{1}, fenced: true},
		{name: "a last resort is off when the claim was released", before: holding(5),
			replaces: tokenworker.AttemptID{1}, fenced: true},
		{name: "a claim whose reply was lost is one's own", before: holding(5, claimed(9), spent(2)), spends: fingerprint(2),
			spent: []tokenworker.Fingerprint{fingerprint(2)}},
		{name: "a last resort whose reply was lost is one's own", before: holding(5, claimed(9), spent(2)), spends: fingerprint(2),
			replaces: tokenworker.AttemptID{1}, spent: []tokenworker.Fingerprint{fingerprint(2)}},
		{name: "a set that was refreshed meanwhile is not claimed", before: holding(5, generation(1)), fenced: true},
		{name: "a set that was replaced meanwhile is not claimed", before: holding(6), fenced: true},
		{name: "a set that needs a new login is not claimed", before: holding(5, reauthRequired), fenced: true},
		{name: "a disconnected record is not claimed", before: revoking(5), fenced: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := tc.before.TakeClaim(tokenworker.Fence{Stamp: stamp(5)}, claim, tc.spends, tc.replaces)
			if tc.fenced {
				if !errors.Is(err, tokenworker.ErrFenced) || !reflect.DeepEqual(got, tokenworker.Record{}) {
					t.Fatalf("got %+v, %v; want nothing and ErrFenced", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Claim == nil || got.Claim.Attempt != claim.Attempt {
				t.Errorf("claim %+v, want attempt %s", got.Claim, claim.Attempt)
			}
			if !slices.Equal(got.Acquired, tc.spent) {
				t.Errorf("spent %x, want %x", got.Acquired, tc.spent)
			}
			got.Claim, got.Acquired, got.Attempts = tc.before.Claim, tc.before.Acquired, tc.before.Attempts
			if !reflect.DeepEqual(got, *tc.before) {
				t.Errorf("a claim changed more than the claim and what is spent: %+v", got)
			}
		})
	}
}

func TestCommit(t *testing.T) {
	type edits = []func(*tokenworker.Record)
	minted := []byte("minted from 5")
	refresh := func(f *tokenworker.Refresh) {
		*f = tokenworker.Refresh{
			Key: testKey, From: tokenworker.Fence{Stamp: stamp(5)}, Sealed: minted, Attempt: tokenworker.AttemptID{9},
			Details: tokenworker.Details{ExpiresAt: noon.Add(9 * time.Hour)}, RefreshedAt: noon.Add(8 * time.Hour), DueAt: noon.Add(8*time.Hour + 40*time.Minute),
		}
	}
	commit := func(more ...func(*tokenworker.Refresh)) decision {
		return func(r *tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error) {
			var f tokenworker.Refresh
			refresh(&f)
			for _, edit := range more {
				edit(&f)
			}
			next, verdict := r.Commit(&f)
			return next, verdict, nil
		}
	}
	keep := func(f *tokenworker.Refresh) { f.KeepRevocations = true }
	saved := func(r *tokenworker.Record) {
		var f tokenworker.Refresh
		refresh(&f)
		r.Status, r.Generation, r.Claim, r.Rotated = tokenworker.Active, 1, nil, true
		r.Sealed, r.Details, r.RefreshedAt, r.DueAt = f.Sealed, f.Details, f.RefreshedAt, f.DueAt
	}
	waits := func(sets ...[]byte) func(*tokenworker.Record) {
		return func(r *tokenworker.Record) { r.Revoke = listed(sets...) }
	}
	for _, tc := range []verdictCase{
		{"the set that was refreshed gives way to the new one", holding(5, claimed(9)), commit(), tokenworker.Applied, edits{saved}},
		{
			"ids, spent tokens and the last disconnect noted meanwhile stay",
			holding(5, claimed(9), seen(3, 4), spent(1), lastDisconnect(4)), commit(), tokenworker.Applied, edits{saved},
		},
		{"whoever holds the answer may save it", holding(5, claimed(1)), commit(), tokenworker.Applied, edits{saved}},
		{
			"failures end, and what the refresh owes joins what others owe", holding(5, claimed(9), failedBefore, owes(1)),
			commit(func(f *tokenworker.Refresh) { f.Owed = owed(9) }), tokenworker.Applied,
			edits{saved, func(r *tokenworker.Record) { r.Failures, r.FailureCode = 0, "" }, owes(9)},
		},
		{
			"a warning is given once for a grant", holding(5, claimed(9)), commit(func(f *tokenworker.Refresh) { f.Warned = true }),
			tokenworker.Applied, edits{saved, func(r *tokenworker.Record) { r.Warned = true }},
		},
		{
			"and stays given", holding(5, claimed(9), func(r *tokenworker.Record) { r.Warned = true }), commit(), tokenworker.Applied,
			edits{saved},
		},
		{"a set declared dead recovers", holding(5, reauthRequired), commit(), tokenworker.Applied, edits{saved}},
		{
			"what waits for revocation keeps its own due time", holding(5, waiting(1)), commit(), tokenworker.Applied, edits{saved},
		},
		{
			"a refresh before the check that follows a disconnect does not replace it",
			holding(5, lastDisconnect(3), dueAt(noon.Add(8*time.Hour+time.Minute))), commit(), tokenworker.Applied,
			edits{saved, dueAt(noon.Add(8*time.Hour + time.Minute))},
		},
		{
			"where revocation spares newer grants there is no check", holding(5, lastDisconnect(3), dueAt(noon.Add(8*time.Hour+time.Minute))),
			commit(keep), tokenworker.Applied, edits{saved},
		},
		{"no record, nothing to save", nil, commit(), tokenworker.Stale, nil},
		{"saved already, its reply lost: nothing changes", holding(5, saved), commit(), tokenworker.Repeated, nil},
		{
			"another attempt's answer for the same set is dropped",
			holding(5, saved, func(r *tokenworker.Record) { r.Sealed = []byte("minted by another") }), commit(), tokenworker.Stale, nil,
		},
		{"a newer acquisition alone: dropped, as replacement in order would", holding(9), commit(keep), tokenworker.Stale, nil},
		{
			"an older disconnect that came late does not turn a newer set against it",
			holding(9, lastDisconnect(3)), commit(keep), tokenworker.Stale, nil,
		},
		{
			"disconnected meanwhile: the minted set is revoked", revoking(9), commit(), tokenworker.Revoking,
			edits{waits(sealed(1), minted), func(r *tokenworker.Record) { r.RevokeAt = noon.Add(8 * time.Hour) }},
		},
		{
			"disconnected and revoked meanwhile: the minted set wakes the tombstone", tombstone(9), commit(), tokenworker.Revoking,
			edits{waits(minted), func(r *tokenworker.Record) {
				r.Status, r.RemoveAt = tokenworker.Disconnecting, time.Time{}
				r.RevokeAt, r.RevokeSince = noon.Add(8*time.Hour), noon.Add(8*time.Hour)
			}},
		},
		{
			"on the revoke list already: nothing changes", revoking(9, waits(sealed(1), minted)), commit(), tokenworker.Repeated, nil,
		},
		{
			"disconnected, then acquired again: revoked where that spares the new grant", holding(12, lastDisconnect(9)), commit(keep),
			tokenworker.Revoking,
			edits{waits(minted), func(r *tokenworker.Record) { r.RevokeAt, r.RevokeSince = noon.Add(8*time.Hour), noon.Add(8*time.Hour) }},
		},
		{
			"disconnected, then acquired again: dropped where that would kill the new grant", holding(12, lastDisconnect(9)), commit(),
			tokenworker.Stale, nil,
		},
		{
			"a minted set waits while the revoke list is full", revoking(9, waiting(tokenworker.MaxRevoke-1)), commit(), tokenworker.Full, nil,
		},
	} {
		t.Run(tc.name, tc.run)
	}
}
