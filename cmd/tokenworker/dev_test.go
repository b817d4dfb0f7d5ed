package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// newDev makes a program whose commands share a data directory.
func newDev(t *testing.T) *program {
	t.Helper()
	return newProgram(t, "TOKENWORKER_DATA_DIR="+filepath.Join(t.TempDir(), "data"))
}

// startDev starts `dev`, on any free ports.
func (p *program) startDev(args ...string) *process {
	p.t.Helper()
	proc := p.start(append([]string{"dev", "--nats-port", "0", "--http-addr", "127.0.0.1:0"}, args...)...)
	proc.await("Stop it with Ctrl-C")
	return proc
}

// objects reads what a command printed with --json: one object a line.
func objects(t *testing.T, stdout string) []map[string]any {
	t.Helper()
	var os []map[string]any
	for line := range strings.Lines(stdout) {
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%q is not a JSON object: %v", line, err)
		}
		os = append(os, o)
	}
	return os
}

// object reads exactly one.
func object(t *testing.T, stdout string) map[string]any {
	t.Helper()
	os := objects(t, stdout)
	if len(os) != 1 {
		t.Fatalf("got %d objects, want one: %s", len(os), stdout)
	}
	return os[0]
}

// expectFields compares some fields of an object.
func expectFields(t *testing.T, got, want map[string]any) {
	t.Helper()
	some := maps.Clone(got)
	maps.DeleteFunc(some, func(k string, _ any) bool { _, asked := want[k]; return !asked })
	if g, w := fmt.Sprint(some), fmt.Sprint(want); g != w { // numbers read from JSON are no ints
		t.Errorf("got %s, want %s", g, w)
	}
}

