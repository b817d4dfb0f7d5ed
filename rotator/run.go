package rotator

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/robfig/cron/v3"
	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/pull"
	"github.com/tokenworker/tokenworker/streams"
)

// Run works until ctx ends. It sweeps at its start and at every tick, and looks at what falls due in between. It handles the
// sweep jobs and the rescue stream, and announces what could not be announced at once. At the end it waits for what is under
// way: a request that was sent is answered and saved, within the grace.
func (r *Rotator) Run(ctx context.Context) error {
	// Also for answers to others' calls of Do, which may be under way when Run has returned.
	context.AfterFunc(ctx, func() { time.AfterFunc(r.cfg.Grace, r.stopSaving) })
	ticker := cron.New(cron.WithChain(cron.SkipIfStillRunning(cron.DiscardLogger)))
	ticker.Schedule(cron.Every(r.cfg.Tick), cron.FuncJob(func() {
		if err := r.Tick(ctx); err != nil && ctx.Err() == nil {
			r.cfg.Logger.WarnContext(ctx, "a tick failed", slog.Any("error", err))
		}
	}))
	ticker.Start()
	defer func() { <-ticker.Stop().Done() }()

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		// A process that is restarted again and again may see no tick. Its first job has its own name: that of the tick may have
		// been done by a process that has died since, with what it knew to fall due.
		if err := r.publishJobs(ctx, r.cfg.Process); err != nil && ctx.Err() == nil {
			r.cfg.Logger.WarnContext(ctx, "the first sweep was not asked for", slog.Any("error", err))
		}
		return nil
	})
	g.Go(func() error { r.agenda.run(ctx, r.cfg.Tick, r.keepAppointment); return nil })
	g.Go(func() error {
		return r.pull(ctx, streams.Sweep, streams.Sweeper, events.MessageIDHeader, sweepsAtOnce, r.sweepJob)
	})
	g.Go(func() error {
		return r.pull(ctx, streams.Rescue, streams.Rescuer, events.StampHeader, rescuesAtOnce, r.replay)
	})
	g.Go(func() error { r.unannounced.run(ctx, r.publishOwed); return nil })
	return g.Wait()
}

const (
	// sweepsAtOnce are all sweeps under way in a process, sweepsOfOne those of one provider: one whose answers are slow, or do not
	// come, leaves room for the others.
	sweepsAtOnce  = 64
	sweepsOfOne   = 4
	rescuesAtOnce = 8
)

// pull handles the messages of a durable consumer. Those of the worker's own have the header mark.
func (r *Rotator) pull(
	ctx context.Context, stream, durable, mark string, limit int, handle func(context.Context, jetstream.Msg) error,
) error {
	return (&pull.Subscription{
		JS: r.js, Log: r.cfg.Logger, Stream: stream, Durable: durable, Limit: limit, Grace: r.cfg.Grace,
		Mark: mark, Foreign: r.metrics.foreign,
		Handle: func(ctx context.Context, msg jetstream.Msg) error {
			if err := handle(ctx, msg); err != nil {
				r.cfg.Logger.WarnContext(ctx, "settling a message failed; it comes again", slog.String("consumer", durable),
					slog.Any("error", err))
			}
			return nil
		},
	}).Run(ctx)
}

// unannounced knows what this process has written, or may have, and not announced yet. What NATS did not take it tries
// again.
type unannounced struct {
	mu      sync.Mutex
	inHands map[tokenworker.AttemptID]struct{}
	kept    []announcement
}

// announcement is what one write of a record owes.
type announcement struct {
	rec  tokenworker.Record
	owed tokenworker.Owed
}

func (u *unannounced) add(a tokenworker.AttemptID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.inHands == nil {
		u.inHands = make(map[tokenworker.AttemptID]struct{})
	}
	u.inHands[a] = struct{}{}
}

func (u *unannounced) remove(a tokenworker.AttemptID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.inHands, a)
}

func (u *unannounced) has(a tokenworker.AttemptID) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, has := u.inHands[a]
	return has
}

// keep keeps an announcement to try it again.
func (u *unannounced) keep(rec tokenworker.Record, o tokenworker.Owed) {
	u.mu.Lock()
	defer u.mu.Unlock()
	rec.Sealed, rec.Seen, rec.Acquired, rec.Spent = nil, nil, nil, nil // what an announcement needs is little
	rec.Revoke = make([]tokenworker.Listed, len(rec.Revoke))           // and how many there are
	u.kept = append(u.kept, announcement{rec, o})
}

func (u *unannounced) run(
	ctx context.Context, publish func(context.Context, tokenworker.Record, tokenworker.Owed) error,
) {
	for {
		select {
		case <-ctx.Done():
			return // whoever finds the record next announces
		case <-time.After(time.Second):
		}
		for {
			u.mu.Lock()
			if len(u.kept) == 0 {
				u.mu.Unlock()
				break
			}
			next := u.kept[0]
			u.mu.Unlock()
			if publish(ctx, next.rec, next.owed) != nil {
				break
			}
			u.mu.Lock()
			u.kept = u.kept[1:]
			u.mu.Unlock()
		}
	}
}
