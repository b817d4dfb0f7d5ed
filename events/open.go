package events

import (
	"context"
	"fmt"
	"time"

	"github.com/tokenworker/tokenworker"
)

// Open yields the token set of an acquired event, sealed or in clear.
//
// The error is a [Code] when the event is to be refused: [CodeUnknownKey], [CodeSealBroken], or what is wrong with the
// token set. Any other error (see [Keyring]) says nothing about the event, which may open later.
func (r *Keyring) Open(ctx context.Context, e *Event) (tokenworker.TokenSet, error) {
	switch {
	case e.Plain != nil:
		return *e.Plain, nil
	case e.Sealed == nil:
		return tokenworker.TokenSet{}, fmt.Errorf("%w: %s events hold no token set", ErrInvalidEvent, e.Kind)
	}
	plaintext, err := r.unseal(ctx, e.Sealed, e.info())
	if err != nil {
		return tokenworker.TokenSet{}, err
	}
	defer clear(plaintext)
	return parseTokenSet(plaintext)
}

// HoldsNothingInClear proves of a received message that no token can be in it that is not sealed: it is an event as it should be,
// with nothing in it that decoding ignores, and what it says is sealed was opened. Where that cannot be found out, it is false.
func (r *Keyring) HoldsNothingInClear(ctx context.Context, m Message) bool {
	e, err := Decoder{}.Decode(m)
	if err != nil || e.ignored {
		return false
	}
	if e.Kind != Acquired {
		return true
	}
	plaintext, err := r.unseal(ctx, e.Sealed, e.info())
	clear(plaintext)
	return err == nil
}

func (r *Keyring) unseal(ctx context.Context, s *Sealed, info []byte) ([]byte, error) {
	key, err := r.open(ctx, s.KeyID)
	if err != nil {
		return nil, err
	}
	return open(key.private, s, info)
}

// open returns the private key kid, from memory if it is young enough. Whoever finds it missing loads it while the others
// wait for that, so a burst of events costs one call.
func (r *Keyring) open(ctx context.Context, kid string) (openedKey, error) {
	if k, ok := r.remembered(kid); ok {
		return k, nil
	}
	select {
	case r.loading <- struct{}{}:
		defer func() { <-r.loading }()
	case <-ctx.Done():
		return openedKey{}, ctx.Err()
	}
	if k, ok := r.remembered(kid); ok {
		return k, nil
	}
	stored, seen, err := r.find(ctx, kid)
	if err != nil {
		return openedKey{}, err
	}
	k, err := r.unwrap(ctx, stored)
	if err != nil {
		return openedKey{}, err
	}
	k.seen = seen
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opened[kid] = k
	return k, nil
}

func (r *Keyring) remembered(kid string) (openedKey, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.opened[kid]
	return k, ok && r.now().Sub(k.seen) < keyCacheTTL
}

// find looks for kid among the keys listed last, and among those in the store where that list is too old. It also
// returns when the key was listed. The error is [CodeUnknownKey] if there is no such key.
func (r *Keyring) find(ctx context.Context, kid string) (tokenworker.WrappedKey, time.Time, error) {
	keys, seen := r.lastListed()
	age := r.now().Sub(seen)
	i := indexOfKey(keys, kid)
	if i < 0 && age >= relistAfter || age >= keyCacheTTL {
		var err error
		if keys, err = r.list(ctx); err != nil {
			return tokenworker.WrappedKey{}, time.Time{}, err
		}
		_, seen = r.lastListed()
		i = indexOfKey(keys, kid)
	}
	if i < 0 {
		return tokenworker.WrappedKey{}, time.Time{}, CodeUnknownKey
	}
	return keys[i], seen, nil
}

// current returns the newest key, by a list that may be as old as keyCacheTTL.
func (r *Keyring) current(ctx context.Context) (openedKey, error) {
	keys, seen := r.lastListed()
	if len(keys) == 0 || r.now().Sub(seen) >= keyCacheTTL {
		var err error
		if keys, err = r.list(ctx); err != nil {
			return openedKey{}, err
		}
	}
	if len(keys) == 0 {
		return openedKey{}, fmt.Errorf("%w: there is no event key", tokenworker.ErrMisconfigured)
	}
	return r.open(ctx, kidOf(keys[0]))
}

func (r *Keyring) lastListed() ([]tokenworker.WrappedKey, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.listed, r.listedAt
}
