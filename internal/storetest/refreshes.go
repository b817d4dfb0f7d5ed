package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

func testClaims(t *testing.T, store Store) {
	run(t, store, []situation{
		{
			name:  "a set is claimed",
			given: []step{acquired(event(1))},
			when:  claimed(set(1, 0), 1, "r0", 0), want: tokenworker.Applied,
		}, {
			name: "what is not there is not claimed",
			when: claimed(set(1, 0), 1, "r0", 0), err: tokenworker.ErrFenced,
		}, {
			name:  "a claimed set is not claimed again",
			given: []step{acquired(event(1)), claimed(set(1, 0), 1, "r0", 0)},
			when:  claimed(set(1, 0), 2, "r0", 0), err: tokenworker.ErrFenced,
		}, {
			name:  "an attempt whose reply was lost learns that it holds the claim",
			given: []step{acquired(event(1)), claimed(set(1, 0), 1, "r0", 0)},
			when:  claimed(set(1, 0), 1, "r0", 0), want: tokenworker.Applied,
		}, {
			name:  "a last resort takes over the attempt that it names",
			given: []step{acquired(event(1)), claimed(set(1, 0), 1, "r0", 0)},
			when:  claimed(set(1, 0), 2, "r0", 1), want: tokenworker.Applied,
		}, {
			name:  "a last resort takes over no other attempt",
			given: []step{acquired(event(1)), claimed(set(1, 0), 1, "r0", 0)},
			when:  claimed(set(1, 0), 3, "r0", 2), err: tokenworker.ErrFenced,
		}, {
			name:  "a last resort needs an attempt to take over",
			given: []step{acquired(event(1))},
			when:  claimed(set(1, 0), 2, "r0", 1), err: tokenworker.ErrFenced,
		}, {
			name:  "a replaced set is not claimed",
			given: []step{acquired(event(1)), acquired(event(2))},
			when:  claimed(set(1, 0), 1, "r0", 0), err: tokenworker.ErrFenced,
		}, {
			name:  "a refreshed set is not claimed",
			given: []step{acquired(event(1)), refreshed(set(1, 0), 1)},
			when:  claimed(set(1, 0), 2, "r0", 0), err: tokenworker.ErrFenced,
		}, {
			name:  "a disconnected set is not claimed",
			given: []step{acquired(event(1)), disconnected(event(2))},
			when:  claimed(set(2, 0), 1, "r0", 0), err: tokenworker.ErrFenced,
		}, {
			name:  "a stale event that was noted does not stand in the way of a claim",
			given: []step{acquired(event(2)), acquired(event(1))},
			when:  claimed(set(2, 0), 1, "r0", 0), want: tokenworker.Applied,
		}, {
			name:  "a spent token is remembered once",
			given: []step{acquired(event(1)), claimed(set(1, 0), 1, "r0", 0)},
			when:  claimed(set(1, 0), 2, "r0", 1), want: tokenworker.Applied,
		}, {
			name:  "a claim without a refresh token spends none",
			given: []step{acquired(event(1))},
			when:  claimed(set(1, 0), 1, "", 0), want: tokenworker.Applied,
		}, {
			name:  "a spent token that an event brought is known, however many refreshes later",
			given: rotations(tokenworker.MaxSpent + 2),
			when:  acquired(event(2), spending("r0")), want: tokenworker.Spent,
		}, {
			name:  "of those that refreshes brought, the one before the last sixteen is forgotten",
			given: rotations(tokenworker.MaxSpent + 2),
			when:  acquired(event(2), spending("r1")), want: tokenworker.Applied,
		}, {
			name:  "the last sixteen are known",
			given: rotations(tokenworker.MaxSpent + 2),
			when:  acquired(event(2), spending("r2")), want: tokenworker.Spent,
		}, {
			name:  "and an event that brings one of them makes it one of the others",
			given: append(rotations(3), acquired(event(2), spending("r2"))),
			when:  acquired(event(3), spending("r2")), want: tokenworker.Spent,
		}, {
			name:  "the sixty-four newest that events brought are known",
			given: logins(tokenworker.MaxAcquired + 1),
			when:  acquired(event(99, after(later)), spending("login 2")), want: tokenworker.Spent,
		}, {
			name:  "but not the one before",
			given: logins(tokenworker.MaxAcquired + 1),
			when:  acquired(event(99, after(later)), spending("login 1")), want: tokenworker.Applied,
		},
	})
}

// logins leads to a set that is the last of n, each of which was claimed, and its token rotated.
func logins(n uint64) []step {
	var steps []step
	for i := uint64(1); i <= n; i++ {
		var late time.Duration
		if i > n/2 {
			late = later // so that the ids of those before may be forgotten
		}
		token := fmt.Sprint("login ", i)
		steps = append(steps, acquired(event(i, after(late)), spending(token)), claimed(set(i, 0), byte(i), token, 0),
			refreshed(set(i, 0), byte(i)))
	}
	return steps
}

