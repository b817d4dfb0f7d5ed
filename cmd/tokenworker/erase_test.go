package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

func TestADisconnectSaysWhatTheProviderConfirmed(t *testing.T) {
	t.Parallel()
	p := newDev(t)
	p.startDev()
	const granted = "acme:demo:company-1"
	p.must("", "publish", "acquired", granted, "--demo-grant", "--wait")

	if o := p.run("", "disconnect", granted); o.code != 2 || !strings.Contains(o.stderr, "--yes") {
		t.Errorf("without a terminal it exits with %d: %s", o.code, o.stderr)
	}
	expectFields(t, object(t, p.must("", "inspect", granted, "--json")), map[string]any{"status": "active"})

	waiting := p.start("disconnect", granted, "--yes", "--wait", "--json")
	eventually(t, "the connection is disconnecting", func() bool {
		return object(t, p.must("", "inspect", granted, "--json"))["status"] != "active"
	})
	p.must("", "refresh", "--due")
	expectFields(t, object(t, waiting.await("outcome")), map[string]any{"outcome": "disconnected", "revocation": "revoked"})

	again := p.must("", "disconnect", granted, "--yes", "--wait", "--json")
	expectFields(t, object(t, again), map[string]any{"outcome": "disconnected", "revocation": "nothing_to_revoke"})
}

func TestWhatIsExportedIsErased(t *testing.T) {
	t.Parallel()
	p := newDev(t)
	p.startDev()
	set := `{"access_token":"access-canary","refresh_token":"refresh-canary","expires_in":3600,"subject":"person-1","issuer":"https://issuer.example"}`
	first, second, other := "acme:demo:1", "acme:demo:2", "other:demo:1"
	for _, k := range []string{first, second, other} {
		p.must(set, "publish", "acquired", k, "--wait")
	}
	p.run("in-clear", "publish", "acquired", first, "--plain", "--wait") // a dead letter
	person := []string{"--subject", "person-1", "--issuer", "https://issuer.example"}

	exported := p.must("", append([]string{"export"}, person...)...)
	if got := objects(t, exported); len(got) != 3 || strings.Contains(exported, "canary") {
		t.Errorf("exported: %s", exported)
	}
	expectFields(t, object(t, p.must("", "export", first)), map[string]any{"key": first, "subject": "person-1"})

	dry := p.must("", "erase", "--org", "acme", "--dry-run", "--json")
	if rows := objects(t, dry); len(rows) != 2 || rows[0]["messages"] != 4.0 { // stored twice, a dead letter, rejected
		t.Errorf("a dry run shows %s", dry)
	}
	expectFields(t, object(t, p.must("", "inspect", first, "--json")), map[string]any{"status": "active"})

	o := p.run("", "erase", "--org", "acme", "--reason", "gdpr", "--yes", "--wait", "--json")
	if o.code != 0 || !strings.Contains(o.stderr, "erasing acme") {
		t.Fatalf("exit code %d: %s", o.code, o.stderr)
	}
	receipt := object(t, o.stdout)
	expectFields(t, receipt, map[string]any{"key": "acme", "outcome": "erased", "connections": 2})
	if receipt["backups_until"] == nil || receipt["event_keys"] == nil || receipt["event_keys_until"] == nil {
		t.Errorf("the receipt lacks when what is left becomes unreadable: %s", o.stdout)
	}
	if left := p.must("", "dlq", "list", "--json"); left != "" {
		t.Errorf("a dead letter is left: %s", left)
	}
	for _, row := range objects(t, p.must("", "export", "--org", "acme")) {
		if row["status"] != "disconnected" || row["subject"] != nil || row["scope"] != nil {
			t.Errorf("more than a tombstone is left: %v", row)
		}
	}

	p.must("", append([]string{"erase", "--yes", "--wait"}, person...)...)
	expectFields(t, object(t, p.must("", "inspect", other, "--json")), map[string]any{"status": "disconnected"})
	if rest := p.must("", append([]string{"export"}, person...)...); rest != "" {
		t.Errorf("of the person is left %s", rest)
	}
	if o := p.run("", append([]string{"erase", "--yes"}, person...)...); o.code != 1 || !strings.Contains(o.stderr, "no connection") {
		t.Errorf("erasing nobody exits with %d: %s", o.code, o.stderr)
	}
}

func TestASelectionIsOneThing(t *testing.T) {
	p := newDev(t)
	for _, args := range [][]string{
		{"erase"}, {"export"}, {"erase", "a:b:c", "d:e:f"}, {"erase", "a:b:c", "--org", "a"}, {"export", "--org", "a", "--subject", "s"},
		{"erase", "a:b:c", "--issuer", "i"}, {"erase", "not a key"}, {"export", "--org", strings.Repeat("x", 200)},
	} {
		if o := p.run("", args...); o.code != 2 {
			t.Errorf("%q exits with %d: %s", args, o.code, o.stderr)
		}
	}
}

func TestWhatIsNotATerminalIsNotAsked(t *testing.T) {
	a := &app{stdin: strings.NewReader("acme\n"), stderr: &bytes.Buffer{}}
	if err := a.confirm(context.Background(), false, "All is lost", "acme"); err == nil {
		t.Error("it was confirmed by what was piped in")
	}
	if err := a.confirm(context.Background(), true, "All is lost", "acme"); err != nil {
		t.Error(err)
	}
}
