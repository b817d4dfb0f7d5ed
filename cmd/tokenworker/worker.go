package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v3"
	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/access"
	"github.com/tokenworker/tokenworker/audit"
	"github.com/tokenworker/tokenworker/consumer"
	"github.com/tokenworker/tokenworker/erase"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/kmsenc"
	"github.com/tokenworker/tokenworker/provider"
	"github.com/tokenworker/tokenworker/rotator"
	"github.com/tokenworker/tokenworker/streams"
)

// workerFlags say how a worker works.
type workerFlags struct {
	allowPlain bool
	scope      string
	providers  []string          // files
	known      []provider.Source // that the program brings itself, overridden by the files

	// Zero is the default of package consumer.
	concurrency   int
	shutdownLimit time.Duration

	readRate int // zero is the default of package access

	backupsFor time.Duration // zero is the default of package erase
}

func (f *workerFlags) flags() []cli.Flag {
	return append([]cli.Flag{
		&cli.BoolFlag{
			Name: "allow-plain", Sources: env("allow-plain"), Destination: &f.allowPlain,
			Usage: "accept events whose tokens are in clear; for development only",
		},
	}, f.rotationFlags()...)
}

// rotationFlags are those of whatever refreshes.
func (f *workerFlags) rotationFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: "scope", Sources: env("scope"), Destination: &f.scope, Value: "org",
			Usage: "who shares a data key: org, token (nobody) or pool:`N`",
		},
		providersFlag(&f.providers),
	}
}

func providersFlag(to *[]string) cli.Flag {
	return &cli.StringSliceFlag{
		Name: "providers", Sources: env("providers"), Destination: to, TakesFile: true,
		Usage: "`FILE` that overrides or adds providers and names their clients; may be repeated",
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
		&cli.IntFlag{
			Name: "read-rate", Sources: env("read-rate"), Destination: &f.readRate, Value: 1000,
			Usage: "`NUMBER` of reads a second that each caller may make of this replica",
		},
		&cli.DurationFlag{
			Name: "keep-backups", Sources: env("keep-backups"), Destination: &f.backupsFor, Value: 35 * 24 * time.Hour,
			Usage: "how long a backup of the table is kept, for the receipts of erasures",
		},
	)
}

// parts are what a worker works with.
type parts struct {
	store   store
	service keyService
	js      jetstream.JetStream
	reads   *nats.Conn          // a connection, and in a deployment a user, of its own; nil: no reads are answered
	erasing jetstream.JetStream // likewise; nil: requests to erase are left to others
}

// trail opens the audit trail.
func (p parts) trail(ctx context.Context, cfg audit.Config) (*audit.Trail, error) {
	keys, err := audit.OpenKeys(ctx, p.store, p.service)
	if err != nil {
		return nil, err
	}
	t, err := audit.New(cfg, p.js, p.store, keys)
	if err != nil {
		return nil, fmt.Errorf("opening the audit trail: %w", err)
	}
	return t, nil
}

// refresher refreshes what is due.
type refresher struct {
	parts
	sealer  *kmsenc.Sealer
	gateway *provider.Gateway
	rotator *rotator.Rotator
}

// newRefresher makes what refreshes with the clients that the flags name.
func (f *workerFlags) newRefresher(
	ctx context.Context, p parts, log *slog.Logger, metrics prometheus.Registerer,
) (refresher, error) {
	scope, err := kmsenc.ParseScope(f.scope)
	if err != nil {
		return refresher{}, wrongUse("--scope: %v", err)
	}
	catalogue, err := loadCatalogue(ctx, f.known, f.providers)
	if err != nil {
		return refresher{}, err
	}
	r := refresher{
		parts: p, sealer: kmsenc.New(p.service, p.store, kmsenc.Config{Scope: scope}),
		gateway: provider.NewGateway(catalogue, provider.NewClient(provider.Config{})),
	}
	r.rotator, err = rotator.New(rotator.Config{
		Process: processName(), Grace: f.shutdownLimit, Logger: log, Registerer: metrics,
	}, p.js, p.store, r.sealer, r.gateway)
	if err != nil {
		return refresher{}, fmt.Errorf("making the rotator: %w", err)
	}
	return r, nil
}

// worker handles events, refreshes what is due, answers reads and keeps the audit trail.
type worker struct {
	refresher
	consumer *consumer.Worker
	access   *access.Service
	audit    *audit.Trail
	keys     *events.Keyring
	log      *slog.Logger
}

