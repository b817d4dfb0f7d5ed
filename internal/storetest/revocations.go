package storetest

import (
	"bytes"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

// revoking is an attempt to revoke what waits for it, made so long after the start.
func revoking(attempt byte, since time.Duration) *updating {
	c := claim(attempt)
	c.At, c.Until = c.At.Add(since), c.Until.Add(since)
	return ruled(tokenworker.ClaimRevocations(c, start.Add(since)))
}

// revoked is the end of attempt 1 to revoke, in which the sets of the acquisitions at these sequences were done with.
func revoked(done ...uint64) *updating {
	v := tokenworker.Revocation{
		Attempt: tokenworker.AttemptID{1}, Code: "temporarily_unavailable", RetryAt: start.Add(2 * time.Hour),
		DueAt: start.Add(time.Hour), Remove: start.Add(90 * 24 * time.Hour), Owed: owed(1, "revoked"),
	}
	for _, seq := range done {
		v.Done = append(v.Done, acquired(event(seq)).Sealed)
	}
	return ruled(tokenworker.Revoked(v))
}

// erasing is an erasure at sequence 2, which no longer waits.
func erasing() *updating {
	older := func(sealed []byte) bool { return bytes.Equal(sealed, acquired(event(1)).Sealed) }
	return ruled(tokenworker.Erasing(event(2).Stamp, older, start.Add(30*time.Minute), start.Add(90*24*time.Hour)))
}

// tried is the end of attempt 1 to revoke, in which the sets of the acquisitions at these sequences could not be revoked.
func tried(left ...uint64) *updating {
	v := tokenworker.Revocation{
		Attempt: tokenworker.AttemptID{1}, Code: "temporarily_unavailable", RetryAt: start.Add(2 * time.Hour), DueAt: start.Add(time.Hour),
	}
	for _, seq := range left {
		v.Left = append(v.Left, acquired(event(seq)).Sealed)
	}
	return ruled(tokenworker.Revoked(v))
}

func testRevocations(t *testing.T, store Store) {
	disconnectedOnce := []step{acquired(event(1)), disconnected(event(2))}
	twoWait := []step{acquired(event(1)), disconnected(event(3)), acquired(event(2)), revoking(1, 0)}
	kept := []step{acquired(event(1)), disconnected(event(2)), acquired(event(3), keeping), revoking(1, 0)}
	run(t, store, []situation{
		{
			name:  "what waits for revocation is claimed",
			given: disconnectedOnce,
			when:  revoking(1, 0), want: tokenworker.Applied,
		}, {
			name:  "a claim of revocations holds while it lasts",
			given: append(disconnectedOnce, revoking(1, 0)),
			when:  revoking(2, time.Minute-time.Second), err: tokenworker.ErrFenced,
		}, {
			name:  "and is taken over when it has expired",
			given: append(disconnectedOnce, revoking(1, 0)),
			when:  revoking(2, time.Minute), want: tokenworker.Applied,
		}, {
			name:  "nothing to revoke is not claimed",
			given: []step{acquired(event(1))},
			when:  revoking(1, 0), err: tokenworker.ErrFenced,
		}, {
			name: "nor is what is not there",
			when: revoking(1, 0), err: tokenworker.ErrFenced,
		}, {
			name:  "a disconnected record with everything revoked becomes a tombstone",
			given: append(disconnectedOnce, revoking(1, 0)),
			when:  revoked(1), want: tokenworker.Applied,
		}, {
			name:  "what could not be revoked remains, and is due at its next try",
			given: twoWait,
			when:  tried(1, 2), want: tokenworker.Applied,
		}, {
			name:  "a new grant beside it keeps its own due time",
			given: kept,
			when:  tried(1), want: tokenworker.Applied,
		}, {
			name:  "what was added meanwhile is due as it was",
			given: twoWait,
			when:  revoked(1), want: tokenworker.Applied,
		}, {
			name:  "what was added meanwhile remains",
			given: append(disconnectedOnce, revoking(1, 0), refreshed(set(1, 0), 2)),
			when:  revoked(1), want: tokenworker.Applied,
		}, {
			name:  "a new grant beside which everything is revoked keeps its due time",
			given: kept,
			when:  revoked(1), want: tokenworker.Applied,
		}, {
			name:  "a late acquisition wakes the tombstone",
			given: append(disconnectedOnce, revoking(1, 0), revoked(1)),
			when:  acquired(event(1, func(e *tokenworker.Event) { e.ID = event(77).ID })), want: tokenworker.Revoking,
		}, {
			name:  "a newer acquisition brings the tombstone back",
			given: append(disconnectedOnce, revoking(1, 0), revoked(1)),
			when:  acquired(event(3)), want: tokenworker.Applied,
		}, {
			name: "nothing is revoked of what is not there",
			when: revoked(1), want: tokenworker.Stale,
		}, {
			name:  "an erasure leaves a tombstone of what still waits",
			given: append(disconnectedOnce, revoking(1, 0), tried(1)),
			when:  erasing(), want: tokenworker.Applied,
		}, {
			name:  "but not before it was tried",
			given: disconnectedOnce,
			when:  erasing(), err: tokenworker.ErrFenced,
		}, {
			name:  "nor while it is",
			given: append(disconnectedOnce, revoking(1, 0), tried(1), revoking(2, 29*time.Minute+30*time.Second)),
			when:  erasing(), err: tokenworker.ErrFenced,
		}, {
			name:  "an erasure leaves the wait of a later disconnect alone, but for whose grant it was",
			given: append(disconnectedOnce, acquired(event(3)), disconnected(event(4))),
			when:  erasing(), want: tokenworker.Applied,
		}, {
			name:  "what only it would wait for goes at the erasure",
			given: append(disconnectedOnce, disconnected(event(3)), revoking(1, 0), tried(1)),
			when:  erasing(), want: tokenworker.Applied,
		}, {
			name:  "and from beside a newer grant",
			given: append(kept, tried(1)),
			when:  erasing(), want: tokenworker.Applied,
		}, {
			name:  "an erasure leaves a newer grant alone",
			given: append(disconnectedOnce, acquired(event(3))),
			when:  erasing(), want: tokenworker.Stale,
		}, {
			name: "nothing is erased of what is not there",
			when: erasing(), want: tokenworker.Stale,
		},
	})
}
