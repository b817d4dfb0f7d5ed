package tokenworker

import "time"

// Rule decides what a record becomes. It is a pure function of the record (nil: there is none), which it does not change;
// a store may ask it several times, each time about the record as it is by then, and makes only its last answer true. With
// an error nothing is written.
type Rule func(*Record) (Record, Verdict, error)

// Claiming is the rule of [Record.TakeClaim].
func Claiming(from Fence, c Claim, spends Fingerprint, replaces AttemptID) Rule {
	return func(r *Record) (Record, Verdict, error) {
		next, err := r.TakeClaim(from, c, spends, replaces)
		return next, Applied, err
	}
}

// Committing is the rule of [Record.Commit].
func Committing(f *Refresh) Rule {
	return func(r *Record) (Record, Verdict, error) {
		next, v := r.Commit(f)
		return next, v, nil
	}
}

// Failure is how an attempt ended that brought no new token set.
type Failure struct {
	Attempt AttemptID
	Code    string
	DueAt   time.Time // when the record should be looked at again
	Owed    *Owed
}

// NothingSpent is the rule for an attempt that did not spend the token: its request was not written, or was definitely
// refused for another reason than the grant (ReleaseOnlyRefused). The claim is given back; that of a last resort stays,
// because the attempt before it is as unresolved as it was.
func NothingSpent(f Failure) Rule {
	return failing(f, func(next *Record) {
		if !next.Claim.LastResort {
			next.Claim = nil
		}
	})
}

// Unresolved is the rule for an attempt of which nobody knows whether it spent the token. The claim stays, and frees nobody
// by expiring.
func Unresolved(f Failure) Rule { return failing(f, func(*Record) {}) }

// GrantDead is the rule for a definite refusal of the grant (invalid_grant). It counts only while the attempt still holds the
// claim, so that no other attempt is unresolved and the token set has not moved. The set is kept, never served, to be
// revoked by a later disconnect.
func GrantDead(f Failure) Rule {
	return failing(f, func(next *Record) { next.Status, next.Claim = ReauthRequired, nil })
}

func failing(f Failure, end func(next *Record)) Rule {
	return func(r *Record) (Record, Verdict, error) {
		if r == nil {
			return Record{}, Stale, nil
		}
		if r.Status != Active || r.Claim == nil || r.Claim.Attempt != f.Attempt {
			return *r, Stale, nil
		}
		next := *r
		next.fail(f)
		next.lookAgain(f.DueAt)
		end(&next)
		return next, Applied, nil
	}
}

// Expiring is the rule for a set that cannot be refreshed and whose time is up.
func Expiring(from Fence, f Failure) Rule {
	return func(r *Record) (Record, Verdict, error) {
		if r == nil {
			return Record{}, Stale, nil
		}
		if r.Fence != from || r.Status != Active || r.Claim != nil {
			return *r, Stale, nil
		}
		next := *r
		next.fail(f)
		next.lookAgain(f.DueAt)
		next.Status = ReauthRequired
		return next, Applied, nil
	}
}

// Postponing is the rule for a record that could not be attempted at all, and must not be found due again at once ahead of
// those that can be helped. What is due for nothing any more does not become due by it. Without a code nothing has failed:
// another attempt holds the record.
func Postponing(from Fence, f Failure) Rule {
	return func(r *Record) (Record, Verdict, error) {
		if r == nil {
			return Record{}, Stale, nil
		}
		if r.Fence != from || r.Status != Active && !r.mustRevoke() {
			return *r, Stale, nil
		}
		next := *r
		if f.Code != "" {
			next.fail(f)
		}
		next.DueAt = f.DueAt
		return next, Applied, nil
	}
}

// lookAgain makes the record due at a time (zero: never), but never later than what waits for revocation already is.
func (r *Record) lookAgain(at time.Time) {
	if r.RevokeAt.IsZero() || !at.IsZero() && at.Before(r.DueAt) {
		r.DueAt = at
	}
}

// mustRevoke reports whether there is a revocation to end.
func (r *Record) mustRevoke() bool { return !r.RevokeAt.IsZero() || r.Status == Disconnecting }

// fail counts a failure.
func (r *Record) fail(f Failure) {
	r.Failures, r.FailureCode = r.Failures+1, f.Code
	if f.Owed != nil {
		r.Owed = f.Owed
	}
}

