package main

import (
	"os"
	"strings"
	"testing"

	"github.com/tokenworker/tokenworker/embedded"
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
	if s := status("brief"); s != "disconnecting" {
		t.Errorf("the connection that came and went is %v", s)
	}

	p.startDev()
	// Nobody knows whether its refresh token is spent; while its access token lives, it is not posted.
	asked := p.must("", "refresh", "acme:demo:stays", "--wait", "--json")
	expectFields(t, object(t, asked), map[string]any{"outcome": "without_effect"})
	stays := object(t, p.must("", "inspect", "acme:demo:stays", "--json"))
	expectFields(t, stays, map[string]any{"status": "active", "generation": 0, "spent_remembered": 1})
	if stays["claim_until"] == nil || stays["failures"] != nil {
		t.Errorf("it was attempted: %v", stays)
	}
	p.must("", "refresh", "--due")
	eventually(t, "what left is revoked again", func() bool { return status("left") == "disconnected" })

	p.must("", "audit", "verify")
	if trail := p.must("", "audit", "tail"); !strings.Contains(trail, "restore") {
		t.Errorf("no restore in the audit trail:\n%s", trail)
	}
}
