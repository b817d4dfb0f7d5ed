package events

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// Bounds of an event's attributes, in bytes.
const (
	maxSourceBytes = 256
	maxIDBytes     = 256
	maxReasonBytes = 64

	// minIDBytes is the length of the shortest text that 122 random bits fit into (base 85: 20 characters). Whether an
	// id is random cannot be seen; a counter or a time stamp alone does not get past this.
	minIDBytes = 20
)

const (
	specVersion     = "1.0"
	jsonContentType = "application/json"
)

// Decoder reads the events of upstream services, strictly. The zero Decoder accepts sealed tokens only.
type Decoder struct {
	// AllowPlain accepts acquired events whose token set is in clear. For development.
	AllowPlain bool
}

// Decode reads one received message. Every error is a [Code], and none repeats anything of the message.
//
// Attributes are CloudEvents 1.0 in JSON. Beyond what the specification says: time and subject are required; subject
// is the text form of the very key that the NATS subject names; extension attributes are ignored, if they have valid
// names and scalar values; data has exactly the fields of v1. When the event entered the stream is not looked at: see
// [CheckAge].
func (d Decoder) Decode(m Message) (*Event, error) {
	kind, key, err := ParseSubject(m.Subject)
	if err != nil || !kind.isRequest() {
		return nil, CodeBadSubject
	}
	if len(m.Body) > MaxBodyBytes {
		return nil, CodeTooLarge
	}
	if m.ID == "" {
		return nil, CodeMissingMessageID
	}
	body, err := parseJSON(m.Body)
	if err != nil {
		return nil, err
	}
	a, err := readAttributes(body)
	if err != nil {
		return nil, err
	}
	e := &Event{Kind: kind, Key: key, ignored: a.more}
	if err := e.setAttributes(a); err != nil {
		return nil, err
	}
	if m.ID != MessageID(m.Subject, e.Source, e.ID) {
		return nil, CodeWrongMessageID
	}
	if kind == Acquired {
		err = e.setTokens(a.data, d.AllowPlain)
	} else {
		e.Reason, err = readReason(a.data)
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// attributes are the values of an envelope; one that is missing, or null, which CloudEvents takes for missing, has kind
// jsonNull.
type attributes struct {
	specVersion, id, source, typ, subject, time, contentType, data jsonValue

	more bool // there are others, which are ignored
}

// readAttributes tells the attributes of an envelope apart and checks what is the same for all events.
func readAttributes(body jsonValue) (attributes, error) {
	var a attributes
	if body.kind != jsonObject {
		return a, CodeInvalidEnvelope
	}
	for _, m := range body.members {
		switch string(m.name) {
		case "specversion":
			a.specVersion = m.value
		case "id":
			a.id = m.value
		case "source":
			a.source = m.value
		case "type":
			a.typ = m.value
		case "subject":
			a.subject = m.value
		case "time":
			a.time = m.value
		case "datacontenttype":
			a.contentType = m.value
		case "data":
			a.data = m.value
		default:
			if !isIgnorable(m) {
				return a, CodeInvalidEnvelope
			}
			a.more = true
		}
	}
	if !a.specVersion.is(specVersion) || a.contentType.kind != jsonNull && !a.contentType.is(jsonContentType) {
		return a, CodeInvalidEnvelope
	}
	return a, nil
}

// isIgnorable reports whether m is dataschema or an extension attribute that the CloudEvents specification allows: a
// name of lower-case letters and digits and a scalar value. data_base64 is neither.
func isIgnorable(m jsonMember) bool {
	if len(m.name) == 0 || m.value.kind == jsonObject || m.value.kind == jsonArray {
		return false
	}
	for _, c := range m.name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// setAttributes takes over what identifies the event, after comparing it with what the NATS subject says.
func (e *Event) setAttributes(a attributes) error {
	switch {
	case !a.typ.is(e.Kind.Type()):
		return CodeTypeMismatch
	case !a.subject.is(KeyText(e.Key)):
		return CodeKeyMismatch
	case a.source.kind != jsonString || !validSource(string(a.source.text)):
		return CodeInvalidSource
	case a.id.kind != jsonString || len(a.id.text) < minIDBytes || !isText(a.id.text, maxIDBytes):
		return CodeInvalidID
	}
	e.Source, e.ID, e.spelledTime = string(a.source.text), string(a.id.text), string(a.time.text)
	var ok bool
	if e.Time, ok = readTime(a.time); !ok {
		return CodeInvalidTime
	}
	return nil
}

// setTokens takes over the data of an acquired event. Sealed and plain data share no field, so the first field tells
// which it is.
func (e *Event) setTokens(data jsonValue, allowPlain bool) error {
	if data.kind != jsonObject {
		return CodeInvalidData
	}
	if looksSealed(data) {
		sealed, err := readSealed(data)
		e.Sealed = &sealed
		return err
	}
	if !allowPlain {
		return CodePlainRefused
	}
	set, err := readTokenSet(data)
	e.Plain = &set
	return err
}

// readReason reads the data of the other requests, which may be missing.
func readReason(data jsonValue) (string, error) {
	switch data.kind {
	case jsonNull:
		return "", nil
	case jsonObject:
	default:
		return "", CodeInvalidData
	}
	var reason string
	for _, m := range data.members {
		if string(m.name) != "reason" {
			return "", CodeUnknownField
		}
		if m.value.kind != jsonString || !validReason(string(m.value.text)) {
			return "", CodeInvalidData
		}
		reason = string(m.value.text)
	}
	return reason, nil
}

func (v jsonValue) is(s string) bool { return v.kind == jsonString && string(v.text) == s }

func validSource(s string) bool {
	return s != "" && utf8.ValidString(s) && isText([]byte(s), maxSourceBytes)
}

// validReason accepts a snake_case word: nothing that could hold a name, an address or a token.
func validReason(s string) bool {
	if s == "" || len(s) > maxReasonBytes {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c != '_' && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// isText reports whether b, which is UTF-8, has at most limit bytes and no control character.
func isText(b []byte, limit int) bool {
	return len(b) <= limit && !bytes.ContainsFunc(b, unicode.IsControl)
}
