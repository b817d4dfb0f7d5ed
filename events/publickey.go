package events

import (
	"crypto/hpke"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// PublicKey is a key of the worker's to seal events to. Publishers are configured with its JSON form:
//
//	{"kid": "…", "suite": "MLKEM768-X25519,HKDF-SHA256,AES-256-GCM", "public_key": "<base64url>", "created_at": "<RFC 3339>"}
type PublicKey struct {
	KeyID     string
	Suite     Suite
	CreatedAt time.Time

	key hpke.PublicKey
}

type publicKeyJSON struct {
	KeyID     string    `json:"kid"`
	Suite     Suite     `json:"suite"`
	PublicKey string    `json:"public_key"`
	CreatedAt time.Time `json:"created_at"`
}

// ErrInvalidPublicKey says that what was given is not the public key of a worker.
var ErrInvalidPublicKey = errors.New("invalid public key")

// NewPublicKey makes a key from its serialized form (RFC 9180 SerializePublicKey). The error is [ErrInvalidPublicKey].
func NewPublicKey(keyID string, suite Suite, serialized []byte, createdAt time.Time) (PublicKey, error) {
	kem := suite.kem()
	if kem == nil {
		return PublicKey{}, fmt.Errorf("%w: unknown suite", ErrInvalidPublicKey)
	}
	if !validKeyID(keyID) {
		return PublicKey{}, fmt.Errorf("%w: kid", ErrInvalidPublicKey)
	}
	key, err := kem.NewPublicKey(serialized)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: not a key of its suite", ErrInvalidPublicKey)
	}
	return PublicKey{KeyID: keyID, Suite: suite, CreatedAt: createdAt, key: key}, nil
}

// ParsePublicKey reads the JSON form, as `tokenworker keys` prints it. The error is [ErrInvalidPublicKey]. Fields that
// a later version adds are ignored.
func ParsePublicKey(document []byte) (PublicKey, error) {
	var k PublicKey
	err := json.Unmarshal(document, &k)
	if err != nil && !errors.Is(err, ErrInvalidPublicKey) {
		err = fmt.Errorf("%w: not JSON", ErrInvalidPublicKey)
	}
	return k, err
}

// UnmarshalJSON reads the JSON form.
func (k *PublicKey) UnmarshalJSON(document []byte) error {
	var w publicKeyJSON
	if err := json.Unmarshal(document, &w); err != nil {
		return fmt.Errorf("%w: not a JSON object of a public key", ErrInvalidPublicKey)
	}
	serialized, err := decodeBase64url([]byte(w.PublicKey))
	if err != nil {
		return fmt.Errorf("%w: public_key is not base64url without padding", ErrInvalidPublicKey)
	}
	*k, err = NewPublicKey(w.KeyID, w.Suite, serialized, w.CreatedAt)
	return err
}

// MarshalJSON writes the JSON form.
func (k PublicKey) MarshalJSON() ([]byte, error) {
	return json.Marshal(publicKeyJSON{k.KeyID, k.Suite, base64url.EncodeToString(k.Bytes()), k.CreatedAt})
}

// Bytes is the serialized form (RFC 9180 SerializePublicKey); nil for the zero PublicKey.
func (k PublicKey) Bytes() []byte {
	if k.key == nil {
		return nil
	}
	return k.key.Bytes()
}
