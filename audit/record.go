package audit

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// Record is a record of the trail as it is read. Its message in the stream has the subject
// tokens.v1.audit.<action>.<connection>, and as its body the JSON of all fields but the first two:
//
//	action         string   one of [tokenworker.AuditAction]
//	connection     string   the pseudonym, 32 digits of lower-case hex
//	actor          string   who asked for it, or the worker; 256 bytes at most
//	reason         string   a word; absent: none
//	outcome        string   one of [tokenworker.AuditOutcome]
//	stamp_epoch    number   with the next two: the token set, or the stamp of the event; absent: none
//	stamp_sequence number
//	generation     number
//	event          string   the hash of the event that asked for it, 32 digits of lower-case hex; absent: none
//	event_time     string   that event's own time, RFC 3339
//	time           string   when it happened, by the clock of who did it, RFC 3339
type Record struct {
	Sequence uint64    `json:"-"` // in the stream
	Entered  time.Time `json:"-"` // into the stream, by its clock

	Action     tokenworker.AuditAction  `json:"action"`
	Connection string                   `json:"connection"`
	Actor      string                   `json:"actor"`
	Reason     string                   `json:"reason,omitempty"`
	Outcome    tokenworker.AuditOutcome `json:"outcome"`
	StampEpoch uint64                   `json:"stamp_epoch,omitempty"`
	StampSeq   uint64                   `json:"stamp_sequence,omitempty"`
	Generation uint64                   `json:"generation,omitempty"`
	Event      string                   `json:"event,omitempty"`
	EventTime  time.Time                `json:"event_time,omitzero"`
	Time       time.Time                `json:"time"`
}

// Stamp is that of the event, or of the token set, that the record is about.
func (r Record) Stamp() tokenworker.Stamp {
	return tokenworker.Stamp{Epoch: r.StampEpoch, Sequence: r.StampSeq}
}

// EventID is that of the event that asked for it; zero: none.
func (r Record) EventID() tokenworker.EventID {
	var id tokenworker.EventID
	if hash, err := hex.DecodeString(r.Event); err == nil && len(hash) == len(id.Hash) {
		id.Hash, id.Time = [16]byte(hash), r.EventTime.Unix()
	}
	return id
}

// maxActorBytes bounds what others choose: the source of an event may be as long as the event.
const maxActorBytes = 256

// encode makes the record of an entry.
func (k *Keys) encode(e tokenworker.AuditEntry) (subject string, data []byte, err error) {
	r := Record{
		Action: e.Action, Connection: k.Pseudonym(e.Key), Actor: cut(e.Actor, maxActorBytes), Reason: cut(e.Reason, maxActorBytes),
		Outcome: e.Outcome, StampEpoch: e.Fence.Stamp.Epoch, StampSeq: e.Fence.Stamp.Sequence, Generation: e.Fence.Generation,
		Time: e.Time.UTC(),
	}
	if e.Event != (tokenworker.EventID{}) {
		r.Event, r.EventTime = hex.EncodeToString(e.Event.Hash[:]), time.Unix(e.Event.Time, 0).UTC()
	}
	data, err = json.Marshal(r)
	if err != nil {
		return "", nil, fmt.Errorf("encoding an audit record: %w", err) // a time out of RFC 3339's range
	}
	return events.AuditSubject(r.Action, r.Connection), data, nil
}

// cut is the beginning of s, valid UTF-8 of at most n bytes.
func cut(s string, n int) string {
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// errRecord: a message of the stream is no record.
var errRecord = errors.New("not an audit record")

// read reads the record that a message of the stream holds.
func (m message) read() (Record, error) {
	var r Record
	if json.Unmarshal(m.data, &r) != nil || m.subject != events.AuditSubject(r.Action, r.Connection) {
		return Record{}, errRecord
	}
	r.Sequence, r.Entered = m.sequence, m.entered
	return r, nil
}
