package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/internal/attack/process"
)

// newDev makes a rig of `tokenworker dev`: NATS in process, SQLite, a key file. It is not started yet.
func newDev(ctx context.Context, e *env, args ...string) (*rig, error) {
	binary, err := e.program(ctx, workerPackage)
	if err != nil {
		return nil, err
	}
	natsAddr, err := process.FreeAddr(ctx)
	if err != nil {
		return nil, fmt.Errorf("choosing a port: %w", err)
	}
	httpAddr, err := process.FreeAddr(ctx)
	if err != nil {
		return nil, fmt.Errorf("choosing a port: %w", err)
	}
	_, natsPort, err := net.SplitHostPort(natsAddr)
	if err != nil {
		return nil, fmt.Errorf("choosing a port: %w", err)
	}
	declared, err := e.declare()
	if err != nil {
		return nil, err
	}
	dir := e.inDir("data")
	r := &rig{
		program: process.Program{
			Path: binary, Log: e.inDir("dev.log"),
			Args: slices.Concat([]string{"dev", "--data-dir", dir, "--nats-port", natsPort, "--http-addr", httpAddr}, declared, args),
		},
		target: []string{"--data-dir", dir}, http: "http://" + httpAddr, natsURL: "nats://" + natsAddr,
	}
	// There is one user. The token is made at the first start and kept; while the worker is down nobody says it.
	var token atomic.Pointer[string]
	r.users = func(string) nats.Option {
		return nats.TokenHandler(func() string {
			if running, err := embedded.Running(dir); err == nil {
				known := string(running.NATSToken.Reveal())
				token.Store(&known)
			}
			if known := token.Load(); known != nil {
				return *known
			}
			return "" // refused, and tried again
		})
	}
	r.open = func(ctx context.Context) (*view, error) { return openDevView(ctx, dir, embedded.KeyPath(dir)) }
	return r, nil
}

// openDevView opens the store of a data directory with the keys of a file.
func openDevView(ctx context.Context, dir, keyFile string) (*view, error) {
	if _, err := os.Stat(embedded.StorePath(dir)); err != nil {
		return nil, fmt.Errorf("looking for the store: %w", err)
	}
	store, err := embedded.OpenStore(ctx, embedded.StorePath(dir))
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	service, err := embedded.OpenKeyFile(keyFile)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the key file: %w", err), store.Close())
	}
	return newView(store, service, func() { _ = store.Close() })
}
