package events_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

var requestNames = []string{
	"acquired", "acquired_provider_only", "acquired_plain", "disconnect", "disconnect_bare", "refresh", "erase",
	"erase_organization",
}

// FuzzDecode: the decoder never panics, refuses with a code of the list, and what it accepts it accepts again, byte for
// byte the same, after encoding. Message ids are made to fit, or nothing would get past them.
func FuzzDecode(f *testing.F) {
	for _, name := range requestNames {
		m := readGolden(f, name)
		f.Add(m.Subject, m.Body)
	}
	r := vectorKeyring(f, "vector-hybrid")
	f.Fuzz(func(t *testing.T, subject string, body []byte) {
		m := events.Message{Subject: subject, ID: messageIDOf(subject, body), Body: body}
		e, err := events.Decoder{AllowPlain: true}.Decode(m)
		if err != nil {
			mustBeCode(t, err)
			return
		}
		again, err := e.PlainMessage()
		if errors.Is(err, events.CodeTooLarge) { // escapes of encoding/json: a body at the limit can grow
			return
		}
		if err != nil {
			t.Fatalf("what was decoded cannot be encoded: %v", err)
		}
		e2, err := events.Decoder{AllowPlain: true}.Decode(again)
		if err != nil {
			t.Fatalf("what was encoded is refused: %v", err)
		}
		if e.EventID() != e2.EventID() || e.Key != e2.Key || e.Kind != e2.Kind || e.Reason != e2.Reason {
			t.Fatalf("decoded %+v, then %+v", e, e2)
		}
		third, err := e2.PlainMessage()
		if err != nil || !bytes.Equal(again.Body, third.Body) || again.ID != third.ID {
			t.Fatalf("encoded as %s, then as %s, %v", again.Body, third.Body, err)
		}
		if e.Kind == events.Acquired {
			if _, err := r.Open(t.Context(), e); err != nil {
				mustBeCode(t, err)
			}
		}
	})
}

// messageIDOf is the message id that goes with the source and id of a body, whatever else it holds.
func messageIDOf(subject string, body []byte) string {
	var w struct{ Source, ID string }
	_ = json.Unmarshal(body, &w)
	return events.MessageID(subject, w.Source, w.ID)
}

// FuzzDeadLetter: reading and opening never panic, and refuse with a code of the list.
func FuzzDeadLetter(f *testing.F) {
	m := readGolden(f, "dead_letter")
	f.Add(m.Subject, m.Body)
	r := vectorKeyring(f, "vector-hybrid")
	f.Fuzz(func(t *testing.T, subject string, body []byte) {
		m := events.Message{Subject: subject, Body: body}
		if _, err := events.ReadDeadLetter(m); err != nil {
			mustBeCode(t, err)
		}
		if _, err := r.OpenDeadLetter(t.Context(), m); err != nil {
			mustBeCode(t, err)
		}
	})
}

func mustBeCode(t *testing.T, err error) {
	t.Helper()
	var code events.Code
	if !errors.As(err, &code) || !slices.Contains(events.Codes(), code) || err.Error() != code.Error() {
		t.Fatalf("refused with %v, which is no code of the list", err)
	}
}

// canary is a text of which no eight bytes may show in an error.
const canary = "c4n4ry-Zq9-t0k3n-Wx7-s3cr3t"

// showsCanary reports whether s repeats eight bytes of the canary.
func showsCanary(s string) bool {
	for i := range len(canary) - 7 {
		if strings.Contains(s, canary[i:i+8]) {
			return true
		}
	}
	return false
}

// TestARefusalNeverEchoesTheMessage puts the canary anywhere into a valid message, or in the place of anything, and looks
// for it in whatever comes back.
func TestARefusalNeverEchoesTheMessage(t *testing.T) {
	r := vectorKeyring(t, "vector-hybrid")
	valid := make([]events.Message, len(requestNames))
	for i, name := range requestNames {
		valid[i] = readGolden(t, name)
	}
	deadLetter := readGolden(t, "dead_letter")
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.SampledFrom(valid).Draw(t, "message")
		mutate := func(s, label string) string {
			from := rapid.IntRange(0, len(s)).Draw(t, label+" from")
			to := rapid.IntRange(from, min(len(s), from+80)).Draw(t, label+" to")
			spelling := rapid.SampledFrom([]string{canary, `"` + canary + `"`, `"` + canary + `":1,`, canary + "\n", "\\" + canary}).Draw(t, label)
			return s[:from] + spelling + s[to:]
		}
		switch rapid.IntRange(0, 2).Draw(t, "where") {
		case 0:
			m.Subject = mutate(m.Subject, "subject")
		case 1:
			m.ID = mutate(m.ID, "message id")
		default:
			m.Body = []byte(mutate(string(m.Body), "body"))
			m.ID = messageIDOf(m.Subject, m.Body)
		}
		allowPlain := rapid.Bool().Draw(t, "allow plain")
		e, err := events.Decoder{AllowPlain: allowPlain}.Decode(m)
		if err == nil && e.Kind == events.Acquired {
			_, err = r.Open(t.Context(), e)
		}
		if err != nil && showsCanary(fmt.Sprintf("%v %+v %#v %q", err, err, err, err)) {
			t.Fatalf("the error shows what was in the message: %v", err)
		}
		d := deadLetter
		d.Body = []byte(mutate(string(d.Body), "dead letter"))
		if _, err := r.OpenDeadLetter(t.Context(), d); err != nil && showsCanary(err.Error()) {
			t.Fatalf("the error shows what was in the dead letter: %v", err)
		}
		if _, err := events.ParsePublicKey([]byte(mutate(`{"kid":"k","suite":"x","public_key":"AA"}`, "public key"))); err != nil && showsCanary(err.Error()) {
			t.Fatalf("the error shows what was in the document: %v", err)
		}
	})
}

func TestAnEventThatIsPrintedHidesItsTokens(t *testing.T) {
	set := tokenSet()
	set.AccessToken, set.RefreshToken = tokenworker.SecretString(canary), tokenworker.SecretString(canary)
	e, err := events.NewAcquired(acme, source, set, noon)
	if err != nil {
		t.Fatal(err)
	}
	if printed := fmt.Sprintf("%v %+v %#v %+v", e, *e, *e, *e.Plain); showsCanary(printed) {
		t.Errorf("printed as %s", printed)
	}
	set.AccessToken = tokenworker.SecretString(canary + "\n")
	if _, err := events.NewAcquired(acme, source, set, noon); err == nil || showsCanary(err.Error()) {
		t.Errorf("refused with %v", err)
	}
	if _, err := events.NewDisconnect(acme, canary+"\n", "", noon); err == nil || showsCanary(err.Error()) {
		t.Errorf("refused with %v", err)
	}
	if _, err := events.NewDisconnect(acme, source, canary, noon); err == nil || showsCanary(err.Error()) {
		t.Errorf("refused with %v", err)
	}
}
