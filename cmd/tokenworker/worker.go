package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v3"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/consumer"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/kmsenc"
	"github.com/tokenworker/tokenworker/rotator"
	"github.com/tokenworker/tokenworker/streams"
)

// workerFlags say how a worker works.
type workerFlags struct {
	allowPlain bool
	scope      string

	// Zero is the default of package consumer.
	concurrency   int
	shutdownLimit time.Duration
}

func (f *workerFlags) flags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{
			Name: "allow-plain", Sources: env("allow-plain"), Destination: &f.allowPlain,
			Usage: "accept events whose tokens are in clear; for development only",
		},
		&cli.StringFlag{
			Name: "scope", Sources: env("scope"), Destination: &f.scope, Value: "org",
			Usage: "who shares a data key: org, token (nobody) or pool:`N`",
		},
	}
}

// runFlags are those of workers that share the load with others.
func (f *workerFlags) runFlags() []cli.Flag {
	return append(f.flags(),
		&cli.IntFlag{
			Name: "concurrency", Sources: env("concurrency"), Destination: &f.concurrency, Value: 64,
			Usage: "`NUMBER` of acquired events handled at once",
		},
		&cli.DurationFlag{
			Name: "shutdown-limit", Sources: env("shutdown-limit"), Destination: &f.shutdownLimit, Value: 25 * time.Second,
			Usage: "how long what is under way may take after SIGTERM",
		},
	)
}

// parts are what a worker works with.
type parts struct {
	store   store
	service tokenworker.KeyService
	js      jetstream.JetStream
}

// worker is a consumer.Worker and what it was made of.
type worker struct {
	*consumer.Worker
	parts
	epoch  uint64
	keys   *events.Keyring
	sealer *kmsenc.Sealer
}

// newWorker makes a worker. It asks the store and the streams for the epoch that they agree on.
func (f *workerFlags) newWorker(
	ctx context.Context, p parts, log *slog.Logger, metrics prometheus.Registerer,
) (*worker, error) {
	scope, err := kmsenc.ParseScope(f.scope)
	if err != nil {
		return nil, wrongUse("--scope: %v", err)
	}
	if f.concurrency < 0 || f.shutdownLimit < 0 {
		return nil, wrongUse("--concurrency and --shutdown-limit must not be negative")
	}
	w := &worker{parts: p, sealer: kmsenc.New(p.service, p.store, kmsenc.Config{Scope: scope})}
	if w.epoch, err = p.currentEpoch(ctx); err != nil {
		return nil, err
	}
	if w.keys, err = events.NewKeyring(p.store, p.service, events.KeyringConfig{}); err != nil {
		return nil, fmt.Errorf("opening the event keys: %w", err)
	}
	w.Worker, err = consumer.New(consumer.Config{
		Epoch: w.epoch, AllowPlain: f.allowPlain, Acquired: f.concurrency, Grace: f.shutdownLimit,
		Due: rotator.Schedule{}.Due, Logger: log, Registerer: metrics,
	}, p.js, w.keys, w.sealer, p.store)
	if err != nil {
		return nil, fmt.Errorf("making the worker: %w", err)
	}
	return w, nil
}

// currentEpoch is the epoch of the stream of events, if it is the highest that the store has given.
func (p parts) currentEpoch(ctx context.Context) (uint64, error) {
	highest, err := p.store.Epoch(ctx)
	if err != nil {
		return 0, fmt.Errorf("asking the store for the epoch: %w", err)
	}
	return streams.Epoch(ctx, p.js, highest)
}

var errNotConnected = errors.New("not connected to NATS")

// ready reports what keeps the worker from handling events.
func (p parts) ready(ctx context.Context) error {
	if !p.js.Conn().IsConnected() {
		return errNotConnected
	}
	_, err := p.currentEpoch(ctx)
	return err
}
