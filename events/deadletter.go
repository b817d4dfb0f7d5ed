package events

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/tokenworker/tokenworker"
)

// DeadLetter is a refused message, whole, with what the stream knew of it, so that it can be handled again later as if
// it had come then.
type DeadLetter struct {
	Code     Code
	Original Message
	Stamp    tokenworker.Stamp
	Entered  time.Time // when it entered its stream
	Refused  time.Time // by the worker's clock

	// Carrier names the message that is refused now, by its stream and sequence; empty: the stamp's. It differs from the
	// original when a replay is refused. It is not kept: see [Keyring.SealDeadLetter].
	Carrier string
}

// DeadLetterInfo is what a dead letter says of itself in clear, for listings. What counts is sealed.
type DeadLetterInfo struct {
	Code    Code
	Subject string // of the original message
	Stamp   tokenworker.Stamp
	Entered time.Time
	KeyID   string // the key that it is sealed to; it must not be retired before
}

// deadLetterType takes the place of an event's type in the HPKE info of a dead letter, so neither opens as the other.
const deadLetterType = typePrefix + "dead_letter" + typeSuffix

// deadLetterJSON is the body of a dead letter. The JSON of the sealed part is sealedDeadLetterJSON.
type deadLetterJSON struct {
	sealedJSON
	Code     Code      `json:"code"`
	Epoch    uint64    `json:"epoch"`
	Sequence uint64    `json:"sequence"`
	Entered  time.Time `json:"entered"`
}

type sealedDeadLetterJSON struct {
	Code      Code      `json:"code"`
	Subject   string    `json:"subject"`
	MessageID string    `json:"message_id,omitempty"`
	Body      []byte    `json:"body"` // base64 with padding, as encoding/json has it
	Epoch     uint64    `json:"epoch"`
	Sequence  uint64    `json:"sequence"`
	Entered   time.Time `json:"entered"`
	Refused   time.Time `json:"refused,omitzero"`
}

// SealDeadLetter seals a refused message to the current key, for the stream of dead letters. The message id follows
// from the carrier: a crash before the carrier is settled does not leave two dead letters, and a replay that is refused
// again, soon after its dead letter was removed, is no duplicate of it.
//
// HPKE's base mode does not prove who sealed: whoever knows the public key could. That a dead letter, or a replay, comes
// from the worker is for NATS permissions to ensure.
func (r *Keyring) SealDeadLetter(ctx context.Context, d DeadLetter) (Message, error) {
	plaintext, err := json.Marshal(sealedDeadLetterJSON{
		d.Code, d.Original.Subject, d.Original.ID, d.Original.Body, d.Stamp.Epoch, d.Stamp.Sequence, d.Entered, d.Refused,
	})
	if err != nil {
		return Message{}, fmt.Errorf("encoding dead letter: %w", err)
	}
	defer clear(plaintext)
	key, err := r.current(ctx)
	if err != nil {
		return Message{}, err
	}
	subject := DeadLetterSubject(d.Code, d.Original.Subject)
	sealed, err := key.public.seal(sealInfo(deadLetterType, subject), plaintext)
	if err != nil {
		return Message{}, fmt.Errorf("sealing dead letter: %w", err)
	}
	body, err := json.Marshal(deadLetterJSON{sealed.wire(), d.Code, d.Stamp.Epoch, d.Stamp.Sequence, d.Entered})
	if err != nil {
		return Message{}, fmt.Errorf("encoding dead letter: %w", err)
	}
	carrier := cmp.Or(d.Carrier, d.Stamp.String())
	return Message{Subject: subject, ID: MessageID(subject, deadLetterToken, carrier), Body: body}, nil
}

// OpenDeadLetter opens a dead letter, received on its own subject or on that of its replay. Errors are those of
// [Keyring.Open].
func (r *Keyring) OpenDeadLetter(ctx context.Context, m Message) (DeadLetter, error) {
	sealed, info, err := readDeadLetter(m)
	if err != nil {
		return DeadLetter{}, err
	}
	subject := DeadLetterSubject(info.Code, info.Subject)
	plaintext, err := r.unseal(ctx, &sealed, sealInfo(deadLetterType, subject))
	if err != nil {
		return DeadLetter{}, err
	}
	defer clear(plaintext)
	var w sealedDeadLetterJSON
	if json.Unmarshal(plaintext, &w) != nil || DeadLetterSubject(w.Code, w.Subject) != subject {
		return DeadLetter{}, CodeInvalidData
	}
	return DeadLetter{
		Code:     w.Code,
		Original: Message{Subject: w.Subject, ID: w.MessageID, Body: w.Body},
		Stamp:    tokenworker.Stamp{Epoch: w.Epoch, Sequence: w.Sequence},
		Entered:  w.Entered,
		Refused:  w.Refused,
	}, nil
}

// ReadDeadLetter reads what a dead letter says in clear. The error is a [Code].
func ReadDeadLetter(m Message) (DeadLetterInfo, error) {
	_, info, err := readDeadLetter(m)
	return info, err
}

// Replay makes the message that has a dead letter handled again: the same body on the subject of its replay. It has a
// new message id, as each replay is an operator's decision. The error is [CodeBadSubject].
func Replay(deadLetter Message) (Message, error) {
	subject, err := ReplaySubject(deadLetter.Subject)
	if err != nil {
		return Message{}, err
	}
	return Message{Subject: subject, ID: MessageID(subject, replayToken, newID()), Body: deadLetter.Body}, nil
}

// readDeadLetter reads the body of a dead letter, and from the subject what the body must not contradict.
func readDeadLetter(m Message) (Sealed, DeadLetterInfo, error) {
	code, original, err := ParseDeadLetterSubject(m.Subject)
	if err != nil {
		code, original, err = ParseReplaySubject(m.Subject)
	}
	if err != nil {
		return Sealed{}, DeadLetterInfo{}, err
	}
	body, err := parseJSON(m.Body)
	if err != nil {
		return Sealed{}, DeadLetterInfo{}, err
	}
	info := DeadLetterInfo{Code: code, Subject: original}
	var rest jsonValue // the members of the seal
	for _, f := range body.members {
		ok := true
		switch string(f.name) {
		case "code":
			ok = f.value.is(string(code))
		case "epoch":
			info.Stamp.Epoch, ok = readUint(f.value)
		case "sequence":
			info.Stamp.Sequence, ok = readUint(f.value)
		case "entered":
			info.Entered, ok = readTime(f.value)
		default:
			rest.members = append(rest.members, f)
		}
		if !ok {
			return Sealed{}, DeadLetterInfo{}, CodeInvalidData
		}
	}
	sealed, err := readSealed(rest)
	info.KeyID = sealed.KeyID
	return sealed, info, err
}

func readUint(v jsonValue) (uint64, bool) {
	n, err := strconv.ParseUint(string(v.text), 10, 64)
	return n, err == nil && v.kind == jsonNumber
}
