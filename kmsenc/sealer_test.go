package kmsenc

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/tokenworker/tokenworker"
	"pgregory.net/rapid"
)

var (
	acme   = tokenworker.Key{OrgID: "acme", ProviderID: "gusto", CompanyID: "company-1"}
	first  = tokenworker.Fence{Stamp: tokenworker.Stamp{Epoch: 1, Sequence: 42}}
	scopes = []string{"org", "token", "pool:1"}
)

func newTestSealer(tb testing.TB, service tokenworker.KeyService, scope string) *Sealer {
	tb.Helper()
	return New(service, newMemoryStore(), Config{Scope: mustScope(tb, scope)})
}

func mustSeal(tb testing.TB, s *Sealer, key tokenworker.Key, fence tokenworker.Fence, plaintext string) []byte {
	tb.Helper()
	sealed, err := s.Seal(tb.Context(), key, fence, []byte(plaintext))
	if err != nil {
		tb.Fatal(err)
	}
	return sealed
}

// doesNotOpen demands that the blob is refused as broken, and that the error does not show what is inside.
func doesNotOpen(tb testing.TB, s *Sealer, key tokenworker.Key, fence tokenworker.Fence, sealed []byte, what string) {
	tb.Helper()
	plaintext, err := s.Open(tb.Context(), key, fence, sealed)
	if !errors.Is(err, tokenworker.ErrSealBroken) || plaintext != nil {
		tb.Errorf("%s: opened %t, error %v; want ErrSealBroken", what, plaintext != nil, err)
	}
}

func TestAnySealOpensForItsOwnConnectionAndFence(t *testing.T) {
	service := newStubService(t)
	for _, scope := range append(scopes, "pool:4096") {
		t.Run(scope, func(t *testing.T) {
			sealer := newTestSealer(t, service, scope)
			rapid.Check(t, func(t *rapid.T) {
				key, fence := drawKey(t, "its"), drawFence(t, "its")
				plaintext := rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(t, "plaintext")
				sealed, err := sealer.Seal(t.Context(), key, fence, plaintext)
				if err != nil {
					t.Fatal(err)
				}
				got, err := sealer.Open(t.Context(), key, fence, sealed)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, plaintext) {
					t.Fatalf("opened %x, want %x", got, plaintext)
				}
				if len(plaintext) >= 16 && bytes.Contains(sealed, plaintext) {
					t.Fatal("the sealed bytes contain the plaintext")
				}
			})
		})
	}
}

func TestNoSealOpensForAnotherConnectionOrFence(t *testing.T) {
	service := newStubService(t)
	for _, scope := range scopes {
		t.Run(scope, func(t *testing.T) {
			sealer := newTestSealer(t, service, scope)
			rapid.Check(t, func(t *rapid.T) {
				key, fence := drawKey(t, "its"), drawFence(t, "its")
				sealed, err := sealer.Seal(t.Context(), key, fence, []byte("plaintext"))
				if err != nil {
					t.Fatal(err)
				}
				otherKey, otherFence := key, fence
				other := drawKey(t, "another")
				switch rapid.IntRange(0, 5).Draw(t, "what differs") {
				case 0:
					otherKey.OrgID = other.OrgID
				case 1:
					otherKey.ProviderID = other.ProviderID
				case 2:
					otherKey.CompanyID = other.CompanyID
				case 3:
					otherFence.Stamp.Epoch++
				case 4:
					otherFence.Stamp.Sequence++
				case 5:
					otherFence.Generation++
				}
				if otherKey == key && otherFence == fence {
					t.Skip("the same")
				}
				if _, err := sealer.Open(t.Context(), otherKey, otherFence, sealed); !errors.Is(err, tokenworker.ErrSealBroken) {
					t.Fatalf("%v, want ErrSealBroken", err)
				}
			})
		})
	}
}

func TestAFlippedBitAnywhereBreaksTheSeal(t *testing.T) {
	for _, scope := range scopes {
		t.Run(scope, func(t *testing.T) {
			sealer := newTestSealer(t, newStubService(t), scope)
			sealed := mustSeal(t, sealer, acme, first, "plaintext")
			for i := range sealed {
				for bit := range 8 {
					altered := bytes.Clone(sealed)
					altered[i] ^= 1 << bit
					doesNotOpen(t, sealer, acme, first, altered, fmt.Sprintf("bit %d of byte %d", bit, i))
				}
			}
			for n := range sealed {
				doesNotOpen(t, sealer, acme, first, sealed[:n], fmt.Sprintf("cut to %d bytes", n))
			}
			doesNotOpen(t, sealer, acme, first, append(bytes.Clone(sealed), 0), "a trailing byte")
			if _, err := sealer.Open(t.Context(), acme, first, sealed); err != nil {
				t.Errorf("the unaltered one: %v", err)
			}
		})
	}
}