// newWorker makes a worker. Store and streams must agree on an epoch.
func (f *workerFlags) newWorker(
	ctx context.Context, p parts, log *slog.Logger, registerer prometheus.Registerer,
) (*worker, error) {
	if f.concurrency < 0 || f.shutdownLimit < 0 || f.readRate < 0 {
		return nil, wrongUse("--concurrency, --shutdown-limit and --read-rate must not be negative")
	}
	metrics := prometheus.NewRegistry() // registered once the worker is complete: what fails on the way is tried again
	r, err := f.newRefresher(ctx, p, log, metrics)
	if err != nil {
		return nil, err
	}
	w, gateway := &worker{refresher: r, log: log}, r.gateway
	if _, err = streams.Epoch(ctx, p.js, p.store); err != nil {
		return nil, err
	}
	if w.keys, err = events.NewKeyring(p.store, p.service, events.KeyringConfig{}); err != nil {
		return nil, fmt.Errorf("opening the event keys: %w", err)
	}
	w.audit, err = p.trail(ctx, audit.Config{Grace: f.shutdownLimit, Logger: log, Registerer: metrics})
	if err != nil {
		return nil, err
	}
	eraser, err := f.newEraser(w, log)
	if err != nil {
		return nil, err
	}
	w.consumer, err = consumer.New(consumer.Config{
		AllowPlain: f.allowPlain, Eraser: eraser, Acquired: f.concurrency, Grace: f.shutdownLimit,
		Known: gateway.Known,
		Policy: func(id string) consumer.Policy {
			policy, _ := gateway.Policy(id)
			return consumer.Policy{
				Static: !policy.Rotates(), NarrowRevocation: policy.RevokesNarrowly(), CheckAfter: w.rotator.SettledAfter(policy),
				Retain: policy.Retain,
			}
		},
		Identify: w.identify, VerifyIDToken: verifier{gateway}.verify,
		Due: func(k tokenworker.Key, at time.Time, set tokenworker.TokenSet) time.Time {
			policy, _ := gateway.Policy(k.ProviderID)
			return rotator.DueAfter(policy, k, at, set)
		},
		Record: w.audit.Record, Logger: log, Registerer: metrics,
	}, p.js, w.keys, w.sealer, p.store, w.rotator)
	if err != nil {
		return nil, fmt.Errorf("making the worker: %w", err)
	}
	w.access, err = access.New(access.Config{
		Rate: f.readRate, Metadata: whatItKnows(w.service), State: w.state, Audit: w.audit, Grace: f.shutdownLimit,
		Logger: log, Registerer: metrics,
		Scheme: func(id string) string {
			policy, _ := gateway.Policy(id)
			return policy.Scheme
		},
	}, p.store, w.sealer, w.rotator)
	if err != nil {
		return nil, fmt.Errorf("making the read service: %w", err)
	}
	if err := registerer.Register(metrics); err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	return w, nil
}

// newEraser makes what meets requests to erase; nil where no connection is there for it.
func (f *workerFlags) newEraser(w *worker, log *slog.Logger) (consumer.Eraser, error) {
	if w.erasing == nil {
		return nil, nil
	}
	if f.backupsFor < 0 {
		return nil, wrongUse("--keep-backups must not be negative")
	}
	e, err := erase.New(erase.Config{
		FenceOf: kmsenc.FenceOf, KeepBackups: f.backupsFor, OnRecord: w.audit.OnRecord, Logger: log,
	}, w.erasing, w.store, w.rotator, w.keys)
	if err != nil {
		return nil, fmt.Errorf("making the eraser: %w", err)
	}
	return e, nil
}

// Run handles events, refreshes what is due, answers reads and keeps the audit trail until ctx ends, and then finishes what is
// under way.
func (w *worker) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.consumer.Run(ctx) })
	g.Go(func() error { return w.rotator.Run(ctx) })
	if w.reads != nil {
		g.Go(func() error { return w.access.Run(ctx, w.reads) })
	}
	g.Go(func() error { return w.audit.Run(ctx) })
	g.Go(func() error { w.stayWithMajority(ctx, w.log); return nil })
	return g.Wait()
}

// loadCatalogue reads the built-in catalogue, what the program knows besides, and the operator's files.
func loadCatalogue(ctx context.Context, known []provider.Source, files []string) (*provider.Catalogue, error) {
	sources := slices.Clone(known)
	for _, name := range files {
		yaml, err := os.ReadFile(name) //nolint:gosec // the operator names it
		if err != nil {
			return nil, wrongUse("--providers: %v", err)
		}
		sources = append(sources, provider.Source{Name: name, YAML: yaml})
	}
	catalogue, err := provider.Load(ctx, awsSecrets{}, sources...)
	if err != nil {
		return nil, fmt.Errorf("reading the providers: %w", err)
	}
	return catalogue, nil
}

// processName names this process among all that ever ran.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d/%s", host, os.Getpid(), rand.Text())
}

var errNotConnected = errors.New("not connected to NATS")

// ready reports what keeps the worker from what it is there for: each of its users must be connected, and it must be at work on the
// stream as it is now.
func (w *worker) ready(ctx context.Context) error {
	for _, nc := range w.others() {
		if !nc.IsConnected() {
			return fmt.Errorf("%s: %w", nc.Opts.Name, errNotConnected)
		}
	}
	epoch, err := w.usable(ctx)
	if held := w.consumer.Epoch(); err == nil && held != epoch {
		return fmt.Errorf("the stream is of epoch %d, and the worker handles events of epoch %d", epoch, held)
	}
	return err
}

// usable reports what keeps any worker from handling events, and the epoch of the stream.
func (p parts) usable(ctx context.Context) (epoch uint64, err error) {
	if !p.js.Conn().IsConnected() {
		return 0, errNotConnected
	}
	if epoch, err = streams.Epoch(ctx, p.js, p.store); err != nil { // of a stream any server tells what it last knew
		return 0, err
	}
	if err := p.askMajority(ctx); err != nil {
		return 0, fmt.Errorf("asking for a consumer: %w", err)
	}
	return epoch, nil
}
