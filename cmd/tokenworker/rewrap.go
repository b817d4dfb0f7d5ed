package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/urfave/cli/v3"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/audit"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/kmsenc"
	"github.com/tokenworker/tokenworker/rewrap"
)

func (a *app) rewrapCommand() *cli.Command {
	var flags struct {
		target targetFlags
		check  bool
		rate   float64
		json   bool
	}
	return &cli.Command{
		Name: "rewrap", Usage: "wrap again what former KMS keys wrap, under the current one", Category: "Operation",
		Description: "Run it beside workers that have been started with the new key first and the former ones after it " +
			"(--kms-key new --kms-key former), and give it the same keys; embedded, the key file says them. It may be stopped at " +
			"any time and goes on when run again. No key and no token is decrypted on the way. With --check it counts what is " +
			"left, and fails when there is something.",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "check", Sources: env("check"), Destination: &flags.check, Usage: "only count what is left"},
			&cli.FloatFlag{
				Name: "rate", Sources: env("rate"), Destination: &flags.rate, Value: 100,
				Usage: "`NUMBER` of records wrapped again in a second, at most",
			},
			jsonFlag(&flags.json),
		}, flags.target.flags()...),
		Action: a.onTarget(&flags.target, func(ctx context.Context, _ *cli.Command, t *target) error {
			if flags.rate <= 0 {
				return wrongUse("--rate must be positive")
			}
			s, err := t.store(ctx)
			if err != nil {
				return err
			}
			service, err := t.keyService(ctx)
			if err != nil {
				return err
			}
			wrapper := kmsenc.NewRewrapper(service, map[string]func(string) map[string]string{
				events.KeyKind: events.KeyContext, audit.KeyKind: audit.KeyContext,
			})
			if flags.check {
				return a.checkWrapping(ctx, s, wrapper, flags.json)
			}
			trail, err := t.trail(ctx)
			if err != nil {
				return err
			}
			return a.rewrap(ctx, s, trail, wrapper, rewrap.Config{Rate: flags.rate, Logger: t.log}, flags.json)
		}),
	}
}

// checkWrapping prints what former keys still wrap, and fails when there is something.
func (a *app) checkWrapping(ctx context.Context, s store, wrapper rewrap.Wrapper, asJSON bool) error {
	left, err := rewrap.Check(ctx, s, wrapper)
	if err != nil {
		return fmt.Errorf("counting what is left: %w", err)
	}
	out := newListing(a.stdout, asJSON, "KEY", "RECORDS", "SETS", "KEYS")
	for _, l := range left {
		out.row(l, l.KeyID, strconv.Itoa(l.Records), strconv.Itoa(l.Sets), strconv.Itoa(l.Keys))
	}
	if err := out.close(); err != nil || len(left) == 0 {
		return err
	}
	return fmt.Errorf("%s still in use", count(len(left), "former key is", "former keys are"))
}

// rewrap wraps again and prints what it has done, also when it is stopped.
func (a *app) rewrap(
	ctx context.Context, s store, trail *audit.Trail, wrapper rewrap.Wrapper, config rewrap.Config, asJSON bool,
) error {
	entry := tokenworker.AuditEntry{Action: tokenworker.AuditRewrap, Outcome: tokenworker.AuditAsked}
	if err := trail.Record(ctx, byOperator(entry)); err != nil {
		return err
	}
	done, err := rewrap.Run(ctx, s, wrapper, config)
	if entry.Outcome = tokenworker.AuditDone; err != nil {
		entry.Outcome = tokenworker.AuditFailed
	}
	recorded := trail.Record(context.WithoutCancel(ctx), byOperator(entry))
	switch {
	case ctx.Err() != nil:
		err = errors.New("stopped; run it again to go on")
	case err == nil && done.Waiting+done.Failed > 0:
		err = fmt.Errorf("%s could not be wrapped again yet; run it again later", count(done.Waiting+done.Failed, "thing", "things"))
	}
	return errors.Join(err, recorded, printObject(a.stdout, done, asJSON))
}
