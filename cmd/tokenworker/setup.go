package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/dynamo"
	"github.com/tokenworker/tokenworker/streams"
)

func (a *app) setupCommand() *cli.Command {
	var flags struct {
		target   targetFlags
		replicas int
		check    bool
		json     bool
	}
	return &cli.Command{
		Name: "setup", Usage: "create or mend what a worker needs: streams, consumers, table, keys", Category: "Operation",
		Description: "It may be run at any time and any number of times, and does nothing where there is nothing to do. It " +
			"prints what differed and what became of it; with --check it changes nothing and fails when something differs.",
		Flags: append([]cli.Flag{
			&cli.IntFlag{
				Name: "replicas", Sources: env("replicas"), Destination: &flags.replicas, DefaultText: "3; embedded 1",
				Usage: "`NUMBER` of NATS servers that keep each stream",
			},
			&cli.BoolFlag{Name: "check", Sources: env("check"), Destination: &flags.check, Usage: "only say what differs"},
			jsonFlag(&flags.json),
		}, flags.target.flags()...),
		Action: a.onTarget(&flags.target, func(ctx context.Context, _ *cli.Command, t *target) error {
			replicas := flags.replicas
			if replicas == 0 {
				replicas = t.replicas()
			}
			if replicas < 1 || replicas > 5 {
				return wrongUse("--replicas is %d, want 1 to 5", replicas)
			}
			out := newListing(a.stdout, flags.json, "STATE", "WHAT", "IS", "WANT", "WHY")
			err := setUp(ctx, t.facilities(replicas), flags.check, out)
			return errors.Join(err, out.close())
		}),
	}
}

// replicas is how many servers keep each stream where nothing else is asked for.
func (t *target) replicas() int {
	if _, ok := t.backend.(*deployment); ok {
		return 3
	}
	return 1
}

// facility is one thing that a worker needs.
type facility struct {
	name  string
	check func(context.Context) ([]tokenworker.Difference, error) // changes nothing
	setUp func(context.Context) error
}

// facilities are all that a worker needs, each after those that it needs itself.
func (t *target) facilities(replicas int) []facility {
	var fs []facility
	if d, ok := t.backend.(*deployment); ok {
		fs = append(fs, facility{"table", d.checkTable, d.setUpTable}, facility{"KMS keys", d.checkKeys, d.setUpKeys})
	}
	return append(fs,
		facility{
			"streams",
			func(ctx context.Context) ([]tokenworker.Difference, error) {
				js, err := t.jetStream(ctx)
				if err != nil {
					return nil, err
				}
				return streams.Check(ctx, js, replicas)
			},
			func(ctx context.Context) error {
				js, err := t.jetStream(ctx)
				if err != nil {
					return err
				}
				s, err := t.store(ctx)
				if err != nil {
					return err
				}
				return streams.Setup(ctx, js, replicas, s.TakeEpoch)
			},
		},
		facility{"event key", t.checkEventKeys, func(ctx context.Context) error {
			keys, err := t.keyring(ctx)
			if err == nil {
				_, err = keys.Make(ctx)
			}
			return err
		}},
	)
}

func (t *target) checkEventKeys(ctx context.Context) ([]tokenworker.Difference, error) {
	s, err := t.store(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := s.WrappedKeys(ctx, "event/")
	if err != nil || len(keys) > 0 {
		return nil, err
	}
	return []tokenworker.Difference{{
		What: "event key", Have: "missing", Want: "present", Why: "publishers have nothing to seal tokens to",
	}}, nil
}

func (d *deployment) checkTable(ctx context.Context) ([]tokenworker.Difference, error) {
	client, err := d.dynamoDB(ctx)
	if err != nil {
		return nil, err
	}
	return dynamo.Check(ctx, client, d.table())
}

func (d *deployment) setUpTable(ctx context.Context) error {
	client, err := d.dynamoDB(ctx)
	if err != nil {
		return err
	}
	return dynamo.Setup(ctx, client, d.table())
}

// differenceView is a difference and what became of it.
type differenceView struct {
	State string `json:"state"` // differs, or mended
	What  string `json:"what"`
	Have  string `json:"have"`
	Want  string `json:"want"`
	Why   string `json:"why"`
}

// setUp brings facilities in order, or only checks them. It fails when a difference is left.
func setUp(ctx context.Context, fs []facility, checkOnly bool, out *listing) error {
	left := 0
	for _, f := range fs {
		before, err := f.check(ctx)
		switch {
		case errors.Is(err, tokenworker.ErrMisconfigured) && checkOnly: // for want of what was found missing before
			before = []tokenworker.Difference{{What: f.name, Have: "out of reach", Want: "present", Why: err.Error()}}
		case err != nil:
			return fmt.Errorf("checking the %s: %w", f.name, err)
		}
		after := before
		if !checkOnly {
			if err := f.setUp(ctx); err != nil {
				return fmt.Errorf("setting up the %s: %w", f.name, err)
			}
			if after, err = f.check(ctx); err != nil {
				return fmt.Errorf("checking the %s: %w", f.name, err)
			}
		}
		left += len(after)
		printDifferences(out, before, after)
	}
	if left > 0 {
		return fmt.Errorf("%s not as `tokenworker setup` leaves it", count(left, "thing is", "things are"))
	}
	return nil
}

func printDifferences(out *listing, before, after []tokenworker.Difference) {
	differs := map[string]bool{}
	for _, d := range after {
		differs[d.What] = true
	}
	for _, d := range before {
		v := differenceView{"mended", d.What, d.Have, d.Want, d.Why}
		if differs[d.What] {
			v.State = "differs"
		}
		// A table cell is one line.
		out.row(v, v.State, v.What, strings.ReplaceAll(v.Have, "\n", " "), v.Want, v.Why)
	}
}

// count spells a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