// eventually tries until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.After(patience); !holds(); {
		select {
		case <-deadline:
			t.Fatalf("it does not come about that %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

const connection = "acme:gusto:company-1"

func TestAConnectionFromItsFirstTokenToItsDisconnect(t *testing.T) {
	p := newDev(t)
	proc := p.startDev("--log-level", "debug")
	canaries := []string{"access-canary-1", "refresh-canary-1", "access-canary-2"}

	first := p.must(`{"access_token":"access-canary-1","refresh_token":"refresh-canary-1","scope":"payroll","expires_in":3600}`,
		"publish", "acquired", connection, "--wait", "--json")
	expectFields(t, object(t, first), map[string]any{
		"subject": "tokens.v1.acquired.acme.gusto.company-1", "sequence": 1, "outcome": "stored",
	})
	shown := p.must("", "inspect", connection, "--json")
	r := object(t, shown)
	expectFields(t, r, map[string]any{
		"key": connection, "status": "active", "epoch": 1, "sequence": 1, "scope": "payroll", "to_revoke": 0,
	})
	if r["due_at"] == nil || r["expires_at"] == nil {
		t.Errorf("a set that expires is not due: %s", shown)
	}

	second := p.must("access-canary-2\n", "publish", "acquired", connection, "--wait", "--expires-in", "10m", "--json")
	expectFields(t, object(t, second), map[string]any{"sequence": 2, "outcome": "stored"})
	listed := p.must("", "list", "--org", "acme", "--json")
	expectFields(t, object(t, listed), map[string]any{"key": connection, "sequence": 2, "events_remembered": 2})
	if other := p.must("", "list", "--json"); other != "" {
		t.Errorf("the default organization has %s", other)
	}

	gone := p.must("", "publish", "disconnect", connection, "--wait", "--json")
	expectFields(t, object(t, gone), map[string]any{"sequence": 3, "outcome": "disconnected"})
	expectFields(t, object(t, p.must("", "inspect", connection, "--json")), map[string]any{
		"status": "disconnecting", "sealed_bytes": 0, "to_revoke": 1,
	})

	if code := proc.stop(); code != 0 {
		t.Errorf("on SIGTERM it exits with %d", code)
	}
	for _, canary := range canaries {
		for what, text := range map[string]string{
			"the log": proc.output(), "publish": first + second, "inspect": shown, "list": listed,
		} {
			if strings.Contains(text, canary) {
				t.Errorf("%s shows %s", what, canary)
			}
		}
	}
}

func TestARefusedEventIsKeptAndCanBeReplayed(t *testing.T) {
	p := newDev(t)
	proc := p.startDev()
	o := p.run("in-clear", "publish", "acquired", connection, "--plain", "--wait", "--json")
	expectFields(t, object(t, o.stdout), map[string]any{"sequence": 1, "outcome": "rejected"})
	if o.code != 1 || !strings.Contains(o.stderr, "plain_refused") {
		t.Errorf("exit code %d, want 1, and the code on stderr: %s", o.code, o.stderr)
	}
	letter := map[string]any{
		"sequence": 1, "code": "plain_refused", "subject": "tokens.v1.acquired.acme.gusto.company-1", "event_sequence": 1,
	}
	expectFields(t, object(t, p.must("", "dlq", "list", "--json")), letter)
	expectFields(t, object(t, p.must("", "dlq", "show", "1", "--json")), letter)
	if o := p.run("", "dlq", "show", "2"); o.code != 1 || !strings.Contains(o.stderr, "no dead letter 2") {
		t.Errorf("a dead letter that is not there: exit code %d, stderr %q", o.code, o.stderr)
	}
	if code := proc.stop(); code != 0 {
		t.Fatalf("on SIGTERM it exits with %d", code)
	}

	p.startDev("--allow-plain") // by which the event becomes a good one
	letter["replay_sequence"] = 2
	expectFields(t, object(t, p.must("", "dlq", "replay", "--code", "plain_refused", "--json")), letter)
	eventually(t, "the replayed event is stored", func() bool { return p.run("", "inspect", connection).code == 0 })
	expectFields(t, object(t, p.must("", "inspect", connection, "--json")), map[string]any{"status": "active", "sequence": 1})
	letter["replay_sequence"] = 3
	expectFields(t, object(t, p.must("", "dlq", "replay", "1", "--json")), letter)
}

func TestWhatIsStoredIsThereAfterAnyEnd(t *testing.T) {
	p := newDev(t)
	proc := p.startDev()
	p.must("token", "publish", "acquired", connection, "--wait")
	proc.signal(syscall.SIGKILL)
	if code := proc.exitCode(); code != -1 {
		t.Fatalf("killed, it exits with %d", code)
	}
	if o := p.run("", "dlq", "list"); o.code != 1 || !strings.Contains(o.stderr, "nothing runs on") {
		t.Errorf("a killed worker is taken for running: exit code %d, stderr %q", o.code, o.stderr)
	}
	expectFields(t, object(t, p.must("", "list", "--org", "acme", "--json")), map[string]any{"status": "active"})
	p.startDev()
	expectFields(t, object(t, p.must("", "inspect", connection, "--json")), map[string]any{"status": "active"})
}

func TestOnlyOneWorkerRunsOnADataDirectory(t *testing.T) {
	p := newDev(t)
	p.startDev()
	o := p.run("", "dev", "--nats-port", "0", "--http-addr", "127.0.0.1:0")
	if o.code != 1 || !strings.Contains(o.stderr, "in use by process") {
		t.Errorf("exit code %d, stderr %q", o.code, o.stderr)
	}
}

func TestAnEventIsPublishedOnce(t *testing.T) {
	p := newDev(t)
	p.startDev()
	again := []string{"publish", "acquired", connection, "--id", "0123456789abcdefghij", "--time", "2026-11-21T10:00:00Z"}
	p.must("token", again...)
	if o := p.run("token", again...); o.code != 1 || !strings.Contains(o.stderr, "already") {
		t.Errorf("exit code %d, stderr %q", o.code, o.stderr)
	}
}

func TestWhatTheWorkerWouldRefuseIsNotPublished(t *testing.T) {
	p := newDev(t)
	p.startDev()
	for name, test := range map[string]struct {
		stdin string
		args  []string
		want  string
	}{
		"no token at all":                 {"", nil, "there is none"},
		"JSON without an access token":    {`{"refresh_token":"canary"}`, nil, "lacks an access token"},
		"damaged JSON":                    {`{"access_token":"canary`, nil, "not valid JSON"},
		"a lifetime that is no number":    {`{"access_token":"canary","expires_in":"soon"}`, nil, "expires_in"},
		"a token of two words":            {"canary canary\x01", nil, "invalid_token_set"},
		"a token that is far too long":    {strings.Repeat("canary", 20_000), nil, "too large"},
		"an id that can be guessed":       {"canary", []string{"--id", "1"}, "invalid_id"},
		"a source with a line break":      {"canary", []string{"--source", "a\nb"}, "invalid_source"},
		"a public key that is none":       {"canary", []string{"--public-key", "/dev/null"}, "public key"},
		"a token file that is not there":  {"canary", []string{"--token-file", "/nowhere"}, "/nowhere"},
		"a time that nobody could choose": {"canary", []string{"--time", "yesterday"}, "RFC 3339"},
	} {
		t.Run(name, func(t *testing.T) {
			o := p.run(test.stdin, append([]string{"publish", "acquired", connection}, test.args...)...)
			if o.code == 0 || !strings.Contains(o.stderr, test.want) {
				t.Errorf("exit code %d, stderr %q, want %q in it", o.code, o.stderr, test.want)
			}
			if strings.Contains(o.stderr+o.stdout, "canary") {
				t.Errorf("it repeats the token: %s%s", o.stdout, o.stderr)
			}
		})
	}
	if listed := p.must("", "list", "--org", "acme", "--json") + p.must("", "dlq", "list", "--json"); listed != "" {
		t.Errorf("the worker got %s", listed)
	}
}

func TestEventKeysAreMadeRotatedAndRetired(t *testing.T) {
	p := newDev(t)
	p.startDev()
	first := object(t, p.must("", "keys", "show"))
	if again := object(t, p.must("", "keys", "make")); again["kid"] != first["kid"] {
		t.Errorf("make has made a second key, %v after %v", again["kid"], first["kid"])
	}
	file := filepath.Join(t.TempDir(), "public.json")
	if err := os.WriteFile(file, []byte(p.must("", "keys", "show")), 0o600); err != nil {
		t.Fatal(err)
	}
	second := object(t, p.must("", "keys", "rotate"))
	if shown := object(t, p.must("", "keys", "show")); shown["kid"] != second["kid"] || second["kid"] == first["kid"] {
		t.Errorf("after the rotation the current key is %v, want %v, not %v", shown["kid"], second["kid"], first["kid"])
	}
	live := objects(t, p.must("", "keys", "show", "--all", "--json"))
	if len(live) != 2 || live[1]["kid"] != first["kid"] {
		t.Errorf("the live keys are %v, want the first one behind the second", live)
	}
	sealedToFirst := p.must("token", "publish", "acquired", connection, "--public-key", file, "--wait", "--json")
	expectFields(t, object(t, sealedToFirst), map[string]any{"outcome": "stored"})

	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"a third live key":    {[]string{"rotate"}, "two event keys are live"},
		"an unknown key":      {[]string{"retire", "nobody"}, "there is no key nobody"},
		"the current key":     {[]string{"retire", second["kid"].(string)}, "event key is in use"},
		"the older, too soon": {[]string{"retire", first["kid"].(string)}, "wait 20 minutes"},
	} {
		t.Run(name, func(t *testing.T) {
			if o := p.run("", append([]string{"keys"}, test.args...)...); o.code != 1 || !strings.Contains(o.stderr, test.want) {
				t.Errorf("exit code %d, stderr %q, want %q in it", o.code, o.stderr, test.want)
			}
		})
	}
}

func TestAKeyIsNotRetiredWhileAMessageIsSealedToIt(t *testing.T) {
	p := newDev(t)
	p.startDev()
	kid := object(t, p.must("", "keys", "show"))["kid"].(string)
	p.run("in-clear", "publish", "acquired", connection, "--plain", "--wait") // its dead letter is sealed to the key
	p.must("", "keys", "rotate")
	o := p.run("", "keys", "retire", kid)
	if o.code != 1 || !strings.Contains(o.stderr, "1 message in TOKENS_DLQ is sealed") {
		t.Errorf("exit code %d, stderr %q", o.code, o.stderr)
	}
}

func TestDevSetsItselfUp(t *testing.T) {
	p := newDev(t)
	p.startDev()
	if out := p.must("", "setup", "--check", "--json"); out != "" {
		t.Errorf("setup --check finds %s", out)
	}
	for _, f := range objects(t, p.must("", "doctor", "--json")) {
		if f["level"] != "ok" {
			t.Errorf("the doctor finds %v", f)
		}
	}
}

func TestTheDoctorFindsOpenFiles(t *testing.T) {
	p := newDev(t)
	proc := p.startDev()
	proc.stop()
	if err := os.Chmod(filepath.Join(p.setting("TOKENWORKER_DATA_DIR"), "key.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := p.run("", "doctor", "--json")
	if o.code != 1 || !strings.Contains(o.stdout, "key.json is open to others") {
		t.Errorf("exit code %d: %s", o.code, o.stdout)
	}
}

func TestDevAnswersOverHTTP(t *testing.T) {
	p := newDev(t)
	proc := p.startDev()
	p.must("canary-token", "publish", "acquired", connection, "--wait")
	base := regexp.MustCompile(`http://[0-9.:]+`).FindString(proc.await("/readyz"))
	for path, want := range map[string]string{
		"/healthz": "ok", "/readyz": "ready",
		"/metrics": `tokenworker_events_total{kind="acquired",verdict="applied"} 1`,
	} {
		code, body := get(t, base+path)
		if code != http.StatusOK || !strings.Contains(body, want) || strings.Contains(body, "canary") {
			t.Errorf("%s: %d, %s; want %q in it", path, code, body, want)
		}
	}
	for _, path := range []string{"/", "/debug/pprof/heap", "/tokens"} {
		if code, _ := get(t, base+path); code != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", path, code)
		}
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Close = true
	response, err := (&http.Client{Timeout: patience}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}
