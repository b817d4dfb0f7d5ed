package main

import (
	"bytes"
	"crypto/hpke"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// badKind is one way in which an event can be wrong. Each begins with a good event and spoils it.
type badKind struct {
	what  string
	code  events.Code
	spoil func(b *badEvent) error
}

// badEvent is an event while it is being spoiled: its envelope as a JSON object, and what it will be published with.
type badEvent struct {
	key     tokenworker.Key
	public  events.PublicKey
	token   string
	inClear bool // its token set is not sealed
	subject string
	fields  map[string]any

	id   func() string // makes the message id; nil: that of the envelope as it is in the end
	body []byte        // nil: fields
}

// newBad makes an event of the kind about the connection, which no other event is about. InClear leaves its token set in
// clear, which is one more thing to refuse it for.
func newBad(kind badKind, to events.PublicKey, key tokenworker.Key, token string, inClear bool) (events.Message, error) {
	b := &badEvent{key: key, public: to, token: token, inClear: inClear, subject: events.Acquired.Subject(key)}
	if err := b.seal(time.Now()); err != nil {
		return events.Message{}, err
	}
	if err := kind.spoil(b); err != nil {
		return events.Message{}, fmt.Errorf("making an event with %s: %w", kind.what, err)
	}
	id := b.id
	if id == nil {
		id = func() string {
			return events.MessageID(b.subject, fmt.Sprint(b.fields["source"]), fmt.Sprint(b.fields["id"]))
		}
	}
	m := events.Message{Subject: b.subject, ID: id(), Body: b.body}
	if m.Body == nil {
		var err error
		if m.Body, err = json.Marshal(b.fields); err != nil {
			return events.Message{}, fmt.Errorf("encoding an event: %w", err)
		}
	}
	return m, nil
}

// seal begins anew with a good event of that time.
func (b *badEvent) seal(at time.Time) error {
	e, err := events.NewAcquired(b.key, source, tokenworker.TokenSet{
		AccessToken: tokenworker.SecretString(b.token), RefreshToken: tokenworker.SecretString(b.token),
	}, at)
	if err == nil {
		err = e.Seal(b.public)
	}
	if err != nil {
		return fmt.Errorf("making an event: %w", err)
	}
	m, err := e.Message()
	if err != nil {
		return fmt.Errorf("encoding an event: %w", err)
	}
	b.fields = map[string]any{}
	if err := json.Unmarshal(m.Body, &b.fields); err != nil {
		return fmt.Errorf("reading an event: %w", err)
	}
	if b.inClear {
		b.fields["data"] = map[string]any{"access_token": b.token, "refresh_token": b.token}
	}
	return nil
}

// text is the event as it is now.
func (b *badEvent) text() []byte {
	text, err := json.Marshal(b.fields)
	if err != nil {
		panic(err) // a map that was decoded from JSON
	}
	return text
}

// data is the sealed part.
func (b *badEvent) data() map[string]any {
	d, _ := b.fields["data"].(map[string]any)
	return d
}

// sealAs seals a plaintext of the attack's own making, by the documented format (docs/events), under any key id.
func (b *badEvent) sealAs(kid string, to hpke.PublicKey, plaintext []byte) error {
	info := []byte("tokenworker/v1")
	for _, name := range []string{"type", "subject", "source", "id", "time"} {
		text := fmt.Sprint(b.fields[name])
		info = binary.BigEndian.AppendUint32(info, uint32(len(text)))
		info = append(info, text...)
	}
	enc, sender, err := hpke.NewSender(to, hpke.HKDFSHA256(), hpke.AES256GCM(), info)
	if err != nil {
		return fmt.Errorf("sealing: %w", err)
	}
	ct, err := sender.Seal(nil, plaintext)
	if err != nil {
		return fmt.Errorf("sealing: %w", err)
	}
	b.fields["data"] = map[string]any{
		"kid": kid, "enc": base64.RawURLEncoding.EncodeToString(enc), "ct": base64.RawURLEncoding.EncodeToString(ct),
	}
	return nil
}

// set makes a kind that sets one attribute.
func set(what string, code events.Code, name string, value any) badKind {
	return badKind{what, code, func(b *badEvent) error {
		b.fields[name] = value
		return nil
	}}
}

// badKinds lists them. Every code that this worker refuses with is among them.
func badKinds() []badKind {
	return append(badForms(), append(badClaims(), badSeals()...)...)
}

// clearKinds lists those that make sense of a token set in clear.
func clearKinds() []badKind {
	untouched := badKind{"a token in clear", events.CodePlainRefused, func(*badEvent) error { return nil }}
	return append(badForms(), append(badClaims(), untouched)...)
}

// badForms are wrong before anything of them is understood.
func badForms() []badKind {
	return []badKind{
		{"arrays 10,000 deep", events.CodeTooDeep, func(b *badEvent) error {
			b.body = bytes.Replace(b.text(), []byte(`"data":`),
				[]byte(`"data":`+strings.Repeat("[", 10_000)+strings.Repeat("]", 10_000)+`,"more":`), 1)
			return nil
		}},
		set("200 KB", events.CodeTooLarge, "padding", strings.Repeat("x", 200_000)),
		{"a field twice", events.CodeDuplicateField, func(b *badEvent) error {
			b.body = append([]byte(`{"id":"00000000-0000-4000-8000-000000000000",`), b.text()[1:]...)
			return nil
		}},
		{"a field of its data twice", events.CodeDuplicateField, func(b *badEvent) error {
			b.body = bytes.Replace(b.text(), []byte(`"data":{`), []byte(`"data":{"x":"","x":"",`), 1)
			return nil
		}},
		{"its end cut off", events.CodeNotJSON, func(b *badEvent) error {
			text := b.text()
			b.body = text[:len(text)-1]
			return nil
		}},
		{"bytes that are not UTF-8", events.CodeNotJSON, func(b *badEvent) error {
			b.body = bytes.Replace(b.text(), []byte(`"source":"`), []byte("\"source\":\"\xff"), 1)
			return nil
		}},
		{"no message id", events.CodeMissingMessageID, func(b *badEvent) error {
			b.id = func() string { return "" }
			return nil
		}},
		{"another message id", events.CodeWrongMessageID, func(b *badEvent) error {
			b.id = rand.Text
			return nil
		}},
		{"a fourth part in its subject", events.CodeBadSubject, func(b *badEvent) error {
			b.subject += ".more"
			return nil
		}},
	}
}

// badClaims say something of themselves that is wrong.
func badClaims() []badKind {
	aged := func(what string, code events.Code, age time.Duration) badKind {
		return badKind{what, code, func(b *badEvent) error { return b.seal(time.Now().Add(-age)) }}
	}
	return []badKind{
		set("another version of CloudEvents", events.CodeInvalidEnvelope, "specversion", "0.3"),
		set("another type", events.CodeTypeMismatch, "type", events.Disconnect.Type()),
		set("another key", events.CodeKeyMismatch, "subject", "org:provider:another"),
		set("no source", events.CodeInvalidSource, "source", nil),
		set("a counter for an id", events.CodeInvalidID, "id", "17"),
		set("no time", events.CodeInvalidTime, "time", "yesterday"),
		aged("a time 25 hours ago", events.CodeTooOld, 25*time.Hour),
		aged("a time a day ahead", events.CodeFromFuture, -24*time.Hour),
		{"no company", events.CodeUnsupported, func(b *badEvent) error {
			// One for each, so that each has a dead letter of its own.
			b.key = tokenworker.Key{OrgID: b.key.CompanyID, ProviderID: b.key.ProviderID}
			b.subject = events.Acquired.Subject(b.key)
			return b.seal(time.Now())
		}},
		{"a provider that nobody knows", events.CodeUnknownProvider, func(b *badEvent) error {
			b.key.ProviderID = b.key.CompanyID
			b.subject = events.Acquired.Subject(b.key)
			return b.seal(time.Now())
		}},
	}
}

// badSeals cannot be opened, or hold no token set.
func badSeals() []badKind {
	return []badKind{
		{"a field too many", events.CodeUnknownField, func(b *badEvent) error {
			b.data()["extra"] = "x"
			return nil
		}},
		set("a text for its data", events.CodeInvalidData, "data", "sealed"),
		{"a token in clear", events.CodePlainRefused, func(b *badEvent) error {
			b.fields["data"] = map[string]any{"access_token": b.token}
			return nil
		}},
		{"a seal to a key of nobody's", events.CodeUnknownKey, func(b *badEvent) error {
			b.data()["kid"] = "nobody"
			return nil
		}},
		{"a seal to another key under the worker's key id", events.CodeSealBroken, func(b *badEvent) error {
			private, err := hpke.MLKEM768X25519().GenerateKey()
			if err != nil {
				return fmt.Errorf("generating a key: %w", err)
			}
			return b.sealAs(b.public.KeyID, private.PublicKey(), []byte(`{"access_token":"`+b.token+`"}`))
		}},
		{"its ciphertext altered", events.CodeSealBroken, func(b *badEvent) error {
			ct, _ := b.data()["ct"].(string)
			other := "A"
			if ct[:1] == other {
				other = "B"
			}
			b.data()["ct"] = other + ct[1:]
			return nil
		}},
		{"a fresh date on an old seal", events.CodeSealBroken, func(b *badEvent) error {
			if err := b.seal(time.Now().Add(-time.Hour)); err != nil {
				return err
			}
			b.fields["time"] = time.Now().UTC().Format(time.RFC3339Nano)
			return nil
		}},
		{"the seal of another connection", events.CodeSealBroken, func(b *badEvent) error {
			own, subject := b.key, b.fields["subject"]
			b.key.CompanyID += "x"
			if err := b.seal(time.Now()); err != nil {
				return err
			}
			b.key, b.fields["subject"] = own, subject
			return nil
		}},
		{"no access token in its seal", events.CodeInvalidTokenSet, func(b *badEvent) error {
			to, err := hpke.MLKEM768X25519().NewPublicKey(b.public.Bytes())
			if err != nil {
				return fmt.Errorf("reading the public key: %w", err)
			}
			return b.sealAs(b.public.KeyID, to, []byte(`{"refresh_token":"`+b.token+`"}`))
		}},
	}
}
