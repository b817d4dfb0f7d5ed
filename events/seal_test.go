package events_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/tokenworker/tokenworker/events"
)

func TestASealedEventOpensAsTheSetThatWasSealed(t *testing.T) {
	for _, s := range suites {
		t.Run(s.name, func(t *testing.T) {
			r := newRing(t, s.suite)
			m := sealed(t, r.key)
			if bytes.Contains(m.Body, []byte("access-4f1c")) {
				t.Fatal("the token stands in the message in clear")
			}
			got, err := r.Open(t.Context(), decode(t, m))
			if err != nil {
				t.Fatal(err)
			}
			sameSet(t, got, tokenSet())
		})
	}
}

func TestAPlainEventOpensWithoutAKey(t *testing.T) {
	got, err := newRing(t, events.SuiteX25519).Open(t.Context(), acquired(t))
	if err != nil {
		t.Fatal(err)
	}
	sameSet(t, got, tokenSet())
}

func TestAnEventWithoutTokensDoesNotOpen(t *testing.T) {
	e, err := events.NewDisconnect(acme, source, "", noon)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newRing(t, events.SuiteX25519).Open(t.Context(), e); !errors.Is(err, events.ErrInvalidEvent) {
		t.Errorf("got %v", err)
	}
}

// TestASealOpensForItsOwnEventOnly moves a seal into events that differ in one thing that it is bound to. Each of them
// is valid apart from the seal.
func TestASealOpensForItsOwnEventOnly(t *testing.T) {
	for _, s := range suites {
		r := newRing(t, s.suite)
		e := acquired(t)
		if err := e.Seal(r.key); err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(e.Sealed)
		if err != nil {
			t.Fatal(err)
		}
		original := attrs{
			"id": quote(e.ID), "source": quote(e.Source), "time": `"2026-11-21T12:00:00Z"`, "subject": quote(events.KeyText(e.Key)),
		}
		for _, c := range []struct {
			name, subject string
			with          attrs
			want          error
		}{
			{"its own event", acquiredSubject, nil, nil},
			{"another company's event", "tokens.v1.acquired.acme.finch.c-18", attrs{"subject": `"acme:finch:c-18"`}, events.CodeSealBroken},
			{"another organization's event", "tokens.v1.acquired.acme2.finch.c-17", attrs{"subject": `"acme2:finch:c-17"`}, events.CodeSealBroken},
			{"an event of the provider alone", "tokens.v1.acquired.acme.finch", attrs{"subject": `"acme:finch"`}, events.CodeSealBroken},
			{"a later event", acquiredSubject, attrs{"time": `"2026-11-22T12:00:00Z"`}, events.CodeSealBroken},
			{"an event of the same time in another spelling", acquiredSubject, attrs{"time": `"2026-11-21T12:00:00.0Z"`}, events.CodeSealBroken},
			{"an event with another id", acquiredSubject, attrs{"id": `"6f1c9f2e-8a4b-4c1d-9e3f-2b7a5d0c4e81"`}, events.CodeSealBroken},
			{"another publisher's event", acquiredSubject, attrs{"source": `"//other.example"`}, events.CodeSealBroken},
		} {
			t.Run(s.name+" in "+c.name, func(t *testing.T) {
				a := validAttrs()
				a["data"] = string(data)
				_, err := r.Open(t.Context(), decode(t, a.with(original).with(c.with).message(c.subject)))
				if !errors.Is(err, c.want) {
					t.Errorf("got %v, want %v", err, c.want)
				}
			})
		}
	}
}

func quote(s string) string { return `"` + s + `"` }

