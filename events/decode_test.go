package events_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// sealedData has the form of a seal; whether it opens, the decoder does not know.
const sealedData = `{"kid":"k1","enc":"` + "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" + `","ct":"AAAAAAAAAAAAAAAAAAAAAAAA"}`

// attrs is an event as text, attribute by attribute, so that a test can change one and leave the rest valid.
type attrs map[string]string

func validAttrs() attrs {
	return attrs{
		"specversion": `"1.0"`, "id": `"6f1c9f2e-8a4b-4c1d-9e3f-2b7a5d0c4e81"`, "source": `"//onboarding.example"`,
		"type": `"com.github.tokenworker.acquired.v1"`, "subject": `"acme:finch:c-17"`, "time": `"2026-11-21T12:00:00Z"`,
		"datacontenttype": `"application/json"`, "data": sealedData,
	}
}

// with sets some of the attributes.
func (a attrs) with(others attrs) attrs {
	maps.Copy(a, others)
	return a
}

// message is the message of the attributes, with the message id that goes with source and id.
func (a attrs) message(subject string) events.Message {
	var body bytes.Buffer
	body.WriteByte('{')
	for _, name := range []string{"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"} {
		if v, ok := a[name]; ok && v != "" {
			fmt.Fprintf(&body, "%q:%s,", name, v)
		}
	}
	body.WriteString(a["extra"])
	text := strings.TrimSuffix(body.String(), ",") + "}"
	var source, id string
	_ = json.Unmarshal([]byte(a["source"]), &source)
	_ = json.Unmarshal([]byte(a["id"]), &id)
	return events.Message{Subject: subject, ID: events.MessageID(subject, source, id), Body: []byte(text)}
}

const acquiredSubject = "tokens.v1.acquired.acme.finch.c-17"

