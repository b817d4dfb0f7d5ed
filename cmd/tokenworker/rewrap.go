package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/urfave/cli/v3"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/audit"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/kmsenc"
	"github.com/tokenworker/tokenworker/rewrap"
	"github.com/tokenworker/tokenworker/streams"
)

func (a *app) rewrapCommand() *cli.Command {
	var flags struct {
		target targetFlags
		check  bool
		blind  bool
		rate   float64
		json   bool
	}
	return &cli.Command{
		Name: "rewrap", Usage: "wrap again what former KMS keys wrap, under the current one", Category: "Operation",
		Description: "Run it beside workers that have been started with the new key first and the former ones after it " +
			"(--kms-key new --kms-key former), and give it the same keys; embedded, the key file says them. It asks the workers, and " +
			"does nothing while one does not know all of them. It may be stopped at any time and goes on when run again. No key and " +
			"no token is decrypted on the way. With --check it counts what is left, and fails when there is something, or token sets " +
			"wait in the rescue stream.",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "check", Sources: env("check"), Destination: &flags.check, Usage: "only count what is left"},
			&cli.FloatFlag{
				Name: "rate", Sources: env("rate"), Destination: &flags.rate, Value: 100,
				Usage: "`NUMBER` of records wrapped again in a second, at most",
			},
			&cli.BoolFlag{
				Name: "unasked", Destination: &flags.blind,
				Usage: "do not ask the workers whether they know the keys; those that answer no reads cannot be asked",
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
				js, err := t.jetStream(ctx)
				if err != nil {
					return err
				}
				return a.checkWrapping(ctx, s, js, wrapper, flags.json)
			}
			if !flags.blind {
				if err := askWorkers(ctx, t, service); err != nil {
					return err
				}
			}
			trail, err := t.trail(ctx)
			if err != nil {
				return err
			}
			return a.rewrap(ctx, s, trail, wrapper, rewrap.Config{Rate: flags.rate, Logger: t.log}, flags.json)
		}),
	}
}

// checkWrapping prints what former keys still wrap, and fails when there is something, or token sets wait in the rescue
// stream, which come into the store as they were sealed. The stream is looked at first: what leaves it meanwhile is counted
// there or in the store.
func (a *app) checkWrapping(
	ctx context.Context, s store, js jetstream.JetStream, wrapper rewrap.Wrapper, asJSON bool,
) error {
	rescue, err := js.Stream(ctx, streams.Rescue)
	if err != nil {
		return fmt.Errorf("looking into the rescue stream: %w", err)
	}
	waiting := int(rescue.CachedInfo().State.Msgs) //nolint:gosec // of rescued sets there are few
	left, err := rewrap.Check(ctx, s, wrapper)
	if err != nil {
		return fmt.Errorf("counting what is left: %w", err)
	}
	out := newListing(a.stdout, asJSON, "KEY", "RECORDS", "SETS", "KEYS")
	for _, l := range left {
		out.row(l, l.KeyID, strconv.Itoa(l.Records), strconv.Itoa(l.Sets), strconv.Itoa(l.Keys))
	}
	switch err := out.close(); {
	case err != nil:
		return err
	case len(left) > 0:
		return fmt.Errorf("%s still in use", count(len(left), "former key is", "former keys are"))
	case waiting > 0:
		return fmt.Errorf("%s in %s, maybe under a former key; look again when the store has taken what is there",
			count(waiting, "token set waits", "token sets wait"), streams.Rescue)
	}
	return nil
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
