package tokenworker

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Event is what the store must know of any event.
type Event struct {
	Key     Key
	Stamp   Stamp
	Entered time.Time // when it entered the stream, by the stream's clock
	ID      EventID
}

// Acquisition is a token-acquired event, sealed and ready to be stored.
type Acquisition struct {
	Event
	Sealed []byte      // bound to Key and Fence{Stamp, 0}
	Token  Fingerprint // as in Record
	Details
	DueAt time.Time // when the rotator should look at it; zero: never

	// Spendable is the fingerprint of its refresh token, for providers that rotate; zero otherwise. A set whose token
	// was already spent is stale.
	Spendable Fingerprint

	// Over is the attempt at the refresh token of which the caller knows that it has ended without an answer: no process
	// holds it any more, and none waits in the rescue stream. Zero: the caller has not looked.
	Over AttemptID

	// KeepRevocations: revoking an older set at this provider reaches no further than that set's token or family, so
	// pending revocations stay. Otherwise they would kill the new grant and are dropped.
	KeepRevocations bool

	Retain int // among how many last sets of the connection this one is kept; 0: it is not

	// CheckAt is when no request of a revocation that was begun before this acquisition is stored can still arrive. Where
	// it could end the new grant, the set is due by then.
	CheckAt time.Time

	SiblingsUntil time.Time // as in Disconnection; a late acquisition shows that the disconnect has ended a grant
}

// Disconnection is a disconnect event.
type Disconnection struct {
	Event

	// SiblingsUntil is when the index shows all of the company's connections that are older than the disconnect, where the
	// provider ends them all; zero: it ends this one alone.
	SiblingsUntil time.Time
}

// Refresh is the outcome of a refresh, sealed and ready to be stored.
type Refresh struct {
	Key     Key
	From    Fence       // the set that was refreshed
	Sealed  []byte      // the new set, bound to Key and From.Next()
	Token   Fingerprint // of the new set, as in Record
	Kept    bool        // the provider's answer kept the refresh token
	Attempt AttemptID
	Details
	RefreshedAt     time.Time
	DueAt           time.Time
	KeepRevocations bool // as in Acquisition
	Retain          int  // as in Acquisition
	Warned          bool // it is announced that the grant ends soon
	Owed            *Owed
}

// Verdict is what an event or a refresh did to a record.
type Verdict uint8

// The verdicts.
const (
	Applied   Verdict = iota + 1 // the record now reflects it
	Repeated                     // seen before; nothing changed
	Stale                        // older than what the record reflects; its id is noted, the token set untouched
	Spent                        // brings back a refresh token that may be spent; noted like a stale one
	Undecided                    // an attempt at its refresh token may still end either way; nothing changed, to be tried again later
	Revoking                     // older than a disconnect: its token set was put on the revoke list
	Full                         // no room to remember it; nothing changed, to be tried again later
)

// String names the verdict for logs and metrics.
func (v Verdict) String() string {
	switch v {
	case Applied:
		return "applied"
	case Repeated:
		return "repeated"
	case Stale:
		return "stale"
	case Spent:
		return "spent"
	case Undecided:
		return "undecided"
	case Revoking:
		return "revoking"
	case Full:
		return "full"
	}
	return fmt.Sprintf("verdict(%d)", uint8(v))
}

// The rules below decide for every store. Each takes the record as it is (nil: there is none), which it does not
// change, and returns the record as it must become. docs/model/Connection.tla checks them; the names of its rules
// stand in the comments.

