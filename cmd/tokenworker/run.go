package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/urfave/cli/v3"
	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
)

func (a *app) runCommand() *cli.Command {
	var flags struct {
		target   targetFlags
		worker   workerFlags
		httpAddr string
	}
	return &cli.Command{
		Name: "run", Usage: "run a worker against NATS, DynamoDB and KMS", Category: "Workers",
		Description: "It waits for what is not there yet and never gives up what was. On SIGTERM it takes no more events, " +
			"finishes those under way and exits with 0; a second signal ends it at once. Scale out by starting more: " +
			"replicas share all state through NATS and DynamoDB.",
		Flags: slices.Concat(flags.target.deploymentFlags(), flags.target.accessFlags(), flags.target.eraserFlags(), flags.worker.runFlags(),
			[]cli.Flag{httpFlag(&flags.httpAddr)}),
		Action: func(ctx context.Context, _ *cli.Command) error {
			if flags.target.natsURL == "" {
				return wrongUse("run needs --nats-url; for everything in one process there is `tokenworker dev`")
			}
			t, err := a.target(&flags.target)
			if err != nil {
				return err
			}
			return errors.Join(a.work(ctx, t, &flags.worker, flags.httpAddr), t.close())
		},
	}
}

// work runs a worker until ctx ends.
func (a *app) work(ctx context.Context, t *target, flags *workerFlags, httpAddr string) error {
	if err := forbidCoreDumps(); err != nil {
		return err
	}
	web, err := listenHTTP(ctx, httpAddr, a.log)
	if err != nil {
		return err
	}
	a.log.Info("starting", slog.String("version", buildVersion()), slog.String("http", web.addr()), slog.String("target", t.String()))

	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx)) // until the worker has ended
	defer stopServing()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return web.serve(serving) })
	g.Go(func() error {
		defer stopServing()
		w, err := a.start(ctx, t, flags, web)
		if ctx.Err() != nil {
			return nil // told to stop before there was a worker
		} else if err != nil {
			return err
		}
		a.log.Info("working", slog.Bool("reads", w.reads != nil), slog.Bool("erasures", w.erasing != nil))
		stopped := context.AfterFunc(ctx, func() {
			web.ready.use(nil)
			a.log.Info("stopping; what is under way is finished first", slog.Duration("limit", flags.shutdownLimit))
		})
		defer stopped()
		if err := w.Run(ctx); err != nil {
			return fmt.Errorf("working: %w", err)
		}
		a.log.Info("stopped")
		return nil
	})
	return g.Wait()
}

// start makes the worker as soon as all it needs is there.
func (a *app) start(ctx context.Context, t *target, flags *workerFlags, web *httpServer) (*worker, error) {
	var p parts
	var w *worker
	for _, step := range []struct {
		what string
		try  func() error
	}{
		{"NATS", func() (err error) { p.js, err = t.jetStream(ctx, foreverOptions(a.log)...); return err }},
		{"NATS, for reads", func() (err error) { p.reads, err = t.reads(foreverOptions(a.log)...); return err }},
		{"NATS, for erasures", func() (err error) { p.erasing, err = t.erasing(foreverOptions(a.log)...); return err }},
		{"the table", func() (err error) { p.store, err = t.store(ctx); return err }},
		{"the KMS keys", func() (err error) { p.service, err = t.keyService(ctx); return err }},
		{"the streams", func() (err error) { w, err = flags.newWorker(ctx, p, a.log, web.metrics); return err }},
	} {
		if err := waitFor(ctx, a.log, step.what, step.try); err != nil {
			return nil, err
		}
	}
	web.ready.use(w.ready)
	return w, nil
}

// Delays between tries at the start.
const (
	firstTry = 500 * time.Millisecond
	lastTry  = 10 * time.Second
)

// waitFor tries until it succeeds, fails for a reason that does not pass by itself, or ctx ends.
func waitFor(ctx context.Context, log *slog.Logger, what string, try func() error) error {
	for delay := firstTry; ; delay = min(2*delay, lastTry) {
		err := try()
		if !passes(err) || ctx.Err() != nil {
			return err
		}
		log.Warn("waiting", slog.String("for", what), slog.Any("error", err), slog.Duration("again_in", delay))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(delay):
		}
	}
}

// passes reports whether an error may be gone the next time.
func passes(err error) bool {
	return errors.Is(err, tokenworker.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}
