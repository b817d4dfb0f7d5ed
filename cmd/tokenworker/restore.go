package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v3"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/audit"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/restore"
	"github.com/tokenworker/tokenworker/streams"
)

func (a *app) restoreCommand() *cli.Command {
	var flags struct {
		target      targetFlags
		worker      workerFlags
		dryRun, yes bool
		json        bool
	}
	return &cli.Command{
		Name: "restore", Usage: "bring a store that was restored to an earlier time up to what the audit trail knows",
		Category: "Operation",
		Description: "Run it after the table, or store.db, was restored from a backup, and before a worker starts on it; NATS is " +
			"left as it is. Erasures are replayed first, then disconnects; every token set that may have been spent since is kept " +
			"from being posted before the last resort. It needs the workers' rights and their --providers. It may be interrupted " +
			"and run again.",
		Flags: append(append([]cli.Flag{
			dryRunFlag(&flags.dryRun), yesFlag(&flags.yes), jsonFlag(&flags.json),
		}, flags.worker.rotationFlags()...), flags.target.flags()...),
		Action: a.onTarget(&flags.target, func(ctx context.Context, _ *cli.Command, t *target) error {
			if !flags.dryRun {
				what := "Disconnects and erasures are replayed on " + t.String() + ", and no set in it is trusted to be unspent"
				if err := a.confirm(ctx, flags.yes, what, "restore"); err != nil {
					return err
				}
			}
			p, closeParts, err := a.restored(ctx, t)
			if err != nil {
				return err
			}
			if flags.worker.known, err = t.knownProviders(); err == nil {
				err = a.restore(ctx, p, watchFor(t, p), &flags.worker, flags.dryRun, flags.json)
			}
			return errors.Join(err, closeParts())
		}),
	}
}

// restored opens what was restored, and what was not. In the embedded mode NATS runs in this process meanwhile, and no worker
// can.
func (a *app) restored(ctx context.Context, t *target) (p parts, closeParts func() error, err error) {
	dir, isEmbedded := t.backend.(dataDir)
	if !isEmbedded {
		if p.store, err = t.store(ctx); err != nil {
			return parts{}, nil, err
		}
		if p.service, err = t.keyService(ctx); err != nil {
			return parts{}, nil, err
		}
		p.js, err = t.jetStream(ctx)
		return p, func() error { return nil }, err
	}
	if err := dir.inUse(); err != nil {
		return parts{}, nil, err
	}
	held, err := embedded.OpenDir(string(dir))
	if err != nil {
		return parts{}, nil, err
	}
	d := &dev{dir: held.Path()}
	d.onClose(held.Close)
	if p, err = d.openParts(ctx, held, devConfig{log: a.log}); err != nil {
		return parts{}, nil, errors.Join(err, d.close())
	}
	return p, d.close, nil
}

func (a *app) restore(ctx context.Context, p parts, watch *watch, flags *workerFlags, dryRun, asJSON bool) error {
	knows, err := flags.newRefresher(ctx, p, a.log, prometheus.NewRegistry())
	if err != nil {
		return err
	}
	if err := watch.quiet(ctx, pullExpiry); err != nil {
		return err
	}
	trail, err := p.soundTrail(ctx, a.log)
	if err != nil {
		return err
	}
	named, err := p.named(ctx)
	if err != nil {
		return err
	}
	r, err := restore.New(restore.Config{
		Process: processName(), Tombstone: tokenworker.TombstoneAge, DryRun: dryRun, Logger: a.log,
		Rotates: func(id string) bool {
			policy, _ := knows.gateway.Policy(id)
			return policy.Rotates()
		},
		Narrow: func(id string) bool {
			policy, _ := knows.gateway.Policy(id)
			return policy.RevokesNarrowly()
		},
	}, p.store, trail, knows.sealer)
	if err != nil {
		return err
	}
	if err := p.warnOfLostKeys(ctx, a.log); err != nil {
		return err
	}
	var report restore.Report
	run := func() error {
		if report, err = r.Run(ctx, named); err != nil {
			return err
		}
		return watch.quiet(ctx, 0)
	}
	if dryRun {
		err = run()
	} else {
		err = onRecord(ctx, trail, tokenworker.AuditRestore, func() error {
			if err := run(); err != nil {
				return err
			}
			return p.raiseEpoch(ctx)
		})
	}
	return errors.Join(err, printObject(a.stdout, report, asJSON))
}

// soundTrail opens the audit trail. It must not be broken, and the store must know its key from before the backup: under a
// new one every connection would have another pseudonym.
func (p parts) soundTrail(ctx context.Context, log *slog.Logger) (*audit.Trail, error) {
	keys, err := p.store.WrappedKeys(ctx, audit.KeyKind+"/")
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, errors.New("the store was restored to a time before the audit trail, which cannot be read without its key: " +
			"restore a newer backup")
	}
	trail, err := p.trail(ctx, audit.Config{Logger: log})
	if err != nil {
		return nil, err
	}
	if _, err = trail.Verify(ctx); err != nil {
		return nil, err
	}
	return trail, trail.CatchUp(ctx) // the last announcements may not be on record yet
}

// named are the connections that announcements name, which are kept for a week.
func (p parts) named(ctx context.Context) ([]tokenworker.Key, error) {
	out, err := p.js.Stream(ctx, streams.Out)
	if err != nil {
		return nil, streamError(streams.Out, err)
	}
	info, err := out.Info(ctx, jetstream.WithSubjectFilter(events.Prefix+">"))
	if err != nil {
		return nil, fmt.Errorf("listing the connections that were announced: %w", err)
	}
	seen := make(map[tokenworker.Key]bool)
	var keys []tokenworker.Key
	for subject := range info.State.Subjects {
		if k, ok := events.KeyOf(subject); ok && k.CompanyID != "" && !seen[k] {
			seen[k] = true
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// warnOfLostKeys names the event keys that stored messages are sealed to and the restored store lacks: they were made since.
func (p parts) warnOfLostKeys(ctx context.Context, log *slog.Logger) error {
	keys, err := p.store.WrappedKeys(ctx, events.KeyKind+"/")
	if err != nil {
		return err
	}
	lost := make(map[string]int)
	for _, stream := range sealedStreams() {
		sealed, err := sealedByKey(ctx, p.js, stream)
		if err != nil {
			return err
		}
		for kid, n := range sealed {
			lost[kid] += n
		}
	}
	for _, k := range keys {
		delete(lost, strings.TrimPrefix(k.Name, events.KeyKind+"/"))
	}
	for _, kid := range slices.Sorted(maps.Keys(lost)) {
		log.WarnContext(ctx, "messages are sealed to an event key that the restored store lacks, and do not open",
			slog.String("kid", kid), slog.Int("messages", lost[kid]))
	}
	return nil
}

// raiseEpoch makes the store give no epoch again that the stream has had.
func (p parts) raiseEpoch(ctx context.Context) error {
	last, err := streams.Last(ctx, p.js)
	if err != nil {
		return err
	}
	for {
		mark, err := p.store.HighWater(ctx)
		if err != nil {
			return err
		}
		if mark.Epoch >= last.Epoch {
			return nil
		}
		if _, err := p.store.TakeEpoch(ctx); err != nil {
			return err
		}
	}
}
