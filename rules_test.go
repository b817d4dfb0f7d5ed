package tokenworker_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

var (
	noon    = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	testKey = tokenworker.Key{OrgID: "acme", ProviderID: "finch", CompanyID: "c-1"}
)

// entered is when the test's stream handed out a sequence: one minute apart.
func entered(seq uint64) time.Time { return noon.Add(time.Duration(seq) * time.Minute) }

func event(seq uint64) tokenworker.Event {
	at := entered(seq)
	return tokenworker.Event{
		Key: testKey, Stamp: stamp(seq), Entered: at,
		ID: tokenworker.NewEventID("test", fmt.Sprint(seq), at),
	}
}

func stamp(seq uint64) tokenworker.Stamp { return tokenworker.Stamp{Epoch: 1, Sequence: seq} }

func sealed(seq uint64) []byte { return fmt.Appendf(nil, "set of %d", seq) }

func fingerprint(n byte) tokenworker.Fingerprint { return tokenworker.Fingerprint{n} }

func acquisition(seq uint64, edits ...func(*tokenworker.Acquisition)) *tokenworker.Acquisition {
	a := &tokenworker.Acquisition{
		Event: event(seq), Sealed: sealed(seq), DueAt: entered(seq).Add(time.Hour),
		Details: tokenworker.Details{ExpiresAt: entered(seq).Add(2 * time.Hour), Scope: "payroll"},
	}
	for _, edit := range edits {
		edit(a)
	}
	return a
}

func keep(a *tokenworker.Acquisition) { a.KeepRevocations = true }

func disconnection(seq uint64) *tokenworker.Disconnection {
	return &tokenworker.Disconnection{Event: event(seq)}
}

// holding is a record that reflects the acquisition at seq.
func holding(seq uint64, edits ...func(*tokenworker.Record)) *tokenworker.Record {
	a := acquisition(seq)
	return edited(tokenworker.Record{
		Key: testKey, Status: tokenworker.Active, Fence: tokenworker.Fence{Stamp: a.Stamp}, Entered: a.Entered,
		Sealed: a.Sealed, Details: a.Details, DueAt: a.DueAt, Seen: []tokenworker.EventID{a.ID}, AcquiredAt: time.Unix(a.ID.Time, 0),
	}, edits...)
}

// revoking is a record that the disconnect at seq took a set from.
func revoking(seq uint64, edits ...func(*tokenworker.Record)) *tokenworker.Record {
	d := disconnection(seq)
	return edited(tokenworker.Record{
		Key: testKey, Status: tokenworker.Disconnecting, Fence: tokenworker.Fence{Stamp: d.Stamp}, Entered: d.Entered,
		Disconnected: d.Stamp, DueAt: d.Entered, RevokeAt: d.Entered, Revoke: [][]byte{sealed(1)},
		Seen: []tokenworker.EventID{d.ID},
	}, edits...)
}

// tombstone is what a sweep leaves of revoking(seq).
func tombstone(seq uint64) *tokenworker.Record {
	return revoking(seq, func(r *tokenworker.Record) {
		r.Status, r.Revoke, r.RevokeAt, r.DueAt = tokenworker.Disconnected, nil, time.Time{}, time.Time{}
		r.RemoveAt = r.Entered.Add(30 * tokenworker.Window)
	})
}

func edited(r tokenworker.Record, edits ...func(*tokenworker.Record)) *tokenworker.Record {
	for _, edit := range edits {
		edit(&r)
	}
	return &r
}

// seen remembers the event at seq.
func seen(seqs ...uint64) func(*tokenworker.Record) {
	return func(r *tokenworker.Record) {
		for _, seq := range seqs {
			r.Seen = append(r.Seen, event(seq).ID)
		}
	}
}

// lastDisconnect is what a stale disconnect at seq leaves, beside its id.
func lastDisconnect(seq uint64) func(*tokenworker.Record) {
	return func(r *tokenworker.Record) { r.Disconnected = stamp(seq) }
}

