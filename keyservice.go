package tokenworker

import "context"

// KeyService makes and unwraps data keys: AWS KMS, or the key file of the embedded mode. Every implementation passes
// the contract suite in internal/keytest.
//
// The encryption context binds a wrapped key to its purpose: Decrypt succeeds only under the very context the key was
// generated with. It is not secret and shows in audit logs. All methods are safe for concurrent use.
//
// Errors match [ErrUnavailable] (no answer, throttled: try again), [ErrKeyRefused] (an operator must act) or, from
// Decrypt and ReEncrypt, [ErrSealBroken] (altered, or another key's or context's).
type KeyService interface {
	// GenerateDataKey returns 32 fresh random bytes, in clear and wrapped.
	GenerateDataKey(ctx context.Context, encryptionContext map[string]string) (DataKey, error)

	// Decrypt unwraps a data key. KeyID is the one that GenerateDataKey returned with it; a key id that is not among
	// those the service was configured with is refused.
	Decrypt(ctx context.Context, keyID string, wrapped []byte, encryptionContext map[string]string) (Secret, error)

	// WrappingKey is the id of the key that GenerateDataKey wraps under for this encryption context. It asks nobody.
	WrappingKey(encryptionContext map[string]string) string

	// ReEncrypt wraps a data key that Decrypt would unwrap under WrappingKey, and returns it as it is wrapped then. Its
	// plaintext does not leave the key service.
	ReEncrypt(ctx context.Context, keyID string, wrapped []byte, encryptionContext map[string]string) ([]byte, error)
}

// DataKey is a data key as it was generated.
type DataKey struct {
	Plain   Secret // 32 bytes
	Wrapped []byte
	KeyID   string // the key that wraps it
}
