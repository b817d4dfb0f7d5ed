// Package keytest is the contract of [tokenworker.KeyService] as tests. Every key service passes it, so the key file of
// the embedded mode, LocalStack's KMS and AWS's cannot drift apart.
package keytest

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/tokenworker/tokenworker"
)

// encryptionContext is an ordinary one.
var encryptionContext = map[string]string{"app": "tokenworker", "org": "acme"}

// Test runs the contract. Each call of open returns a service with a wrapping key of its own.
func Test(t *testing.T, open func(t *testing.T) tokenworker.KeyService) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*testing.T, tokenworker.KeyService)
	}{
		{"a data key is 32 bytes that no other data key has", testFresh},
		{"a wrapped data key shows nothing of its plaintext", testOpaque},
		{"a data key unwraps to what was generated", testRoundTrip},
		{"a wiped data key unwraps again", testWiped},
		{"the same data key unwraps from many goroutines", testConcurrent},
		{"a data key unwraps under no other context", testContext},
		{"an altered wrapped data key does not unwrap", testAltered},
		{"an unknown key id does not unwrap", testKeyID},
		{"a cancelled call returns the context's error", testCancelled},
		{"the wrapping key is the one that wraps", testWrappingKey},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
	t.Run("another service's data key does not unwrap", func(t *testing.T) { testOtherService(t, open(t), open(t)) })
}

func testFresh(t *testing.T, s tokenworker.KeyService) {
	seen := make(map[string]bool)
	for range 20 {
		k := generate(t, s)
		if n := len(k.Plain.Reveal()); n != 32 {
			t.Fatalf("plaintext has %d bytes, want 32", n)
		}
		if k.KeyID == "" || len(k.Wrapped) == 0 {
			t.Fatalf("key id has %d bytes, wrapped key %d; want both", len(k.KeyID), len(k.Wrapped))
		}
		if seen[string(k.Plain.Reveal())] || seen[string(k.Wrapped)] {
			t.Fatal("the same data key twice")
		}
		seen[string(k.Plain.Reveal())], seen[string(k.Wrapped)] = true, true
	}
}

func testOpaque(t *testing.T, s tokenworker.KeyService) {
	k := generate(t, s)
	if bytes.Contains(k.Wrapped, k.Plain.Reveal()) {
		t.Fatal("the wrapped key contains its plaintext")
	}
}

func testRoundTrip(t *testing.T, s tokenworker.KeyService) {
	for _, encryptionContext := range []map[string]string{
		encryptionContext,
		{"app": "tokenworker", "org": "Müller & Söhne=1,\"a\":b\\ \U0001F511"},
		{"app": "tokenworker", "event_key": "2026-11-21"},
	} {
		k, err := s.GenerateDataKey(t.Context(), encryptionContext)
		if err != nil {
			t.Fatalf("generating under %v: %v", encryptionContext, err)
		}
		got, err := s.Decrypt(t.Context(), k.KeyID, k.Wrapped, encryptionContext)
		if err != nil {
			t.Fatalf("unwrapping under %v: %v", encryptionContext, err)
		}
		if !got.Equal(k.Plain) {
			t.Fatalf("unwrapped another key under %v", encryptionContext)
		}
	}
}

func testWiped(t *testing.T, s tokenworker.KeyService) {
	k := generate(t, s)
	want := tokenworker.NewSecret(bytes.Clone(k.Plain.Reveal()))
	k.Plain.Wipe()
	for range 2 {
		got, err := s.Decrypt(t.Context(), k.KeyID, k.Wrapped, encryptionContext)
		if err != nil {
			t.Fatal(err)
		}
		if !got.Equal(want) {
			t.Fatal("unwrapped another key after a copy was wiped")
		}
		got.Wipe()
	}
}

