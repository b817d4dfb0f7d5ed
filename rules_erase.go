package tokenworker

import (
	"cmp"
	"time"
)

// codeErased is why a tombstone's sets were not revoked when no attempt to revoke them gave a reason.
const codeErased = "erased"

// Erasing is the rule that ends the wait for revocations of what an erasure at the stamp is about: a record that it has
// disconnected becomes a tombstone, which the store may forget at remove. Of a record that is newer it drops the sets that
// older tells by how they are sealed (nil: none): a later disconnect that only they wait for ends in a tombstone too, and
// another forgets whose grant it was; a newer grant is left alone. The error is [ErrFenced] while a set to drop is due that
// was never tried, or an attempt is under way; at no time, if now is zero.
func Erasing(at Stamp, older func(sealed []byte) bool, now, remove time.Time) Rule {
	return ofRecord(func(r *Record) (Record, Verdict, error) {
		var kept []Listed // what is newer
		if r.Stamp.Compare(at) > 0 {
			if older == nil {
				return *r, Stale, nil
			}
			kept = removed(r.Revoke, func(l Listed) bool { return older(l.Sealed) })
		} else if r.live() {
			return *r, Stale, nil
		}
		drops := len(kept) < len(r.Revoke)
		if drops && !now.IsZero() && (!r.RevokeAt.After(now) || r.Revoking != nil && now.Before(r.Revoking.Until)) {
			return *r, 0, ErrFenced
		}
		if !drops && r.Status != Disconnecting {
			return *r, Stale, nil
		}
		return r.erased(kept, remove), Applied, nil
	})
}

// erased is the record after an erasure that has kept these of the sets which wait for their revocation.
func (r *Record) erased(kept []Listed, remove time.Time) Record {
	if r.Status == Disconnecting && len(kept) == 0 {
		next := r.givenUp(remove)
		if len(r.Revoke) > 0 {
			next.FailureCode = cmp.Or(r.FailureCode, codeErased)
		}
		return next
	}
	next := *r
	next.Revoke = kept
	if r.Status == Disconnecting {
		next.Details = Details{}
	}
	if len(kept) == 0 {
		next.Revoking, next.RevokeAt, next.RevokeSince = nil, time.Time{}, time.Time{}
	}
	if len(next.Owed) > 0 && next.Due().IsZero() { // DueWhileOwed
		next.DueAt = r.RevokeAt
	}
	return next
}

// givenUp is the tombstone of a record whose revocations are waited for no more.
func (r *Record) givenUp(remove time.Time) Record {
	next := r.tombstone(remove)
	if len(next.Owed) > 0 { // DueWhileOwed
		next.DueAt = r.RevokeAt
	}
	return next
}

// tombstone is the record without anything but what late events are measured against, and what is owed.
func (r *Record) tombstone(remove time.Time) Record {
	return Record{
		Key: r.Key, Status: Disconnected, Fence: r.Fence, Entered: r.Entered, Disconnected: r.Disconnected,
		Siblings: r.Siblings, Seen: r.Seen, Acquired: r.Acquired, Spent: r.Spent, Attempts: r.Attempts, Owed: r.Owed,
		RemoveAt: remove, Revision: r.Revision,
	}
}