// wrongAcquired are acquired events with something wrong, refused by the code want.
var wrongAcquired = []struct {
	name string
	with attrs
	want events.Code
}{
	{"an old specification", attrs{"specversion": `"0.3"`}, events.CodeInvalidEnvelope},
	{"a specification version that is a number", attrs{"specversion": `1.0`}, events.CodeInvalidEnvelope},
	{"no specification version", attrs{"specversion": ``}, events.CodeInvalidEnvelope},
	{"data that is not JSON", attrs{"datacontenttype": `"text/xml"`}, events.CodeInvalidEnvelope},
	{"data in base64", attrs{"extra": `"data_base64":"AAAA"`}, events.CodeInvalidEnvelope},
	{"an attribute in another case", attrs{"extra": `"Source":"x"`}, events.CodeInvalidEnvelope},
	{"an extension that is an object", attrs{"extra": `"trace":{}`}, events.CodeInvalidEnvelope},
	{"an extension that is an array", attrs{"extra": `"trace":[]`}, events.CodeInvalidEnvelope},
	{"an extension without a name", attrs{"extra": `"":1`}, events.CodeInvalidEnvelope},
	{"one attribute twice", attrs{"extra": `"id":"x"`}, events.CodeDuplicateField},
	{"the type of another kind", attrs{"type": `"com.github.tokenworker.disconnect.v1"`}, events.CodeTypeMismatch},
	{"no type", attrs{"type": ``}, events.CodeTypeMismatch},
	{"another connection's key", attrs{"subject": `"acme:finch:c-18"`}, events.CodeKeyMismatch},
	{"the same key in another spelling", attrs{"subject": `"acme:finch:c%2D17"`}, events.CodeKeyMismatch},
	{"no key", attrs{"subject": ``}, events.CodeKeyMismatch},
	{"no source", attrs{"source": ``}, events.CodeInvalidSource},
	{"an empty source", attrs{"source": `""`}, events.CodeInvalidSource},
	{"a null source", attrs{"source": `null`}, events.CodeInvalidSource},
	{"a source that is a number", attrs{"source": `7`}, events.CodeInvalidSource},
	{"a source with a newline", attrs{"source": `"a\nb"`}, events.CodeInvalidSource},
	{"a source with a C1 control", attrs{"source": `"a\u0085b"`}, events.CodeInvalidSource},
	{"a source of 257 bytes", attrs{"source": long(257)}, events.CodeInvalidSource},
	{"no id", attrs{"id": ``}, events.CodeInvalidID},
	{"an id too short to be random", attrs{"id": long(19)}, events.CodeInvalidID},
	{"an id of 257 bytes", attrs{"id": long(257)}, events.CodeInvalidID},
	{"an id with a newline", attrs{"id": `"6f1c9f2e8a4b4c1d9e3f\n2b7a5d0c4e81"`}, events.CodeInvalidID},
	{"no time", attrs{"time": ``}, events.CodeInvalidTime},
	{"a time without a zone", attrs{"time": `"2026-11-21T12:00:00"`}, events.CodeInvalidTime},
	{"a time with a space", attrs{"time": `"2026-11-21 12:00:00Z"`}, events.CodeInvalidTime},
	{"a time with a comma", attrs{"time": `"2026-11-21T12:00:00,5Z"`}, events.CodeInvalidTime},
	{"a time with a one-digit hour", attrs{"time": `"2026-11-21T2:00:00Z"`}, events.CodeInvalidTime},
	{"a time with a bare point", attrs{"time": `"2026-11-21T12:00:00.Z"`}, events.CodeInvalidTime},
	{"a time in lower case", attrs{"time": `"2026-11-21t12:00:00z"`}, events.CodeInvalidTime},
	{"a time with an offset of a day", attrs{"time": `"2026-11-21T12:00:00+24:00"`}, events.CodeInvalidTime},
	{"a time with an offset of 60 minutes", attrs{"time": `"2026-11-21T12:00:00+01:60"`}, events.CodeInvalidTime},
	{"a time with a short offset", attrs{"time": `"2026-11-21T12:00:00+01"`}, events.CodeInvalidTime},
	{"a day that is not", attrs{"time": `"2026-02-30T12:00:00Z"`}, events.CodeInvalidTime},
	{"a leap second", attrs{"time": `"2016-12-31T23:59:60Z"`}, events.CodeInvalidTime},
	{"a time before 1970", attrs{"time": `"1969-12-31T23:59:59Z"`}, events.CodeInvalidTime},
	{"a time that is past 9999 in UTC", attrs{"time": `"9999-12-31T23:59:59-01:00"`}, events.CodeInvalidTime},
	{"a time that is a number", attrs{"time": `1795262400`}, events.CodeInvalidTime},
	{"a time with a long fraction", attrs{"time": `"2026-11-21T12:00:00.` + strings.Repeat("0", 60) + `Z"`}, events.CodeInvalidTime},
	{"no data", attrs{"data": ``}, events.CodeInvalidData},
	{"data that is a string", attrs{"data": `"x"`}, events.CodeInvalidData},
	{"tokens in clear", attrs{"data": `{"access_token":"t"}`}, events.CodePlainRefused},
	{"empty data", attrs{"data": `{}`}, events.CodePlainRefused},
	{"a seal without kid", attrs{"data": strings.Replace(sealedData, `"kid":"k1",`, "", 1)}, events.CodeInvalidData},
	{"a seal with an empty kid", attrs{"data": strings.Replace(sealedData, `k1`, "", 1)}, events.CodeInvalidData},
	{"a seal with a slash in its kid", attrs{"data": strings.Replace(sealedData, `k1`, "k/1", 1)}, events.CodeInvalidData},
	{"a seal with an escape in its kid", attrs{"data": strings.Replace(sealedData, `k1`, "k%41", 1)}, events.CodeInvalidData},
	{"a seal with a kid of 65 bytes", attrs{"data": strings.Replace(sealedData, `k1`, strings.Repeat("k", 65), 1)}, events.CodeInvalidData},
	{"a seal with a kid that is a number", attrs{"data": strings.Replace(sealedData, `"k1"`, "1", 1)}, events.CodeInvalidData},
	{"a seal with padding", attrs{"data": strings.Replace(sealedData, `AA",`, `AA=",`, 1)}, events.CodeInvalidData},
	{"a seal with a line break", attrs{"data": strings.Replace(sealedData, `"AAAA`, `"AA\r\nAA`, 1)}, events.CodeInvalidData},
	{"a seal in the other alphabet", attrs{"data": strings.Replace(sealedData, `"AAAA`, `"AA+/`, 1)}, events.CodeInvalidData},
	{"a seal with trailing bits", attrs{"data": strings.Replace(sealedData, `AAA",`, `AAB",`, 1)}, events.CodeInvalidData},
	{"a seal too short for a tag", attrs{"data": `{"kid":"k","enc":"AAAA","ct":"AAAA"}`}, events.CodeInvalidData},
	{"a seal with a field more", attrs{"data": strings.Replace(sealedData, `{`, `{"url":"x",`, 1)}, events.CodeUnknownField},
	{"a seal beside tokens in clear", attrs{"data": strings.Replace(sealedData, `{`, `{"access_token":"x",`, 1)}, events.CodeUnknownField},
	{"a field of the seal twice", attrs{"data": strings.Replace(sealedData, `{`, `{"kid":"k2",`, 1)}, events.CodeDuplicateField},
}

