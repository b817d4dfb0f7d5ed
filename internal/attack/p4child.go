package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/internal/attack/process"
	"github.com/tokenworker/tokenworker/kmsenc"
	"github.com/tokenworker/tokenworker/rotator"
)

// childCommand makes this program a process of the fleet that P4 attacks, rather than an attack.
const childCommand = "rotate-as-child"

// child is what such a process is told.
type child struct {
	Name, NATS, Dir, Catalogue string
	ClaimFor                   time.Duration
	Providers                  []string
}

func (c child) program(path, log string) (process.Program, error) {
	told, err := json.Marshal(c)
	if err != nil {
		return process.Program{}, fmt.Errorf("telling a child: %w", err)
	}
	return process.Program{Path: path, Args: []string{childCommand, string(told)}, Log: log}, nil
}

// runChild rotates until it is told to stop. Beside the jobs, every process sweeps everything for itself, many times as
// often as the jobs would let it: the more processes look at one connection at once, the harder for the claims.
func runChild(ctx context.Context, told string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	var c child
	if err := json.Unmarshal([]byte(told), &c); err != nil {
		return fmt.Errorf("reading what to do: %w", err)
	}
	store, err := embedded.OpenStore(ctx, embedded.StorePath(c.Dir))
	if err != nil {
		return fmt.Errorf("opening the store: %w", err)
	}
	defer store.Close() //nolint:errcheck // it ends with the process
	service, err := embedded.OpenKeyFile(embedded.KeyPath(c.Dir))
	if err != nil {
		return fmt.Errorf("opening the key file: %w", err)
	}
	gate, closeGate, err := openGate(ctx, c.Catalogue, time.Now)
	if err != nil {
		return err
	}
	defer closeGate()
	js, closeNATS, err := dialNATS(c.NATS)
	if err != nil {
		return err
	}
	defer closeNATS()
	r, err := rotator.New(rotator.Config{
		Process: c.Name, Tick: time.Second, ClaimFor: c.ClaimFor, ClockSkew: time.Second, AttemptTimeout: time.Second,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}, js, store, kmsenc.New(service, store, kmsenc.Config{}), gate)
	if err != nil {
		return fmt.Errorf("making a rotator: %w", err)
	}
	var sweeping sync.WaitGroup
	defer sweeping.Wait()
	for _, id := range c.Providers {
		sweeping.Go(func() {
			for ctx.Err() == nil {
				_, _ = r.Sweep(ctx, id, 0) // what it could not do it logs, and the next one does
				select {
				case <-ctx.Done():
				case <-time.After(500 * time.Millisecond):
				}
			}
		})
	}
	return r.Run(ctx) //nolint:wrapcheck // our own
}
