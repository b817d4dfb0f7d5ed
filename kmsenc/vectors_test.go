package kmsenc

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/tokenworker/tokenworker"
)

// vector is one known answer. The files were made by an implementation that shares no code with this one (Python,
// package cryptography). A vector is never changed: format version 1 has to open for ever.
type vector struct {
	Name       string   `json:"name"`
	Scope      string   `json:"scope"`
	Pool       uint16   `json:"pool"`
	Org        string   `json:"org"`
	Provider   string   `json:"provider"`
	Company    string   `json:"company"`
	Epoch      uint64   `json:"epoch"`
	Sequence   uint64   `json:"sequence"`
	Generation uint64   `json:"generation"`
	KeyID      string   `json:"key_id"`
	Wrapped    hexBytes `json:"wrapped"`
	DataKey    hexBytes `json:"data_key"`
	Salt       hexBytes `json:"salt"`
	Nonce      hexBytes `json:"nonce"`
	Plaintext  string   `json:"plaintext"`

	AdditionalData hexBytes `json:"additional_data"`
	Subkey         hexBytes `json:"subkey"`
	Commitment     hexBytes `json:"commitment"`
	Sealed         hexBytes `json:"sealed"`
}

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

func (v *vector) key() tokenworker.Key {
	return tokenworker.Key{OrgID: v.Org, ProviderID: v.Provider, CompanyID: v.Company}
}

func (v *vector) fence() tokenworker.Fence {
	return tokenworker.Fence{
		Stamp:      tokenworker.Stamp{Epoch: v.Epoch, Sequence: v.Sequence},
		Generation: v.Generation,
	}
}

func (v *vector) envelope() *envelope {
	kinds := map[string]scopeKind{"org": orgKind, "token": tokenKind, "pool": poolKind}
	return &envelope{
		scope:      keyScope{kinds[v.Scope], v.Pool},
		fence:      v.fence(),
		salt:       [saltBytes]byte(v.Salt),
		commitment: [commitmentBytes]byte(v.Commitment),
		keyID:      []byte(v.KeyID),
		wrapped:    v.Wrapped,
	}
}

func readVectors(tb testing.TB) []vector {
	tb.Helper()
	file, err := os.ReadFile("testdata/v1.json")
	if err != nil {
		tb.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(file, &vectors); err != nil {
		tb.Fatal(err)
	}
	return vectors
}

// fixedService unwraps one wrapped key, whatever the context.
type fixedService struct {
	*stubService // nil: of it nothing is needed but to be a key service

	v *vector
}

func (s fixedService) WrappingKey(map[string]string) string { return s.v.KeyID }

func (s fixedService) GenerateDataKey(context.Context, map[string]string) (tokenworker.DataKey, error) {
	plain := tokenworker.NewSecret(bytes.Clone(s.v.DataKey))
	return tokenworker.DataKey{Plain: plain, Wrapped: s.v.Wrapped, KeyID: s.v.KeyID}, nil
}

func (s fixedService) Decrypt(
	_ context.Context, keyID string, wrapped []byte, _ map[string]string,
) (tokenworker.Secret, error) {
	if keyID != s.v.KeyID || !bytes.Equal(wrapped, s.v.Wrapped) {
		return tokenworker.Secret{}, tokenworker.ErrSealBroken
	}
	return tokenworker.NewSecret(bytes.Clone(s.v.DataKey)), nil
}

func TestAKnownSealOpens(t *testing.T) {
	for _, v := range readVectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			sealer := New(fixedService{v: &v}, newMemoryStore(), Config{})
			got, err := sealer.Open(t.Context(), v.key(), v.fence(), v.Sealed)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != v.Plaintext {
				t.Errorf("opened %q, want %q", got, v.Plaintext)
			}
		})
	}
}

// The nonce is drawn inside GCM, so what a seal adds to it is pinned part by part.
func TestAKnownSealIsMadeOfKnownParts(t *testing.T) {
	for _, v := range readVectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			e := v.envelope()
			additionalData := e.additionalData(v.key())
			equal(t, "additional data", additionalData, v.AdditionalData)
			sub, err := deriveSubkey(v.DataKey, &e.salt, additionalData)
			if err != nil {
				t.Fatal(err)
			}
			commitment := sub.commitment()
			equal(t, "subkey", sub[:aesKeyBytes], v.Subkey)
			equal(t, "commitment", commitment[:], v.Commitment)
			n := len(v.Nonce) + len(v.Plaintext) + 16
			header := e.appendHeader(nil, n)
			equal(t, "header", header, v.Sealed[:len(v.Sealed)-n])
		})
	}
}

// The same seals, by the documented format and RFC 5869 alone, without the code under test.
func TestAKnownSealFollowsFromTheDocumentedFormat(t *testing.T) {
	for _, v := range readVectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			secret := handmadeHKDF(v.DataKey, v.Salt, append([]byte("tokenworker/kmsenc/v1\n"), v.AdditionalData...))
			equal(t, "subkey", secret[:32], v.Subkey)
			equal(t, "commitment", secret[32:], v.Commitment)
			block, err := aes.NewCipher(secret[:32])
			if err != nil {
				t.Fatal(err)
			}
			aead, err := cipher.NewGCM(block)
			if err != nil {
				t.Fatal(err)
			}
			ciphertext := v.Sealed[len(v.Sealed)-len(v.Plaintext)-28:]
			equal(t, "nonce", ciphertext[:12], v.Nonce)
			plaintext, err := aead.Open(nil, ciphertext[:12], ciphertext[12:], v.AdditionalData)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "plaintext", plaintext, []byte(v.Plaintext))
		})
	}
}

// handmadeHKDF is HKDF-SHA512 for 64 bytes, one block: T(1) = HMAC(HMAC(salt, secret), info || 1).
func handmadeHKDF(secret, salt, info []byte) []byte {
	extract := hmac.New(sha512.New, salt)
	extract.Write(secret)
	expand := hmac.New(sha512.New, extract.Sum(nil))
	expand.Write(info)
	expand.Write([]byte{1})
	return expand.Sum(nil)
}

func equal(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s:\n got %x\nwant %x", what, got, want)
	}
}
