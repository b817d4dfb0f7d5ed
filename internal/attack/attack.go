package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"

	"github.com/tokenworker/tokenworker/internal/attack/process"
)

// promise is what is attacked.
type promise struct {
	name    string // as in the design
	unit    string // of its size
	usual   int    // the size that takes at most about a minute
	full    int    // the size of the published table
	attacks []attack
}

// attack is one way to try.
type attack struct {
	tries string

	// run tries to break the promise, at the size n, and reports to the env. It stops what it started. The error says why
	// it could not be tried to the end.
	run func(ctx context.Context, e *env, n int) error
}

// promises lists what is attacked so far. A promise without an attack is not in it, so that none looks kept for want of
// trying.
func promises() []promise {
	return []promise{p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, auditTrail, erasure, rewrapping, siblings, tenants, epochs, borrowedRights, clocks}
}

// env is what an attack works with.
type env struct {
	*tools
	*report
	dir  string // its own; kept when something broke
	log  *slog.Logger
	rand *rand.Rand // for one goroutine
}

// report is what an attack has found. It is safe for concurrent use.
type report struct {
	mu       sync.Mutex
	tried    []string // what was done and how often: "100 kills", "3,412 events"
	broken   int
	examples []string // the first few of what broke
}

// did notes what was tried, with a number first.
func (r *report) did(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tried = append(r.tried, fmt.Sprintf(format, args...))
}

// broke notes something that the promise rules out.
func (r *report) broke(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	const most = 10
	if r.broken++; r.broken <= most {
		r.examples = append(r.examples, fmt.Sprintf(format, args...))
	}
}

// tools are the programs that attacks start, built when first needed.
type tools struct {
	dir string

	mu    sync.Mutex
	built map[string]string // paths by main package
}

// The main packages of the programs.
const (
	workerPackage = "github.com/tokenworker/tokenworker/cmd/tokenworker"
	natsPackage   = process.NATSServer
)

// program builds a main package once and returns the path of the program.
func (t *tools) program(ctx context.Context, pkg string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if path := t.built[pkg]; path != "" {
		return path, nil
	}
	name := "tokenworker"
	if pkg == natsPackage {
		name = "nats-server"
	}
	path := filepath.Join(t.dir, name)
	if err := process.Build(ctx, path, pkg); err != nil {
		return "", err
	}
	if t.built == nil {
		t.built = map[string]string{}
	}
	t.built[pkg] = path
	return path, nil
}
