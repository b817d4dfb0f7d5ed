package events_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
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
		Value: tokenworker.SecretString("canary-access"), Type: "Bearer", Scope: "payroll",
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
		"caller":  reply(t, events.GetSubject("billing", readKey), body),
		"nothing": nil, "no seal": []byte(`{"enc":"","ct":""}`), "no base64": []byte(`{"enc":"=","ct":"="}`),
	} {
		if _, err := g.Open(forged); !errors.Is(err, events.CodeSealBroken) {
			t.Errorf("the reply to a request with another %s opens: %v", what, err)
		}
	}
}

func TestRequestsForATokenAreReadStrictly(t *testing.T) {
	g, body := newGet(t, events.SuiteX25519)
	with := func(old, replaced string) string {
		if !strings.Contains(string(body), old) {
			t.Fatalf("the request has no %s", old)
		}
		return strings.Replace(string(body), old, replaced, 1)
	}
	for name, wrong := range map[string]string{
		"no JSON": "x", "no object": "[]", "nothing in it": "{}",
		"an unknown field":           with("{", `{"x":1,`),
		"a field twice":              with("{", `{"id":"0123456789abcdefghij",`),
		"a short id":                 with(g.ID, "short"),
		"a lifetime in words":        with(`"min_lifetime":60`, `"min_lifetime":"60"`),
		"a lifetime below nothing":   with(`"min_lifetime":60`, `"min_lifetime":-1`),
		"a fraction of a lifetime":   with(`"min_lifetime":60`, `"min_lifetime":1.5`),
		"too long a lifetime":        with(`"min_lifetime":60`, `"min_lifetime":86401`),
		"an unknown suite":           with(string(events.SuiteX25519), "X448"),
		"a suite that the key lacks": with(string(events.SuiteX25519), string(events.SuiteHybrid)),
		"half a fence":               with(`"epoch":2,`, ""),
		"more than a fence":          with(`"epoch":2,`, `"epoch":2,"x":1,`),
		"a fence of words":           with(`"epoch":2,`, `"epoch":"2",`),
	} {
		if _, err := events.DecodeGet(g.Subject(), []byte(wrong)); !errors.Is(err, events.GetBadRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, subject := range []string{"", "tokens.v1.get.payroll.acme.finch", "tokens.v1.refresh.acme.finch.1", g.Subject() + ".x"} {
		if _, err := events.DecodeGet(subject, body); !errors.Is(err, events.GetBadRequest) {
			t.Errorf("on %s: %v", subject, err)
		}
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
		if _, err := q.Reply(readToken); err != nil {
			t.Fatalf("what was accepted cannot be answered: %v", err)
		}
	})
}

func TestTheGuideForReadersListsTheCodes(t *testing.T) {
	guide, err := os.ReadFile(filepath.Join("..", "docs", "reading.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(guide), "| code |")
	var documented, listed []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(table, -1) {
		documented = append(documented, row[1])
	}
	for _, code := range events.GetCodes() {
		listed = append(listed, string(code))
	}
	if got, want := strings.Join(documented, " "), strings.Join(listed, " "); got != want {
		t.Errorf("the table has\n%s\nthe code has\n%s", got, want)
	}
}
