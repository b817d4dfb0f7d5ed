package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTheLastSetsOfAConnectionAreKeptUntilItIsDisconnected(t *testing.T) {
	file := filepath.Join(t.TempDir(), "providers.yaml")
	if err := os.WriteFile(file, []byte("providers:\n  demo:\n    retain: 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newDev(t)
	p.env = append(p.env, "TOKENWORKER_PROVIDERS="+file)
	p.startDev()
	p.must("", "publish", "acquired", granting, "--demo-grant", "--wait")
	p.must("token", "publish", "acquired", connection, "--wait") // of a provider that keeps none
	p.must("", "refresh", granting, "--wait")
	p.must("", "publish", "acquired", granting, "--demo-grant", "--wait")
	sets := objects(t, p.must("", "history", granting, "--json"))
	if len(sets) != 2 {
		t.Fatalf("%d sets kept, want 2: %v", len(sets), sets)
	}
	expectFields(t, sets[0], map[string]any{"sequence": 4, "generation": 0, "current": true})
	expectFields(t, sets[1], map[string]any{"sequence": 1, "generation": 1, "current": false})
	if kept := p.must("", "history", connection, "--json"); kept != "" {
		t.Errorf("a provider without retain keeps %s", kept)
	}
	p.must("", "publish", "disconnect", granting, "--wait")
	if kept := p.must("", "history", granting, "--json"); kept != "" {
		t.Errorf("of a disconnected connection there is %s", kept)
	}
	if o := p.run("", "history", "acme:demo:nobody"); o.code != 1 {
		t.Errorf("of no connection: exit code %d", o.code)
	}
}
