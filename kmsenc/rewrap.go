package kmsenc

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/tokenworker/tokenworker"
	"golang.org/x/sync/singleflight"
)

// Rewrapper wraps data keys again under the key that the key service wraps new ones with today, so that a former wrapping
// key can be given up. Ciphertexts stay as they are: the header's key id and wrapped data key are not among the additional
// data (see envelope), and what replaces them unwraps to the same data key under the same encryption context. No plaintext
// is seen, neither the data key's nor the token set's.
//
// It is safe for concurrent use, and remembers what it has wrapped: what shared a wrapped data key shares one afterwards, so
// that caches of unwrapped keys serve as well as before, and the key service is asked once.
type Rewrapper struct {
	service  tokenworker.KeyService
	contexts map[string]func(rest string) map[string]string

	asking singleflight.Group // by keyRef.id
	mu     sync.Mutex
	done   *lru[string, []byte] // by keyRef.id
}

// NewRewrapper returns a Rewrapper. Contexts give the encryption contexts of wrapped keys of other kinds than a [Sealer]'s,
// by kind: "event" is that of the name "event/2f9a", and the function gets the rest of it.
func NewRewrapper(
	service tokenworker.KeyService, contexts map[string]func(rest string) map[string]string,
) *Rewrapper {
	return &Rewrapper{service: service, contexts: contexts, done: newLRU[string, []byte](maxKeys)}
}

// FormerSetKey returns the id of the key that wraps a sealed set's data key, if it is another than would wrap it today; else
// it is empty. The error matches [tokenworker.ErrSealBroken].
func (r *Rewrapper) FormerSetKey(key tokenworker.Key, sealed []byte) (string, error) {
	e, err := parseEnvelope(sealed)
	if err != nil {
		return "", err
	}
	return r.former(string(e.keyID), e.scope.encryptionContext(key.OrgID)), nil
}

// Set returns the sealed set with its data key wrapped as it would be today, which is the one given where it is already. The
// error matches [tokenworker.ErrSealBroken], [tokenworker.ErrKeyRefused], [tokenworker.ErrUnavailable] or, where the longer
// id of the new key does not fit, [tokenworker.ErrTooLarge].
func (r *Rewrapper) Set(ctx context.Context, key tokenworker.Key, sealed []byte) ([]byte, error) {
	e, err := parseEnvelope(sealed)
	if err != nil {
		return nil, err
	}
	encryptionContext := e.scope.encryptionContext(key.OrgID)
	if r.former(string(e.keyID), encryptionContext) == "" {
		return sealed, nil
	}
	ref := keyRef{e.scope, key.OrgID, string(e.keyID), e.wrapped}
	if e.wrapped, err = r.wrapAgain(ctx, ref.id(), ref.keyID, ref.wrapped, encryptionContext); err != nil {
		return nil, err
	}
	e.keyID = []byte(r.service.WrappingKey(encryptionContext))
	if e.size(len(e.ciphertext)) > tokenworker.MaxSealedBytes {
		return nil, tokenworker.ErrTooLarge
	}
	return append(e.appendHeader(nil, len(e.ciphertext)), e.ciphertext...), nil
}

// FormerKey is [Rewrapper.FormerSetKey] for a wrapped key of the store. The error matches [tokenworker.ErrMisconfigured]
// where nobody has said what its kind is bound to.
func (r *Rewrapper) FormerKey(k tokenworker.WrappedKey) (string, error) {
	encryptionContext, err := r.contextOf(k.Name)
	if err != nil {
		return "", err
	}
	return r.former(k.KeyID, encryptionContext), nil
}

// Key is [Rewrapper.Set] for a wrapped key of the store.
func (r *Rewrapper) Key(ctx context.Context, k tokenworker.WrappedKey) (tokenworker.WrappedKey, error) {
	encryptionContext, err := r.contextOf(k.Name)
	if err != nil || r.former(k.KeyID, encryptionContext) == "" {
		return k, err
	}
	id := k.Name + "\n" + k.KeyID + "\n" + string(k.Wrapped)
	if scope, orgID, ok := scopeNamed(k.Name); ok { // sets that share the data key must go on sharing it
		id = keyRef{scope, orgID, k.KeyID, k.Wrapped}.id()
	}
	if k.Wrapped, err = r.wrapAgain(ctx, id, k.KeyID, k.Wrapped, encryptionContext); err != nil {
		return tokenworker.WrappedKey{}, err
	}
	k.KeyID = r.service.WrappingKey(encryptionContext)
	return k, nil
}

func (r *Rewrapper) former(keyID string, encryptionContext map[string]string) string {
	if keyID == r.service.WrappingKey(encryptionContext) {
		return ""
	}
	return keyID
}

// contextOf is the encryption context that the wrapped key of that name is bound to.
func (r *Rewrapper) contextOf(name string) (map[string]string, error) {
	if scope, orgID, ok := scopeNamed(name); ok {
		return scope.encryptionContext(orgID), nil
	}
	kind, rest, _ := strings.Cut(name, "/")
	if contextOf, ok := r.contexts[kind]; ok {
		return contextOf(rest), nil
	}
	return nil, fmt.Errorf("%w: wrapped key %s is of an unknown kind", tokenworker.ErrMisconfigured, name)
}

// wrapAgain asks the key service, once for each id.
func (r *Rewrapper) wrapAgain(
	ctx context.Context, id, keyID string, wrapped []byte, encryptionContext map[string]string,
) ([]byte, error) {
	if again, ok := r.remembered(id); ok {
		return again, nil
	}
	return once(ctx, &r.asking, id, func(ctx context.Context) ([]byte, error) {
		if again, ok := r.remembered(id); ok {
			return again, nil // by a call that ended just before this one began
		}
		again, err := r.service.ReEncrypt(ctx, keyID, wrapped, encryptionContext)
		if err != nil {
			return nil, fmt.Errorf("wrapping data key again: %w", err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.done.put(id, again)
		return again, nil
	})
}

func (r *Rewrapper) remembered(id string) ([]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.done.get(id)
}
