package audit

import (
	"context"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// KeyStore keeps the wrapped key of the trail. Errors match [tokenworker.ErrUnavailable] where trying again may help.
type KeyStore interface {
	// WrappedKey returns the key of that name. The error matches [tokenworker.ErrNotFound] when there is none.
	WrappedKey(ctx context.Context, name string) (tokenworker.WrappedKey, error)

	// PutWrappedKey stores k if the stored key of that name is wrapped as replaces says, nil for none, and returns the
	// one that is stored afterwards.
	PutWrappedKey(ctx context.Context, k tokenworker.WrappedKey, replaces []byte) (tokenworker.WrappedKey, error)
}

// KeyKind is the kind of wrapped key that the trail's is: it is stored under the name audit/key.
const KeyKind = "audit"

const (
	keyName  = KeyKind + "/key"
	keySuite = "Ed25519" // of the public half
)

// KeyContext is the encryption context of the wrapped key audit/<rest>.
func KeyContext(rest string) map[string]string {
	return map[string]string{"app": "tokenworker", "audit_key": rest}
}

// Keys are the keys of the trail.
type Keys struct {
	pseudonyms []byte
	signing    ed25519.PrivateKey
}

// OpenKeys unwraps the keys, and makes them when there are none. Errors match [tokenworker.ErrUnavailable],
// [tokenworker.ErrKeyRefused] or [tokenworker.ErrSealBroken] (the stored key was altered).
func OpenKeys(ctx context.Context, store KeyStore, service tokenworker.KeyService) (*Keys, error) {
	stored, err := store.WrappedKey(ctx, keyName)
	if errors.Is(err, tokenworker.ErrNotFound) {
		stored, err = makeKey(ctx, store, service)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the audit key: %w", err)
	}
	plain, err := service.Decrypt(ctx, stored.KeyID, stored.Wrapped, KeyContext("key"))
	if err != nil {
		return nil, fmt.Errorf("unwrapping the audit key: %w", err)
	}
	defer plain.Wipe()
	k, err := deriveKeys(plain)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(stored.Public, k.Public()) == 0 {
		return nil, fmt.Errorf("%w: the audit key's public half is not its own", tokenworker.ErrSealBroken)
	}
	return k, nil
}

// makeKey stores a new key, unless another is first, and returns the one that is stored.
func makeKey(ctx context.Context, store KeyStore, service tokenworker.KeyService) (tokenworker.WrappedKey, error) {
	data, err := service.GenerateDataKey(ctx, KeyContext("key"))
	if err != nil {
		return tokenworker.WrappedKey{}, err
	}
	defer data.Plain.Wipe()
	k, err := deriveKeys(data.Plain)
	if err != nil {
		return tokenworker.WrappedKey{}, err
	}
	return store.PutWrappedKey(ctx, tokenworker.WrappedKey{
		Name: keyName, KeyID: data.KeyID, Wrapped: data.Wrapped, Suite: keySuite, Public: k.Public(), CreatedAt: time.Now(),
	}, nil)
}

// deriveKeys expands a data key, which is uniformly random, so HKDF needs no extraction (RFC 5869 section 3.3).
func deriveKeys(data tokenworker.Secret) (*Keys, error) {
	pseudonyms, err := hkdf.Expand(sha256.New, data.Reveal(), "tokenworker/audit-pseudonyms/v1", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("deriving the key of pseudonyms: %w", err)
	}
	seed, err := hkdf.Expand(sha256.New, data.Reveal(), "tokenworker/audit-signing/v1", ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("deriving the signing key: %w", err)
	}
	defer clear(seed)
	return &Keys{pseudonyms, ed25519.NewKeyFromSeed(seed)}, nil
}

// Public is the key that checkpoints are checked with.
func (k *Keys) Public() ed25519.PublicKey { return k.signing.Public().(ed25519.PublicKey) } //nolint:forcetypeassert // it is

// pseudonymBytes is long enough that no two of 2^32 connections share a pseudonym but by a chance of 2^-65.
const pseudonymBytes = 16

// Pseudonym names a connection, or with trailing parts empty an organization or a provider of one, in the trail:
// HMAC-SHA-256 of a label and the text form, cut to 16 bytes, in lower-case hex.
func (k *Keys) Pseudonym(key tokenworker.Key) string {
	h := hmac.New(sha256.New, k.pseudonyms)
	_, _ = h.Write([]byte("tokenworker/audit-connection/v1\n" + events.KeyText(key)))
	return hex.EncodeToString(h.Sum(nil)[:pseudonymBytes])
}
