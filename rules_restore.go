package tokenworker

import (
	"cmp"
	"slices"
	"time"
)

// Remembering is the rule that puts back ids which the record of k has forgotten, because its store was restored to an earlier
// time. Should there be more than it has room for, the oldest are left out.
func Remembering(ids []EventID) Rule {
	return ofRecord(func(r *Record) (Record, Verdict, error) {
		next, verdict := *r, Stale
		next.Seen = slices.Clip(r.Seen)
		for _, id := range ids {
			if !slices.Contains(next.Seen, id) {
				next.Seen, verdict = append(next.Seen, id), Applied
			}
		}
		if len(next.Seen) > MaxSeen {
			slices.SortStableFunc(next.Seen, func(a, b EventID) int { return cmp.Compare(b.Time, a.Time) })
			next.Seen = next.Seen[:MaxSeen]
		}
		return next, verdict, nil
	})
}

// Leaving is the rule for a set that is on record as ended at its provider, which happens under the set's own stamp ([Ended]):
// it is disconnected, whatever is under way, and what there is to revoke is due at a time.
func Leaving(at Stamp, due time.Time) Rule {
	return ofRecord(func(r *Record) (Record, Verdict, error) {
		if r.Stamp != at || !r.live() {
			return *r, Stale, nil
		}
		return r.disconnected(at, r.Entered, due), Applied, nil
	})
}

// Unsettling is the rule for a set whose refresh token may have been spent since the time to which its store was restored:
// it is claimed as an attempt that ended at c.Until and of which nobody knows the outcome. An attempt that is unresolved
// already stays.
func Unsettling(from Fence, c Claim, spends Fingerprint) Rule {
	return func(r *Record) (Record, Verdict, error) {
		next, err := r.TakeClaim(from, c, spends, AttemptID{})
		if err == nil {
			return next, Applied, nil
		}
		if r == nil {
			return Record{}, Stale, nil
		}
		return *r, Stale, nil
	}
}

// Superseding is the rule for a set whose refresh token must not be posted because a newer set, which its store has lost, is on
// record: it is kept like that of a dead grant, never served, to be revoked by a later disconnect.
func Superseding(from Fence, f Failure, spends Fingerprint) Rule {
	return ofRecord(func(r *Record) (Record, Verdict, error) {
		if r.Fence != from || r.Status != Active {
			return *r, Stale, nil
		}
		next := *r
		next.fail(f)
		next.Status, next.Claim = ReauthRequired, nil
		next.keepSpent(spends)
		return next, Applied, nil
	})
}

// Sparing is the rule for what was disconnected at the stamp, where revoking its sets could end a newer grant, which its store
// has lost: a tombstone is left.
func Sparing(at Stamp, remove time.Time) Rule {
	return ofRecord(func(r *Record) (Record, Verdict, error) {
		if r.Status != Disconnecting || r.Stamp != at {
			return *r, Stale, nil
		}
		return r.givenUp(remove), Applied, nil
	})
}
