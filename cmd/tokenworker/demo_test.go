package main

import (
	"maps"
	"path/filepath"
	"testing"
)

func TestTheDemoPassesEveryCheck(t *testing.T) {
	p := newProgram(t)
	lines := objects(t, p.must("", "demo", "--json"))
	checks, last := lines[:len(lines)-1], lines[len(lines)-1]
	for _, c := range checks {
		if c["ok"] != true || c["check"] == "" || c["detail"] == "" {
			t.Errorf("%v", c)
		}
	}
	expectFields(t, last, map[string]any{"checks": len(checks), "failed": 0})
	if len(checks) < 16 {
		t.Errorf("the demo made %d checks only", len(checks))
	}
}

func TestTheDemoLeavesADirectoryThatDevRunsOn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	p := newProgram(t, "TOKENWORKER_DATA_DIR="+dir)
	p.must("", "demo")
	p.startDev()
	statuses := map[any]int{}
	for _, r := range objects(t, p.must("", "list", "--org", "acme", "--json")) {
		statuses[r["status"]]++
	}
	if want := (map[any]int{"disconnecting": 1, "disconnected": 4}); !maps.Equal(statuses, want) {
		t.Errorf("the connections are %v, want %v", statuses, want)
	}
}
