package tokenworker

import "bytes"

// Rewrapped is a sealed set before and after its data key was wrapped again under another key. Both hold the same token
// set under the same fence.
type Rewrapped struct{ Old, New []byte }

// Rewrapping is the rule that replaces sealed sets by what they are since their data keys were wrapped again, wherever the
// record still holds them; nothing else of it changes. A set that was replaced meanwhile is left to what replaced it. While
// a revocation is under way the record stays as it is ([Stale]): the revocation's end names the sets that it revoked by
// their bytes.
func Rewrapping(sets []Rewrapped) Rule {
	return func(r *Record) (Record, Verdict, error) {
		if r == nil {
			return Record{}, Stale, nil
		}
		if r.Revoking != nil {
			return *r, Stale, nil
		}
		next, verdict := *r, Stale
		next.Revoke = nil
		for _, held := range r.Revoke {
			held.Sealed = rewrapped(sets, held.Sealed, &verdict)
			next.Revoke = append(next.Revoke, held)
		}
		if r.Sealed != nil {
			next.Sealed = rewrapped(sets, r.Sealed, &verdict)
		}
		return next, verdict, nil
	}
}

// rewrapped returns what a set has become, and then the verdict is [Applied].
func rewrapped(sets []Rewrapped, held []byte, verdict *Verdict) []byte {
	for _, s := range sets {
		if bytes.Equal(held, s.Old) {
			*verdict = Applied
			return s.New
		}
	}
	return held
}