// The header's own fence passes the first comparison here, so that the cryptographic binding is what refuses.
func TestAnOlderBlobWithItsHeaderRewrittenStaysShut(t *testing.T) {
	for _, scope := range scopes {
		t.Run(scope, func(t *testing.T) {
			sealer := newTestSealer(t, newStubService(t), scope)
			older := mustSeal(t, sealer, acme, first, "older")
			for name, newer := range map[string]tokenworker.Fence{
				"a refresh":         first.Next(),
				"an acquisition":    {Stamp: tokenworker.Stamp{Epoch: 1, Sequence: 43}},
				"a later epoch":     {Stamp: tokenworker.Stamp{Epoch: 2, Sequence: 42}},
				"a swap of numbers": {Stamp: tokenworker.Stamp{Epoch: 42, Sequence: 1}},
			} {
				doesNotOpen(t, sealer, acme, newer, older, name)
				e, err := parseEnvelope(older)
				if err != nil {
					t.Fatal(err)
				}
				e.fence = newer
				doesNotOpen(t, sealer, acme, newer, encode(e), name+", header rewritten")
			}
		})
	}
}

func TestAScopeInTheHeaderCannotBeRewritten(t *testing.T) {
	service := newStubService(t)
	for _, scope := range scopes {
		sealer := newTestSealer(t, service, scope)
		sealed := mustSeal(t, sealer, acme, first, "plaintext")
		for _, other := range []keyScope{{orgKind, 0}, {tokenKind, 0}, {poolKind, 0}, {poolKind, 1}} {
			e, err := parseEnvelope(sealed)
			if err != nil {
				t.Fatal(err)
			}
			if e.scope == other {
				continue
			}
			e.scope = other
			doesNotOpen(t, sealer, acme, first, encode(e), fmt.Sprintf("%s as %+v", scope, other))
		}
	}
}

// Whoever can write the table puts the data key of one organization under the row of another, with and without the
// ciphertext, for organizations whose data keys are both in the cache.
func TestDataKeysDoNotMoveBetweenOrganizations(t *testing.T) {
	globex := tokenworker.Key{OrgID: "globex", ProviderID: acme.ProviderID, CompanyID: acme.CompanyID}
	for _, scope := range []string{"org", "token", "pool:1"} {
		t.Run(scope, func(t *testing.T) {
			sealer := newTestSealer(t, newStubService(t), scope)
			mine, err := parseEnvelope(mustSeal(t, sealer, acme, first, "acme's"))
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := parseEnvelope(mustSeal(t, sealer, globex, first, "globex's"))
			if err != nil {
				t.Fatal(err)
			}
			doesNotOpen(t, sealer, acme, first, encode(theirs), "the whole blob")

			swapped := *mine
			swapped.keyID, swapped.wrapped = theirs.keyID, theirs.wrapped
			if scope != "pool:1" { // the pool's key is the same key
				doesNotOpen(t, sealer, acme, first, encode(&swapped), "the data key")
			}
			swapped.salt, swapped.commitment = theirs.salt, theirs.commitment
			doesNotOpen(t, sealer, acme, first, encode(&swapped), "the data key, salt and commitment")
			swapped.ciphertext = theirs.ciphertext
			doesNotOpen(t, sealer, acme, first, encode(&swapped), "everything but the row")
		})
	}
}

// A data key known to an attacker gives GCM ciphertexts that open under two keys; the commitment admits one only.
func TestACommitmentThatDoesNotMatchIsRefusedBeforeDecrypting(t *testing.T) {
	sealer := newTestSealer(t, newStubService(t), "org")
	e, err := parseEnvelope(mustSeal(t, sealer, acme, first, "plaintext"))
	if err != nil {
		t.Fatal(err)
	}
	e.commitment[31] ^= 1
	doesNotOpen(t, sealer, acme, first, encode(e), "another commitment over a sound ciphertext")
}