// Acquire decides on a token-acquired event.
func (r *Record) Acquire(a *Acquisition) (Record, Verdict, error) {
	if r == nil {
		r = &Record{Key: a.Key}
	}
	if slices.Contains(r.Seen, a.ID) {
		return *r, Repeated, nil
	}
	if r.mayBeSpent(a.Spendable) { // KeepSpent
		return r.spent(a)
	}
	if a.Stamp.Compare(r.Stamp) <= 0 {
		if a.Stamp.Compare(r.Disconnected) >= 0 {
			return r.note(&a.Event, Stale) // RememberStale
		}
		return r.late(a)
	}
	revoke := r.others(a.Token)
	if a.KeepRevocations && len(revoke) > MaxRevoke {
		return *r, Full, nil
	}
	next := Record{
		Key: r.Key, Status: Active, Fence: Fence{Stamp: a.Stamp}, Entered: a.Entered, Disconnected: r.Disconnected,
		Sealed: a.Sealed, Token: a.Token, Details: a.Details, DueAt: a.DueAt,
		Siblings: r.Siblings, // KeepWork
		Seen:     rememberNewer(r.Seen, &a.Event), Acquired: r.Acquired, Spent: r.Spent, Attempts: r.Attempts, Owed: r.Owed,
		AcquiredAt: time.Unix(a.ID.Time, 0), Revision: r.Revision,
		Retained: r.Retained || a.Retain > 0, Retain: a.Retain,
	}
	switch {
	case a.KeepRevocations:
		next.Revoking = r.Revoking
		if len(revoke) > 0 {
			next.Revoke, next.RevokeAt, next.RevokeSince = revoke, r.RevokeAt, r.RevokeSince
		}
		if len(revoke) < len(r.Revoke) { // the revocation of what is dropped may be on its way
			next.DueAt = earlier(next.DueAt, a.CheckAt)
		}
	case !r.Disconnected.IsZero(): // CheckReturn, CheckAfterEnd
		next.DueAt = earlier(next.DueAt, a.CheckAt)
	}
	if len(next.Owed) > 0 && next.Due().IsZero() { // DueWhileOwed
		next.DueAt = a.Entered
	}
	return next, Applied, nil
}

// late decides on an acquisition that is older than the last disconnect, which is now known to have ended a grant. It is
// revoked (RevokeLate), unless that would end a newer one.
func (r *Record) late(a *Acquisition) (Record, Verdict, error) {
	verdict := Revoking
	if r.spares(a.Token, a.KeepRevocations) {
		verdict = Stale
	}
	next, v, err := r.note(&a.Event, verdict)
	if v == Full || v == Revoking && len(r.Revoke) >= MaxRevoke {
		return *r, Full, err
	}
	next.leaveSiblings(r.Disconnected, r.Entered, a.Entered, a.SiblingsUntil)
	if v == Revoking {
		next.addRevoke(Listed{a.Sealed, a.Token}, a.Entered)
	}
	return next, v, err
}

// Disconnect decides on a disconnect event. Where there is nothing to revoke a tombstone is left at once. A full revoke list
// does not hold it up: the set only moves inside the record,
// and what would make the record larger (Acquire, Commit) waits until there is room.
func (r *Record) Disconnect(d *Disconnection) (Record, Verdict, error) {
	if r == nil {
		r = &Record{Key: d.Key}
	}
	if slices.Contains(r.Seen, d.ID) {
		return *r, Repeated, nil
	}
	if d.Stamp.Compare(r.Stamp) <= 0 {
		next, v, err := r.note(&d.Event, Stale)
		if v != Full && d.Stamp.Compare(r.Disconnected) > 0 {
			next.Disconnected = d.Stamp
			if r.revocable() {
				next.leaveSiblings(d.Stamp, d.Entered, d.Entered, d.SiblingsUntil)
			}
		}
		return next, v, err
	}
	next := r.disconnected(d.Stamp, d.Entered, d.Entered)
	next.Seen = rememberNewer(r.Seen, &d.Event)
	if !r.revocable() { // no sweep need find it
		remove := d.Entered.Add(TombstoneAge)
		if remove.Before(r.RemoveAt) {
			remove = r.RemoveAt
		}
		return next.givenUp(remove), Applied, nil
	}
	next.leaveSiblings(d.Stamp, d.Entered, d.Entered, d.SiblingsUntil)
	return next, Applied, nil
}