func spent(n ...byte) func(*tokenworker.Record) {
	return func(r *tokenworker.Record) {
		for _, b := range n {
			r.Spent = append(r.Spent, fingerprint(b))
		}
	}
}

func claimed(attempt byte) func(*tokenworker.Record) {
	return func(r *tokenworker.Record) { r.Claim = &tokenworker.Claim{Attempt: tokenworker.AttemptID{attempt}} }
}

func reauthRequired(r *tokenworker.Record) { r.Status = tokenworker.ReauthRequired }

// waiting puts n more sets on the revoke list.
func waiting(n uint64) func(*tokenworker.Record) {
	return func(r *tokenworker.Record) {
		for i := range n {
			r.Revoke = append(r.Revoke, sealed(100+i))
		}
		if r.RevokeAt.IsZero() {
			r.RevokeAt = entered(2)
		}
		r.DueAt = r.RevokeAt
	}
}

// unchanged is the record that a decision must leave as it was.
func unchanged(*tokenworker.Record) {}

// verdictCase is one decision. want edits a copy of before into what must come out; a nil before is no record.
type verdictCase struct {
	name    string
	before  *tokenworker.Record
	decide  func(*tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error)
	verdict tokenworker.Verdict
	want    []func(*tokenworker.Record)
}

func (tc verdictCase) run(t *testing.T) {
	t.Helper()
	var before, want tokenworker.Record
	if tc.before != nil {
		before, want = clone(*tc.before), clone(*tc.before)
	}
	for _, edit := range tc.want {
		edit(&want)
	}
	got, verdict, err := tc.decide(tc.before)
	if err != nil {
		t.Fatalf("error: %v", err)
	}
	if verdict != tc.verdict {
		t.Errorf("verdict %s, want %s", verdict, tc.verdict)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("record\n got %+v\nwant %+v", got, want)
	}
	if tc.before != nil && !reflect.DeepEqual(*tc.before, before) {
		t.Errorf("the record that was passed in changed:\n is %+v\nwas %+v", *tc.before, before)
	}
}

func clone(r tokenworker.Record) tokenworker.Record {
	r.Seen, r.Spent, r.Revoke = slices.Clone(r.Seen), slices.Clone(r.Spent), slices.Clone(r.Revoke)
	if r.Claim != nil {
		c := *r.Claim
		r.Claim = &c
	}
	return r
}

type decision = func(*tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error)

func acquire(seq uint64, edits ...func(*tokenworker.Acquisition)) decision {
	return func(r *tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error) {
		return r.Acquire(acquisition(seq, edits...))
	}
}

func disconnect(seq uint64) decision {
	return func(r *tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error) {
		return r.Disconnect(disconnection(seq))
	}
}

// becomes is an edit that replaces the record by another.
func becomes(r *tokenworker.Record) func(*tokenworker.Record) {
	return func(dst *tokenworker.Record) { *dst = *r }
}