func TestAnAlteredSealDoesNotOpen(t *testing.T) {
	for _, s := range suites {
		r := newRing(t, s.suite)
		e := decode(t, sealed(t, r.key))
		whole := *e.Sealed
		for _, c := range []struct {
			name  string
			alter func(s *events.Sealed)
		}{
			{"a bit of the ciphertext", func(s *events.Sealed) { s.Ciphertext[3] ^= 1 }},
			{"a bit of the tag", func(s *events.Sealed) { s.Ciphertext[len(s.Ciphertext)-1] ^= 128 }},
			{"a bit of the encapsulated key", func(s *events.Sealed) { s.Enc[5] ^= 1 }},
			{"a byte less of the ciphertext", func(s *events.Sealed) { s.Ciphertext = s.Ciphertext[1:] }},
			{"a byte less of the encapsulated key", func(s *events.Sealed) { s.Enc = s.Enc[1:] }},
			{"an encapsulated key of zeros", func(s *events.Sealed) { clear(s.Enc) }},
			{"a ciphertext shorter than a tag", func(s *events.Sealed) { s.Ciphertext = s.Ciphertext[:15] }},
		} {
			t.Run(s.name+" "+c.name, func(t *testing.T) {
				e.Sealed = &events.Sealed{
					KeyID: whole.KeyID, Enc: bytes.Clone(whole.Enc), Ciphertext: bytes.Clone(whole.Ciphertext),
				}
				c.alter(e.Sealed)
				if _, err := r.Open(t.Context(), e); !errors.Is(err, events.CodeSealBroken) {
					t.Errorf("got %v, want %v", err, events.CodeSealBroken)
				}
			})
		}
	}
}

func TestASealToAnotherWorkersKeyDoesNotOpen(t *testing.T) {
	ours, theirs := newRing(t, events.SuiteHybrid), newRing(t, events.SuiteHybrid)
	m := sealed(t, theirs.key)
	ours.clock.advance(1 << 40)
	if _, err := ours.Open(t.Context(), decode(t, m)); !errors.Is(err, events.CodeUnknownKey) {
		t.Errorf("got %v, want %v", err, events.CodeUnknownKey)
	}
	m.Body = bytes.Replace(m.Body, []byte(theirs.key.KeyID), []byte(ours.key.KeyID), 1)
	if _, err := ours.Open(t.Context(), decode(t, m)); !errors.Is(err, events.CodeSealBroken) {
		t.Errorf("with our key's id: got %v, want %v", err, events.CodeSealBroken)
	}
}

func TestPublicKeysReadBack(t *testing.T) {
	for _, s := range suites {
		t.Run(s.name, func(t *testing.T) {
			r := newRing(t, s.suite)
			document, err := json.Marshal(r.key)
			if err != nil {
				t.Fatal(err)
			}
			got, err := events.ParsePublicKey(document)
			if err != nil {
				t.Fatal(err)
			}
			if got.KeyID != r.key.KeyID || got.Suite != s.suite || !got.CreatedAt.Equal(r.key.CreatedAt) || !bytes.Equal(got.Bytes(), r.key.Bytes()) {
				t.Errorf("%s reads back as another key", document)
			}
			if _, err := r.Open(t.Context(), decode(t, sealed(t, got))); err != nil {
				t.Errorf("what is sealed to the key that was read does not open: %v", err)
			}
		})
	}
}

func TestOtherPublicKeysAreRefused(t *testing.T) {
	document, err := json.Marshal(newRing(t, events.SuiteX25519).key)
	if err != nil {
		t.Fatal(err)
	}
	valid := string(document)
	for _, c := range []struct{ name, document string }{
		{"nothing", ""},
		{"a list", "[]"},
		{"an empty object", "{}"},
		{"another suite", strings.Replace(valid, "X25519,", "P256,", 1)},
		{"the key of another suite", strings.Replace(valid, "X25519,", "MLKEM768-X25519,", 1)},
		{"padding", strings.Replace(valid, `","created_at`, `=","created_at`, 1)},
		{"a kid that is no token", strings.Replace(valid, `"kid":"`, `"kid":"a b`, 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if k, err := events.ParsePublicKey([]byte(c.document)); !errors.Is(err, events.ErrInvalidPublicKey) {
				t.Errorf("read %v, %v", k, err)
			}
		})
	}
	if err := acquired(t).Seal(events.PublicKey{}); !errors.Is(err, events.ErrInvalidPublicKey) {
		t.Errorf("sealing to no key: %v", err)
	}
}
