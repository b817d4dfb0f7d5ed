package events_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden is the file form of a message.
type golden struct {
	Subject   string          `json:"subject"`
	MessageID string          `json:"message_id"`
	Body      json.RawMessage `json:"body"`
}

func goldenPath(name string) string { return filepath.Join("testdata", "golden", name+".json") }

func readGolden(t testing.TB, name string) events.Message {
	t.Helper()
	file, err := os.ReadFile(goldenPath(name))
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(file, &g); err != nil {
		t.Fatal(err)
	}
	var body bytes.Buffer
	if err := json.Compact(&body, g.Body); err != nil {
		t.Fatal(err)
	}
	return events.Message{Subject: g.Subject, ID: g.MessageID, Body: body.Bytes()}
}

func writeGolden(t *testing.T, name string, m events.Message) {
	t.Helper()
	file, err := json.MarshalIndent(golden{m.Subject, m.ID, m.Body}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(goldenPath(name), append(file, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
}

// requestGoldens makes an event of every form, with a fixed id.
func requestGoldens(t *testing.T) map[string]*events.Event {
	t.Helper()
	made := func(e *events.Event, err error) *events.Event {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		e.ID = "6f1c9f2e-8a4b-4c1d-9e3f-2b7a5d0c4e81"
		return e
	}
	to := readVector(t, "vector-hybrid").PublicKey
	seal := func(e *events.Event) *events.Event {
		t.Helper()
		if err := e.Seal(to); err != nil {
			t.Fatal(err)
		}
		return e
	}
	escaped := key("acme", "finch", "Größe & Co.")
	return map[string]*events.Event{
		"acquired":               seal(made(events.NewAcquired(escaped, source, tokenSet(), noon))),
		"acquired_provider_only": seal(made(events.NewAcquired(key("acme", "finch"), source, tokenSet(), noon))),
		"acquired_plain":         made(events.NewAcquired(acme, source, tokenSet(), noon)),
		"disconnect":             made(events.NewDisconnect(acme, source, "consent_withdrawn", noon.Add(250*time.Millisecond))),
		"disconnect_bare":        made(events.NewDisconnect(acme, source, "", noon)),
		"refresh":                made(events.NewRefresh(acme, source, "", noon)),
		"erase":                  made(events.NewErase(acme, source, "gdpr", noon)),
		"erase_organization":     made(events.NewErase(key("acme"), source, "", noon)),
	}
}

// sealsDiffer: a seal is different each time, so its golden file is only read.
var sealsDiffer = map[string]bool{"acquired": true, "acquired_provider_only": true}

func TestRequestsHaveTheirGoldenForm(t *testing.T) {
	for name, want := range requestGoldens(t) {
		t.Run(name, func(t *testing.T) {
			made, err := want.PlainMessage()
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				writeGolden(t, name, made)
			}
			file := readGolden(t, name)
			if !sealsDiffer[name] {
				same(t, made, file)
			}
			got, err := events.Decoder{AllowPlain: true}.Decode(file)
			if err != nil {
				t.Fatal(err)
			}
			if got.Kind != want.Kind || got.Key != want.Key || got.EventID() != want.EventID() || got.Reason != want.Reason {
				t.Errorf("decoded %+v, want %+v", got, want)
			}
			again, err := got.PlainMessage()
			if err != nil {
				t.Fatal(err)
			}
			same(t, again, file)
			if want.Kind == events.Acquired {
				set, err := vectorKeyring(t, "vector-hybrid").Open(t.Context(), got)
				if err != nil {
					t.Fatal(err)
				}
				sameSet(t, set, tokenSet())
			}
		})
	}
}

func same(t *testing.T, got, want events.Message) {
	t.Helper()
	if got.Subject != want.Subject || got.ID != want.ID || !bytes.Equal(got.Body, want.Body) {
		t.Errorf("got  %s %s\n%s\nwant %s %s\n%s", got.Subject, got.ID, got.Body, want.Subject, want.ID, want.Body)
	}
}

func TestNoticesHaveTheirGoldenForm(t *testing.T) {
	cause := events.Cause{
		Epoch: 1, Sequence: 42, EventSource: source, EventID: "6f1c9f2e-8a4b-4c1d-9e3f-2b7a5d0c4e81", EventTime: noon,
	}
	type notice struct {
		name string
		key  tokenworker.Key
		kind events.Kind
		data events.NoticeData
		read func(raw json.RawMessage) (events.NoticeData, error)
	}
	cases := []notice{
		{"stored", acme, events.Stored,
			events.StoredData{Cause: cause, ExpiresAt: noon.Add(time.Hour), GrantExpiresAt: noon.Add(24 * time.Hour), Refreshable: true}, readAs[events.StoredData]},
		{"stored_without_expiry", acme, events.Stored, events.StoredData{Cause: cause}, readAs[events.StoredData]},
		{"disconnected", acme, events.Disconnected,
			events.DisconnectedData{Cause: cause, Reason: "consent_withdrawn", ToRevoke: 1}, readAs[events.DisconnectedData]},
		{"erased", acme, events.Erased, events.ErasedData{
			Cause: cause, Reason: "gdpr", Connections: 1, Messages: 3, EventKeys: []string{"2f9a6b1c", "77d0e4aa"},
			EventKeysUntil: noon.Add(events.KeyLifetime + 35*24*time.Hour), BackupsUntil: noon.Add(35 * 24 * time.Hour),
		}, readAs[events.ErasedData]},
		{"erased_organization", key("acme"), events.Erased, events.ErasedData{
			Cause: cause, Connections: 120, Unconfirmed: 2, Messages: 431, Unrevoked: 5, EventKeys: []string{"2f9a6b1c"},
			BackupsUntil: noon.Add(35 * 24 * time.Hour),
		}, readAs[events.ErasedData]},
		{"rejected", key("acme", "finch"), events.Rejected,
			events.RejectedData{Cause: events.Cause{Epoch: 1, Sequence: 43}, Request: events.Acquired, Code: events.CodeSealBroken}, readAs[events.RejectedData]},
		{"dropped", acme, events.Dropped, events.DroppedData{Cause: cause, Request: events.Acquired, Code: events.ReusedRefreshToken}, readAs[events.DroppedData]},
	}
	for kind, code := range map[events.Kind]string{
		events.Refreshed: "", events.RefreshFailed: "rate_limited", events.ReauthRequired: "invalid_grant", events.Recovered: "",
		events.Expiring: "", events.Revoked: "", events.RevokeFailed: "unsupported",
	} {
		data := events.AttemptData{
			Kind: kind, Epoch: 1, Sequence: 42, Generation: 7, Attempt: "00112233445566778899aabbccddeeff", Code: code,
		}
		if kind != events.Revoked && kind != events.RevokeFailed {
			data.ExpiresAt, data.GrantExpiresAt = noon.Add(time.Hour), noon.Add(24*time.Hour)
		}
		cases = append(cases, notice{string(kind), acme, kind, data, func(raw json.RawMessage) (events.NoticeData, error) {
			read := events.AttemptData{Kind: kind}
			err := json.Unmarshal(raw, &read)
			return read, err
		}})
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, err := events.NewNotice(c.key, "//worker.example", c.data, noon)
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				writeGolden(t, c.name, m)
			}
			same(t, m, readGolden(t, c.name))
			n, err := events.ParseNotice(m)
			if err != nil {
				t.Fatal(err)
			}
			if n.Kind != c.kind || n.Key != c.key || !n.Time.Equal(noon) || n.Source != "//worker.example" || n.ID == "" {
				t.Errorf("read %+v", n)
			}
			if data, err := c.read(n.Data); err != nil || !reflect.DeepEqual(data, c.data) {
				t.Errorf("read data %+v, %v, want %+v", data, err, c.data)
			}
		})
	}
}