func TestDecodeRefusesAcquiredEventsByCode(t *testing.T) {
	for _, c := range wrongAcquired {
		t.Run(c.name, func(t *testing.T) {
			refused(t, events.Decoder{}, validAttrs().with(c.with).message(acquiredSubject), c.want)
		})
	}
}

// refused checks that m is refused with exactly the code want.
func refused(t *testing.T, d events.Decoder, m events.Message, want events.Code) {
	t.Helper()
	e, err := d.Decode(m)
	var got events.Code
	if !errors.As(err, &got) || got != want || e != nil {
		t.Errorf("got %v, %v; want %v", e, err, want)
	}
}

func TestDecodeRefusesMessagesByCode(t *testing.T) {
	valid := validAttrs().message(acquiredSubject)
	padded := append(bytes.Repeat([]byte(" "), events.MaxBodyBytes+1-len(valid.Body)), valid.Body...)
	for _, c := range []struct {
		name string
		m    events.Message
		want events.Code
	}{
		{"a subject of another contract", events.Message{Subject: "orders.v1.x", ID: valid.ID, Body: valid.Body}, events.CodeBadSubject},
		{"a subject of the worker's", events.Message{Subject: "tokens.v1.event.stored.acme.finch.c-17", ID: valid.ID, Body: valid.Body}, events.CodeBadSubject},
		{"no message id", events.Message{Subject: valid.Subject, Body: valid.Body}, events.CodeMissingMessageID},
		{"the event's id as message id", events.Message{Subject: valid.Subject, ID: "6f1c9f2e-8a4b-4c1d-9e3f-2b7a5d0c4e81", Body: valid.Body}, events.CodeWrongMessageID},
		{"a message id in upper case", events.Message{Subject: valid.Subject, ID: strings.ToUpper(valid.ID), Body: valid.Body}, events.CodeWrongMessageID},
		{"the message id of another subject", events.Message{
			Subject: valid.Subject, Body: valid.Body,
			ID: events.MessageID("tokens.v1.acquired.acme.finch", "//onboarding.example", "6f1c9f2e-8a4b-4c1d-9e3f-2b7a5d0c4e81"),
		}, events.CodeWrongMessageID},
		{"one byte too many", events.Message{Subject: valid.Subject, ID: valid.ID, Body: padded}, events.CodeTooLarge},
		{"an empty body", events.Message{Subject: valid.Subject, ID: valid.ID}, events.CodeNotJSON},
		{"an array", events.Message{Subject: valid.Subject, ID: valid.ID, Body: []byte(`[]`)}, events.CodeInvalidEnvelope},
	} {
		t.Run(c.name, func(t *testing.T) { refused(t, events.Decoder{}, c.m, c.want) })
	}
	if _, err := (events.Decoder{}).Decode(events.Message{Subject: valid.Subject, ID: valid.ID, Body: padded[1:]}); err != nil {
		t.Errorf("64 KiB exactly is refused: %v", err)
	}
}

