package tokenworker

import "slices"

// The rules of refresh tokens that may be spent. docs/model/Connection.tla and docs/model/Prints.tla check them.

// mayBeSpent reports whether a token was claimed, and no attempt at it is known to have left it as it was.
func (r *Record) mayBeSpent(token Fingerprint) bool {
	return token != (Fingerprint{}) && (slices.Contains(r.Acquired, token) || slices.Contains(r.Spent, token))
}

// AttemptAt returns the latest attempt at a token whose end may still take its fingerprint back; nil: there is none.
func (r *Record) AttemptAt(token Fingerprint) *Attempt {
	if i := slices.IndexFunc(r.Attempts, func(a Attempt) bool { return a.Token == token }); i >= 0 {
		return &r.Attempts[i]
	}
	return nil
}

// spent decides on an acquisition whose refresh token may be spent. While an attempt at it may end either way it is
// undecided (ParkAttempted): as long as the attempt's claim stands, and then until the caller knows that it is over.
func (r *Record) spent(a *Acquisition) (Record, Verdict, error) {
	if at := r.AttemptAt(a.Spendable); at != nil && (at.ID != a.Over || r.claimedBy(at.ID)) {
		return *r, Undecided, nil
	}
	next, v, err := r.note(&a.Event, Spent)
	if v == Spent {
		next.end(a.Over, unknown)
		if slices.Contains(r.Spent, a.Spendable) { // Move
			next.Spent = removed(r.Spent, is(a.Spendable))
			next.keepAcquired(a.Spendable)
		}
	}
	return next, v, err
}

// spend notes that the claimed attempt may spend the current set's refresh token; zero: one that is never spent.
func (r *Record) spend(token Fingerprint, c Claim) {
	if token == (Fingerprint{}) {
		return
	}
	sole := !r.mayBeSpent(token)
	r.keepSpent(token)
	r.attempt(Attempt{c.Attempt, token, sole, c.Until})
}

// attempt notes the latest attempt at a token.
func (r *Record) attempt(a Attempt) {
	r.Attempts = append(removed(r.Attempts, func(o Attempt) bool { return o.Token == a.Token }), a)
}

// keepSpent keeps the fingerprint of the current set's refresh token, unless it is zero or known.
func (r *Record) keepSpent(token Fingerprint) {
	switch {
	case token == (Fingerprint{}) || r.mayBeSpent(token):
	case r.Rotated:
		r.Spent = r.bounded(append(slices.Clip(r.Spent), token), MaxSpent)
	default:
		r.keepAcquired(token)
	}
}

func (r *Record) keepAcquired(token Fingerprint) {
	r.Acquired = r.bounded(append(slices.Clip(r.Acquired), token), MaxAcquired)
}

// bounded forgets the oldest tokens past a limit, and the attempts at them.
func (r *Record) bounded(tokens []Fingerprint, limit int) []Fingerprint {
	over := max(0, len(tokens)-limit)
	if over > 0 {
		r.Attempts = removed(r.Attempts, func(a Attempt) bool { return slices.Contains(tokens[:over], a.Token) })
	}
	return tokens[over:]
}

// ending is what is known of a token when an attempt at it has ended.
type ending uint8

const (
	unknown   ending = iota // it was rotated away, or nobody knows
	untouched               // it was refused definitely, or never posted
	kept                    // the provider's answer kept it
)

// end notes the end of an attempt, and takes the fingerprint back if that has left the token as it was: an answer that
// kept it, and any other end that did if there was no other attempt at it (SoleOnly, TakeBack). It returns what the
// fingerprint bore; the zero Attempt where another is the latest by now (LatestOnly), or none was noted.
func (r *Record) end(id AttemptID, how ending) Attempt {
	i := slices.IndexFunc(r.Attempts, func(a Attempt) bool { return a.ID == id })
	if i < 0 {
		return Attempt{}
	}
	a := r.Attempts[i]
	r.Attempts = removed(r.Attempts, func(o Attempt) bool { return o.ID == id })
	if how == kept || how == untouched && a.Sole {
		r.Acquired, r.Spent = removed(r.Acquired, is(a.Token)), removed(r.Spent, is(a.Token))
	}
	return a
}

func is(token Fingerprint) func(Fingerprint) bool {
	return func(f Fingerprint) bool { return f == token }
}

// removed returns those that are not gone; nil when none is left.
func removed[T any](all []T, gone func(T) bool) []T {
	var rest []T
	for _, v := range all {
		if !gone(v) {
			rest = append(rest, v)
		}
	}
	return rest
}
