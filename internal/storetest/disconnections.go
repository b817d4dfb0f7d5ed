package storetest

import (
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

func testDisconnections(t *testing.T, store Store) {
	run(t, store, []situation{
		{
			name: "a disconnect that comes first leaves a record to measure late events against",
			when: disconnected(event(1)), want: tokenworker.Applied,
		}, {
			name:  "a disconnect moves the set to the revoke list",
			given: []step{acquired(event(1))},
			when:  disconnected(event(2)), want: tokenworker.Applied,
		}, {
			name:  "a disconnect ends a claim",
			given: []step{acquired(event(1)), claimed(set(1, 0), 1, "r0", 0)},
			when:  disconnected(event(2)), want: tokenworker.Applied,
		}, {
			name:  "a disconnect forgets failures and keeps what is owed",
			given: []step{acquired(event(1)), ruled(tokenworker.Warning(set(1, 0), start.Add(time.Hour), owed(1, "expiring"))), failed(1)},
			when:  disconnected(event(2)), want: tokenworker.Applied,
		}, {
			name:  "a disconnect leaves a revocation under way alone",
			given: []step{acquired(event(1)), disconnected(event(2)), acquired(event(3), keeping), revoking(1, 0)},
			when:  disconnected(event(4)), want: tokenworker.Applied,
		}, {
			name:  "a disconnect takes the set of the last refresh",
			given: []step{acquired(event(1)), refreshed(set(1, 0), 1)},
			when:  disconnected(event(2)), want: tokenworker.Applied,
		}, {
			name:  "a second disconnect moves the stamp and has no set to move",
			given: []step{acquired(event(1)), disconnected(event(2))},
			when:  disconnected(event(3)), want: tokenworker.Applied,
		}, {
			name:  "a disconnect of a new grant joins what still waits for revocation",
			given: []step{acquired(event(1)), disconnected(event(2)), acquired(event(3), keeping)},
			when:  disconnected(event(4)), want: tokenworker.Applied,
		}, {
			name:  "a disconnect of a new grant does not wait for the next try of an older revocation",
			given: []step{acquired(event(1)), disconnected(event(2)), acquired(event(3), keeping), revoking(1, 0), tried(1)},
			when:  disconnected(event(4)), want: tokenworker.Applied,
		}, {
			name:  "a redelivery changes nothing",
			given: []step{acquired(event(1)), disconnected(event(2))},
			when:  disconnected(event(2)), want: tokenworker.Repeated,
		}, {
			name:  "an outbox repeat does not end a grant that came between",
			given: []step{acquired(event(1)), disconnected(event(2)), acquired(event(3))},
			when:  disconnected(event(4, repeating(2))), want: tokenworker.Repeated,
		}, {
			name:  "the outbox repeat of a stale disconnect changes nothing",
			given: []step{acquired(event(3)), disconnected(event(2))},
			when:  disconnected(event(4, repeating(2))), want: tokenworker.Repeated,
		}, {
			name:  "a disconnect older than the grant is stale but raises the stamp of the last disconnect",
			given: []step{acquired(event(3))},
			when:  disconnected(event(2)), want: tokenworker.Stale,
		}, {
			name:  "a disconnect older than the last one is stale and raises nothing",
			given: []step{acquired(event(1)), disconnected(event(4))},
			when:  disconnected(event(3)), want: tokenworker.Stale,
		}, {
			name:  "an acquisition older than a stale disconnect is revoked where that spares the grant",
			given: []step{acquired(event(3), keeping), disconnected(event(2))},
			when:  acquired(event(1), keeping), want: tokenworker.Revoking,
		}, {
			name:  "a full revoke list does not keep the current set in service",
			given: append(fullRevokeList(), acquired(event(9), keeping)),
			when:  disconnected(event(10)), want: tokenworker.Applied,
		}, {
			name:  "a full revoke list does not mind a disconnect without a set",
			given: fullRevokeList(),
			when:  disconnected(event(9)), want: tokenworker.Applied,
		},
	})
}
