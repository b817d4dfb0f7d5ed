package tokenworker

import "time"

// The rules of connections to one company in several organizations, which a disconnect of any of them ends at the provider.
// docs/model/Siblings.tla checks them.

// Mark is a disconnect as it reaches a sibling.
type Mark struct {
	Stamp    Stamp     // of the disconnect
	Entered  time.Time // when it entered the stream
	RevokeAt time.Time // when the index shows whatever a revocation could end
	Remove   time.Time // when the store may forget a tombstone
	Owed     *Owed
}

// Marking is the rule for a sibling of a connection that was disconnected: if it is older than the disconnect, it is
// disconnected too, under the same stamp (ByStamp).
func Marking(m Mark) Rule {
	return ofRecord(func(r *Record) (Record, Verdict, error) {
		if r.Stamp.Compare(m.Stamp) >= 0 {
			return *r, Stale, nil
		}
		if r.Status == Disconnected { // nothing to stop, but late events are measured against the stamp
			next := *r
			next.Fence, next.Entered, next.Disconnected = Fence{Stamp: m.Stamp}, m.Entered, m.Stamp
			next.RemoveAt = m.Remove
			next.toldOf(m)
			return next, Applied, nil
		}
		next := r.disconnected(m.Stamp, m.Entered, m.RevokeAt)
		next.toldOf(m)
		next.owe(m.Owed)
		return next, Applied, nil
	})
}

// toldOf notes a sibling's disconnect, for acquisitions that look back. Work that is left is about it from now on.
func (r *Record) toldOf(m Mark) {
	told := Siblings{Stamp: m.Stamp, Entered: m.Entered}
	if r.Siblings != nil {
		told.At, told.Until, told.Ask = r.Siblings.At, r.Siblings.Until, r.Siblings.Ask
	}
	r.Siblings = &told
}

// Marked is the rule for the end of a look for siblings. The work is done, unless there is a time to look again (zero: there
// is none). Work that was left meanwhile stays.
func Marked(work Siblings, again time.Time) Rule {
	return ofRecord(func(r *Record) (Record, Verdict, error) {
		if r.Siblings == nil || r.Siblings.Stamp != work.Stamp || r.Siblings.Ask != work.Ask {
			return *r, Stale, nil
		}
		next, s := *r, *r.Siblings
		s.At, s.Ask = again, s.Ask && !again.IsZero()
		next.Siblings = &s
		return next, Applied, nil
	})
}

// Checking is the rule for a set that a revocation elsewhere may have ended: it is due by the given time.
func Checking(from Fence, at time.Time) Rule {
	return ofRecord(func(r *Record) (Record, Verdict, error) {
		if r.Fence != from || r.Status != Active {
			return *r, Stale, nil
		}
		next := *r
		next.DueAt = earlier(r.DueAt, at)
		return next, Applied, nil
	})
}

// Ended is the rule for a set whose provider says that the connection was disconnected there: a tombstone is left, and the work
// of asking about siblings from asking.At on, beside what a disconnect has left (asking.At zero: there are none to ask about).
func Ended(from Fence, remove time.Time, o *Owed, dueAt time.Time, asking Siblings) Rule {
	return ofRecord(func(r *Record) (Record, Verdict, error) {
		if r.Fence != from || r.Status != Active || r.Claim != nil || len(r.Revoke) > 0 {
			return *r, Stale, nil
		}
		next := r.tombstone(remove)
		if !asking.At.IsZero() {
			work := Siblings{At: asking.At, Until: asking.Until, Ask: true}
			if r.Siblings != nil {
				work.Stamp, work.Entered = r.Siblings.Stamp, r.Siblings.Entered
			}
			next.Siblings = &work
		}
		next.owe(o)
		next.DueAt = dueAt
		return next, Applied, nil
	})
}