func TestADataKeyWrappedAgainOpensWhatItSealed(t *testing.T) {
	service := newStubService(t)
	sealer := newTestSealer(t, service, "org")
	e, err := parseEnvelope(mustSeal(t, sealer, acme, first, "plaintext"))
	if err != nil {
		t.Fatal(err)
	}
	context := e.scope.encryptionContext(acme.OrgID)
	plain, err := service.Decrypt(t.Context(), string(e.keyID), e.wrapped, context)
	if err != nil {
		t.Fatal(err)
	}
	other := newStubService(t)
	e.keyID, e.wrapped = []byte(other.keyID), other.wrap(plain.Reveal(), context)
	got, err := newTestSealer(t, other, "org").Open(t.Context(), acme, first, encode(e))
	if err != nil || string(got) != "plaintext" {
		t.Errorf("opened %q, %v", got, err)
	}
}

func TestWhatWasSealedUnderAnotherScopeStillOpens(t *testing.T) {
	service := newStubService(t)
	for _, before := range append(scopes, "pool:16", "pool:17") {
		sealed := mustSeal(t, newTestSealer(t, service, before), acme, first, "plaintext")
		for _, now := range append(scopes, "pool:16") {
			got, err := newTestSealer(t, service, now).Open(t.Context(), acme, first, sealed)
			if err != nil || string(got) != "plaintext" {
				t.Errorf("sealed under %s, opened under %s: %q, %v", before, now, got, err)
			}
		}
	}
}

func TestTheSameTokenSetNeverSealsToTheSameBytes(t *testing.T) {
	sealer := newTestSealer(t, newStubService(t), "org")
	a, b := mustSeal(t, sealer, acme, first, "plaintext"), mustSeal(t, sealer, acme, first, "plaintext")
	one, err := parseEnvelope(a)
	if err != nil {
		t.Fatal(err)
	}
	two, err := parseEnvelope(b)
	if err != nil {
		t.Fatal(err)
	}
	if one.salt == two.salt || one.commitment == two.commitment || bytes.Equal(one.ciphertext, two.ciphertext) {
		t.Error("two seals share a salt, a commitment or a ciphertext")
	}
}

func TestASealIsAsLongAsTheStoreTakesAndNoLonger(t *testing.T) {
	sealer := newTestSealer(t, newStubService(t), "org")
	overhead := len(mustSeal(t, sealer, acme, first, ""))
	tooLarge := make([]byte, tokenworker.MaxSealedBytes-overhead+1)
	largest := tooLarge[1:]
	sealed, err := sealer.Seal(t.Context(), acme, first, largest)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := sealer.Open(t.Context(), acme, first, sealed); err != nil || !bytes.Equal(got, largest) {
		t.Errorf("the largest does not open: %v", err)
	}
	if _, err := sealer.Seal(t.Context(), acme, first, tooLarge); !errors.Is(err, tokenworker.ErrTooLarge) {
		t.Errorf("one byte more: %v, want ErrTooLarge", err)
	}
}

func TestAnInvalidConnectionIsNeitherSealedNorOpened(t *testing.T) {
	service := newStubService(t)
	sealer := newTestSealer(t, service, "org")
	for _, key := range []tokenworker.Key{{}, {OrgID: "acme", ProviderID: "gusto", CompanyID: "line\nbreak"}} {
		if _, err := sealer.Seal(t.Context(), key, first, nil); !errors.Is(err, tokenworker.ErrInvalidKey) {
			t.Errorf("Seal: %v, want ErrInvalidKey", err)
		}
		if _, err := sealer.Open(t.Context(), key, first, nil); !errors.Is(err, tokenworker.ErrInvalidKey) {
			t.Errorf("Open: %v, want ErrInvalidKey", err)
		}
	}
	if got := sealer.Calls(); got != (Calls{}) {
		t.Errorf("the key service was asked: %+v", got)
	}
}

func FuzzOpenNeverPanics(f *testing.F) {
	service := newStubService(f)
	sealer := newTestSealer(f, service, "org")
	sealed := mustSeal(f, sealer, acme, first, "plaintext")
	f.Add(sealed)
	for _, v := range readVectors(f) {
		f.Add([]byte(v.Sealed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fence, err := FenceOf(b)
		if err != nil {
			fence = first
		}
		plaintext, err := sealer.Open(t.Context(), acme, fence, b)
		switch {
		case err == nil && !bytes.Equal(b, sealed):
			t.Fatalf("opened %q, which was never sealed", plaintext)
		case err != nil && !errors.Is(err, tokenworker.ErrSealBroken):
			t.Fatalf("%v, want ErrSealBroken", err)
		}
	})
}
