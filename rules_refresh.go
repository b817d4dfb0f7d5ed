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
	return failing(f, untouched, func(next *Record, at Attempt) {
		if !next.Claim.LastResort {
			next.Claim = nil
		} else if at.ID == f.Attempt {
			next.attempt(at)
		}
	})
}

// Unclaimed is the rule for an attempt whose claim was not answered, and with which nothing was posted, nor ever will be. A
// claim that has arrived makes room for the one that it has taken over (Restore), that of an attempt which is as unresolved as
// it was; before is nil where there was none. A claim that may still arrive cannot do so any more once the failure is written:
// it is written on the condition that the record is as it was read (Settle).
func Unclaimed(from Fence, f Failure, before *Claim) Rule {
	giveBack := failing(f, untouched, func(next *Record, at Attempt) {
		next.Claim = before
		if before != nil && at.ID == f.Attempt {
			next.attempt(Attempt{ID: before.Attempt, Token: at.Token, Until: before.Until})
		}
	})
	return ofRecord(func(r *Record) (Record, Verdict, error) {
		next, v, err := giveBack(r)
		if v == Stale && r.Fence == from && r.Status == Active && r.Claim.attempt() == before.attempt() {
			next.fail(f)
			return next, Applied, nil
		}
		return next, v, err
	})
}

// Unresolved is the rule for an attempt of which nobody knows whether it spent the token. The claim stays, and frees nobody
// by expiring.
func Unresolved(f Failure) Rule {
	return failing(f, unknown, func(next *Record, at Attempt) {
		if at.ID == f.Attempt {
			next.attempt(at) // its claim stands
		}
	})
}

// GrantDead is the rule for a definite refusal of the grant (invalid_grant). It counts only while the attempt still holds the
// claim, so that no other attempt is unresolved and the token set has not moved. The set is kept, never served, to be
// revoked by a later disconnect.
func GrantDead(f Failure) Rule {
	return failing(f, untouched, func(next *Record, _ Attempt) { next.Status, next.Claim = ReauthRequired, nil })
}

// GivenUp is the rule for a set whose last resort was never answered: it ends as a dead grant's does. All its attempts stay
// unresolved, so its token stays among those that may be spent.
func GivenUp(claim AttemptID, f Failure) Rule {
	return ofRecord(func(r *Record) (Record, Verdict, error) {
		if r.Status != Active || !r.claimedBy(claim) {
			return *r, Stale, nil
		}
		next := *r
		next.fail(f)
		next.Status, next.Claim = ReauthRequired, nil
		return next, Applied, nil
	})
}

// failing is the rule for an attempt that brought nothing. What it left of its token counts even where an event has ended its
// claim meanwhile (AfterClaim); the rest only while it holds the claim.
func failing(f Failure, how ending, end func(next *Record, at Attempt)) Rule {
	return ofRecord(func(r *Record) (Record, Verdict, error) {
		next := *r
		at := next.end(f.Attempt, how)
		if r.Status != Active || !r.claimedBy(f.Attempt) {
			return next, Stale, nil
		}
		next.fail(f)
		end(&next, at)
		return next, Applied, nil
	})
}

// claimedBy reports whether the attempt holds the claim.
func (r *Record) claimedBy(id AttemptID) bool { return r.Claim != nil && r.Claim.Attempt == id }

// attempt is the claim's; zero: there is no claim.
func (c *Claim) attempt() AttemptID {
	if c == nil {
		return AttemptID{}
	}
	return c.Attempt
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

// without returns the sets that are not among those done.
func without(sets []Listed, done [][]byte) []Listed {
	return removed(sets, func(l Listed) bool { return contains(done, l.Sealed) })
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
