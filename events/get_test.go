package events_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

var (
	readKey   = tokenworker.Key{OrgID: "acme", ProviderID: "finch", CompanyID: "Größe & Co."}
	readFence = tokenworker.Fence{Stamp: tokenworker.Stamp{Epoch: 2, Sequence: 1<<53 - 1}, Generation: 7}
	readToken = events.AccessToken{
		Value: tokenworker.SecretString("canary-access"), Scheme: "Token", Type: "Bearer", Scope: "payroll",
		ExpiresAt: time.Date(2026, 11, 21, 13, 0, 0, 0, time.UTC), Fence: readFence,
	}
)

func newGet(t testing.TB, suite events.Suite) (*events.Get, []byte) {
	t.Helper()
	g, err := events.NewGet(events.GetRequest{
		Caller: "payroll", Key: readKey, MinLifetime: 59*time.Second + time.Millisecond, Refused: readFence,
	}, suite)
	if err != nil {
		t.Fatal(err)
	}
	body, err := g.Body()
	if err != nil {
		t.Fatal(err)
	}
	return g, body
}

func reply(t *testing.T, subject string, body []byte) []byte {
	t.Helper()
	q, err := events.DecodeGet(subject, body)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := q.Reply(readToken)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func TestARequestForATokenAndItsReplyReadBack(t *testing.T) {
	for _, suite := range []events.Suite{events.SuiteHybrid, events.SuiteX25519} {
		g, body := newGet(t, suite)
		q, err := events.DecodeGet(g.Subject(), body)
		if err != nil {
			t.Fatal(err)
		}
		if q.Caller != "payroll" || q.Key != readKey || q.ID != g.ID || q.MinLifetime != time.Minute || q.Refused != readFence {
			t.Errorf("reads back as %+v", q)
		}
		sealed := reply(t, g.Subject(), body)
		if strings.Contains(string(sealed), "canary") {
			t.Error("the reply shows the token")
		}
		got, err := g.Open(sealed)
		if err != nil || !got.Value.Equal(readToken.Value) {
			t.Fatalf("the reply does not open: %v", err)
		}
		got.Value = readToken.Value
		if got != readToken {
			t.Errorf("got %+v", got)
		}
	}
}

// wrongReplies are no replies.
var wrongReplies = map[string]string{
	"an empty seal": `{"enc":"","ct":""}`, "no base64": `{"enc":"=","ct":"="}`, "no enc": `{"ct":` + long(48) + `}`,
	"no ct": `{"enc":` + long(43) + `}`, "a list": `[]`, "an enc that is a number": `{"enc":1,"ct":` + long(48) + `}`,
	"a ct too short for a tag": `{"enc":` + long(43) + `,"ct":` + long(20) + `}`,
}

// later is a JSON object with a field that this version does not know.
func later(object []byte) string { return strings.Replace(string(object), "{", `{"later":{"x":1},`, 1) }

func TestAReplyOpensForItsRequestOnly(t *testing.T) {
	g, body := newGet(t, events.SuiteHybrid)
	other, _ := newGet(t, events.SuiteHybrid)
	sealed := reply(t, g.Subject(), body)
	if _, err := other.Open(sealed); !errors.Is(err, events.CodeSealBroken) {
		t.Errorf("it opens for another request: %v", err)
	}
	// The same one-time key, so that nothing but what the seal is bound to differs.
	var request map[string]any
	if err := json.Unmarshal(body, &request); err != nil {
		t.Fatal(err)
	}
	request["id"] = "another-id-0123456789"
	again, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := events.GetSubject("payroll", tokenworker.Key{OrgID: "acme", ProviderID: "finch", CompanyID: "other"})
	for what, forged := range map[string][]byte{
		"id": reply(t, g.Subject(), again), "connection": reply(t, elsewhere, body),
		"caller": reply(t, events.GetSubject("billing", readKey), body),
	} {
		if _, err := g.Open(forged); !errors.Is(err, events.CodeSealBroken) {
			t.Errorf("the reply to a request with another %s opens: %v", what, err)
		}
	}
	wrong := maps.Clone(wrongReplies)
	wrong["nothing"] = ""
	for name, body := range wrong {
		if _, err := g.Open([]byte(body)); !errors.Is(err, events.CodeSealBroken) {
			t.Errorf("a reply with %s opens: %v", name, err)
		}
	}
	if _, err := g.Open([]byte(later(sealed))); err != nil {
		t.Errorf("a reply with a field of a later version does not open: %v", err)
	}
}

// getBody is a request as text, field by field, so that a test can change one and leave the rest valid.
func getBody(with attrs) string {
	fields := attrs{
		"id": `"6f1c9f2e-8a4b-4c1d-9e3f-2b7a5d0c4e81"`, "suite": `"X25519,HKDF-SHA256,AES-256-GCM"`, "public_key": getPublic,
		"min_lifetime": `60`, "refused": `{"epoch":2,"sequence":17,"generation":7}`,
	}.with(with)
	var members []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if fields[name] != "" {
			members = append(members, fmt.Sprintf("%q:%s", name, fields[name]))
		}
	}
	return "{" + strings.Join(members, ",") + "}"
}

