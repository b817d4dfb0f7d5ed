package tokenworker_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

func TestAcquire(t *testing.T) {
	type edits = []func(*tokenworker.Record)
	for _, tc := range []verdictCase{
		{"the first acquisition makes the record", nil, acquire(1), tokenworker.Applied, edits{becomes(holding(1))}},
		{
			"a newer acquisition replaces the set, the claim and the refresh history",
			holding(1, claimed(1), func(r *tokenworker.Record) { r.Generation, r.RefreshedAt = 3, noon }),
			acquire(5), tokenworker.Applied,
			edits{becomes(holding(5)), func(r *tokenworker.Record) { r.Seen = []tokenworker.EventID{event(1).ID, event(5).ID} }},
		},
		{
			"failures and a warning end with the set, and what is owed stays owed",
			holding(1, failedBefore, owes(1), func(r *tokenworker.Record) { r.Warned = true }), acquire(5), tokenworker.Applied,
			edits{becomes(holding(5, owes(1))), func(r *tokenworker.Record) {
				r.Seen = []tokenworker.EventID{event(1).ID, event(5).ID}
			}},
		},
		{
			"the name of the last write stays until the next", holding(1, revision(3)), acquire(5), tokenworker.Applied,
			edits{becomes(holding(5, revision(3))), func(r *tokenworker.Record) {
				r.Seen = []tokenworker.EventID{event(1).ID, event(5).ID}
			}},
		},
		{
			"a new grant that a revocation may still reach is checked when it has arrived", revoking(5, revokes(1)),
			acquire(9, checkAt(entered(12))), tokenworker.Applied,
			edits{becomes(holding(9, lastDisconnect(5), dueAt(entered(12)))), func(r *tokenworker.Record) {
				r.Seen = []tokenworker.EventID{event(5).ID, event(9).ID}
			}},
		},
		{
			"so is one whose revocation was over by then, but perhaps not when the user granted", tombstone(5),
			acquire(9, checkAt(entered(12))), tokenworker.Applied,
			edits{becomes(holding(9, lastDisconnect(5), dueAt(entered(12)))), func(r *tokenworker.Record) {
				r.Seen = []tokenworker.EventID{event(5).ID, event(9).ID}
			}},
		},
		{
			"so is one that is never due by itself", tombstone(5), acquire(9, checkAt(entered(12)), neverDue), tokenworker.Applied,
			edits{becomes(holding(9, lastDisconnect(5), dueAt(entered(12)))), func(r *tokenworker.Record) {
				r.Seen = []tokenworker.EventID{event(5).ID, event(9).ID}
			}},
		},
		{
			"a refresh that is due before that is the check", tombstone(5), acquire(9, checkAt(entered(99))), tokenworker.Applied,
			edits{becomes(holding(9, lastDisconnect(5))), func(r *tokenworker.Record) {
				r.Seen = []tokenworker.EventID{event(5).ID, event(9).ID}
			}},
		},
		{
			"without a disconnect there is nothing to check", holding(5), acquire(9, checkAt(entered(12))), tokenworker.Applied,
			edits{becomes(holding(9)), func(r *tokenworker.Record) {
				r.Seen = []tokenworker.EventID{event(5).ID, event(9).ID}
			}},
		},
		{
			"nor where revocation spares the new grant", tombstone(5), acquire(9, checkAt(entered(12)), keep), tokenworker.Applied,
			edits{becomes(holding(9, lastDisconnect(5))), func(r *tokenworker.Record) {
				r.Seen = []tokenworker.EventID{event(5).ID, event(9).ID}
			}},
		},
		{
			"a record that owes something is due, though its set never is", holding(5, owes(1)), acquire(9, neverDue),
			tokenworker.Applied, edits{becomes(holding(9, owes(1), dueAt(entered(9)))), func(r *tokenworker.Record) {
				r.Seen = []tokenworker.EventID{event(5).ID, event(9).ID}
			}},
		},
		{
			"a revocation under way that spares the new grant goes on", revoking(5, revokes(1)), acquire(9, keep),
			tokenworker.Applied,
			edits{becomes(holding(9, lastDisconnect(5), revokes(1))), func(r *tokenworker.Record) {
				r.Seen = []tokenworker.EventID{event(5).ID, event(9).ID}
				r.Revoke, r.RevokeAt, r.RevokeSince = listed(sealed(1)), entered(5), entered(5)
			}},
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
			"a tombstone outlives by as much what it was measured against last", edited(*tombstone(5), spent(7)),
			acquire(9, spends(7), func(a *tokenworker.Acquisition) { a.Entered = noon.Add(2000 * time.Hour) }), tokenworker.Spent,
			edits{seen(9), func(r *tokenworker.Record) { r.RemoveAt = noon.Add(2000*time.Hour + tokenworker.TombstoneAge) }},
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
			"revocations that spare the new grant stay, and each has its own due time", revoking(5), acquire(9, keep),
			tokenworker.Applied,
			edits{becomes(holding(9, lastDisconnect(5))), func(r *tokenworker.Record) {
				r.Seen = []tokenworker.EventID{event(5).ID, event(9).ID}
				r.Revoke, r.RevokeAt, r.RevokeSince = listed(sealed(1)), entered(5), entered(5)
			}},
		},
		{
			"a disconnect with nothing to revoke leaves nothing to a new grant",
			revoking(5, func(r *tokenworker.Record) { r.Revoke = nil }), acquire(9, keep), tokenworker.Applied,
			edits{becomes(holding(9, lastDisconnect(5))), func(r *tokenworker.Record) {
				r.Seen = []tokenworker.EventID{event(5).ID, event(9).ID}
			}},
		},
		{
			"where nothing waits for revocation, keeping revocations keeps the due time", holding(1), acquire(5, keep),
			tokenworker.Applied,
			edits{becomes(holding(5)), func(r *tokenworker.Record) { r.Seen = []tokenworker.EventID{event(1).ID, event(5).ID} }},
		},
		{
			"an acquisition older than the disconnect is revoked, at once though another revocation waits for its next try",
			revoking(5, func(r *tokenworker.Record) { r.RevokeAt = entered(99) }), acquire(3), tokenworker.Revoking,
			edits{seen(3), func(r *tokenworker.Record) { r.Revoke, r.RevokeAt = listed(sealed(1), sealed(3)), entered(3) }},
		},
		{
			"an acquisition older than the disconnect wakes the tombstone", tombstone(5), acquire(3), tokenworker.Revoking,
			edits{seen(3), func(r *tokenworker.Record) {
				r.Status, r.Revoke, r.RevokeAt, r.RevokeSince = tokenworker.Disconnecting, listed(sealed(3)), entered(3), entered(3)
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
				r.Revoke, r.RevokeAt, r.RevokeSince = listed(sealed(3)), entered(3), entered(3)
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
				r.Revoke = listed(sealed(1), sealed(100), sealed(101), sealed(102))
				r.RevokeAt, r.RevokeSince = entered(5), entered(5)
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
	turned := func(to *tokenworker.Record) func(*tokenworker.Record) {
		return func(r *tokenworker.Record) { *r = *to }
	}
	took := func(seq uint64, from *tokenworker.Record) func(*tokenworker.Record) { // the disconnect at seq, seen by from
		return func(r *tokenworker.Record) {
			*r = *from
			r.Status, r.Fence, r.Entered, r.Disconnected = tokenworker.Disconnecting, tokenworker.Fence{Stamp: stamp(seq)}, entered(seq), stamp(seq)
			r.Claim, r.Sealed, r.RemoveAt = nil, nil, time.Time{}
			r.ExpiresAt, r.GrantExpiresAt = time.Time{}, time.Time{}
			r.DueAt, r.RevokeAt = time.Time{}, entered(seq)
			if r.RevokeSince.IsZero() {
				r.RevokeSince = entered(seq)
			}
			r.Seen = append(slices.Clone(r.Seen), event(seq).ID)
		}
	}
	firstToRevoke := func(seq uint64, sets ...[]byte) func(*tokenworker.Record) {
		return func(r *tokenworker.Record) { r.Revoke, r.RevokeSince = listed(sets...), entered(seq) }
	}
	for _, tc := range []verdictCase{
		{
			"the set moves to the revoke list, due at once, and an attempt loses its claim", holding(1, claimed(1)), disconnect(5),
			tokenworker.Applied, edits{took(5, holding(1)), firstToRevoke(5, sealed(1))},
		},
		{
			"failures and a warning end with the set, and what is owed stays owed",
			holding(1, failedBefore, owes(1), func(r *tokenworker.Record) { r.Warned = true }), disconnect(5),
			tokenworker.Applied, edits{took(5, holding(1, owes(1))), firstToRevoke(5, sealed(1))},
		},
		{
			"a revocation under way goes on, and finds more to revoke when it ends", holding(4, waiting(1), lastDisconnect(3), revokes(1)),
			disconnect(9), tokenworker.Applied, edits{took(9, holding(4, revokes(1))), firstToRevoke(2, sealed(100), sealed(4))},
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
			"a disconnect of what was never acquired leaves a tombstone", nil, disconnect(5), tokenworker.Applied,
			edits{turned(tombstone(5))},
		},
		{
			"a tombstone becomes a newer one, with nothing to revoke", tombstone(5), disconnect(9), tokenworker.Applied,
			edits{turned(tombstone(9)), func(r *tokenworker.Record) { r.Seen = nil }, seen(5, 9)},
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
			"the disconnect of the record itself, its id forgotten, is stale",
			revoking(5, func(r *tokenworker.Record) { r.Seen = nil }), disconnect(5), tokenworker.Stale, edits{seen(5)},
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
