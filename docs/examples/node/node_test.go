// Package node_test runs the example beside it, on the worked reads and against `tokenworker dev`. It needs Node.js 20 and
// npm, and installs what package-lock.json pins into node_modules.
package node_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/internal/attack/process"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// install runs npm ci once.
var install = sync.OnceValue(func() error {
	for _, file := range []string{"package-lock.json", "tokenworker.mjs", "example.mjs", "vector.mjs"} {
		if _, err := os.ReadFile(file); err != nil { // so that go test's cache knows that the result depends on it
			return err
		}
	}
	out, err := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline").CombinedOutput()
	if err != nil {
		return fmt.Errorf("npm ci could not install what package-lock.json pins: %w\n%s", err, out)
	}
	return nil
})

func TestTheExampleOpensTheWorkedReads(t *testing.T) {
	must(t, install())
	for _, name := range []string{"vector-get-hybrid.json", "vector-get-x25519.json"} {
		file, err := os.ReadFile(filepath.Join("..", "..", "..", "events", "testdata", name))
		must(t, err)
		var vector struct{ Plaintext string }
		must(t, json.Unmarshal(file, &vector))
		node, err := process.Run(t.Context(), process.Program{Path: "node", Args: []string{"vector.mjs"}}, file)
		must(t, err)
		if string(node.Stdout) != vector.Plaintext+"\n" || node.ExitCode != 0 {
			t.Errorf("%s: exit code %d, printed\n%s%s", name, node.ExitCode, node.Stdout, node.Stderr)
		}
	}
}

func TestTheExampleHandsATokenInAndReadsItBack(t *testing.T) {
	must(t, install())
	dir := t.TempDir()
	binary, data, public := filepath.Join(dir, "tokenworker"), filepath.Join(dir, "data"), filepath.Join(dir, "public.json")
	must(t, process.Build(t.Context(), binary, "github.com/tokenworker/tokenworker/cmd/tokenworker"))
	worker, err := process.Start(t.Context(), process.Program{
		Path: binary, Log: filepath.Join(dir, "log"), Args: []string{"dev", "--data-dir", data, "--nats-port", "0", "--http-addr", "127.0.0.1:0"},
	})
	must(t, err)
	t.Cleanup(worker.Kill)
	must(t, process.Await(t.Context(), 30*time.Second, "the worker has a key", func() (bool, error) {
		shown, err := process.Run(t.Context(), process.Program{Path: binary, Args: []string{"keys", "show", "--data-dir", data}}, nil)
		if err != nil || shown.ExitCode != 0 {
			return false, err
		}
		return true, os.WriteFile(public, shown.Stdout, 0o600)
	}))
	running, err := embedded.Running(data)
	must(t, err)

	node, err := process.Run(t.Context(), process.Program{
		Path: "node", Args: []string{"example.mjs", public},
		Env: []string{"NATS_URL=" + running.NATSURL, "NATS_TOKEN=" + string(running.NATSToken.Reveal())},
	}, []byte("canary-token\n"))
	must(t, err)
	const want = "stored\nread what was handed in\ndisconnected\nno token: disconnected\n"
	if string(node.Stdout) != want || node.ExitCode != 0 {
		t.Errorf("exit code %d, printed\n%s%s", node.ExitCode, node.Stdout, node.Stderr)
	}
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	must(t, err)
	if bytes.Contains(log, []byte("canary")) {
		t.Error("the worker's log shows the token")
	}
}
