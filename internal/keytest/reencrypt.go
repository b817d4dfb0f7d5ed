package keytest

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/tokenworker/tokenworker"
)

// TestReEncrypt runs the contract of changing the wrapping key. Each call of open returns a service with a wrapping key of
// its own, and one that has another and also unwraps what the former wrapped.
func TestReEncrypt(t *testing.T, open func(t *testing.T) (former, current tokenworker.KeyService)) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(t *testing.T, former, current tokenworker.KeyService)
	}{
		{"a data key that is wrapped again unwraps to what it was", testSameKey},
		{"what is wrapped under the current key can be wrapped again", testAgain},
		{"the former key does not unwrap it any more", testFormerIsOut},
		{"what does not unwrap is not wrapped again", testNothingElse},
		{"a cancelled call wraps nothing", testReEncryptCancelled},
	} {
		t.Run(c.name, func(t *testing.T) {
			former, current := open(t)
			c.test(t, former, current)
		})
	}
}

func testWrappingKey(t *testing.T, s tokenworker.KeyService) {
	if got, want := s.WrappingKey(encryptionContext), generate(t, s).KeyID; got != want {
		t.Errorf("the wrapping key is %s, and %s has wrapped", got, want)
	}
}

func testSameKey(t *testing.T, former, current tokenworker.KeyService) {
	k := generate(t, former)
	again := reEncrypt(t, current, k)
	if bytes.Contains(again, k.Plain.Reveal()) || bytes.Equal(again, k.Wrapped) {
		t.Error("the data key is in clear, or as it was")
	}
	requireUnwraps(t, current, current.WrappingKey(encryptionContext), again, k)
	requireUnwraps(t, current, k.KeyID, k.Wrapped, k)
}

func testAgain(t *testing.T, _, current tokenworker.KeyService) {
	k := generate(t, current)
	requireUnwraps(t, current, k.KeyID, reEncrypt(t, current, k), k)
}

func testFormerIsOut(t *testing.T, former, current tokenworker.KeyService) {
	k := generate(t, former)
	again := reEncrypt(t, current, k)
	refuses(t, "the former service", former, current.WrappingKey(encryptionContext), again, encryptionContext)
	refuses(t, "the former key's id", current, k.KeyID, again, encryptionContext)
}

func testNothingElse(t *testing.T, former, current tokenworker.KeyService) {
	k := generate(t, former)
	altered := bytes.Clone(k.Wrapped)
	altered[len(altered)-1] ^= 1
	for name, c := range map[string]struct {
		keyID   string
		wrapped []byte
		bound   map[string]string
	}{
		"another organization's context": {k.KeyID, k.Wrapped, map[string]string{"app": "tokenworker", "org": "globex"}},
		"an altered key":                 {k.KeyID, altered, encryptionContext},
		"no key":                         {k.KeyID, nil, encryptionContext},
		"the current key's id":           {current.WrappingKey(encryptionContext), k.Wrapped, encryptionContext},
		"an unknown id":                  {k.KeyID + "x", k.Wrapped, encryptionContext},
	} {
		again, err := current.ReEncrypt(t.Context(), c.keyID, c.wrapped, c.bound)
		if !errors.Is(err, tokenworker.ErrSealBroken) || again != nil {
			t.Errorf("%s: %d bytes, error %v; want none and ErrSealBroken", name, len(again), err)
		}
	}
}

func testReEncryptCancelled(t *testing.T, former, current tokenworker.KeyService) {
	k := generate(t, former)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := current.ReEncrypt(ctx, k.KeyID, k.Wrapped, encryptionContext); !errors.Is(err, context.Canceled) {
		t.Errorf("ReEncrypt: %v, want context.Canceled", err)
	}
}

// reEncrypt wraps a data key again under the ordinary context.
func reEncrypt(t *testing.T, s tokenworker.KeyService, k tokenworker.DataKey) []byte {
	t.Helper()
	again, err := s.ReEncrypt(t.Context(), k.KeyID, k.Wrapped, encryptionContext)
	if err != nil {
		t.Fatalf("wrapping a data key again: %v", err)
	}
	return again
}

func requireUnwraps(t *testing.T, s tokenworker.KeyService, keyID string, wrapped []byte, want tokenworker.DataKey) {
	t.Helper()
	got, err := s.Decrypt(t.Context(), keyID, wrapped, encryptionContext)
	if err != nil || !got.Equal(want.Plain) {
		t.Errorf("the same key %v, error %v", err == nil && got.Equal(want.Plain), err)
	}
}