// rotations leads to a set that was claimed and refreshed n times, each time spending another token: r0, r1, ...
func rotations(n uint64) []step {
	steps := []step{acquired(event(1))}
	for g := range n {
		attempt := byte(g + 1)
		steps = append(steps, claimed(set(1, g), attempt, fmt.Sprintf("r%d", g), 0), refreshed(set(1, g), attempt))
	}
	return steps
}

func testCommits(t *testing.T, store Store) {
	run(t, store, []situation{
		{
			name:  "a refresh is saved and ends its claim",
			given: []step{acquired(event(1)), claimed(set(1, 0), 1, "r0", 0)},
			when:  refreshed(set(1, 0), 1), want: tokenworker.Applied,
		}, {
			name:  "whoever holds the provider's answer may save it, claim or not",
			given: []step{acquired(event(1)), claimed(set(1, 0), 1, "r0", 0)},
			when:  refreshed(set(1, 0), 2), want: tokenworker.Applied,
		}, {
			name:  "a refresh of a refreshed set is saved",
			given: []step{acquired(event(1)), refreshed(set(1, 0), 1)},
			when:  refreshed(set(1, 1), 2), want: tokenworker.Applied,
		}, {
			name:  "a set that is never due again leaves no due time behind",
			given: []step{acquired(event(1))},
			when:  refreshed(set(1, 0), 1, func(f *tokenworker.Refresh) { f.DueAt = time.Time{} }), want: tokenworker.Applied,
		}, {
			name:  "a refreshed set stays due for what waits for revocation",
			given: []step{acquired(event(1)), disconnected(event(2)), acquired(event(3), keeping)},
			when:  refreshed(set(3, 0), 1), want: tokenworker.Applied,
		}, {
			name:  "and so it does when it is never due itself",
			given: []step{acquired(event(1)), disconnected(event(2)), acquired(event(3), keeping)},
			when:  refreshed(set(3, 0), 1, func(f *tokenworker.Refresh) { f.DueAt = time.Time{} }), want: tokenworker.Applied,
		}, {
			name:  "ids noted while a refresh was under way are not lost by its commit",
			given: []step{acquired(event(2)), claimed(set(2, 0), 1, "r0", 0), acquired(event(1)), refreshed(set(2, 0), 1)},
			when:  acquired(event(3, repeating(1))), want: tokenworker.Repeated,
		}, {
			name:  "a refresh that is already saved changes nothing",
			given: []step{acquired(event(1)), refreshed(set(1, 0), 1)},
			when:  refreshed(set(1, 0), 1), want: tokenworker.Repeated,
		}, {
			name:  "another attempt's answer for a set that is already refreshed is stale",
			given: []step{acquired(event(1)), refreshed(set(1, 0), 1)},
			when:  refreshed(set(1, 0), 2), want: tokenworker.Stale,
		}, {
			name:  "a refresh that lost to a newer acquisition is dropped",
			given: []step{acquired(event(1)), acquired(event(2))},
			when:  refreshed(set(1, 0), 1, keepingRevocations), want: tokenworker.Stale,
		}, {
			name:  "a refresh that lost to a disconnect is put on the revoke list",
			given: []step{acquired(event(1)), disconnected(event(2))},
			when:  refreshed(set(1, 0), 1), want: tokenworker.Revoking,
		}, {
			name:  "and is not put there twice",
			given: []step{acquired(event(1)), disconnected(event(2)), refreshed(set(1, 0), 1)},
			when:  refreshed(set(1, 0), 1), want: tokenworker.Repeated,
		}, {
			name:  "a refresh that lost to a disconnect and a newer grant is revoked where that spares the grant",
			given: []step{acquired(event(1)), disconnected(event(2)), acquired(event(3), keeping)},
			when:  refreshed(set(1, 0), 1, keepingRevocations), want: tokenworker.Revoking,
		}, {
			name:  "and is dropped where revoking it would kill the grant",
			given: []step{acquired(event(1)), disconnected(event(2)), acquired(event(3))},
			when:  refreshed(set(1, 0), 1), want: tokenworker.Stale,
		}, {
			name:  "a refresh finds a full revoke list",
			given: fullRevokeList(),
			when:  refreshed(set(7, 0), 1), want: tokenworker.Full,
		}, {
			name: "a refresh of a connection that is gone is stale and brings nothing back",
			when: refreshed(set(1, 0), 1), want: tokenworker.Stale,
		},
	})
}
