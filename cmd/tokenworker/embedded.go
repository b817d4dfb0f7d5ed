package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/provider"
)

// dataDir is a data directory of the embedded mode, seen from outside the process that runs on it, if one does.
type dataDir string

func (d dataDir) String() string { return "the data directory " + string(d) }

// openStore opens the store beside a running worker, or alone.
func (d dataDir) openStore(ctx context.Context) (store, func() error, error) {
	if err := d.inUse(); err != nil {
		return nil, nil, err
	}
	s, err := embedded.OpenStore(ctx, embedded.StorePath(string(d)))
	if err != nil {
		return nil, nil, fmt.Errorf("opening %s: %w", d, err)
	}
	return s, s.Close, nil
}

// openKeyService reads the key file.
func (d dataDir) openKeyService(context.Context) (keyService, error) {
	if err := d.inUse(); err != nil {
		return nil, err
	}
	k, err := embedded.OpenKeyFile(embedded.KeyPath(string(d)))
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", d, err)
	}
	return k, nil
}

// knownProviders is the demo provider, as the worker on the directory knows it.
func (d dataDir) knownProviders() ([]provider.Source, error) {
	name := demoCatalogue(string(d))
	yaml, err := os.ReadFile(name) //nolint:gosec // a file of our own data directory
	if err != nil {
		return nil, fmt.Errorf("reading about the demo provider: %w", err)
	}
	return []provider.Source{{Name: name, YAML: yaml}}, nil
}

// inUse tells a directory that a worker has run on from one that would only be made by looking.
func (d dataDir) inUse() error {
	_, err := os.Stat(embedded.StorePath(string(d)))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("no worker has ever run on %s: start one with `tokenworker dev`, or name another with "+
			"--data-dir", d)
	}
	if err != nil {
		return fmt.Errorf("looking at %s: %w", d, err)
	}
	return nil
}

// connect connects to the worker that runs on the directory.
func (d dataDir) connect(_ context.Context, opts ...nats.Option) (*nats.Conn, error) {
	running, err := embedded.Running(string(d))
	if errors.Is(err, tokenworker.ErrNotFound) {
		return nil, fmt.Errorf("nothing runs on %s: start `tokenworker dev`, name another directory with --data-dir, "+
			"or a deployment with --nats-url", d)
	}
	if err != nil {
		return nil, fmt.Errorf("finding what runs on %s: %w", d, err)
	}
	opts = append([]nats.Option{nats.Token(string(running.NATSToken.Reveal()))}, opts...)
	nc, err := nats.Connect(running.NATSURL, opts...)
	if err != nil {
		return nil, fmt.Errorf("connecting to what runs on %s: %w", d, err)
	}
	return nc, nil
}