// disconnected is the record after a disconnect at the stamp, whose revocations are due at a time.
func (r *Record) disconnected(at Stamp, entered, due time.Time) Record {
	next := *r
	next.Status, next.Fence, next.Entered, next.Disconnected = Disconnecting, Fence{Stamp: at}, entered, at
	next.Claim = nil
	next.ExpiresAt, next.GrantExpiresAt = time.Time{}, time.Time{}
	next.Failures, next.FailureCode, next.Warned = 0, "", false
	if r.Sealed != nil {
		next.Sealed = nil
		next.addRevoke(Listed{r.Sealed, r.Token}, due)
	}
	next.Token, next.Rotated = Fingerprint{}, false
	next.waitsSince(due)
	next.DueAt, next.RemoveAt = time.Time{}, time.Time{}
	return next
}

// leaveSiblings notes a disconnect that has ended a grant, and with it those of siblings until the given time (zero: it has
// not), unless that or a later one is noted. Without a grant of its own nobody ends those of others (HeldOnly).
func (r *Record) leaveSiblings(at Stamp, entered, due, until time.Time) {
	if !until.IsZero() && (r.Siblings == nil || at.Compare(r.Siblings.Stamp) > 0) {
		ask := r.Siblings != nil && r.Siblings.Ask
		r.Siblings = &Siblings{Stamp: at, Entered: entered, At: due, Until: until, Ask: ask}
	}
}

// revocable reports whether the record holds anything that a disconnect ends.
func (r *Record) revocable() bool { return r.Sealed != nil || len(r.Revoke) > 0 }

// TakeClaim decides on a claim to refresh the set named by from, whose refresh token has the given fingerprint.
// Replaces names the unresolved attempt that a last resort takes over; zero for an ordinary claim. An expired claim frees
// nobody (ClaimExpires). The error is [ErrFenced] when the claim is lost.
func (r *Record) TakeClaim(from Fence, c Claim, spends Fingerprint, replaces AttemptID) (Record, error) {
	if r == nil || r.Status != Active || r.Fence != from {
		return Record{}, ErrFenced
	}
	if r.claimedBy(c.Attempt) {
		return *r, nil // taken already: the reply was lost
	}
	if r.Claim.attempt() != replaces {
		return Record{}, ErrFenced
	}
	next := *r
	next.Claim = &c
	next.spend(spends, c)
	return next, nil
}

// Commit decides on the outcome of a refresh. The fence is the token set and the status, not the claim: whoever holds
// the provider's answer may save it.
func (r *Record) Commit(f *Refresh) (Record, Verdict) {
	if r == nil {
		return Record{}, Stale
	}
	how := unknown
	if f.Kept {
		how = kept
	}
	ended := *r
	ended.end(f.Attempt, how)
	next, v := ended.commit(f)
	if v == Full {
		return *r, Full // it comes again
	}
	return next, v
}

func (r *Record) commit(f *Refresh) (Record, Verdict) {
	switch {
	case r.Fence == f.From && r.live():
		next := *r
		next.Status, next.Fence, next.Sealed, next.Details, next.Claim = Active, f.From.Next(), f.Sealed, f.Details, nil
		next.Token, next.Rotated = f.Token, r.Rotated || !f.Kept
		next.RefreshedAt, next.DueAt, next.Failures, next.FailureCode = f.RefreshedAt, f.DueAt, 0, ""
		next.owe(f.Owed)
		next.Warned = r.Warned || f.Warned
		next.Retained, next.Retain = r.Retained || f.Retain > 0, f.Retain
		if !f.KeepRevocations && !r.Disconnected.IsZero() && r.DueAt.After(f.RefreshedAt) {
			next.DueAt = earlier(r.DueAt, f.DueAt) // forced; the check that follows a disconnect is still to come
		}
		if len(next.Owed) > 0 && next.Due().IsZero() { // DueWhileOwed
			next.DueAt = f.RefreshedAt
		}
		return next, Applied
	case r.Fence == f.From.Next() && bytes.Equal(r.Sealed, f.Sealed):
		return *r, Repeated // saved already: the reply was lost
	case f.From.Stamp.Compare(r.Disconnected) >= 0, r.spares(f.Token, f.KeepRevocations):
		return *r, Stale // lost to a newer acquisition alone, or to another attempt's answer
	case slices.ContainsFunc(r.Revoke, func(l Listed) bool { return bytes.Equal(l.Sealed, f.Sealed) }):
		return *r, Repeated
	case len(r.Revoke) >= MaxRevoke:
		return *r, Full
	default:
		next := *r
		next.addRevoke(Listed{f.Sealed, f.Token}, f.RefreshedAt)
		return next, Revoking
	}
}

