package events_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// deadLetter is a refused event that had tokens in clear.
func deadLetter(t testing.TB) events.DeadLetter {
	t.Helper()
	m, err := acquired(t).PlainMessage()
	if err != nil {
		t.Fatal(err)
	}
	return events.DeadLetter{
		Code: events.CodePlainRefused, Original: m, Stamp: tokenworker.Stamp{Epoch: 2, Sequence: 1<<53 + 1}, Entered: noon,
	}
}

func sealDeadLetter(t testing.TB, r *ring, d events.DeadLetter) events.Message {
	t.Helper()
	m, err := r.SealDeadLetter(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestADeadLetterOpensAsTheMessageThatWasRefused(t *testing.T) {
	r := newRing(t, events.SuiteHybrid)
	for _, c := range []struct {
		name   string
		change func(d *events.DeadLetter)
	}{
		{"a whole event", func(*events.DeadLetter) {}},
		{"no message id", func(d *events.DeadLetter) { d.Original.ID = "" }},
		{"a body that is not text", func(d *events.DeadLetter) { d.Original.Body = []byte{0, 255, 10, 13} }},
		{"a body of 256 KiB", func(d *events.DeadLetter) { d.Original.Body = bytes.Repeat([]byte("x"), 256<<10) }},
		{"a subject that cannot be repeated", func(d *events.DeadLetter) { d.Original.Subject = "tokens.v1.acquired.*.b c" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := deadLetter(t)
			c.change(&want)
			m := sealDeadLetter(t, r, want)
			got, err := r.OpenDeadLetter(t.Context(), m)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("opened %+v, %v, want %+v", got, err, want)
			}
			replay, err := events.Replay(m)
			if err != nil {
				t.Fatal(err)
			}
			got, err = r.OpenDeadLetter(t.Context(), replay)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("its replay opened %+v, %v, want %+v", got, err, want)
			}
			if len(m.Body) > 1<<20 {
				t.Errorf("its body has %d bytes, more than NATS takes by default", len(m.Body))
			}
		})
	}
}

func TestADeadLetterHidesTheBodyAndShowsWhatAListingNeeds(t *testing.T) {
	r := newRing(t, events.SuiteHybrid)
	d := deadLetter(t)
	m := sealDeadLetter(t, r, d)
	if bytes.Contains(m.Body, []byte("access-4f1c")) {
		t.Error("the token stands in the dead letter in clear")
	}
	want := events.DeadLetterInfo{
		Code: d.Code, Subject: d.Original.Subject, Stamp: d.Stamp, Entered: d.Entered, KeyID: r.key.KeyID,
	}
	if got, err := events.ReadDeadLetter(m); err != nil || got != want {
		t.Errorf("read %+v, %v, want %+v", got, err, want)
	}
}

func TestADeadLetterIsPublishedOnceEachReplayAnew(t *testing.T) {
	r := newRing(t, events.SuiteX25519)
	d := deadLetter(t)
	first, again := sealDeadLetter(t, r, d), sealDeadLetter(t, r, d)
	if first.ID != again.ID {
		t.Error("the same dead letter has two message ids")
	}
	d.Stamp.Sequence++
	if next := sealDeadLetter(t, r, d); next.ID == first.ID {
		t.Error("two dead letters share a message id")
	}
	d.Stamp.Sequence--
	d.Carrier = "TOKENS_IN/4711"
	if again := sealDeadLetter(t, r, d); again.ID == first.ID {
		t.Error("the dead letter of a replay is taken for the one that was replayed")
	}
	one, err1 := events.Replay(first)
	two, err2 := events.Replay(first)
	if err := errors.Join(err1, err2); err != nil || one.ID == two.ID {
		t.Errorf("two replays share a message id, or %v", err)
	}
	if _, err := events.Replay(one); !errors.Is(err, events.CodeBadSubject) {
		t.Errorf("replay of a replay: %v", err)
	}
}

