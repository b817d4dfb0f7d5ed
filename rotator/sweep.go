package rotator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/streams"
)

// Tick publishes one sweep job for each provider that has connections and each shard. Every replica ticks; the message
// ids of the jobs follow from the tick, which is named by the time cut to its length, so JetStream keeps one of each. A
// shard whose last sweep is not done yet gets no second one.
func (r *Rotator) Tick(ctx context.Context) error {
	return r.publishJobs(ctx, strconv.FormatInt(r.cfg.Now().Truncate(r.cfg.Tick).Unix(), 10))
}

// publishJobs publishes one job for each provider and shard, under a name: what has the same name is one job.
func (r *Rotator) publishJobs(ctx context.Context, name string) error {
	ids, err := r.store.Providers(ctx)
	if err != nil {
		return fmt.Errorf("listing the providers to sweep: %w", err)
	}
	for _, id := range ids {
		for shard := range r.store.Shards() {
			subject := events.SweepSubject(id, shard)
			_, err := r.js.PublishMsg(ctx, nats.NewMsg(subject), jetstream.WithMsgID(subject+"/"+name))
			if err != nil && !isSweeping(err) {
				return fmt.Errorf("publishing a sweep job: %w", err)
			}
		}
	}
	return nil
}

// isSweeping reports whether a job was refused because its subject holds one already, or because another replica's is being
// stored.
func isSweeping(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == maxMessagesPerSubject || api.ErrorCode == streams.DuplicateInProcess)
}

// maxMessagesPerSubject is the server's error code for a full subject (nats-server errors.json,
// JSStreamStoreFailedF around "maximum messages per subject exceeded").
const maxMessagesPerSubject jetstream.ErrorCode = 10077

// Sweep handles what is due of one provider and shard, soonest first, with bounded concurrency. While Run runs it also looks at
// what will be due by the next sweep, to keep it on the agenda. It returns how many connections it looked at. An error means that
// one of the worker's own services failed: some connections, or all, could not be handled and stay due.
func (r *Rotator) Sweep(ctx context.Context, id string, shard int) (looked int, err error) {
	policy, _ := r.providers.Policy(id)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrency)
	var failures failureCount
	for k, err := range r.store.Due(gctx, id, shard, r.cfg.Now().Add(r.agenda.reach())) {
		if err != nil {
			_ = g.Wait()
			return looked, fmt.Errorf("listing due connections: %w", err)
		}
		if r.limits.paused(id, policy) || failures.tooMany() || gctx.Err() != nil {
			break
		}
		looked++
		r.metrics.swept.WithLabelValues(id).Inc()
		g.Go(func() error { return r.sweepOne(gctx, k, &failures) })
	}
	if err := g.Wait(); err != nil {
		return looked, err
	}
	return looked, failures.err()
}

// sweepOne handles one connection. Only the end of ctx ends the sweep at once.
func (r *Rotator) sweepOne(ctx context.Context, k tokenworker.Key, failures *failureCount) error {
	err := r.Do(ctx, k, false)
	switch {
	case err == nil, errors.Is(err, errPaused):
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	r.metrics.sweepErrors.WithLabelValues(k.ProviderID).Inc()
	r.cfg.Logger.WarnContext(ctx, "a due connection could not be handled", slog.String("key", k.String()), slog.Any("error", err))
	failures.add(err)
	return nil
}

// keepAppointment handles one connection at the moment for which it was on the agenda. Failing, it is left to the next sweep.
func (r *Rotator) keepAppointment(ctx context.Context, k tokenworker.Key) {
	var failures failureCount
	_ = r.sweepOne(ctx, k, &failures)
}

// failureCount ends a sweep that fails on everything: the worker's own services are down.
type failureCount struct {
	mu   sync.Mutex
	n    int
	last error
}

const maxSweepFailures = 20

func (f *failureCount) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n, f.last = f.n+1, err
}

func (f *failureCount) tooMany() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n >= maxSweepFailures
}

func (f *failureCount) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// nextSweep is when a shard is offered again whose provider has enough sweeps under way here.
const nextSweep = time.Second

// sweepJob handles one message of the sweep stream.
func (r *Rotator) sweepJob(ctx context.Context, msg jetstream.Msg) error {
	id, shard, err := events.ParseSweepSubject(msg.Subject())
	if err != nil {
		return msg.Term()
	}
	policy, _ := r.providers.Policy(id)
	sweeps := r.limits.of(id, policy).sweeps
	select {
	case sweeps <- struct{}{}:
		defer func() { <-sweeps }()
	default:
		return msg.NakWithDelay(nextSweep)
	}
	if _, err := r.Sweep(ctx, id, shard); err != nil {
		r.cfg.Logger.WarnContext(ctx, "a sweep did not finish", slog.String("provider", id), slog.Int("shard", shard), slog.Any("error", err))
		return msg.NakWithDelay(r.cfg.Tick)
	}
	return msg.Ack()
}