func TestAcquire(t *testing.T) {
	type edits = []func(*tokenworker.Record)
	spends := func(n byte) func(*tokenworker.Acquisition) {
		return func(a *tokenworker.Acquisition) { a.Spendable = fingerprint(n) }
	}
	for _, tc := range []verdictCase{
		{"the first acquisition makes the record", nil, acquire(1), tokenworker.Applied, edits{becomes(holding(1))}},
		{
			"a newer acquisition replaces the set, the claim and the refresh history",
			holding(1, claimed(1), func(r *tokenworker.Record) { r.Generation, r.RefreshedAt = 3, noon }),
			acquire(5), tokenworker.Applied,
			edits{becomes(holding(5)), func(r *tokenworker.Record) { r.Seen = []tokenworker.EventID{event(1).ID, event(5).ID} }},
		},
		{
			"a newer epoch is newer whatever its sequence", holding(9),
			acquire(1, func(a *tokenworker.Acquisition) { a.Stamp.Epoch, a.Entered = 2, entered(10) }), tokenworker.Applied,
			edits{becomes(holding(1)), func(r *tokenworker.Record) {
				r.Stamp.Epoch, r.Entered, r.Seen = 2, entered(10), []tokenworker.EventID{event(9).ID, event(1).ID}
			}},
		},
		{"a known id changes nothing", holding(5, seen(9)), acquire(9), tokenworker.Repeated, nil},
		{"an older acquisition is noted and no more", holding(5), acquire(3), tokenworker.Stale, edits{seen(3)}},
		{
			"the acquisition of the record itself, its id forgotten, is stale",
			holding(5, func(r *tokenworker.Record) { r.Seen = nil }), acquire(5), tokenworker.Stale, edits{seen(5)},
		},
		{
			"a token that may be spent is noted and no more, under however new a stamp", holding(5, spent(7)),
			acquire(9, spends(7)), tokenworker.Spent, edits{seen(9)},
		},
		{
			"another token than the spent one is applied, and what is spent stays known", holding(5, spent(7)),
			acquire(9, spends(8)), tokenworker.Applied,
			edits{becomes(holding(9, spent(7))), func(r *tokenworker.Record) { r.Seen = []tokenworker.EventID{event(5).ID, event(9).ID} }},
		},
		{
			"without a refresh token nothing is spent", holding(5, spent(0)), acquire(9), tokenworker.Applied,
			edits{becomes(holding(9, spent(0))), func(r *tokenworker.Record) { r.Seen = []tokenworker.EventID{event(5).ID, event(9).ID} }},
		},
		{
			"a set that needs a new login is replaced", holding(1, reauthRequired), acquire(5), tokenworker.Applied,
			edits{becomes(holding(5)), func(r *tokenworker.Record) { r.Seen = []tokenworker.EventID{event(1).ID, event(5).ID} }},
		},
		{
			"after a disconnect a newer acquisition brings the connection back", tombstone(5), acquire(9), tokenworker.Applied,
			edits{becomes(holding(9, lastDisconnect(5))), func(r *tokenworker.Record) {
				r.Seen = []tokenworker.EventID{event(5).ID, event(9).ID}
			}},
		},
		{
			"revocations that would kill the new grant are dropped", revoking(5), acquire(9), tokenworker.Applied,
			edits{becomes(holding(9, lastDisconnect(5))), func(r *tokenworker.Record) {
				r.Seen = []tokenworker.EventID{event(5).ID, event(9).ID}
			}},
		},
		{
			"revocations that spare the new grant stay, and are due before its refresh", revoking(5), acquire(9, keep),
			tokenworker.Applied,
			edits{becomes(holding(9, lastDisconnect(5))), func(r *tokenworker.Record) {
				r.Seen = []tokenworker.EventID{event(5).ID, event(9).ID}
				r.Revoke, r.RevokeAt, r.DueAt = [][]byte{sealed(1)}, entered(5), entered(5)
			}},
		},
		{
			"where nothing waits for revocation, keeping revocations keeps the due time", holding(1), acquire(5, keep),
			tokenworker.Applied,
			edits{becomes(holding(5)), func(r *tokenworker.Record) { r.Seen = []tokenworker.EventID{event(1).ID, event(5).ID} }},
		},
		{
			"an acquisition older than the disconnect is revoked", revoking(5), acquire(3), tokenworker.Revoking,
			edits{seen(3), func(r *tokenworker.Record) { r.Revoke = [][]byte{sealed(1), sealed(3)} }},
		},
		{
			"an acquisition older than the disconnect wakes the tombstone", tombstone(5), acquire(3), tokenworker.Revoking,
			edits{seen(3), func(r *tokenworker.Record) {
				r.Status, r.Revoke, r.RevokeAt, r.DueAt = tokenworker.Disconnecting, [][]byte{sealed(3)}, entered(3), entered(3)
				r.RemoveAt = time.Time{}
			}},
		},
		{
			"beside a newer grant that a revocation would kill, a late acquisition is dropped",
			holding(9, lastDisconnect(5)), acquire(3), tokenworker.Stale, edits{seen(3)},
		},
		{
			"beside a newer grant that a revocation spares, a late acquisition is revoked",
			holding(9, lastDisconnect(5)), acquire(3, keep), tokenworker.Revoking,
			edits{seen(3), func(r *tokenworker.Record) {
				r.Revoke, r.RevokeAt, r.DueAt = [][]byte{sealed(3)}, entered(3), entered(3)
			}},
		},
		{
			"an acquisition after the last disconnect, replaced since, is dropped", holding(9, lastDisconnect(2)),
			acquire(5, keep), tokenworker.Stale, edits{seen(5)},
		},
		{
			"a late acquisition waits while the revoke list is full", revoking(5, waiting(tokenworker.MaxRevoke-1)), acquire(3),
			tokenworker.Full, nil,
		},
		{
			"an acquisition beside a full revoke list is applied",
			revoking(5, waiting(tokenworker.MaxRevoke-1)), acquire(9, keep), tokenworker.Applied,
			edits{becomes(holding(9, lastDisconnect(5))), func(r *tokenworker.Record) {
				r.Seen = []tokenworker.EventID{event(5).ID, event(9).ID}
				r.Revoke = [][]byte{sealed(1), sealed(100), sealed(101), sealed(102)}
				r.RevokeAt, r.DueAt = entered(5), entered(5)
			}},
		},
		{
			"an acquisition waits while one set more than the list takes is to be revoked",
			revoking(5, waiting(tokenworker.MaxRevoke)), acquire(9, keep), tokenworker.Full, nil,
		},
		{
			"an acquisition that drops the revocations does not wait for them",
			revoking(5, waiting(tokenworker.MaxRevoke)), acquire(9), tokenworker.Applied,
			edits{becomes(holding(9, lastDisconnect(5))), func(r *tokenworker.Record) {
				r.Seen = []tokenworker.EventID{event(5).ID, event(9).ID}
			}},
		},
	} {
		t.Run(tc.name, tc.run)
	}
}