func testConcurrent(t *testing.T, s tokenworker.KeyService) {
	k := generate(t, s)
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			got, err := s.Decrypt(t.Context(), k.KeyID, k.Wrapped, encryptionContext)
			if err != nil || !got.Equal(k.Plain) {
				t.Errorf("Decrypt: the same key %v, error %v", got.Equal(k.Plain), err)
			}
			if _, err := s.GenerateDataKey(t.Context(), encryptionContext); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
}

func testContext(t *testing.T, s tokenworker.KeyService) {
	k := generate(t, s)
	more := maps.Clone(encryptionContext)
	more["pool"] = "1"
	for name, other := range map[string]map[string]string{
		"another value":   {"app": "tokenworker", "org": "globex"},
		"another name":    {"app": "tokenworker", "pool": "acme"},
		"swapped values":  {"app": "acme", "org": "tokenworker"},
		"one pair less":   {"app": "tokenworker"},
		"one pair more":   more,
		"another case":    {"app": "tokenworker", "org": "Acme"},
		"an empty one":    {},
		"none":            nil,
		"an empty value":  {"app": "tokenworker", "org": ""},
		"a trailing byte": {"app": "tokenworker", "org": "acme "},
	} {
		refuses(t, name, s, k.KeyID, k.Wrapped, other)
	}
}

func testAltered(t *testing.T, s tokenworker.KeyService) {
	k := generate(t, s)
	for i := range k.Wrapped {
		altered := bytes.Clone(k.Wrapped)
		altered[i] ^= 1
		refuses(t, "a flipped bit", s, k.KeyID, altered, encryptionContext)
	}
	for _, n := range []int{0, 1, len(k.Wrapped) / 2, len(k.Wrapped) - 1} {
		refuses(t, "a cut", s, k.KeyID, k.Wrapped[:n], encryptionContext)
	}
	refuses(t, "a trailing byte", s, k.KeyID, append(bytes.Clone(k.Wrapped), 0), encryptionContext)
	refuses(t, "absurd length", s, k.KeyID, slices.Repeat(k.Wrapped, 1000), encryptionContext)
}

func testKeyID(t *testing.T, s tokenworker.KeyService) {
	k := generate(t, s)
	for _, id := range []string{"", "x", k.KeyID + "x", k.KeyID[:len(k.KeyID)-1], k.KeyID[1:]} {
		refuses(t, "another key id", s, id, k.Wrapped, encryptionContext)
	}
}

func testOtherService(t *testing.T, s, other tokenworker.KeyService) {
	mine, theirs := generate(t, s), generate(t, other)
	refuses(t, "another service's key", s, theirs.KeyID, theirs.Wrapped, encryptionContext)
	refuses(t, "another service's key under this one's id", s, mine.KeyID, theirs.Wrapped, encryptionContext)
}

func testCancelled(t *testing.T, s tokenworker.KeyService) {
	k := generate(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.GenerateDataKey(ctx, encryptionContext); !errors.Is(err, context.Canceled) {
		t.Errorf("GenerateDataKey: %v, want context.Canceled", err)
	}
	if _, err := s.Decrypt(ctx, k.KeyID, k.Wrapped, encryptionContext); !errors.Is(err, context.Canceled) {
		t.Errorf("Decrypt: %v, want context.Canceled", err)
	}
}

// generate makes a data key under the ordinary context.
func generate(t *testing.T, s tokenworker.KeyService) tokenworker.DataKey {
	t.Helper()
	k, err := s.GenerateDataKey(t.Context(), encryptionContext)
	if err != nil {
		t.Fatalf("generating a data key: %v", err)
	}
	return k
}

// refuses demands that nothing unwraps, and that the error says that trying again cannot help.
func refuses(
	t *testing.T, what string, s tokenworker.KeyService, keyID string, wrapped []byte, encryptionContext map[string]string,
) {
	t.Helper()
	got, err := s.Decrypt(t.Context(), keyID, wrapped, encryptionContext)
	if !errors.Is(err, tokenworker.ErrSealBroken) || !got.IsEmpty() {
		t.Errorf("%s: a key %v, error %v; want none and ErrSealBroken", what, !got.IsEmpty(), err)
	}
}