// ofAs is a string of so many characters of base64.
func ofAs(n int) string { return `"` + strings.Repeat("A", n) + `"` }

// getPublic is a key of SuiteX25519.
const getPublic = `"47lwiqohp_HmKpXuKNHl1gsPzu1saFmQE6VLMY6eCxU"`

// rightGets are bodies of requests that are accepted.
var rightGets = map[string]string{
	"every field":           getBody(attrs{}),
	"no more than it needs": getBody(attrs{"min_lifetime": ``, "refused": ``}),
	"an id of 20 bytes":     getBody(attrs{"id": long(20)}),
	"an id of 256 bytes":    getBody(attrs{"id": long(256)}),
	"an id beyond ASCII":    getBody(attrs{"id": `"Größe/6f1c9f2e8a4b4c1d"`}),
	"a lifetime of nothing": getBody(attrs{"min_lifetime": `0`}),
	"the longest lifetime":  getBody(attrs{"min_lifetime": `86400`}),
	"a fence of zeros":      getBody(attrs{"refused": `{"generation":0,"epoch":0,"sequence":0}`}),
	"a fence of 64 bits": getBody(attrs{
		"refused": `{"epoch":18446744073709551615,"sequence":18446744073709551615,"generation":18446744073709551615}`,
	}),
	"white space and escapes": "\t" + getBody(attrs{"id": `"\u0036f1c9f2e-8a4b-4c1d-9e3f-2b7a5d0c4e81"`}) + "\r\n",
}

// wrongGets are bodies of requests that are refused.
var wrongGets = map[string]string{
	"no object": `[]`, "nothing in it": `{}`,
	"an unknown field":                 getBody(attrs{"x": `1`}),
	"a field in another case":          getBody(attrs{"Min_Lifetime": `60`, "min_lifetime": ``}),
	"a field twice":                    getBody(attrs{"min_lifetime": `60,"min_lifetime":60`}),
	"no id":                            getBody(attrs{"id": ``}),
	"a null id":                        getBody(attrs{"id": `null`}),
	"an id that is a number":           getBody(attrs{"id": `12345678901234567890`}),
	"an id of 19 bytes":                getBody(attrs{"id": long(19)}),
	"an id of 257 bytes":               getBody(attrs{"id": long(257)}),
	"an id of 129 umlauts":             getBody(attrs{"id": `"` + strings.Repeat("ö", 129) + `"`}),
	"an id with a newline":             getBody(attrs{"id": `"6f1c9f2e8a4b4c1d9e3f\n2b7a5d0c4e81"`}),
	"an id with a C1 control":          getBody(attrs{"id": `"6f1c9f2e8a4b4c1d9e3f\u00852b7a5d0c4e81"`}),
	"no suite":                         getBody(attrs{"suite": ``}),
	"a null suite":                     getBody(attrs{"suite": `null`}),
	"an unknown suite":                 getBody(attrs{"suite": `"X448,HKDF-SHA512,AES-256-GCM"`}),
	"a suite that the key lacks":       getBody(attrs{"suite": `"MLKEM768-X25519,HKDF-SHA256,AES-256-GCM"`}),
	"no key":                           getBody(attrs{"public_key": ``}),
	"a null key":                       getBody(attrs{"public_key": `null`}),
	"an empty key":                     getBody(attrs{"public_key": `""`}),
	"a key that is a number":           getBody(attrs{"public_key": strings.Repeat("1", 43)}),
	"a key of 31 bytes":                getBody(attrs{"public_key": ofAs(42)}),
	"a key of 33 bytes":                getBody(attrs{"public_key": ofAs(44)}),
	"a key of the size of hybrids":     getBody(attrs{"public_key": ofAs(1622)}),
	"too small a hybrid key":           getBody(attrs{"suite": `"MLKEM768-X25519,HKDF-SHA256,AES-256-GCM"`, "public_key": ofAs(1621)}),
	"too large a hybrid key":           getBody(attrs{"suite": `"MLKEM768-X25519,HKDF-SHA256,AES-256-GCM"`, "public_key": ofAs(1623)}),
	"a key with padding":               getBody(attrs{"public_key": strings.Replace(getPublic, `U"`, `U="`, 1)}),
	"a key with a line break":          getBody(attrs{"public_key": strings.Replace(getPublic, `U"`, `U\n"`, 1)}),
	"a key in the other alphabet":      getBody(attrs{"public_key": strings.Replace(getPublic, `_`, `/`, 1)}),
	"a key with trailing bits":         getBody(attrs{"public_key": strings.Replace(getPublic, `U"`, `V"`, 1)}),
	"a null lifetime":                  getBody(attrs{"min_lifetime": `null`}),
	"a lifetime in words":              getBody(attrs{"min_lifetime": `"60"`}),
	"a lifetime below nothing":         getBody(attrs{"min_lifetime": `-1`}),
	"a fraction of a lifetime":         getBody(attrs{"min_lifetime": `1.5`}),
	"too long a lifetime":              getBody(attrs{"min_lifetime": `86401`}),
	"a lifetime with a point":          getBody(attrs{"min_lifetime": `60.0`}),
	"a lifetime with an exponent":      getBody(attrs{"min_lifetime": `6e1`}),
	"a lifetime of minus nothing":      getBody(attrs{"min_lifetime": `-0`}),
	"a null fence":                     getBody(attrs{"refused": `null`}),
	"a fence that is a list":           getBody(attrs{"refused": `[2,17,7]`}),
	"a fence without epoch":            getBody(attrs{"refused": `{"sequence":17,"generation":7}`}),
	"a fence without sequence":         getBody(attrs{"refused": `{"epoch":2,"generation":7}`}),
	"a fence without generation":       getBody(attrs{"refused": `{"epoch":2,"sequence":17}`}),
	"more than a fence":                getBody(attrs{"refused": `{"epoch":2,"sequence":17,"generation":7,"x":1}`}),
	"another field for one of a fence": getBody(attrs{"refused": `{"epoch":2,"sequence":17,"x":7}`}),
	"an epoch in words":                getBody(attrs{"refused": `{"epoch":"2","sequence":17,"generation":7}`}),
	"a null sequence":                  getBody(attrs{"refused": `{"epoch":2,"sequence":null,"generation":7}`}),
	"a sequence below nothing":         getBody(attrs{"refused": `{"epoch":2,"sequence":-1,"generation":7}`}),
	"a generation of 65 bits":          getBody(attrs{"refused": `{"epoch":2,"sequence":17,"generation":18446744073709551616}`}),
}

