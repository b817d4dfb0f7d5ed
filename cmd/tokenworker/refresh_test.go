package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokenworker/tokenworker/demoprovider"
)

const granting = "acme:demo:company-1"

func TestAConnectionOfTheDemoProviderIsRefreshedOnRequestAndRevoked(t *testing.T) {
	p := newDev(t)
	proc := p.startDev("--log-level", "debug")
	expectFields(t, object(t, p.must("", "publish", "acquired", granting, "--demo-grant", "--wait", "--json")),
		map[string]any{"outcome": "stored"})
	out := object(t, p.must("", "refresh", granting, "--wait", "--json"))
	expectFields(t, out, map[string]any{"subject": "tokens.v1.refresh.acme.demo.company-1", "outcome": "refreshed"})
	again := p.run("", "refresh", granting, "--wait", "--json")
	if again.code != exitFailed || !strings.Contains(again.stderr, "refreshed_lately") {
		t.Errorf("a second request at once: %+v", again)
	}
	expectFields(t, object(t, p.must("", "inspect", granting, "--json")), map[string]any{"status": "active", "generation": 1})
	if listed := p.must("", "list", "--org", "acme"); !strings.Contains(listed, "REFRESHED") {
		t.Errorf("list does not say when: %s", listed)
	}
	p.must("", "publish", "disconnect", granting, "--wait")
	p.must("", "refresh", "--due") // the worker's own sweep may have been first
	eventually(t, "the grant is revoked", func() bool {
		return object(t, p.must("", "inspect", granting, "--json"))["status"] == "disconnected"
	})
	for _, prefix := range []string{demoprovider.AccessPrefix, demoprovider.RefreshPrefix} {
		if strings.Contains(proc.output(), prefix) {
			t.Errorf("the log shows a token that begins with %s", prefix)
		}
	}
}

func TestADeadGrantIsReportedToWhoeverAskedForARefresh(t *testing.T) {
	p := newDev(t)
	proc := p.startDev()
	p.must("", "publish", "acquired", granting, "--demo-grant", "--wait")
	proc.stop()
	p.startDev() // whose provider knows nothing of the grant
	o := p.run("", "refresh", granting, "--wait", "--json")
	expectFields(t, object(t, o.stdout), map[string]any{"outcome": "reauth_required"})
	if o.code != 1 || !strings.Contains(o.stderr, "invalid_grant") {
		t.Errorf("exit code %d, want 1, and the code on stderr: %s", o.code, o.stderr)
	}
	expectFields(t, object(t, p.must("", "inspect", granting, "--json")),
		map[string]any{"status": "reauth_required", "failure_code": "invalid_grant"})
}

func TestOnePassLooksAtWhatIsDueAlone(t *testing.T) {
	p := newDev(t)
	p.startDev()
	p.must(`{"access_token":"a","refresh_token":"r","expires_in":3600}`, "publish", "acquired", connection, "--wait")
	p.must("", "publish", "acquired", granting, "--demo-grant", "--wait")
	expectFields(t, object(t, p.must("", "refresh", "--due", "--json")), map[string]any{"looked": 0})
	r := p.run("", "refresh", connection, "--wait", "--json")
	if r.code != exitFailed || !strings.Contains(r.stderr, "not_enabled") {
		t.Errorf("a provider without a client: %+v", r)
	}
	expectFields(t, object(t, p.must("", "inspect", connection, "--json")), map[string]any{"failure_code": "not_enabled"})
}

func TestOnePassLeavesAloneWhatItHasNoClientFor(t *testing.T) {
	p := newDev(t)
	p.startDev()
	p.must(`{"access_token":"a","refresh_token":"r","expires_in":1}`, "publish", "acquired", connection, "--wait") // due at once
	provider := strings.Split(connection, ":")[1]
	expectFields(t, object(t, p.must("", "refresh", "--due", "--json")), map[string]any{"looked": 0, "skipped": []any{provider}})
}

func TestOnlyTheDemoProviderGrants(t *testing.T) {
	p := newDev(t)
	p.startDev()
	for _, args := range [][]string{{connection}, {granting, "--plain"}, {granting, "--expires-in", "1h"}} {
		o := p.run("", append([]string{"publish", "acquired", "--demo-grant"}, args...)...)
		if o.code != 2 || !strings.Contains(o.stderr, "--demo-grant") {
			t.Errorf("%v: exit code %d, stderr %q", args, o.code, o.stderr)
		}
	}
}

func TestAProviderOfAnOperatorsFileIsEnabled(t *testing.T) {
	file := filepath.Join(t.TempDir(), "providers.yaml")
	yaml := "providers:\n  gusto:\n    client:\n      id: env:GUSTO_ID\n      secret: env:GUSTO_SECRET\n"
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newProgram(t, "TOKENWORKER_PROVIDERS="+file, "GUSTO_ID=id-canary", "GUSTO_SECRET=secret-canary")
	out := p.must("", "providers", "gusto", "--json")
	expectFields(t, object(t, out), map[string]any{"id": "gusto", "name": "Gusto", "enabled": true})
	if all := out + p.must("", "providers") + p.must("", "providers", "gusto"); strings.Contains(all, "canary") {
		t.Errorf("it shows a credential: %s", all)
	}
	expectFields(t, object(t, newProgram(t).must("", "providers", "gusto", "--json")), map[string]any{"enabled": false})
	if o := newProgram(t, "TOKENWORKER_PROVIDERS="+file).run("", "providers"); o.code != 1 || !strings.Contains(o.stderr, file+":") {
		t.Errorf("without the variables: exit code %d, want 1, and the line on stderr: %q", o.code, o.stderr)
	}
	if o := newProgram(t).run("", "providers", "nobody"); o.code != 1 || !strings.Contains(o.stderr, "no provider") {
		t.Errorf("an unknown provider: exit code %d, stderr %q", o.code, o.stderr)
	}
}
