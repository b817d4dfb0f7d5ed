package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/audit"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/internal/natstest"
	"github.com/tokenworker/tokenworker/streams"
)

func TestAnOlderCopyOfTheStoreIsBroughtUpToWhatIsOnRecord(t *testing.T) {
	p := newDev(t)
	store := embedded.StorePath(p.setting("TOKENWORKER_DATA_DIR"))
	proc := p.startDev()
	for _, company := range []string{"left", "erased", "stays"} {
		p.must("", "publish", "acquired", "acme:demo:"+company, "--demo-grant", "--wait")
	}
	if o := p.run("", "restore", "--yes"); o.code != 1 || !strings.Contains(o.stderr, "in use by process") {
		t.Errorf("beside a worker: exit code %d, stderr %q", o.code, o.stderr)
	}
	proc.stop()
	backup, err := os.ReadFile(store)
	if err != nil {
		t.Fatal(err)
	}
	proc = p.startDev()
	p.must("", "publish", "disconnect", "acme:demo:left", "--wait")
	p.must("", "erase", "acme:demo:erased", "--yes", "--wait")
	p.must("", "publish", "acquired", "acme:demo:brief", "--demo-grant", "--wait")
	p.must("", "publish", "disconnect", "acme:demo:brief", "--wait")
	proc.stop()
	if err := os.WriteFile(store, backup, 0o600); err != nil {
		t.Fatal(err)
	}
	status := func(company string) any {
		t.Helper()
		return object(t, p.must("", "inspect", "acme:demo:"+company, "--json"))["status"]
	}
	want := map[string]any{"rows": 4, "erased": 1, "disconnected": 3, "unsettled": 1, "superseded": 0}

	if o := p.run("", "restore"); o.code != 2 {
		t.Errorf("unconfirmed: exit code %d", o.code)
	}
	expectFields(t, object(t, p.must("", "restore", "--dry-run", "--json")), want)
	if s := status("left"); s != "active" {
		t.Errorf("a dry run has made it %v", s)
	}
	expectFields(t, object(t, p.must("", "restore", "--yes", "--json")), want)
	if s := status("left"); s != "disconnecting" {
		t.Errorf("the connection that left is %v", s)
	}
	if s := status("erased"); s != "disconnected" {
		t.Errorf("the erased connection is %v", s)
	}
	if s := status("brief"); s != "disconnected" { // the store knows of nothing to revoke
		t.Errorf("the connection that came and went is %v", s)
	}

	p.startDev()
	// Nobody knows whether its refresh token is spent; while its access token lives, it is not posted.
	asked := p.run("", "refresh", "acme:demo:stays", "--wait", "--json")
	if asked.code != exitFailed || !strings.Contains(asked.stderr, "under_way") {
		t.Errorf("a request beside an attempt that is not resolved: %+v", asked)
	}
	stays := object(t, p.must("", "inspect", "acme:demo:stays", "--json"))
	expectFields(t, stays, map[string]any{"status": "active", "generation": 0, "spent_remembered": 1})
	if stays["claim_until"] == nil || stays["failures"] != nil {
		t.Errorf("it was attempted: %v", stays)
	}
	p.must("", "refresh", "--due")
	eventually(t, "what left is revoked again", func() bool { return status("left") == "disconnected" })

	p.must("", "audit", "verify")
	if outcomes := recordedOutcomes(t, p, "restore"); outcomes != "asked done" {
		t.Errorf("the restore is on record as %q", outcomes)
	}
	p.must("", "audit", "begin", "--yes")
	if outcomes := recordedOutcomes(t, p, "begin"); outcomes != "asked done" {
		t.Errorf("the new chain is on record as %q", outcomes)
	}
}

// recordedOutcomes are those of an action that are on record.
func recordedOutcomes(t *testing.T, p *program, action string) string {
	t.Helper()
	var outcomes []string
	for _, rec := range objects(t, p.must("", "audit", "tail", "--json")) {
		if rec["action"] == action {
			outcomes = append(outcomes, fmt.Sprint(rec["outcome"]))
		}
	}
	return strings.Join(outcomes, " ")
}

func TestWhatFailsIsOnRecordAsAskedForAndFailed(t *testing.T) {
	t.Parallel()
	p, trail := newParts(t)
	broken := errors.New("broken")
	ctx, cancel := context.WithCancel(t.Context())
	err := onRecord(ctx, trail, tokenworker.AuditRestore, func() error {
		cancel() // interrupted
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	var outcomes []string
	for rec, err := range trail.Records(t.Context(), 1, "") {
		if err != nil {
			t.Fatal(err)
		}
		outcomes = append(outcomes, string(rec.Outcome))
	}
	if strings.Join(outcomes, " ") != "asked failed" {
		t.Errorf("on record as %q", outcomes)
	}
	if err := p.js.DeleteStream(t.Context(), streams.Audit); err != nil {
		t.Fatal(err)
	}
	err = onRecord(t.Context(), trail, tokenworker.AuditRestore, func() error {
		t.Error("it is done without a record")
		return nil
	})
	if !errors.Is(err, tokenworker.ErrUnavailable) {
		t.Errorf("without a trail: %v", err)
	}
}

// newParts are a store and a NATS server that are set up, and the trail over them.
func newParts(t *testing.T) (parts, *audit.Trail) {
	t.Helper()
	dir := t.TempDir()
	db, err := embedded.OpenStore(t.Context(), embedded.StorePath(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	p := parts{store: db, js: natstest.Connect(t)}
	if p.service, err = embedded.CreateKeyFile(filepath.Join(dir, "key.json")); err != nil {
		t.Fatal(err)
	}
	if err := streams.Setup(t.Context(), p.js, 1, db.TakeEpoch); err != nil {
		t.Fatal(err)
	}
	trail, err := p.trail(t.Context(), audit.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return p, trail
}

func TestEventKeysThatTheRestoredStoreLacksAreNamed(t *testing.T) {
	t.Parallel()
	p, _ := newParts(t)
	if _, err := p.store.PutWrappedKey(t.Context(), tokenworker.WrappedKey{Name: "event/held", Wrapped: []byte{1}}, nil); err != nil {
		t.Fatal(err)
	}
	for subject, body := range map[string]string{
		"tokens.v1.acquired.acme.google.1":             `{"data":{"kid":"held"}}`,
		"tokens.v1.acquired.acme.google.2":             `{"data":{"kid":"newer"}}`,
		"tokens.v1.disconnect.acme.google.1":           `{"data":{}}`,
		"tokens.v1.parked.acquired.acme.google.1":      `{"data":{"kid":"newer"}}`,
		"tokens.v1.dlq.too_old.acquired.acme.google.1": `{"kid":"newest"}`,
	} {
		if _, err := p.js.Publish(t.Context(), subject, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := p.warnOfLostKeys(t.Context(), slog.New(slog.NewTextHandler(&out, nil))); err != nil {
		t.Fatal(err)
	}
	if log := out.String(); strings.Count(log, "\n") != 2 || !strings.Contains(log, "kid=newer messages=2") ||
		!strings.Contains(log, "kid=newest messages=1") {
		t.Errorf("it says\n%s", log)
	}
}
