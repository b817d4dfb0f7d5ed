package kmsenc

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha512"
	"fmt"
)

const (
	// subkeyLabel keeps these subkeys apart from whatever else might one day be derived from a data key.
	subkeyLabel = "tokenworker/kmsenc/v1\n"

	dataKeyBytes = 32
	aesKeyBytes  = 32
)

// subkey is what one seal uses of a data key: HKDF-SHA512 (RFC 5869) with
//
//	secret  the data key, 32 bytes
//	salt    32 random bytes, new for each seal
//	info    "tokenworker/kmsenc/v1\n", then the additional data
//	length  64 bytes: an AES-256 key, then the key commitment
//
// A fresh AES key for each seal leaves GCM's random 96-bit nonce nothing to collide with, however often a data key is
// used. The commitment makes the blob open under one data key only, which GCM alone does not promise: two keys can be
// found that open the same GCM ciphertext.
type subkey [aesKeyBytes + commitmentBytes]byte

func deriveSubkey(dataKey []byte, salt *[saltBytes]byte, additionalData []byte) (*subkey, error) {
	out, err := hkdf.Key(sha512.New, dataKey, salt[:], subkeyLabel+string(additionalData), len(subkey{}))
	if err != nil {
		return nil, fmt.Errorf("deriving subkey: %w", err)
	}
	return (*subkey)(out), nil
}

func (k *subkey) commitment() [commitmentBytes]byte { return [commitmentBytes]byte(k[aesKeyBytes:]) }

// wipe is best effort: HKDF and AES keep copies of their own until they are collected.
func (k *subkey) wipe() { clear(k[:]) }

// aead is AES-256-GCM that draws its own nonce: the form that FIPS 140 mode accepts.
func (k *subkey) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(k[:aesKeyBytes])
	if err != nil {
		return nil, fmt.Errorf("preparing AES: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("preparing GCM: %w", err)
	}
	return aead, nil
}
