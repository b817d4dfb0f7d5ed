package storetest

import (
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

func testAcquisitions(t *testing.T, store Store) {
	run(t, store, []situation{
		{
			name: "the first acquisition is applied",
			when: acquired(event(1)), want: tokenworker.Applied,
		}, {
			name: "an acquisition that says only what it must is applied",
			when: acquired(event(1), bare, never), want: tokenworker.Applied,
		}, {
			name:  "a newer acquisition replaces an older one",
			given: []step{acquired(event(1))},
			when:  acquired(event(2)), want: tokenworker.Applied,
		}, {
			name:  "what the newer acquisition leaves out is not left over from the older one",
			given: []step{acquired(event(1))},
			when:  acquired(event(2), bare, never), want: tokenworker.Applied,
		}, {
			name:  "an acquisition replaces a refreshed set and its claim",
			given: []step{acquired(event(1)), claimed(set(1, 0), 1, "r0", 0), refreshed(set(1, 0), 1), claimed(set(1, 1), 2, "r1", 0)},
			when:  acquired(event(2)), want: tokenworker.Applied,
		}, {
			name:  "an acquisition forgets failures and keeps what is owed",
			given: []step{acquired(event(1)), ruled(tokenworker.Warning(set(1, 0), start.Add(time.Hour), owed(1, "expiring"))), failed(1)},
			when:  acquired(event(2)), want: tokenworker.Applied,
		}, {
			name:  "an acquisition that drops a revocation under way is checked soon",
			given: []step{acquired(event(1)), disconnected(event(2)), revoking(1, 0)},
			when:  acquired(event(3)), want: tokenworker.Applied,
		}, {
			name:  "and so it is when it is never due itself",
			given: []step{acquired(event(1)), disconnected(event(2)), revoking(1, 0)},
			when:  acquired(event(3), never), want: tokenworker.Applied,
		}, {
			name:  "so is one that comes after the revocation",
			given: []step{acquired(event(1)), disconnected(event(2)), revoking(1, 0), revoked(1)},
			when:  acquired(event(3)), want: tokenworker.Applied,
		}, {
			name:  "one that is never due is due for what the record owes",
			given: []step{acquired(event(1)), ruled(tokenworker.Warning(set(1, 0), start.Add(time.Hour), owed(1, "expiring")))},
			when:  acquired(event(2), never), want: tokenworker.Applied,
		}, {
			name:  "an acquisition that spares a revocation under way leaves it alone",
			given: []step{acquired(event(1)), disconnected(event(2)), revoking(1, 0)},
			when:  acquired(event(3), keeping), want: tokenworker.Applied,
		}, {
			name:  "an acquisition brings a disconnected connection back",
			given: []step{acquired(event(1)), disconnected(event(2))},
			when:  acquired(event(3)), want: tokenworker.Applied,
		}, {
			name:  "the epoch counts before the sequence",
			given: []step{acquired(event(900, inEpoch(2)))},
			when:  acquired(event(1, inEpoch(10), after(time.Hour))), want: tokenworker.Applied,
		}, {
			name:  "sequences are compared as numbers",
			given: []step{acquired(event(9))},
			when:  acquired(event(10)), want: tokenworker.Applied,
		}, {
			name:  "the greatest stamp there is can be stored",
			given: []step{acquired(event(1))},
			when: acquired(event(2, func(e *tokenworker.Event) {
				e.Stamp = tokenworker.Stamp{Epoch: 1<<64 - 1, Sequence: 1<<64 - 1}
			})), want: tokenworker.Applied,
		}, {
			name:  "a redelivery changes nothing",
			given: []step{acquired(event(1))},
			when:  acquired(event(1)), want: tokenworker.Repeated,
		}, {
			name:  "an outbox repeat under a newer sequence changes nothing",
			given: []step{acquired(event(1))},
			when:  acquired(event(2, repeating(1))), want: tokenworker.Repeated,
		}, {
			name:  "an outbox repeat does not undo what came between",
			given: []step{acquired(event(1)), acquired(event(2))},
			when:  acquired(event(3, repeating(1))), want: tokenworker.Repeated,
		}, {
			name:  "an older acquisition is stale",
			given: []step{acquired(event(2))},
			when:  acquired(event(1)), want: tokenworker.Stale,
		}, {
			name:  "another acquisition at the very stamp is stale",
			given: []step{acquired(event(2))},
			when:  acquired(event(2, repeating(1))), want: tokenworker.Stale,
		}, {
			name:  "the outbox repeat of a stale acquisition changes nothing",
			given: []step{acquired(event(2)), acquired(event(1))},
			when:  acquired(event(3, repeating(1))), want: tokenworker.Repeated,
		}, {
			name:  "a resync that brings a spent token is not taken for news",
			given: []step{acquired(event(1), spending("r0")), claimed(set(1, 0), 1, "r0", 0), refreshed(set(1, 0), 1)},
			when:  acquired(event(2), spending("r0")), want: tokenworker.Spent,
		}, {
			name:  "while a token is claimed nothing is decided",
			given: []step{acquired(event(1), spending("r0")), claimed(set(1, 0), 1, "r0", 0)},
			when:  acquired(event(2), spending("r0"), over(1)), want: tokenworker.Undecided,
		}, {
			name:  "nor while its attempt may still end, although a newer set has taken the place of the claimed one",
			given: []step{acquired(event(1), spending("r0")), claimed(set(1, 0), 1, "r0", 0), acquired(event(2), spending("r1"))},
			when:  acquired(event(3), spending("r0")), want: tokenworker.Undecided,
		}, {
			name:  "when that is over, the token is spent",
			given: []step{acquired(event(1), spending("r0")), claimed(set(1, 0), 1, "r0", 0), acquired(event(2), spending("r1"))},
			when:  acquired(event(3), spending("r0"), over(1)), want: tokenworker.Spent,
		}, {
			name: "a spent token that comes again makes the tombstone last",
			given: []step{
				acquired(event(1), spending("r0")), claimed(set(1, 0), 1, "r0", 0), disconnected(event(2)), revoking(1, 0), revoked(1),
			},
			when: acquired(event(3, after(60*24*time.Hour)), spending("r0"), over(1)), want: tokenworker.Spent,
		}, {
			name:  "a spent token stays spent across a disconnect",
			given: []step{acquired(event(1), spending("r0")), claimed(set(1, 0), 1, "r0", 0), disconnected(event(2))},
			when:  acquired(event(3), spending("r0"), over(1)), want: tokenworker.Spent,
		}, {
			name: "a token is news again once its attempt has left it as it was",
			given: []step{
				acquired(event(1), spending("r0")), claimed(set(1, 0), 1, "r0", 0), ruled(tokenworker.GrantDead(failure(1))),
			},
			when: acquired(event(2), spending("r0")), want: tokenworker.Applied,
		}, {
			name:  "also when an event has ended the claim before",
			given: []step{acquired(event(1), spending("r0")), claimed(set(1, 0), 1, "r0", 0), disconnected(event(2)), refreshed(set(1, 0), 1, keepingTheToken)},
			when:  acquired(event(3), spending("r0")), want: tokenworker.Applied,
		}, {
			name:  "a new grant drops what waits for a revocation of its own token",
			given: []step{acquired(event(1), holding("r0")), disconnected(event(2))},
			when:  acquired(event(3), keeping, holding("r0")), want: tokenworker.Applied,
		}, {
			name:  "another token than the spent one is news",
			given: []step{acquired(event(1), spending("r0")), claimed(set(1, 0), 1, "r0", 0)},
			when:  acquired(event(2), spending("r1")), want: tokenworker.Applied,
		}, {
			name:  "no token is not a spent token",
			given: []step{acquired(event(1)), claimed(set(1, 0), 1, "", 0)},
			when:  acquired(event(2)), want: tokenworker.Applied,
		}, {
			name:  "an acquisition older than the disconnect is put on the revoke list",
			given: []step{disconnected(event(2))},
			when:  acquired(event(1)), want: tokenworker.Revoking,
		}, {
			name:  "an acquisition older than a newer grant, with a disconnect between, is revoked where that spares the grant",
			given: []step{disconnected(event(2)), acquired(event(3), keeping)},
			when:  acquired(event(1), keeping), want: tokenworker.Revoking,
		}, {
			name:  "and is stale where revoking it would kill the grant",
			given: []step{disconnected(event(2)), acquired(event(3))},
			when:  acquired(event(1)), want: tokenworker.Stale,
		}, {
			name:  "an acquisition between the disconnect and a newer grant is stale",
			given: []step{disconnected(event(1)), acquired(event(3), keeping)},
			when:  acquired(event(2), keeping), want: tokenworker.Stale,
		}, {
			name:  "the outbox repeat of a late acquisition changes nothing",
			given: []step{disconnected(event(2)), acquired(event(1))},
			when:  acquired(event(3, repeating(1))), want: tokenworker.Repeated,
		}, {
			name:  "a new grant drops what waits for a revocation that would kill it",
			given: []step{acquired(event(1)), disconnected(event(2))},
			when:  acquired(event(3)), want: tokenworker.Applied,
		}, {
			name:  "a new grant keeps what waits for a revocation that spares it",
			given: []step{acquired(event(1)), disconnected(event(2))},
			when:  acquired(event(3), keeping), want: tokenworker.Applied,
		}, {
			name:  "a new grant that is never due is due for the revocation that it keeps",
			given: []step{acquired(event(1)), disconnected(event(2))},
			when:  acquired(event(3), keeping, never), want: tokenworker.Applied,
		}, {
			name:  "a new grant that is never due and has nothing to keep stays so",
			given: []step{acquired(event(1))},
			when:  acquired(event(2), keeping, never), want: tokenworker.Applied,
		}, {
			name:  "a late acquisition finds a full revoke list",
			given: append(fullRevokeList(), disconnected(event(50))),
			when:  acquired(event(40)), want: tokenworker.Full,
		}, {
			name:  "a new grant waits while more is to be revoked than fits beside it",
			given: append(fullRevokeList(), acquired(event(9), keeping), disconnected(event(10))),
			when:  acquired(event(11), keeping), want: tokenworker.Full,
		}, {
			name:  "but not where what waits is dropped",
			given: append(fullRevokeList(), acquired(event(9), keeping), disconnected(event(10))),
			when:  acquired(event(11)), want: tokenworker.Applied,
		},
	})
}

// fullRevokeList leads to a disconnected record with MaxRevoke sets to revoke.
func fullRevokeList() []step {
	return []step{
		acquired(event(1)), disconnected(event(2)),
		acquired(event(3), keeping), disconnected(event(4)),
		acquired(event(5), keeping), disconnected(event(6)),
		acquired(event(7), keeping), disconnected(event(8)),
	}
}