// Announced is the rule that crosses off what was owed. A record that is due for nothing else, because nothing is to be
// refreshed or revoked, is due at dueAt from then on (zero: never).
func Announced(o Owed, dueAt time.Time) Rule {
	return func(r *Record) (Record, Verdict, error) {
		if r == nil {
			return Record{}, Stale, nil
		}
		if r.Owed == nil || r.Owed.Attempt != o.Attempt {
			return *r, Stale, nil
		}
		next := *r
		next.Owed = nil
		if r.Status != Active && !r.mustRevoke() {
			next.DueAt = dueAt
		}
		return next, Applied, nil
	}
}

// ClaimRevocations is the rule for a claim to revoke what waits for it. Unlike a claim to refresh it may be taken over once
// it has expired: revoking twice is harmless. The error is [ErrFenced].
func ClaimRevocations(c Claim, now time.Time) Rule {
	return func(r *Record) (Record, Verdict, error) {
		if r == nil || !r.mustRevoke() {
			return Record{}, 0, ErrFenced
		}
		if r.Revoking != nil && r.Revoking.Attempt != c.Attempt && now.Before(r.Revoking.Until) {
			return Record{}, 0, ErrFenced
		}
		next := *r
		next.Revoking = &c
		return next, Applied, nil
	}
}

// Revocation is how an attempt to revoke ended.
type Revocation struct {
	Attempt AttemptID
	Done    [][]byte  // the sealed sets that need no further attempt: revoked, or given up
	Code    string    // why the rest remains; empty: nothing remains
	DueAt   time.Time // when to look again, at what remains or for what is owed
	Refresh time.Time // when an active record is due, if nothing remains
	Remove  time.Time // when the store may forget the tombstone
	Owed    *Owed
}

// Revoked is the rule for the end of an attempt to revoke. A record that is disconnecting and has nothing left to revoke
// becomes a tombstone without secrets. The set of an active one may have died with what was revoked, also where the record
// had dropped that meanwhile: it is due at Refresh.
func Revoked(v Revocation) Rule {
	return func(r *Record) (Record, Verdict, error) {
		if r == nil {
			return Record{}, Stale, nil
		}
		if r.Status == Disconnected {
			return *r, Repeated, nil
		}
		next := *r
		next.Revoke = without(r.Revoke, v.Done)
		if r.Revoking != nil && r.Revoking.Attempt == v.Attempt {
			next.Revoking = nil
		}
		if v.Owed != nil {
			next.Owed = v.Owed
		}
		switch {
		case len(next.Revoke) > 0:
			next.Failures, next.FailureCode, next.DueAt = r.Failures+1, v.Code, v.DueAt
		case r.Status == Active:
			next.RevokeAt, next.DueAt = time.Time{}, v.Refresh
		case r.Status == ReauthRequired:
			next.RevokeAt, next.DueAt = time.Time{}, v.DueAt
		case r.Status == Disconnecting:
			next = Record{
				Key: r.Key, Status: Disconnected, Fence: r.Fence, Entered: r.Entered, Disconnected: r.Disconnected,
				DueAt: v.DueAt, Seen: r.Seen, Spent: r.Spent, FailureCode: v.Code, Owed: next.Owed, RemoveAt: v.Remove,
				Revision: r.Revision,
			}
		}
		return next, Applied, nil
	}
}

// without returns the blobs that are not among those done.
func without(blobs, done [][]byte) [][]byte {
	var rest [][]byte
	for _, b := range blobs {
		if !contains(done, b) {
			rest = append(rest, b)
		}
	}
	return rest
}

// Warning is the rule for a set that cannot be refreshed and whose end is near: it is due again at its end. It is given
// once.
func Warning(from Fence, end time.Time, o *Owed) Rule {
	return func(r *Record) (Record, Verdict, error) {
		if r == nil {
			return Record{}, Stale, nil
		}
		if r.Fence != from || r.Status != Active {
			return *r, Stale, nil
		}
		next := *r
		next.lookAgain(end)
		if r.Warned {
			return next, Repeated, nil
		}
		next.Warned, next.Owed = true, o
		return next, Applied, nil
	}
}