func TestADeadLetterThatWasMovedOrAlteredIsRefused(t *testing.T) {
	r := newRing(t, events.SuiteX25519)
	m := sealDeadLetter(t, r, deadLetter(t))
	body := string(m.Body)
	for _, c := range []struct {
		name, subject, body string
		want                events.Code
	}{
		{"on another connection's subject", strings.Replace(m.Subject, "c-17", "c-18", 1), body, events.CodeSealBroken},
		{"under another code", "tokens.v1.dlq.too_old.acquired.acme.finch.c-17", strings.Replace(body, "plain_refused", "too_old", 1), events.CodeSealBroken},
		{"with a code that is not its subject's", m.Subject, strings.Replace(body, "plain_refused", "too_old", 1), events.CodeInvalidData},
		{"on no dead letter's subject", acquiredSubject, body, events.CodeBadSubject},
		{"with a stamp that is text", m.Subject, strings.Replace(body, `"epoch":2`, `"epoch":"2"`, 1), events.CodeInvalidData},
		{"with a stamp below zero", m.Subject, strings.Replace(body, `"epoch":2`, `"epoch":-2`, 1), events.CodeInvalidData},
		{"with a field more", m.Subject, strings.Replace(body, `{`, `{"x":1,`, 1), events.CodeUnknownField},
		{"without a seal", m.Subject, `{"code":"plain_refused"}`, events.CodeInvalidData},
		{"without a body", m.Subject, ``, events.CodeNotJSON},
		{"to an unknown key", m.Subject, strings.Replace(body, r.key.KeyID, "k", 1), events.CodeUnknownKey},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := r.OpenDeadLetter(t.Context(), events.Message{Subject: c.subject, Body: []byte(c.body)})
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// TestADeadLetterOfSomebodyElseIsRefused: whoever knows the public key can seal to it, so a seal that opens may still hold
// anything.
func TestADeadLetterOfSomebodyElseIsRefused(t *testing.T) {
	r := newRing(t, events.SuiteX25519)
	public, err := hpke.DHKEM(ecdh.X25519()).NewPublicKey(r.key.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	subject := events.DeadLetterSubject(events.CodeTooOld, acquiredSubject)
	info := []byte("tokenworker/v1\x00\x00\x00\x25com.github.tokenworker.dead_letter.v1\x00\x00\x00" + string(rune(len(subject))) + subject)
	for _, c := range []struct {
		name, plaintext string
		want            error
	}{
		{"the message of its subject", `{"code":"too_old","subject":"` + acquiredSubject + `"}`, nil},
		{"the message of another connection", `{"code":"too_old","subject":"tokens.v1.acquired.acme.finch.c-18"}`, events.CodeInvalidData},
		{"another code", `{"code":"too_large","subject":"` + acquiredSubject + `"}`, events.CodeInvalidData},
		{"no JSON", `x`, events.CodeInvalidData},
	} {
		t.Run(c.name, func(t *testing.T) {
			sealed, err := hpke.Seal(public, hpke.HKDFSHA256(), hpke.AES256GCM(), info, []byte(c.plaintext))
			if err != nil {
				t.Fatal(err)
			}
			body := fmt.Sprintf(`{"kid":%q,"enc":%q,"ct":%q}`, r.key.KeyID,
				base64.RawURLEncoding.EncodeToString(sealed[:32]), base64.RawURLEncoding.EncodeToString(sealed[32:]))
			_, err = r.OpenDeadLetter(t.Context(), events.Message{Subject: subject, Body: []byte(body)})
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestAnEventDoesNotOpenAsADeadLetter(t *testing.T) {
	r := newRing(t, events.SuiteX25519)
	e := decode(t, sealed(t, r.key))
	data, err := e.Sealed.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	m := events.Message{Subject: events.DeadLetterSubject(events.CodeTooOld, e.Subject()), Body: data}
	if _, err := r.OpenDeadLetter(t.Context(), m); !errors.Is(err, events.CodeSealBroken) {
		t.Errorf("got %v, want %v", err, events.CodeSealBroken)
	}
}

func TestADeadLetterNeedsAKeyAndAnOutageShows(t *testing.T) {
	r := newRing(t, events.SuiteX25519)
	r.store.keys = make(map[string]tokenworker.WrappedKey)
	replica := r.another(t)
	if _, err := replica.SealDeadLetter(t.Context(), deadLetter(t)); !errors.Is(err, tokenworker.ErrMisconfigured) {
		t.Errorf("without a key: got %v, want %v", err, tokenworker.ErrMisconfigured)
	}
	r.store.fail = tokenworker.ErrUnavailable
	if _, err := replica.SealDeadLetter(t.Context(), deadLetter(t)); !errors.Is(err, tokenworker.ErrUnavailable) {
		t.Errorf("without a store: got %v, want %v", err, tokenworker.ErrUnavailable)
	}
}

func TestAReplicaSealsDeadLettersToANewKeyBeforeTheOldOneCanBeRetired(t *testing.T) {
	r := newRing(t, events.SuiteX25519)
	replica := r.another(t)
	if got := sealedTo(t, sealDeadLetter(t, replica, deadLetter(t))); got != r.key.KeyID {
		t.Fatalf("sealed to %s, want %s", got, r.key.KeyID)
	}
	next, err := r.Rotate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.clock.advance(noticed)
	if got := sealedTo(t, sealDeadLetter(t, replica, deadLetter(t))); got != next.KeyID {
		t.Errorf("sealed to %s, want %s", got, next.KeyID)
	}
}

func sealedTo(t *testing.T, m events.Message) string {
	t.Helper()
	info, err := events.ReadDeadLetter(m)
	if err != nil {
		t.Fatal(err)
	}
	return info.KeyID
}
