package tokenworker

import "context"

// KeyService makes and unwraps data keys: AWS KMS, or the key file of the embedded mode. Every implementation passes
// the contract suite in internal/keytest.
//
// The encryption context binds a wrapped key to its purpose: Decrypt succeeds only under the very context the key was
// generated with. It is not secret and shows in audit logs. Both methods are safe for concurrent use.
//
// Errors match [ErrUnavailable] (no answer, throttled: try again), [ErrKeyRefused] (an operator must act) or, from
// Decrypt, [ErrSealBroken] (altered, or another key's or context's).
type KeyService interface {
	// GenerateDataKey returns 32 fresh random bytes, in clear and wrapped.
	GenerateDataKey(ctx context.Context, encryptionContext map[string]string) (DataKey, error)

	// Decrypt unwraps a data key. KeyID is the one that GenerateDataKey returned with it; a key id that is not among
	// those the service was configured with is refused.
	Decrypt(ctx context.Context, keyID string, wrapped []byte, encryptionContext map[string]string) (Secret, error)
}

// DataKey is a data key as it was generated.
type DataKey struct {
	Plain   Secret // 32 bytes
	Wrapped []byte
	KeyID   string // the key that wraps it
}
