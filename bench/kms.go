package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// fleet is whose refreshes are simulated: connections that are refreshed once an hour, each at its own moment, by any of
// the replicas. The simulation is in kms_test.go, because only a test has a clock that can be wound on.
//
// Data keys of different organizations, and of different pools, have nothing in common, and they stay below the 10,000
// that a replica keeps in memory, or are used once before they expire. So a few organizations, or one pool of all those
// whom it serves, cost as many calls per refresh as the whole does.
type fleet struct {
	Scope         string
	Organizations int
	Connections   int // of each organization
	Replicas      int
	Hours         int
}

// week is one of hours. Data keys are renewed once in it.
const week = 7 * 24

// kmsRows count the calls of the key service for each refresh.
func kmsRows(ctx context.Context, o options) ([]row, error) {
	large, one := o.size(1, 4), o.size(500, 1_000)
	pool, hours := 100_000/16, o.size(24, week) // of the pools
	simulated := []struct {
		fleet
		name  string
		bound target
	}{
		{fleet{"org", large, 1_000, 1, week}, "100 organizations of 1,000, scope org", atMost(0.01)},
		{fleet{"org", large, 1_000, 3, week}, "100 organizations of 1,000, scope org, 3 replicas", atMost(0.01)},
		{fleet{"org", one, 1, 1, week}, "100,000 organizations of one, scope org", target{}},
		{fleet{"token", one, 1, 1, week}, "100,000 organizations of one, scope token", target{}},
		{fleet{"pool:1", pool, 1, 1, hours}, "100,000 organizations of one, scope pool:16", target{}},
		{fleet{"pool:1", pool, 1, 3, hours}, "100,000 organizations of one, scope pool:16, 3 replicas", target{}},
	}
	fleets := make([]fleet, len(simulated))
	for i, s := range simulated {
		fleets[i] = s.fleet
	}
	calls, err := simulate(ctx, fleets)
	if err != nil {
		return nil, err
	}
	var rows []row
	for i, s := range simulated {
		rows = append(rows, row{name: "KMS calls per refresh: " + s.name, ours: calls[i], target: s.bound})
	}
	return rows, nil
}

// simulate returns the calls per refresh of each fleet, by running the test TestFleets.
func simulate(ctx context.Context, fleets []fleet) (calls []float64, err error) {
	dir, err := os.MkdirTemp("", "tokenworker-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	asked, told := filepath.Join(dir, "fleets.json"), filepath.Join(dir, "calls.json")
	b, err := json.Marshal(fleets)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(asked, b, 0o600); err != nil {
		return nil, err
	}
	test := exec.CommandContext(ctx, "go", "test", "-count=1", "-run=^TestFleets$", ".", "-fleets", asked, "-calls", told)
	if out, err := test.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("simulating: %w\n%s", err, out)
	}
	if b, err = os.ReadFile(told); err != nil {
		return nil, err
	}
	return calls, json.Unmarshal(b, &calls)
}
