package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/attack/process"
)

// buildWorker builds the program that users run, into the directory.
func buildWorker(ctx context.Context, dir string) (path string, err error) {
	path = filepath.Join(dir, "tokenworker")
	build := exec.CommandContext(ctx, "go", "build", "-C", "..", "-trimpath", "-o", path, "./cmd/tokenworker")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the worker: %w\n%s", err, out)
	}
	return path, nil
}

// dev is a running `tokenworker dev`.
type dev struct {
	*process.Process
	dataDir string
	started time.Duration // from its start until it was ready
}

// startDev starts the program and returns when it is ready. Its log lies beside the data directory.
func startDev(ctx context.Context, program, dataDir string) (*dev, error) {
	addr, err := process.FreeAddr(ctx)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	p, err := process.Start(ctx, process.Program{
		Path: program, Log: dataDir + ".log",
		Args: []string{"dev", "--data-dir", dataDir, "--nats-port", "0", "--http-addr", addr},
	})
	if err != nil {
		return nil, err
	}
	if err := ready(ctx, addr, p.Ended()); err != nil {
		p.Kill()
		return nil, err
	}
	return &dev{p, dataDir, time.Since(begin)}, nil
}

// ready asks until the answer is yes. A connection that comes before the program serves waits for it.
func ready(ctx context.Context, addr string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: readyWithin}
	for tick := time.NewTicker(time.Millisecond); ; {
		if response, err := client.Do(request); err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ended:
			return errors.New("the worker has ended")
		case <-ctx.Done():
			return fmt.Errorf("waiting until the worker is ready: %w", ctx.Err())
		}
	}
}

// connect connects to its NATS server.
func (d *dev) connect() (*publisher, error) {
	running, err := embedded.Running(d.dataDir)
	if err != nil {
		return nil, err
	}
	js, err := connectNATS(running.NATSURL, nats.Token(string(running.NATSToken.Reveal())))
	if err != nil {
		return nil, err
	}
	return &publisher{js: js}, nil
}

// eventKey is the key that its events are sealed to.
func (d *dev) eventKey(ctx context.Context) (_ events.PublicKey, err error) {
	store, err := embedded.OpenStore(ctx, embedded.StorePath(d.dataDir))
	if err != nil {
		return events.PublicKey{}, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	service, err := embedded.OpenKeyFile(embedded.KeyPath(d.dataDir))
	if err != nil {
		return events.PublicKey{}, err
	}
	return safe{service, store}.eventKey(ctx, events.SuiteHybrid, (*events.Keyring).Make) // there is one already
}

// resident is its resident memory in bytes, as Linux counts it.
func (d *dev) resident() (int, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(d.PID()), "statm"))
	if err != nil {
		return 0, err
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1]) // proc_pid_statm(5): size, then resident, in pages
	return pages * os.Getpagesize(), err
}