func TestRequestsForATokenAreReadStrictly(t *testing.T) {
	subject := events.GetSubject("payroll", readKey)
	for name, right := range rightGets {
		if _, err := events.DecodeGet(subject, []byte(right)); err != nil {
			t.Errorf("%s is refused", name)
		}
	}
	wrong := maps.Clone(wrongGets)
	wrong["no JSON"], wrong["no UTF-8"] = "x", getBody(attrs{"id": "\"6f1c9f2e8a4b4c1d9e3f\xff\""})
	for name, body := range wrong {
		if _, err := events.DecodeGet(subject, []byte(body)); !errors.Is(err, events.GetBadRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	body := []byte(rightGets["every field"])
	for _, subject := range []string{"", "tokens.v1.get.payroll.acme.finch", "tokens.v1.refresh.acme.finch.1", subject + ".x"} {
		if _, err := events.DecodeGet(subject, body); !errors.Is(err, events.GetBadRequest) {
			t.Errorf("on %s: %v", subject, err)
		}
	}
	padded := append(bytes.Repeat([]byte(" "), 4097-len(body)), body...)
	if _, err := events.DecodeGet(subject, padded[1:]); err != nil {
		t.Error("4 KiB exactly are refused")
	}
	if _, err := events.DecodeGet(subject, padded); !errors.Is(err, events.GetBadRequest) {
		t.Errorf("one byte too many: %v", err)
	}
}

func TestARequestThatTheWorkerWouldRefuseIsNotMade(t *testing.T) {
	good := events.GetRequest{Caller: "payroll", Key: readKey}
	for name, change := range map[string]func(*events.GetRequest, *events.Suite){
		"no caller":        func(q *events.GetRequest, _ *events.Suite) { q.Caller = "" },
		"no company":       func(q *events.GetRequest, _ *events.Suite) { q.Key.CompanyID = "" },
		"a negative time":  func(q *events.GetRequest, _ *events.Suite) { q.MinLifetime = -1 },
		"too long a time":  func(q *events.GetRequest, _ *events.Suite) { q.MinLifetime = events.MaxMinLifetime + 1 },
		"an unknown suite": func(_ *events.GetRequest, s *events.Suite) { *s = "X448" },
	} {
		q, suite := good, events.SuiteHybrid
		change(&q, &suite)
		if _, err := events.NewGet(q, suite); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func FuzzDecodeGet(f *testing.F) {
	for _, suite := range []events.Suite{events.SuiteHybrid, events.SuiteX25519} {
		g, body := newGet(f, suite)
		f.Add(g.Subject(), body)
	}
	f.Fuzz(func(t *testing.T, subject string, body []byte) {
		q, err := events.DecodeGet(subject, body)
		if err != nil {
			if !errors.Is(err, events.GetBadRequest) {
				t.Fatalf("the error is %v", err)
			}
			return
		}
		if events.GetSubject(q.Caller, q.Key) != subject || q.MinLifetime < 0 || q.MinLifetime > events.MaxMinLifetime {
			t.Fatalf("%s reads back as %+v", subject, q)
		}
		if _, err := q.Reply(readToken); err != nil && !errors.Is(err, events.GetBadRequest) {
			t.Fatalf("what was accepted cannot be answered: %v", err)
		}
	})
}
