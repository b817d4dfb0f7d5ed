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
			"settings, and leaves alone the providers that --providers names no client for.",
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
	p, err := t.parts(ctx)
	if err != nil {
		return err
	}
	if flags.known, err = t.knownProviders(); err != nil {
		return err
	}
	r, err := flags.newRefresher(ctx, p, t.log, prometheus.NewRegistry())
	if err != nil {
		return err
	}
	looked, skipped, err := r.sweepAll(ctx)
	out := newListing(a.stdout, asJSON, "LOOKED AT", "PROVIDERS WITHOUT A CLIENT HERE")
	out.row(struct {
		Looked  int      `json:"looked"`
		Skipped []string `json:"skipped,omitempty"` // providers
	}{looked, skipped}, strconv.Itoa(looked), cellOf(skipped))
	return errors.Join(err, out.close())
}

// sweepAll handles what is due of every provider and shard, and returns how many connections it looked at. It goes on
// after an error. Providers that this process has no client for are skipped: what it cannot help is left as it is to the
// workers that can.
func (r refresher) sweepAll(ctx context.Context) (looked int, skipped []string, _ error) {
	ids, err := r.store.Providers(ctx)
	if err != nil {
		return 0, nil, fmt.Errorf("listing the providers to sweep: %w", err)
	}
	var errs []error
	for _, id := range ids {
		if _, enabled := r.gateway.Policy(id); !enabled {
			skipped = append(skipped, id)
			continue
		}
		for shard := range r.store.Shards() {
			n, err := r.rotator.Sweep(ctx, id, shard)
			looked += n
			errs = append(errs, err)
		}
	}
	return looked, skipped, errors.Join(errs...)
}
