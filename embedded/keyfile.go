package embedded

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/tokenworker/tokenworker"
)

const (
	fileKeyBytes   = 32 // AES-256, and a data key
	maxKeyIDBytes  = 255
	wrappedVersion = 1
	gcmOverhead    = 12 + 16 // nonce and tag
)

// KeyFile is the [tokenworker.KeyService] of one machine: it wraps data keys under keys that lie in a file
// (keyfile_disk.go), in the place of AWS KMS. It is safe for concurrent use.
//
// A wrapped data key, version 1:
//
//	offset  bytes  field
//	     0      1  version: 1
//	     1      1  k, 1 to 255
//	     2      k  id of the key that wraps
//	   2+k     60  AES-256-GCM: 12 bytes of nonce, 32 of ciphertext, 16 of tag
//
// The additional data is bytes 0 to 1+k and then the encryption context: the number of pairs and, by ascending name,
// each name and value behind its length; numbers are unsigned varints. The nonce is random, which is safe for 2^32 data
// keys under one key (NIST SP 800-38D, section 8.3).
type KeyFile struct {
	current string // wraps new data keys
	keys    map[string]cipher.AEAD
}

var _ tokenworker.KeyService = (*KeyFile)(nil)

// add prepares a key of the file. The first one added is the current one.
func (f *KeyFile) add(id string, key []byte) error {
	block, err := aes.NewCipher(key)
	if err != nil {
		return fmt.Errorf("preparing AES: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return fmt.Errorf("preparing GCM: %w", err)
	}
	if f.keys == nil {
		f.current, f.keys = id, make(map[string]cipher.AEAD)
	}
	f.keys[id] = aead
	return nil
}

// KeyIDs are the ids of all keys that it unwraps with.
func (f *KeyFile) KeyIDs() []string { return slices.Collect(maps.Keys(f.keys)) }

// GenerateDataKey implements [tokenworker.KeyService].
func (f *KeyFile) GenerateDataKey(ctx context.Context, encryptionContext map[string]string) (tokenworker.DataKey, error) {
	if err := ctx.Err(); err != nil {
		return tokenworker.DataKey{}, err
	}
	plain := make([]byte, fileKeyBytes)
	_, _ = rand.Read(plain) // never fails: crypto/rand.Read
	return tokenworker.DataKey{
		Plain: tokenworker.NewSecret(plain), Wrapped: f.wrap(plain, encryptionContext), KeyID: f.current,
	}, nil
}

// wrap wraps a data key under the current key.
func (f *KeyFile) wrap(plain []byte, encryptionContext map[string]string) []byte {
	header, additionalData := appendWrappedHeader(nil, f.current), wrappedAdditionalData(f.current, encryptionContext)
	return f.keys[f.current].Seal(header, nil, plain, additionalData) //nolint:gosec // G407: it draws its own nonce
}

// Decrypt implements [tokenworker.KeyService].
func (f *KeyFile) Decrypt(
	ctx context.Context, keyID string, wrapped []byte, encryptionContext map[string]string,
) (tokenworker.Secret, error) {
	if err := ctx.Err(); err != nil {
		return tokenworker.Secret{}, err
	}
	aead, ok := f.keys[keyID]
	if !ok {
		return tokenworker.Secret{}, notUnwrapped("wrapped under a key that is not in the key file")
	}
	header := appendWrappedHeader(nil, keyID)
	ciphertext, ok := bytes.CutPrefix(wrapped, header)
	if !ok || len(ciphertext) != fileKeyBytes+gcmOverhead {
		return tokenworker.Secret{}, notUnwrapped("not a data key of that key")
	}
	plain, err := aead.Open(nil, nil, ciphertext, wrappedAdditionalData(keyID, encryptionContext))
	if err != nil {
		return tokenworker.Secret{}, notUnwrapped("altered, or wrapped for something else")
	}
	return tokenworker.NewSecret(plain), nil
}

// WrappingKey implements [tokenworker.KeyService]: the first key of the file.
func (f *KeyFile) WrappingKey(map[string]string) string { return f.current }

// ReEncrypt implements [tokenworker.KeyService].
func (f *KeyFile) ReEncrypt(
	ctx context.Context, keyID string, wrapped []byte, encryptionContext map[string]string,
) ([]byte, error) {
	plain, err := f.Decrypt(ctx, keyID, wrapped, encryptionContext)
	if err != nil {
		return nil, err
	}
	defer plain.Wipe()
	return f.wrap(plain.Reveal(), encryptionContext), nil
}

// notUnwrapped says why, in fixed words.
func notUnwrapped(why string) error {
	return fmt.Errorf("unwrapping data key: %w: %s", tokenworker.ErrSealBroken, why)
}

// appendWrappedHeader appends what stands before the ciphertext.
func appendWrappedHeader(b []byte, keyID string) []byte {
	b = append(b, wrappedVersion, byte(len(keyID))) //nolint:gosec // G115: at most maxKeyIDBytes
	return append(b, keyID...)
}

func wrappedAdditionalData(keyID string, encryptionContext map[string]string) []byte {
	b := appendWrappedHeader(nil, keyID)
	b = binary.AppendUvarint(b, uint64(len(encryptionContext)))
	for _, name := range slices.Sorted(maps.Keys(encryptionContext)) {
		for _, s := range [...]string{name, encryptionContext[name]} {
			b = binary.AppendUvarint(b, uint64(len(s)))
			b = append(b, s...)
		}
	}
	return b
}
