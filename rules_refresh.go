package tokenworker

import (
	"slices"
	"time"
)

// Rule decides what a record becomes. It is a pure function of the record (nil: there is none), which it does not change;
// a store may ask it several times, each time about the record as it is by then, and makes only its last answer true. With
// an error nothing is written.
type Rule func(*Record) (Record, Verdict, error)

// ofRecord is a rule about a connection that has a record. Where there is none, it does nothing.
func ofRecord(rule Rule) Rule {
	return func(r *Record) (Record, Verdict, error) {
		if r == nil {
			return Record{}, Stale, nil
		}
		return rule(r)
	}
}

// Claiming is the rule of [Record.TakeClaim]. It also crosses off what is announced.
func Claiming(from Fence, c Claim, spends Fingerprint, replaces AttemptID, announced ...AttemptID) Rule {
	return func(r *Record) (Record, Verdict, error) {
		next, err := r.TakeClaim(from, c, spends, replaces)
		if err == nil {
			next.tell(announced)
		}
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

// GivenUp is the rule for a set whose last resort was never answered: it ends as a dead grant's does. All its attempts stay
// unresolved, so its token stays among those that may be spent.
func GivenUp(claim AttemptID, f Failure) Rule {
	return ofRecord(func(r *Record) (Record, Verdict, error) {
		if r.Status != Active || r.Claim == nil || r.Claim.Attempt != claim {
			return *r, Stale, nil
		}
		next := *r
		next.fail(f)
		next.Status, next.Claim = ReauthRequired, nil
		return next, Applied, nil
	})
}

func failing(f Failure, end func(next *Record)) Rule {
	return ofRecord(func(r *Record) (Record, Verdict, error) {
		if r.Status != Active || r.Claim == nil || r.Claim.Attempt != f.Attempt {
			return *r, Stale, nil
		}
		next := *r
		next.fail(f)
		end(&next)
		return next, Applied, nil
	})
}

// Expiring is the rule for a set that cannot be refreshed and whose time is up.
func Expiring(from Fence, f Failure) Rule {
	return ofRecord(func(r *Record) (Record, Verdict, error) {
		if r.Fence != from || r.Status != Active || r.Claim != nil {
			return *r, Stale, nil
		}
		next := *r
		next.fail(f)
		next.Status = ReauthRequired
		return next, Applied, nil
	})
}

// Postponing is the rule for a set that could not be attempted at all, and must not be found due again at once ahead of
// those that can be helped. Without a code nothing has failed: the set is not due before that time.
func Postponing(from Fence, f Failure) Rule {
	return ofRecord(func(r *Record) (Record, Verdict, error) {
		if r.Fence != from || r.Status != Active {
			return *r, Stale, nil
		}
		next := *r
		if f.Code == "" {
			next.DueAt = f.DueAt
		} else {
			next.fail(f)
		}
		return next, Applied, nil
	})
}

// Hastening is the rule for a set that somebody asks to be refreshed and that cannot be at once: it is due at the given time.
// One that has failed, or that an attempt holds, is due by itself, and back-off is kept. So is one that may still have to be
// checked after a disconnect, which is due by checked: refreshed before that, it would not be checked (CheckReturn).
func Hastening(from Fence, at, checked time.Time) Rule {
	return ofRecord(func(r *Record) (Record, Verdict, error) {
		toCheck := !r.Disconnected.IsZero() && !r.DueAt.IsZero() && !r.DueAt.After(checked)
		if r.Fence != from || r.Status != Active || r.Claim != nil || r.Failures > 0 || toCheck {
			return *r, Stale, nil
		}
		next := *r
		next.DueAt = earlier(r.DueAt, at)
		return next, Applied, nil
	})
}

// fail counts a failure.
func (r *Record) fail(f Failure) {
	r.Failures, r.FailureCode, r.DueAt = r.Failures+1, f.Code, f.DueAt
	r.owe(f.Owed)
}

// Announced is the rule that crosses off what the writes of these attempts owed. Without a set to refresh, a record that owes
// nothing more is then due for its revocations alone.
func Announced(attempts ...AttemptID) Rule {
	return ofRecord(func(r *Record) (Record, Verdict, error) {
		if !slices.ContainsFunc(attempts, r.Owes) {
			return *r, Stale, nil
		}
		next := *r
		next.tell(attempts)
		if r.Status != Active && len(next.Owed) == 0 {
			next.DueAt = time.Time{}
		}
		return next, Applied, nil
	})
}

// ClaimRevocations is the rule for a claim to revoke what waits for it. Unlike a claim to refresh it may be taken over once
// it has expired: revoking twice is harmless. It also crosses off what is announced. The error is [ErrFenced].
func ClaimRevocations(c Claim, now time.Time, announced ...AttemptID) Rule {
	return func(r *Record) (Record, Verdict, error) {
		if r == nil || r.RevokeAt.IsZero() {
			return Record{}, 0, ErrFenced
		}
		if r.Revoking != nil && r.Revoking.Attempt != c.Attempt && now.Before(r.Revoking.Until) {
			return Record{}, 0, ErrFenced
		}
		next := *r
		next.Revoking = &c
		next.tell(announced)
		return next, Applied, nil
	}
}

// Revocation is how an attempt to revoke ended.
type Revocation struct {
	Attempt AttemptID
	Done    [][]byte  // the sealed sets that need no further attempt: revoked, or given up
	Left    [][]byte  // those that need one
	Code    string    // why; empty: none is left
	RetryAt time.Time // when to try them again
	DueAt   time.Time // when to look at what is owed
	Remove  time.Time // when the store may forget the tombstone
	Owed    *Owed
}

// Revoked is the rule for the end of an attempt to revoke. What joined the list meanwhile is due as it was. A record that is
// disconnecting and has nothing left to revoke becomes a tombstone without secrets; a set beside it keeps its own due time.
func Revoked(v Revocation) Rule {
	return ofRecord(func(r *Record) (Record, Verdict, error) {
		if r.Status == Disconnected {
			return *r, Repeated, nil
		}
		next := *r
		next.Revoke = without(r.Revoke, v.Done) // RemoveDone
		if r.Revoking != nil && r.Revoking.Attempt == v.Attempt {
			next.Revoking = nil
		}
		next.owe(v.Owed)
		switch {
		case len(next.Revoke) > 0: // DueAgain
			if len(without(next.Revoke, v.Left)) == 0 {
				next.RevokeAt = v.RetryAt
			}
			if r.Status == Disconnecting && len(v.Left) > 0 {
				next.Failures, next.FailureCode = r.Failures+1, v.Code
			}
		case r.Status == Disconnecting:
			owed := next.Owed
			next = r.tombstone(v.Remove)
			next.FailureCode, next.Owed = v.Code, owed
		default:
			next.RevokeAt, next.RevokeSince = time.Time{}, time.Time{}
		}
		if len(next.Owed) > 0 && next.Due().IsZero() { // DueWhileOwed
			next.DueAt = v.DueAt
		}
		return next, Applied, nil
	})
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
	return ofRecord(func(r *Record) (Record, Verdict, error) {
		if r.Fence != from || r.Status != Active {
			return *r, Stale, nil
		}
		next := *r
		next.DueAt = end
		if r.Warned {
			return next, Repeated, nil
		}
		next.Warned = true
		next.owe(o)
		return next, Applied, nil
	})
}
