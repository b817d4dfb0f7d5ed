package kmsenc

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"time"

	"github.com/tokenworker/tokenworker"
)

// Config is how a [Sealer] works. The zero value is the default.
type Config struct {
	Scope Scope            // who shares a data key; default "org"
	Now   func() time.Time // default time.Now
}

// Sealer seals token sets and opens them. It is safe for concurrent use.
type Sealer struct {
	scope Scope
	keys  *dataKeys
}

// New returns a Sealer that gets its data keys from the service and shares the current ones through the store.
func New(service tokenworker.KeyService, store KeyStore, config Config) *Sealer {
	if config.Now == nil {
		config.Now = time.Now
	}
	return &Sealer{
		scope: config.Scope,
		keys: &dataKeys{
			service:   service,
			store:     store,
			now:       config.Now,
			unwrapped: newKeyCache(maxKeys, maxKeyAge),
			current:   newLRU[string, tokenworker.WrappedKey](maxKeys),
		},
	}
}

// Seal encrypts a token set so that it opens for this connection and this fence only.
//
// The error matches [tokenworker.ErrInvalidKey], [tokenworker.ErrTooLarge] (the result would be longer than
// [tokenworker.MaxSealedBytes]), [tokenworker.ErrUnavailable], [tokenworker.ErrKeyRefused] or
// [tokenworker.ErrMisconfigured], or is ctx's own.
func (s *Sealer) Seal(
	ctx context.Context, key tokenworker.Key, fence tokenworker.Fence, plaintext []byte,
) ([]byte, error) {
	seal, err := s.Prepare(ctx, key, fence)
	if err != nil {
		return nil, err
	}
	return seal(plaintext)
}

// Prepare gets all that sealing for this connection and fence needs, so that the function it returns needs neither key
// service nor store: what a provider will have rotated must not wait for them. The function is for one use, soon; its error
// matches [tokenworker.ErrTooLarge]. Errors of Prepare are those of [Sealer.Seal].
func (s *Sealer) Prepare(
	ctx context.Context, key tokenworker.Key, fence tokenworker.Fence,
) (seal func(plaintext []byte) ([]byte, error), err error) {
	seal, err = s.prepare(ctx, key, fence)
	if err != nil {
		return nil, fmt.Errorf("sealing token set: %w", err)
	}
	return seal, nil
}

func (s *Sealer) prepare(
	ctx context.Context, key tokenworker.Key, fence tokenworker.Fence,
) (func(plaintext []byte) ([]byte, error), error) {
	if err := key.Validate(); err != nil {
		return nil, err
	}
	e := &envelope{scope: s.scope.of(key.OrgID), fence: fence}
	_, _ = rand.Read(e.salt[:]) // never fails: crypto/rand.Read
	additionalData := e.additionalData(key)
	sub, err := s.sealingSubkey(ctx, e, key.OrgID, additionalData)
	if err != nil {
		return nil, err
	}
	defer sub.wipe() // the cipher keeps a copy of its own
	e.commitment = sub.commitment()
	aead, err := sub.aead()
	if err != nil {
		return nil, err
	}
	return func(plaintext []byte) ([]byte, error) {
		n := len(plaintext) + gcmOverhead
		if e.size(n) > tokenworker.MaxSealedBytes {
			return nil, fmt.Errorf("sealing token set: %w", tokenworker.ErrTooLarge)
		}
		header := e.appendHeader(make([]byte, 0, e.size(n)), n)
		return aead.Seal(header, nil, plaintext, additionalData), nil
	}, nil
}

// Open decrypts what [Sealer.Seal] sealed for this connection and fence, under whatever scope.
//
// The error matches [tokenworker.ErrSealBroken] when the blob was altered, damaged or moved here from another
// connection or fence, [tokenworker.ErrInvalidKey], [tokenworker.ErrUnavailable] or [tokenworker.ErrKeyRefused], or is
// ctx's own.
func (s *Sealer) Open(
	ctx context.Context, key tokenworker.Key, fence tokenworker.Fence, sealed []byte,
) ([]byte, error) {
	plaintext, err := s.open(ctx, key, fence, sealed)
	if err != nil {
		return nil, fmt.Errorf("opening token set: %w", err)
	}
	return plaintext, nil
}

func (s *Sealer) open(
	ctx context.Context, key tokenworker.Key, fence tokenworker.Fence, sealed []byte,
) ([]byte, error) {
	if err := key.Validate(); err != nil {
		return nil, err
	}
	e, err := parseEnvelope(sealed)
	if err != nil {
		return nil, err
	}
	if e.fence != fence {
		return nil, broken("header names another token set")
	}
	additionalData := e.additionalData(key)
	sub, err := s.openingSubkey(ctx, e, key.OrgID, additionalData)
	if err != nil {
		return nil, err
	}
	defer sub.wipe()

	if commitment := sub.commitment(); subtle.ConstantTimeCompare(commitment[:], e.commitment[:]) != 1 {
		return nil, broken("another data key or connection")
	}
	aead, err := sub.aead()
	if err != nil {
		return nil, err
	}
	plaintext, err := aead.Open(nil, nil, e.ciphertext, additionalData)
	if err != nil {
		return nil, broken("ciphertext was altered")
	}
	return plaintext, nil
}

// OpenListed decrypts a set that stands outside its row's own fence, on a revoke list: under the fence that its header
// names, which the seal is bound to. Errors are those of [Sealer.Open].
func (s *Sealer) OpenListed(ctx context.Context, key tokenworker.Key, sealed []byte) ([]byte, error) {
	fence, err := FenceOf(sealed)
	if err != nil {
		return nil, fmt.Errorf("opening token set: %w", err)
	}
	return s.Open(ctx, key, fence, sealed)
}

// sealingSubkey derives the subkey from the scope's current data key, or from a fresh one, and writes into the envelope
// which data key that is.
func (s *Sealer) sealingSubkey(ctx context.Context, e *envelope, orgID string, additionalData []byte) (*subkey, error) {
	if e.scope.kind == tokenKind {
		made, err := s.keys.generate(ctx, e.scope, orgID)
		if err != nil {
			return nil, err
		}
		defer made.Plain.Wipe()
		e.keyID, e.wrapped = []byte(made.KeyID), made.Wrapped
		return deriveSubkey(made.Plain.Reveal(), &e.salt, additionalData)
	}
	ref, dataKey, err := s.keys.pinCurrent(ctx, e.scope, orgID)
	if err != nil {
		return nil, err
	}
	defer dataKey.release()
	e.keyID, e.wrapped = []byte(ref.keyID), ref.wrapped
	return deriveSubkey(dataKey.plain.Reveal(), &e.salt, additionalData)
}

// openingSubkey derives the subkey from the data key that the envelope carries.
func (s *Sealer) openingSubkey(ctx context.Context, e *envelope, orgID string, additionalData []byte) (*subkey, error) {
	dataKey, err := s.keys.pin(ctx, keyRef{e.scope, orgID, string(e.keyID), e.wrapped})
	if err != nil {
		return nil, err
	}
	defer dataKey.release()
	return deriveSubkey(dataKey.plain.Reveal(), &e.salt, additionalData)
}

// Calls counts what a [Sealer] has asked of its key service, refused and failed calls included.
type Calls struct {
	Generate uint64 // GenerateDataKey
	Decrypt  uint64
}

// Calls returns the counts since the Sealer was made.
func (s *Sealer) Calls() Calls {
	return Calls{Generate: s.keys.generated.Load(), Decrypt: s.keys.decrypted.Load()}
}
