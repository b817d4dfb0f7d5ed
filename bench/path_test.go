package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/tokenworker/tokenworker"
)

// TestMain plays a role when a test has started this program as a child.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == asRole {
		if err := playRole(context.Background(), os.Stdout, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestThePathIsMeasuredFromEndToEnd(t *testing.T) {
	profiles := t.TempDir()
	e, err := measurePath(t.Context(), options{profiles: profiles}, natsConfig{}, tableConfig{}, 1, 20)
	if err != nil {
		t.Fatal(err)
	}
	for i, each := range append(e.event[:], e.put) {
		if each.took <= 0 || each.cpu <= 0 {
			t.Errorf("%d took %v", i, each)
		}
	}
	for _, name := range []string{"put", "plain", "hybrid", "x25519"} {
		if b, err := os.ReadFile(filepath.Join(profiles, name+".pprof")); err != nil || len(b) == 0 {
			t.Errorf("profile of %s: %d bytes, %v", name, len(b), err)
		}
	}
}

func TestAChildThatCannotStartSaysSo(t *testing.T) {
	if c, err := startChild(t.Context(), "worker", workerConfig{NATS: "nats://127.0.0.1:1"}, &effort{}); err == nil {
		t.Error("no error", c.stop())
	}
	if err := playRole(t.Context(), &bytes.Buffer{}, []string{asRole, "none", "{}"}); err == nil {
		t.Error("an unknown role: no error")
	}
}

func TestAServerThatIsAskedForMoreSaysSo(t *testing.T) {
	requests := json.NewDecoder(bytes.NewBufferString("1"))
	if err := serve("addr", requests, json.NewEncoder(&bytes.Buffer{})); err == nil {
		t.Error("no error")
	}
}

func TestATokenSetIsOfTheSizeThatIsNamed(t *testing.T) {
	b, err := tokenworker.EncodeTokenSet(tokenSet())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(b); n < tokenSetBytes-20 || n > tokenSetBytes+20 {
		t.Errorf("%d bytes, want about %d", n, tokenSetBytes)
	}
}
