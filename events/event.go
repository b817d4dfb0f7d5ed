package events

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tokenworker/tokenworker"
)

// MaxBodyBytes is the largest body of an event.
const MaxBodyBytes = 64 << 10

// MessageIDHeader is the NATS header that carries a message id.
const MessageIDHeader = "Nats-Msg-Id"

// Message is an event as NATS carries it.
type Message struct {
	Subject string
	ID      string // the Nats-Msg-Id header; empty: there is none
	Body    []byte
}

// MessageID is the message id that an event must carry: the lower-case hex SHA-256 of the NATS subject, the source and
// the id, with a newline between. A stream's window of message ids is shared by all publishers, so the id alone would
// let one of them silence another.
func MessageID(subject, source, id string) string {
	sum := sha256.Sum256([]byte(subject + "\n" + source + "\n" + id))
	return hex.EncodeToString(sum[:])
}

// Event is a request of an upstream service: made by one of the New functions to be published, or read by a [Decoder].
type Event struct {
	Kind Kind
	Key  tokenworker.Key // without its company, or company and provider, where the kind allows it

	// Source and ID are the event's identity. Source names the publisher and is opaque to the worker.
	Source, ID string

	// Time is when it happened, for the publisher.
	Time time.Time

	// Reason is a word of the publisher's own (snake_case) for why it disconnects, refreshes or erases; empty: none given.
	Reason string

	// An acquired event carries its token set sealed, or in clear: exactly one of the two. [Keyring.Open] yields the set
	// either way.
	Sealed *Sealed
	Plain  *tokenworker.TokenSet

	spelledTime string // Time as the event spells it, which is what a seal is bound to
	ignored     bool   // it has extension attributes
}

// ErrInvalidEvent says that what was to be published is no valid event, and which part of it is not.
var ErrInvalidEvent = errors.New("invalid event")

// NewAcquired makes an event that says that a token set was obtained for key at the time at. Where only the provider is
// known, key lacks its company. The event holds set in clear until it is sealed.
func NewAcquired(key tokenworker.Key, source string, set tokenworker.TokenSet, at time.Time) (*Event, error) {
	e, err := newEvent(Acquired, key, source, "", at)
	if err != nil {
		return nil, err
	}
	if err := validateTokenSet(set); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidEvent, err)
	}
	e.Plain = &set
	return e, nil
}

// NewDisconnect makes an event that asks to stop using key's tokens, to revoke and to delete them. The reason is a
// snake_case word or empty.
func NewDisconnect(key tokenworker.Key, source, reason string, at time.Time) (*Event, error) {
	return newEvent(Disconnect, key, source, reason, at)
}

// NewRefresh makes an event that asks to refresh key's tokens now.
func NewRefresh(key tokenworker.Key, source, reason string, at time.Time) (*Event, error) {
	return newEvent(Refresh, key, source, reason, at)
}

// NewErase makes an event that asks to delete all data of key, or of an organization when key has no more than that.
func NewErase(key tokenworker.Key, source, reason string, at time.Time) (*Event, error) {
	return newEvent(Erase, key, source, reason, at)
}

func newEvent(kind Kind, key tokenworker.Key, source, reason string, at time.Time) (*Event, error) {
	spelled := formatTime(at)
	e := &Event{Kind: kind, Key: key, Source: source, ID: newID(), Reason: reason, spelledTime: spelled}
	if _, named, err := ParseSubject(e.Subject()); err != nil || named != key {
		return nil, fmt.Errorf("%w: %s events need other parts of a connection key", ErrInvalidEvent, kind)
	}
	if !validSource(source) {
		return nil, fmt.Errorf("%w: %w", ErrInvalidEvent, CodeInvalidSource)
	}
	if reason != "" && !validReason(reason) {
		return nil, fmt.Errorf("%w: a reason is a snake_case word", ErrInvalidEvent)
	}
	var ok bool
	if e.Time, ok = parseTime([]byte(spelled)); !ok {
		return nil, fmt.Errorf("%w: %w", ErrInvalidEvent, CodeInvalidTime)
	}
	return e, nil
}

// newID is a random UUID (RFC 9562 version 4): 122 random bits.
func newID() string {
	var u [16]byte
	_, _ = rand.Read(u[:]) // never fails: crypto/rand.Read
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// Subject is the NATS subject of the event.
func (e *Event) Subject() string { return e.Kind.Subject(e.Key) }

// EventID is what the store remembers of the event.
func (e *Event) EventID() tokenworker.EventID {
	return tokenworker.NewEventID(e.Source, e.ID, e.Time)
}

// Seal seals an acquired event's token set to a public key of the worker and drops the set in clear.
func (e *Event) Seal(to PublicKey) error {
	if e.Plain == nil {
		return fmt.Errorf("%w: there is no token set in clear to seal", ErrInvalidEvent)
	}
	plaintext, err := tokenworker.EncodeTokenSet(*e.Plain)
	if err != nil {
		return fmt.Errorf("encoding token set: %w", err)
	}
	defer clear(plaintext)
	sealed, err := to.seal(e.info(), plaintext)
	if err != nil {
		return fmt.Errorf("sealing token set: %w", err)
	}
	e.Sealed, e.Plain = &sealed, nil
	return nil
}

// info is what the seal of an event is bound to.
func (e *Event) info() []byte {
	return sealInfo(e.Kind.Type(), KeyText(e.Key), e.Source, e.ID, e.spelledTime)
}

// Message encodes the event for publishing. It refuses an acquired event that is not sealed, so that nobody publishes
// tokens in clear by forgetting a step.
func (e *Event) Message() (Message, error) {
	if e.Kind == Acquired && e.Sealed == nil {
		return Message{}, fmt.Errorf("%w: the token set is not sealed", ErrInvalidEvent)
	}
	return e.PlainMessage()
}

// PlainMessage is like [Event.Message] but lets a token set travel in clear, which workers accept in development only.
func (e *Event) PlainMessage() (Message, error) {
	var data json.RawMessage
	var err error
	switch {
	case e.Sealed != nil:
		data, err = json.Marshal(e.Sealed)
	case e.Plain != nil:
		data, err = tokenworker.EncodeTokenSet(*e.Plain)
	case e.Kind == Acquired:
		return Message{}, fmt.Errorf("%w: no token set", ErrInvalidEvent)
	case e.Reason != "":
		data, err = json.Marshal(reasonData{e.Reason})
	}
	if err != nil {
		return Message{}, fmt.Errorf("encoding data: %w", err)
	}
	body, err := encodeEnvelope(envelope{
		ID: e.ID, Source: e.Source, Type: e.Kind.Type(), Subject: KeyText(e.Key), Time: e.spelledTime, Data: data,
	})
	if err != nil {
		return Message{}, err
	}
	if len(body) > MaxBodyBytes {
		return Message{}, fmt.Errorf("%w: %w", ErrInvalidEvent, CodeTooLarge)
	}
	subject := e.Subject()
	return Message{Subject: subject, ID: MessageID(subject, e.Source, e.ID), Body: body}, nil
}

// reasonData is the data of every request but acquired.
type reasonData struct {
	Reason string `json:"reason"`
}

// envelope is a CloudEvents 1.0 event in JSON, as this package writes it.
type envelope struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject"`
	Time            string          `json:"time"`
	DataContentType string          `json:"datacontenttype,omitempty"`
	Data            json.RawMessage `json:"data,omitempty"`
}

func encodeEnvelope(v envelope) ([]byte, error) {
	v.SpecVersion = specVersion
	if v.Data != nil {
		v.DataContentType = jsonContentType
	}
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding event: %w", err)
	}
	return body, nil
}