func readAs[T events.NoticeData](raw json.RawMessage) (events.NoticeData, error) {
	var data T
	err := json.Unmarshal(raw, &data)
	return data, err
}

func TestANoticeMadeTwiceIsTheSameEvent(t *testing.T) {
	data := events.StoredData{Cause: events.Cause{Epoch: 1, Sequence: 42}}
	first, err1 := events.NewNotice(acme, source, data, noon)
	again, err2 := events.NewNotice(acme, source, data, noon.Add(time.Minute))
	data.Sequence++
	next, err3 := events.NewNotice(acme, source, data, noon)
	other, err4 := events.NewNotice(acme, source, events.DisconnectedData{Cause: events.Cause{Epoch: 1, Sequence: 42}}, noon)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	if first.ID != again.ID {
		t.Error("work done twice is announced as two events")
	}
	if first.ID == next.ID || first.ID == other.ID {
		t.Error("two events share a message id")
	}
}

func TestNoticesAreReadLenientlyButNotBlindly(t *testing.T) {
	valid := readGolden(t, "stored")
	replace := func(part, by string) events.Message {
		m := valid
		m.Body = bytes.Replace(m.Body, []byte(part), []byte(by), 1)
		return m
	}
	if _, err := events.ParseNotice(replace(`{"specversion"`, `{"later":{"x":1},"specversion"`)); err != nil {
		t.Errorf("a field of a later version is refused: %v", err)
	}
	request := readGolden(t, "disconnect")
	for _, c := range []struct {
		name string
		m    events.Message
		want events.Code
	}{
		{"a request", request, events.CodeBadSubject},
		{"no JSON", events.Message{Subject: valid.Subject, Body: []byte("x")}, events.CodeInvalidEnvelope},
		{"another specification", replace(`"1.0"`, `"2.0"`), events.CodeInvalidEnvelope},
		{"another type", replace(`stored.v1`, `refreshed.v1`), events.CodeTypeMismatch},
		{"another key", replace(`acme:finch:c-17`, `acme:finch:c-18`), events.CodeKeyMismatch},
		{"no time", replace(`2026-11-21T12:00:00Z`, `noon`), events.CodeInvalidTime},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := events.ParseNotice(c.m); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestADeadLetterHasItsGoldenForm(t *testing.T) {
	r := vectorKeyring(t, "vector-hybrid")
	want := events.DeadLetter{
		Code: events.CodePlainRefused, Original: readGolden(t, "acquired_plain"),
		Stamp: tokenworker.Stamp{Epoch: 1, Sequence: 44}, Entered: noon.Add(time.Second),
	}
	if *update {
		m, err := r.SealDeadLetter(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		writeGolden(t, "dead_letter", m)
	}
	got, err := r.OpenDeadLetter(t.Context(), readGolden(t, "dead_letter"))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("opened %+v, %v, want %+v", got, err, want)
	}
}
