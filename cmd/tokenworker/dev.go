package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v3"
	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/streams"
)

func (a *app) devCommand() *cli.Command {
	var flags struct {
		dev      devConfig
		httpAddr string
	}
	return &cli.Command{
		Name: "dev", Usage: "run a worker with everything it needs in one process", Category: "Workers",
		Description: "NATS, a store on SQLite and a key file live in the data directory and survive restarts. The other " +
			"commands find them there.",
		Flags: append([]cli.Flag{
			dataDirFlag(&flags.dev.dir, "`DIR` that holds everything"),
			&cli.IntFlag{
				Name: "nats-port", Sources: env("nats-port"), Destination: &flags.dev.natsPort, Value: 4222,
				Usage: "`PORT` of NATS on 127.0.0.1; 0 takes any that is free",
			},
			httpFlag(&flags.httpAddr),
		}, flags.dev.worker.flags()...),
		Action: func(ctx context.Context, _ *cli.Command) error {
			return a.runDev(ctx, flags.dev, flags.httpAddr)
		},
	}
}

// runDev runs the embedded mode until ctx ends.
func (a *app) runDev(ctx context.Context, cfg devConfig, httpAddr string) (err error) {
	if cfg.dir == "" {
		return errNoDataDir
	}
	web, err := listenHTTP(ctx, httpAddr, a.log)
	if err != nil {
		return err
	}
	cfg.log, cfg.metrics = a.log, web.metrics
	d, err := startDev(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	web.ready.use(d.ready)
	if err := a.welcome(d, web.addr()); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return web.serve(ctx) })
	g.Go(func() error { return d.Run(ctx) })
	return g.Wait()
}

// welcome says where to publish, and how.
func (a *app) welcome(d *dev, httpAddr string) error {
	dataDir := ""
	if d.dir != defaultDataDir() {
		dataDir = " --data-dir " + d.dir
	}
	_, err := fmt.Fprintf(a.stdout, `tokenworker dev is up.

  data   %[1]s
  NATS   %[2]s, with the token in %[1]s/dev.json
  HTTP   http://%[3]s/readyz and /metrics

In another terminal:

  echo '{"access_token": "my-token", "expires_in": 3600}' | tokenworker publish acquired acme:gusto:company-1 --wait%[4]s
  tokenworker inspect acme:gusto:company-1%[4]s
  tokenworker publish disconnect acme:gusto:company-1 --wait%[4]s

A provider of its own, %[5]q, grants, rotates and revokes:

  tokenworker publish acquired acme:demo:company-1 --demo-grant --wait%[4]s
  tokenworker refresh acme:demo:company-1 --wait%[4]s
  tokenworker publish disconnect acme:demo:company-1 --wait%[4]s; tokenworker refresh --due%[4]s

Stop it with Ctrl-C; what is stored is there the next time.
`, d.dir, d.natsURL, httpAddr, dataDir, demoProviderID)
	if err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

// devConfig is how the embedded mode runs.
type devConfig struct {
	dir      string
	natsPort int // 0: any that is free
	worker   workerFlags
	log      *slog.Logger
	metrics  prometheus.Registerer
}

// dev is a worker with everything it needs in this process, announced in its data directory.
type dev struct {
	*worker
	closers
	dir, natsURL string
	nats         *embedded.NATS
	provider     *demoprovider.Server
}

// startDev starts the embedded mode and sets it up: streams, key file, first event key. Its worker is yet to run.
func startDev(ctx context.Context, cfg devConfig) (_ *dev, err error) {
	d := &dev{}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	dir, err := embedded.OpenDir(cfg.dir)
	if err != nil {
		return nil, err
	}
	d.onClose(dir.Close)
	d.dir = dir.Path()
	p, err := d.openParts(ctx, dir, cfg)
	if err != nil {
		return nil, err
	}
	if err := streams.Setup(ctx, p.js, 1, p.store.TakeEpoch); err != nil {
		return nil, err
	}
	if err := d.openProvider(ctx, &cfg.worker); err != nil {
		return nil, err
	}
	if d.worker, err = cfg.worker.newWorker(ctx, p, cfg.log, cfg.metrics); err != nil {
		return nil, err
	}
	if _, err := d.keys.Make(ctx); err != nil {
		return nil, fmt.Errorf("making the first event key: %w", err)
	}
	return d, d.serveGrants(ctx)
}

// Run runs the worker, and keeps the NATS server writing: outages of the disk are waited out.
func (d *dev) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { d.nats.Recover(ctx); return nil })
	g.Go(func() error { return d.worker.Run(ctx) })
	return g.Wait()
}

// ready reports what keeps the worker from handling events, or publishers from publishing any.
func (d *dev) ready(ctx context.Context) error {
	if err := d.nats.Healthy(); err != nil {
		return err
	}
	return d.worker.ready(ctx)
}

// openProvider starts the demo provider, and lets the worker know of it.
func (d *dev) openProvider(ctx context.Context, flags *workerFlags) error {
	s, source, err := startDemoProvider(ctx, d.dir)
	if err != nil {
		return err
	}
	d.provider = s
	d.onClose(s.Close)
	flags.known = append(flags.known, source)
	return nil
}

// openParts opens the store and the key file, starts NATS and announces it.
func (d *dev) openParts(ctx context.Context, dir *embedded.Dir, cfg devConfig) (parts, error) {
	keys, err := dir.KeyFile() // before there is a store
	if err != nil {
		return parts{}, err
	}
	db, err := embedded.OpenStore(ctx, embedded.StorePath(d.dir))
	if err != nil {
		return parts{}, err
	}
	d.onClose(db.Close)
	token, err := dir.NATSToken()
	if err != nil {
		return parts{}, err
	}
	server, err := embedded.StartNATS(embedded.NATSConfig{
		Dir: embedded.NATSPath(d.dir), Port: cfg.natsPort, Token: token, Logger: cfg.log,
	})
	if err != nil {
		return parts{}, err
	}
	d.onClose(func() error { server.Shutdown(); return nil })
	d.nats, d.natsURL = server, server.URL()
	nc, err := server.Connect(natsOptions(cfg.log)...)
	if err != nil {
		return parts{}, err
	}
	d.onClose(func() error { nc.Close(); return nil })
	reads, err := server.Connect(natsOptions(cfg.log)...)
	if err != nil {
		return parts{}, err
	}
	d.onClose(func() error { reads.Close(); return nil })
	js, err := jetstream.New(nc)
	if err != nil {
		return parts{}, fmt.Errorf("opening JetStream: %w", err)
	}
	return parts{db, keys, js, reads, js}, dir.Announce(embedded.Dev{
		NATSURL: d.natsURL, NATSToken: token, PID: os.Getpid(), StartedAt: time.Now(),
	})
}
