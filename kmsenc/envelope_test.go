package kmsenc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/tokenworker/tokenworker"
	"pgregory.net/rapid"
)

// drawKey draws any valid connection key.
func drawKey(t *rapid.T, label string) tokenworker.Key {
	part := rapid.StringN(1, tokenworker.MaxPartBytes, tokenworker.MaxPartBytes).
		Filter(func(s string) bool { return tokenworker.ValidatePart(s) == nil })
	return tokenworker.Key{
		OrgID:      part.Draw(t, label+" organization"),
		ProviderID: part.Draw(t, label+" provider"),
		CompanyID:  part.Draw(t, label+" company"),
	}
}

func drawFence(t *rapid.T, label string) tokenworker.Fence {
	return tokenworker.Fence{
		Stamp: tokenworker.Stamp{
			Epoch:    rapid.Uint64().Draw(t, label+" epoch"),
			Sequence: rapid.Uint64().Draw(t, label+" sequence"),
		},
		Generation: rapid.Uint64().Draw(t, label+" generation"),
	}
}

func drawScope(t *rapid.T, label string) keyScope {
	kind := rapid.SampledFrom([]scopeKind{orgKind, tokenKind, poolKind}).Draw(t, label+" scope")
	if kind != poolKind {
		return keyScope{kind: kind}
	}
	return keyScope{kind: kind, pool: rapid.Uint16().Draw(t, label+" pool")}
}

func TestAnEnvelopeParsesToWhatWasEncoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := &envelope{
			scope:      drawScope(t, "its"),
			fence:      drawFence(t, "its"),
			salt:       [saltBytes]byte(rapid.SliceOfN(rapid.Byte(), saltBytes, saltBytes).Draw(t, "salt")),
			commitment: [commitmentBytes]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "commitment")),
			keyID:      rapid.SliceOfN(rapid.Byte(), 1, maxKeyIDBytes).Draw(t, "key id"),
			wrapped:    rapid.SliceOfN(rapid.Byte(), 1, maxWrappedBytes).Draw(t, "wrapped"),
			ciphertext: rapid.SliceOfN(rapid.Byte(), gcmOverhead, 1000).Draw(t, "ciphertext"),
		}
		b := encode(want)
		got, err := parseEnvelope(b)
		if err != nil {
			t.Fatal(err)
		}
		if got.scope != want.scope || got.fence != want.fence || got.salt != want.salt ||
			got.commitment != want.commitment || !bytes.Equal(got.keyID, want.keyID) ||
			!bytes.Equal(got.wrapped, want.wrapped) || !bytes.Equal(got.ciphertext, want.ciphertext) {
			t.Fatalf("parsed %+v, want %+v", got, want)
		}
		if len(b) != want.size(len(want.ciphertext)) {
			t.Fatalf("%d bytes, size says %d", len(b), want.size(len(want.ciphertext)))
		}
		fence, err := FenceOf(b)
		if err != nil || fence != want.fence {
			t.Fatalf("FenceOf: %v, %v; want %v", fence, err, want.fence)
		}
	})
}

func encode(e *envelope) []byte {
	return append(e.appendHeader(nil, len(e.ciphertext)), e.ciphertext...)
}

