package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v3"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/kmsenc"
	"github.com/tokenworker/tokenworker/rotator"
)

func (a *app) refreshCommand() *cli.Command {
	p := &publishing{}
	var worker workerFlags
	var due bool
	return &cli.Command{
		Name: "refresh", Usage: "ask the worker to refresh the connection KEY, or handle all that is due", ArgsUsage: "KEY",
		Category: "Connections",
		Description: "With KEY it publishes a refresh event, as an upstream service would. With --due it does one pass itself: " +
			"it refreshes, revokes and announces whatever is due, beside the workers that run; it needs a worker's rights and " +
			"settings.",
		Flags: append(append([]cli.Flag{&cli.BoolFlag{
			Name: "due", Sources: env("due"), Destination: &due, Usage: "do one pass over all that is due, without KEY",
		}}, append(p.flags(), worker.rotationFlags()...)...), p.target.flags()...),
		ArgValidator: anyArguments,
		Action: a.onTarget(&p.target, func(ctx context.Context, c *cli.Command, t *target) error {
			switch {
			case due && c.Args().Present():
				return wrongUse("--due takes no KEY")
			case due:
				return a.refreshDue(ctx, t, &worker, p.json)
			case c.Args().Len() != 1:
				return wrongUse("refresh takes one argument: KEY, or --due")
			}
			return a.publish(ctx, t, p, c.Args().First(), p.refresh)
		}),
	}
}

// refresh makes a refresh event.
func (p *publishing) refresh(
	_ context.Context, _ *app, _ *target, key tokenworker.Key, at time.Time,
) (events.Message, error) {
	e, err := events.NewRefresh(key, p.source, "", at)
	if err != nil {
		return events.Message{}, fmt.Errorf("making the event: %w", err)
	}
	e.ID = p.idOr(e.ID)
	return e.Message()
}

// refreshDue does one pass over what is due.
func (a *app) refreshDue(ctx context.Context, t *target, flags *workerFlags, asJSON bool) error {
	if err := forbidCoreDumps(); err != nil {
		return err
	}
	r, s, err := flags.passOver(ctx, t)
	if err != nil {
		return err
	}
	looked, err := sweepAll(ctx, r, s)
	out := newListing(a.stdout, asJSON, "LOOKED AT")
	out.row(struct {
		Looked int `json:"looked"`
	}{looked}, strconv.Itoa(looked))
	return errors.Join(err, out.close())
}

// passOver makes a rotator that is not run.
func (f *workerFlags) passOver(ctx context.Context, t *target) (*rotator.Rotator, store, error) {
	scope, err := kmsenc.ParseScope(f.scope)
	if err != nil {
		return nil, nil, wrongUse("--scope: %v", err)
	}
	var p parts
	if p.store, err = t.store(ctx); err != nil {
		return nil, nil, err
	}
	if p.service, err = t.keyService(ctx); err != nil {
		return nil, nil, err
	}
	if p.js, err = t.jetStream(ctx); err != nil {
		return nil, nil, err
	}
	if f.known, err = t.knownProviders(); err != nil {
		return nil, nil, err
	}
	gateway, err := f.gateway(ctx)
	if err != nil {
		return nil, nil, err
	}
	sealer := kmsenc.New(p.service, p.store, kmsenc.Config{Scope: scope})
	r, err := rotator.New(rotator.Config{
		Process: processName(), Logger: t.log, Registerer: prometheus.NewRegistry(),
	}, p.js, p.store, sealer, gateway)
	if err != nil {
		return nil, nil, fmt.Errorf("making the rotator: %w", err)
	}
	return r, p.store, nil
}

// sweepAll handles what is due of every provider and shard, and returns how many connections it looked at. It goes on
// after an error.
func sweepAll(ctx context.Context, r *rotator.Rotator, s rotator.Store) (looked int, _ error) {
	ids, err := s.Providers(ctx)
	if err != nil {
		return 0, fmt.Errorf("listing the providers to sweep: %w", err)
	}
	var errs []error
	for _, id := range ids {
		for shard := range s.Shards() {
			n, err := r.Sweep(ctx, id, shard)
			looked += n
			errs = append(errs, err)
		}
	}
	return looked, errors.Join(errs...)
}
