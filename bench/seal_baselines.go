package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha512"

	mpl "github.com/aws/aws-cryptographic-material-providers-library/releases/go/mpl/awscryptographymaterialproviderssmithygenerated"
	mpltypes "github.com/aws/aws-cryptographic-material-providers-library/releases/go/mpl/awscryptographymaterialproviderssmithygeneratedtypes"
	esdk "github.com/aws/aws-encryption-sdk/releases/go/encryption-sdk/awscryptographyencryptionsdksmithygenerated"
	esdktypes "github.com/aws/aws-encryption-sdk/releases/go/encryption-sdk/awscryptographyencryptionsdksmithygeneratedtypes"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// newRaw is the least that gives each message a key of its own: HKDF-SHA512 with a random salt, then AES-256-GCM with a
// random nonce, from a data key in memory.
func newRaw() (vault, error) {
	const saltBytes = 32
	dataKey := make([]byte, 32)
	_, _ = rand.Read(dataKey) // never fails: crypto/rand.Read
	newAEAD := func(salt []byte) (cipher.AEAD, error) {
		key, err := hkdf.Key(sha512.New, dataKey, salt, "", 32)
		if err != nil {
			return nil, err
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		return cipher.NewGCMWithRandomNonce(block)
	}
	return vault{
		seal: func(plaintext []byte) ([]byte, error) {
			salt := make([]byte, saltBytes, saltBytes+len(plaintext)+28)
			_, _ = rand.Read(salt) // never fails: crypto/rand.Read
			a, err := newAEAD(salt)
			if err != nil {
				return nil, err
			}
			return a.Seal(salt, nil, plaintext, nil), nil
		},
		open: func(sealed []byte) ([]byte, error) {
			a, err := newAEAD(sealed[:saltBytes])
			if err != nil {
				return nil, err
			}
			return a.Open(nil, nil, sealed[saltBytes:], nil)
		},
	}, nil
}

// newTink is Tink's envelope: a fresh AES-256-GCM key for each message, encrypted by the KMS, which is another AEAD of
// Tink's in this process.
func newTink() (vault, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return vault{}, err
	}
	kms, err := aead.New(handle)
	if err != nil {
		return vault{}, err
	}
	envelope := aead.NewKMSEnvelopeAEAD2(aead.AES256GCMKeyTemplate(), kms)
	associatedData := []byte("org-1:gusto:company-1")
	return vault{
		seal: func(plaintext []byte) ([]byte, error) { return envelope.Encrypt(plaintext, associatedData) },
		open: func(sealed []byte) ([]byte, error) { return envelope.Decrypt(sealed, associatedData) },
	}, nil
}

func newUnsignedESDK() (vault, error) {
	return newESDK(mpltypes.ESDKAlgorithmSuiteIdAlgAes256GcmHkdfSha512CommitKey)
}

func newSignedESDK() (vault, error) {
	return newESDK(mpltypes.ESDKAlgorithmSuiteIdAlgAes256GcmHkdfSha512CommitKeyEcdsaP384)
}

// newESDK is the AWS Encryption SDK with a raw AES keyring: the wrapping key is in this process.
func newESDK(suite mpltypes.ESDKAlgorithmSuiteId) (vault, error) {
	ctx := context.Background()
	providers, err := mpl.NewClient(mpltypes.MaterialProvidersConfig{})
	if err != nil {
		return vault{}, err
	}
	wrappingKey := make([]byte, 32)
	_, _ = rand.Read(wrappingKey) // never fails: crypto/rand.Read
	keyring, err := providers.CreateRawAesKeyring(ctx, mpltypes.CreateRawAesKeyringInput{
		KeyName:      "bench",
		KeyNamespace: "tokenworker",
		WrappingAlg:  mpltypes.AesWrappingAlgAlgAes256GcmIv12Tag16,
		WrappingKey:  wrappingKey,
	})
	if err != nil {
		return vault{}, err
	}
	client, err := esdk.NewClient(esdktypes.AwsEncryptionSdkConfig{})
	if err != nil {
		return vault{}, err
	}
	encryptionContext := map[string]string{"app": "tokenworker", "org": "org-1"}
	return vault{
		seal: func(plaintext []byte) ([]byte, error) {
			out, err := client.Encrypt(ctx, esdktypes.EncryptInput{
				Plaintext: plaintext, AlgorithmSuiteId: &suite, EncryptionContext: encryptionContext, Keyring: keyring,
			})
			if err != nil {
				return nil, err
			}
			return out.Ciphertext, nil
		},
		open: func(sealed []byte) ([]byte, error) {
			out, err := client.Decrypt(ctx, esdktypes.DecryptInput{
				Ciphertext: sealed, EncryptionContext: encryptionContext, Keyring: keyring,
			})
			if err != nil {
				return nil, err
			}
			return out.Plaintext, nil
		},
	}, nil
}
