package tokenworker

import (
	"cmp"
	"time"
)

// codeErased is why a tombstone's sets were not revoked when no attempt to revoke them gave a reason.
const codeErased = "erased"

// Erasing is the rule that ends the wait for revocations of a record which an erasure at the stamp has disconnected: a
// tombstone is left, which the store may forget at remove. What is newer than the erasure is left alone. The error is
// [ErrFenced] while a set is due that was never tried, or an attempt is under way; at no time, if now is zero.
func Erasing(at Stamp, now, remove time.Time) Rule {
	return func(r *Record) (Record, Verdict, error) {
		if r == nil {
			return Record{}, Stale, nil
		}
		if r.Status != Disconnecting || r.Stamp.Compare(at) > 0 {
			return *r, Stale, nil
		}
		next := r.tombstone(remove)
		if len(r.Revoke) > 0 {
			if !now.IsZero() && (!r.RevokeAt.After(now) || r.Revoking != nil && now.Before(r.Revoking.Until)) {
				return *r, 0, ErrFenced
			}
			next.FailureCode = cmp.Or(r.FailureCode, codeErased)
		}
		if len(next.Owed) > 0 { // DueWhileOwed
			next.DueAt = r.RevokeAt
		}
		return next, Applied, nil
	}
}

// tombstone is the record without anything but what late events are measured against, and what is owed.
func (r *Record) tombstone(remove time.Time) Record {
	return Record{
		Key: r.Key, Status: Disconnected, Fence: r.Fence, Entered: r.Entered, Disconnected: r.Disconnected,
		Siblings: r.Siblings, Seen: r.Seen, Spent: r.Spent, Owed: r.Owed, RemoveAt: remove, Revision: r.Revision,
	}
}