func TestAMalformedEnvelopeIsRefused(t *testing.T) {
	const keyIDAt, wrappedAt, ciphertextAt = 92, 92 + 2 + 3, 92 + 2 + 3 + 2 + 4
	whole := encode(&envelope{
		scope: keyScope{kind: orgKind}, keyID: []byte("key"), wrapped: []byte("wrap"), ciphertext: make([]byte, 40),
	})
	for name, b := range map[string][]byte{
		"nothing":                       {},
		"a version before the first":    put(whole, 0, 0),
		"an unknown version":            put(whole, 0, 2),
		"no scope":                      put(whole, 1, 0),
		"an unknown scope":              put(whole, 1, 4),
		"a pool number without a pool":  put(whole, 3, 1),
		"an empty key id":               put(whole, keyIDAt, 0, 0),
		"a longer key id than there is": put(whole, keyIDAt, 0, 200),
		"a key id over the limit":       long(whole, keyIDAt, maxKeyIDBytes+1, "key"),
		"an empty wrapped key":          put(whole, wrappedAt, 0, 0),
		"a wrapped key over the limit":  long(whole, wrappedAt, maxWrappedBytes+1, "wrap"),
		"a ciphertext without a tag":    append(put(whole, ciphertextAt, 0, 0, 0, 27)[:ciphertextAt+4], make([]byte, 27)...),
		"a ciphertext cut short":        whole[:len(whole)-1],
		"a trailing byte":               append(bytes.Clone(whole), 0),
		"the greatest ciphertext":       put(whole, ciphertextAt, 255, 255, 255, 255),
		"more bytes than any envelope":  append(bytes.Clone(whole), make([]byte, tokenworker.MaxSealedBytes)...),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := FenceOf(b); !errors.Is(err, tokenworker.ErrSealBroken) {
				t.Errorf("%v, want ErrSealBroken", err)
			}
		})
	}
	for n := range whole {
		if _, err := parseEnvelope(whole[:n]); !errors.Is(err, tokenworker.ErrSealBroken) {
			t.Errorf("cut to %d bytes: %v, want ErrSealBroken", n, err)
		}
	}
	if _, err := parseEnvelope(whole); err != nil {
		t.Errorf("the whole one: %v", err)
	}
}

// put returns a copy of b with the given bytes at an offset.
func put(b []byte, at int, bytes ...byte) []byte {
	b = append([]byte(nil), b...)
	copy(b[at:], bytes)
	return b
}

// long returns a copy of b whose field at an offset is n bytes long instead of as long as old.
func long(b []byte, at, n int, old string) []byte {
	out := append([]byte(nil), b[:at]...)
	out = binary.BigEndian.AppendUint16(out, uint16(n))
	out = append(out, make([]byte, n)...)
	return append(out, b[at+2+len(old):]...)
}

func TestNoTwoBindingsShareAdditionalData(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type binding struct {
			scope keyScope
			fence tokenworker.Fence
			key   tokenworker.Key
		}
		a := binding{drawScope(t, "first"), drawFence(t, "first"), drawKey(t, "first")}
		b := a
		switch rapid.IntRange(0, 3).Draw(t, "what differs") {
		case 0:
			b.scope = drawScope(t, "second")
		case 1:
			b.fence = drawFence(t, "second")
		case 2:
			b.key = drawKey(t, "second")
		case 3: // the same bytes, cut elsewhere
			all := a.key.OrgID + a.key.ProviderID + a.key.CompanyID
			i := rapid.IntRange(0, len(all)).Draw(t, "first cut")
			j := rapid.IntRange(i, len(all)).Draw(t, "second cut")
			b.key = tokenworker.Key{OrgID: all[:i], ProviderID: all[i:j], CompanyID: all[j:]}
		}
		first := (&envelope{scope: a.scope, fence: a.fence}).additionalData(a.key)
		second := (&envelope{scope: b.scope, fence: b.fence}).additionalData(b.key)
		if (a == b) != bytes.Equal(first, second) {
			t.Fatalf("%+v and %+v: %x and %x", a, b, first, second)
		}
	})
}

func FuzzParsedEnvelopesEncodeToTheSameBytes(f *testing.F) {
	for _, v := range readVectors(f) {
		f.Add([]byte(v.Sealed))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseEnvelope(b)
		if err != nil {
			if !errors.Is(err, tokenworker.ErrSealBroken) {
				t.Fatalf("%v, want ErrSealBroken", err)
			}
			return
		}
		if got := encode(e); !bytes.Equal(got, b) {
			t.Fatalf("encodes to\n%x, was\n%x", got, b)
		}
	})
}