func TestDecodeAcceptsWhatCloudEventsAllows(t *testing.T) {
	for _, c := range []struct {
		name string
		with attrs
	}{
		{"no content type", attrs{"datacontenttype": ``}},
		{"a null content type", attrs{"datacontenttype": `null`}},
		{"extension attributes", attrs{"extra": `"traceparent":"00-x","partitionkey":null,"sampledrate":30,"flag":true`}},
		{"a data schema", attrs{"extra": `"dataschema":"https://schemas.example/x"`}},
		{"a time with offset and fraction", attrs{"time": `"2026-11-21T13:30:00.123456789+01:30"`}},
		{"an id with other letters", attrs{"id": `"2b7a5d0c4e81/äöü 01"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := decode(t, validAttrs().with(c.with).message(acquiredSubject))
			if e.Kind != events.Acquired || e.Key != acme || e.Sealed == nil || e.Sealed.KeyID != "k1" || e.Plain != nil {
				t.Errorf("read %+v", e)
			}
		})
	}
}

func TestDecodeReadsRequestsWithoutTokens(t *testing.T) {
	for _, c := range []struct {
		name, subject, data, reason string
		kind                        events.Kind
		want                        events.Code
	}{
		{"a disconnect with a reason", "tokens.v1.disconnect.acme.finch.c-17", `{"reason":"consent_withdrawn"}`, "consent_withdrawn", events.Disconnect, ""},
		{"a disconnect with empty data", "tokens.v1.disconnect.acme.finch.c-17", `{}`, "", events.Disconnect, ""},
		{"a disconnect without data", "tokens.v1.disconnect.acme.finch.c-17", ``, "", events.Disconnect, ""},
		{"a refresh", "tokens.v1.refresh.acme.finch.c-17", ``, "", events.Refresh, ""},
		{"an erase", "tokens.v1.erase.acme.finch.c-17", `{"reason":"gdpr"}`, "gdpr", events.Erase, ""},
		{"a reason in prose", "tokens.v1.disconnect.acme.finch.c-17", `{"reason":"the user asked"}`, "", events.Disconnect, events.CodeInvalidData},
		{"an empty reason", "tokens.v1.disconnect.acme.finch.c-17", `{"reason":""}`, "", events.Disconnect, events.CodeInvalidData},
		{"a reason of 65 bytes", "tokens.v1.disconnect.acme.finch.c-17", `{"reason":"` + strings.Repeat("a", 65) + `"}`, "", events.Disconnect, events.CodeInvalidData},
		{"a null reason", "tokens.v1.disconnect.acme.finch.c-17", `{"reason":null}`, "", events.Disconnect, events.CodeInvalidData},
		{"another field", "tokens.v1.disconnect.acme.finch.c-17", `{"force":true}`, "", events.Disconnect, events.CodeUnknownField},
		{"tokens in a disconnect", "tokens.v1.disconnect.acme.finch.c-17", `{"access_token":"x"}`, "", events.Disconnect, events.CodeUnknownField},
		{"data that is a list", "tokens.v1.disconnect.acme.finch.c-17", `[]`, "", events.Disconnect, events.CodeInvalidData},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := validAttrs()
			a["type"], a["data"] = `"`+c.kind.Type()+`"`, c.data
			m := a.message(c.subject)
			if c.want != "" {
				refused(t, events.Decoder{AllowPlain: true}, m, c.want)
				return
			}
			if e := decode(t, m); e.Kind != c.kind || e.Key != acme || e.Reason != c.reason || e.Sealed != nil || e.Plain != nil {
				t.Errorf("read %+v", e)
			}
		})
	}
}

func TestDecodeReadsKeysWithoutTrailingParts(t *testing.T) {
	a := validAttrs()
	a["subject"] = `"acme:finch"`
	if e := decode(t, a.message("tokens.v1.acquired.acme.finch")); e.Key != key("acme", "finch") {
		t.Errorf("read %v", e.Key)
	}
	a["subject"], a["type"], a["data"] = `"acme"`, `"`+events.Erase.Type()+`"`, ""
	if e := decode(t, a.message("tokens.v1.erase.acme")); e.Key != key("acme") {
		t.Errorf("read %v", e.Key)
	}
	a["subject"] = `"acme::"`
	refused(t, events.Decoder{}, a.message("tokens.v1.erase.acme"), events.CodeKeyMismatch)
}

func TestDecodeIdentifiesTheEvent(t *testing.T) {
	e := decode(t, validAttrs().message(acquiredSubject))
	want := tokenworker.NewEventID("//onboarding.example", "6f1c9f2e-8a4b-4c1d-9e3f-2b7a5d0c4e81", noon)
	if e.EventID() != want {
		t.Errorf("event id is %v, want %v", e.EventID(), want)
	}
}

func TestAnEventMayEnterFromFiveMinutesBeforeItsTimeToADayAfter(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		want  error
	}{
		{-tokenworker.ClockSkew - 1, events.CodeFromFuture},
		{-tokenworker.ClockSkew, nil},
		{0, nil},
		{tokenworker.Window, nil},
		{tokenworker.Window + 1, events.CodeTooOld},
	} {
		if err := events.CheckAge(noon.Add(c.after), noon); !errors.Is(err, c.want) {
			t.Errorf("%v after its time: %v, want %v", c.after, err, c.want)
		}
	}
}