// live reports whether the record holds a grant that a revocation could kill.
func (r *Record) live() bool { return r.Status == Active || r.Status == ReauthRequired }

// note returns the record with the event's id remembered and nothing else changed.
func (r *Record) note(e *Event, v Verdict) (Record, Verdict, error) {
	seen := remember(r.Seen, e.ID, r.Entered)
	if len(seen) > MaxSeen {
		return *r, Full, nil
	}
	next := *r
	next.Seen = seen
	if next.Status == Disconnected && next.RemoveAt.Before(e.Entered.Add(TombstoneAge)) {
		next.RemoveAt = e.Entered.Add(TombstoneAge)
	}
	return next, v, nil
}

// spares reports whether the revocation of a set with this token would end the grant that the record holds. It would
// wherever it reaches further than the token or its family (narrow: it does not), and where the token is the grant's own.
func (r *Record) spares(token Fingerprint, narrow bool) bool {
	own := token != (Fingerprint{}) && token == r.Token
	return r.live() && (!narrow || own || r.mayBeSpent(token))
}

// others is what waits for its revocation without the sets whose token is the given one.
func (r *Record) others(token Fingerprint) []Listed {
	if token == (Fingerprint{}) {
		return r.Revoke
	}
	return removed(r.Revoke, func(l Listed) bool { return l.Token == token })
}

// addRevoke puts a set on the revoke list, which makes the record due at once.
func (r *Record) addRevoke(set Listed, at time.Time) {
	r.Revoke = append(slices.Clip(r.Revoke), set)
	if !r.live() {
		r.Status, r.RemoveAt = Disconnecting, time.Time{}
	}
	r.waitsSince(at)
}

// waitsSince makes what is to be revoked due at a time.
func (r *Record) waitsSince(at time.Time) {
	r.RevokeAt = at
	if r.RevokeSince.IsZero() {
		r.RevokeSince = at
	}
}

// earlier is the earlier of two times; zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// owe adds what a write owes. What others owe stays (KeepOthers).
func (r *Record) owe(o *Owed) {
	if o != nil {
		r.Owed = append(slices.Clip(r.Owed), *o)
	}
}

// tell crosses off what is announced.
func (r *Record) tell(announced []AttemptID) {
	r.Owed = removed(r.Owed, func(o Owed) bool { return slices.Contains(announced, o.Attempt) })
}

// remember adds an id, and from [UsualSeen] on forgets those that are no longer needed after an event that entered at applied:
// a repeat of theirs that is newer entered the stream more than the window after its time, and is refused (Forget). None else
// is forgotten while there are fewer than [MaxSeen]: a newer event waits for no older one (Grow).
func remember(seen []EventID, id EventID, applied time.Time) []EventID {
	if len(seen) < UsualSeen {
		return append(slices.Clip(seen), id)
	}
	return append(slices.DeleteFunc(slices.Clone(seen), func(s EventID) bool { return Forgettable(s, applied) }), id)
}

// rememberNewer is remember for an event that is newer than the record. It waits for nothing: past [MaxSeen] the oldest id is
// forgotten, which publishers are told.
func rememberNewer(seen []EventID, e *Event) []EventID {
	next := remember(seen, e.ID, e.Entered)
	if len(next) > MaxSeen {
		oldest := slices.MinFunc(next[:MaxSeen], func(a, b EventID) int { return cmp.Compare(a.Time, b.Time) })
		next = slices.DeleteFunc(next, func(s EventID) bool { return s == oldest })
	}
	return next
}

// Forgettable reports whether an id need no longer be remembered once an event that entered the stream at applied is
// reflected by the record.
func Forgettable(id EventID, applied time.Time) bool {
	return applied.After(time.Unix(id.Time, 0).Add(Window + ClockSkew))
}

// contains reports whether b is among the blobs.
func contains(blobs [][]byte, b []byte) bool {
	return slices.ContainsFunc(blobs, func(x []byte) bool { return bytes.Equal(x, b) })
}