func TestDisconnect(t *testing.T) {
	type edits = []func(*tokenworker.Record)
	took := func(seq uint64, from *tokenworker.Record) func(*tokenworker.Record) { // the disconnect at seq, seen by from
		return func(r *tokenworker.Record) {
			*r = *from
			r.Status, r.Fence, r.Entered, r.Disconnected = tokenworker.Disconnecting, tokenworker.Fence{Stamp: stamp(seq)}, entered(seq), stamp(seq)
			r.Claim, r.Sealed, r.RemoveAt = nil, nil, time.Time{}
			r.ExpiresAt, r.GrantExpiresAt = time.Time{}, time.Time{}
			r.DueAt = entered(seq)
			r.Seen = append(slices.Clone(r.Seen), event(seq).ID)
		}
	}
	firstToRevoke := func(seq uint64, sets ...[]byte) func(*tokenworker.Record) {
		return func(r *tokenworker.Record) { r.Revoke, r.RevokeAt = sets, entered(seq) }
	}
	for _, tc := range []verdictCase{
		{
			"the set moves to the revoke list, due at once, and an attempt loses its claim", holding(1, claimed(1)), disconnect(5),
			tokenworker.Applied, edits{took(5, holding(1)), firstToRevoke(5, sealed(1))},
		},
		{
			"the last set of a dead grant is revoked too", holding(1, reauthRequired), disconnect(5), tokenworker.Applied,
			edits{took(5, holding(1)), firstToRevoke(5, sealed(1))},
		},
		{
			"a refreshed set is fenced by the disconnect's own stamp",
			holding(1, func(r *tokenworker.Record) { r.Generation = 4 }), disconnect(5), tokenworker.Applied,
			edits{took(5, holding(1)), firstToRevoke(5, sealed(1))},
		},
		{
			"a disconnect of what was never acquired leaves a mark with nothing to revoke", nil, disconnect(5), tokenworker.Applied,
			edits{took(5, &tokenworker.Record{Key: testKey})},
		},
		{
			"a tombstone becomes a newer one, with nothing to revoke", tombstone(5), disconnect(9), tokenworker.Applied,
			edits{took(9, tombstone(5))},
		},
		{
			"a second disconnect does not hide for how long the first has waited", revoking(5), disconnect(9), tokenworker.Applied,
			edits{took(9, revoking(5))},
		},
		{
			"a kept revocation and the set wait together", holding(4, waiting(1), lastDisconnect(3)), disconnect(9), tokenworker.Applied,
			edits{took(9, holding(4)), firstToRevoke(2, sealed(100), sealed(4))},
		},
		{"a known id changes nothing", holding(5, seen(9)), disconnect(9), tokenworker.Repeated, nil},
		{
			"an older disconnect leaves the newer grant, is noted, and counts as the last one", holding(5), disconnect(3),
			tokenworker.Stale, edits{seen(3), lastDisconnect(3)},
		},
		{
			"a disconnect older than another is noted and no more", revoking(5), disconnect(3), tokenworker.Stale, edits{seen(3)},
		},
		{
			"a full revoke list does not keep a token in service", holding(5, waiting(tokenworker.MaxRevoke)), disconnect(9),
			tokenworker.Applied,
			edits{took(9, holding(5)), firstToRevoke(2, sealed(100), sealed(101), sealed(102), sealed(103), sealed(5))},
		},
	} {
		t.Run(tc.name, tc.run)
	}
}

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
			if !slices.Equal(got.Spent, tc.spent) {
				t.Errorf("spent %x, want %x", got.Spent, tc.spent)
			}
			got.Claim, got.Spent = tc.before.Claim, tc.before.Spent
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
		r.Status, r.Generation, r.Claim = tokenworker.Active, 1, nil
		r.Sealed, r.Details, r.RefreshedAt, r.DueAt = f.Sealed, f.Details, f.RefreshedAt, f.DueAt
	}
	listed := func(sets ...[]byte) func(*tokenworker.Record) {
		return func(r *tokenworker.Record) { r.Revoke = sets }
	}
	for _, tc := range []verdictCase{
		{"the set that was refreshed gives way to the new one", holding(5, claimed(9)), commit(), tokenworker.Applied, edits{saved}},
		{
			"ids, spent tokens and the last disconnect noted meanwhile stay",
			holding(5, claimed(9), seen(3, 4), spent(1), lastDisconnect(4)), commit(), tokenworker.Applied, edits{saved},
		},
		{"whoever holds the answer may save it", holding(5, claimed(1)), commit(), tokenworker.Applied, edits{saved}},
		{"a set declared dead recovers", holding(5, reauthRequired), commit(), tokenworker.Applied, edits{saved}},
		{
			"what waits for revocation stays due", holding(5, waiting(1)), commit(), tokenworker.Applied,
			edits{saved, func(r *tokenworker.Record) { r.DueAt = r.RevokeAt }},
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
			edits{listed(sealed(1), minted)},
		},
		{
			"disconnected and revoked meanwhile: the minted set wakes the tombstone", tombstone(9), commit(), tokenworker.Revoking,
			edits{listed(minted), func(r *tokenworker.Record) {
				r.Status, r.RemoveAt = tokenworker.Disconnecting, time.Time{}
				r.RevokeAt, r.DueAt = noon.Add(8*time.Hour), noon.Add(8*time.Hour)
			}},
		},
		{
			"on the revoke list already: nothing changes", revoking(9, listed(sealed(1), minted)), commit(), tokenworker.Repeated, nil,
		},
		{
			"disconnected, then acquired again: revoked where that spares the new grant", holding(12, lastDisconnect(9)), commit(keep),
			tokenworker.Revoking,
			edits{listed(minted), func(r *tokenworker.Record) { r.RevokeAt, r.DueAt = noon.Add(8*time.Hour), noon.Add(8*time.Hour) }},
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
