package main

// P1 Durable: an event is acknowledged only after its effect is committed in the store, or it is kept as parked or as a
// dead letter. A crash anywhere loses nothing acknowledged.
//
// kill -9 leaves the system's page cache alone, so this says nothing about a power cut: see what doctor says of
// sync_interval.
//
// Breaks that were tried, and what the attack said:
//
//   - consumer/handle.go acknowledges before it handles: "event 8 of 12 (acquired, sequence 744) was acknowledged and is
//     lost", for dozens of events in 10 kills of either kind.
//   - consumer/park.go as it was before orphans.go: late events waited for settled messages that a killed server had left
//     in its stream: "late events: waiting until every event is settled, for up to 1m30s; 29 are not", in 20 kills.

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker/internal/attack/proxy"
	"github.com/tokenworker/tokenworker/streams"
)

var p1 = promise{
	name: "P1", unit: "kills", usual: 10, full: 100,
	attacks: []attack{
		{"kill -9 of `tokenworker dev` (worker, NATS and SQLite in one) under load", killDev},
		{"kill -9 of `tokenworker run`, or of its nats-server, under load, on LocalStack", killDeployment},
	},
}

func killDev(ctx context.Context, e *env, n int) error {
	r, err := newDev(ctx, e)
	if err != nil {
		return err
	}
	defer r.close()
	return e.killUnderLoad(ctx, r, n, 80*time.Millisecond, func(ctx context.Context, _ int) error {
		r.process.Kill()
		return e.restart(ctx, r)
	})
}

// killDeployment kills one of three times the NATS server instead of the worker. The store and the key service throttle
// one call in 100 and lose the reply to one.
func killDeployment(ctx context.Context, e *env, n int) error {
	r, err := newDeployment(ctx, e, nil)
	if err != nil {
		return err
	}
	defer r.close()
	r.cloud.dynamoDB.SetFault(newFaultPlan(e.rand.Uint64(), 100, proxy.Throttle, proxy.DropReply).next)
	r.cloud.kms.SetFault(newFaultPlan(e.rand.Uint64(), 100, proxy.Throttle, proxy.DropReply).next)
	// LocalStack stores some 150 events a second.
	return e.killUnderLoad(ctx, r, n, 300*time.Millisecond, func(ctx context.Context, i int) error {
		if i%3 == 2 {
			r.nats.Kill()
			return r.nats.Start(ctx) //nolint:wrapcheck // our own
		}
		r.process.Kill()
		return e.restart(ctx, r)
	})
}

// restart starts the worker after a kill. One time in four it is killed again while it starts.
func (e *env) restart(ctx context.Context, r *rig) error {
	if e.rand.IntN(4) == 0 {
		if err := r.launch(ctx); err != nil {
			return err
		}
		if err := e.pause(ctx, 400*time.Millisecond); err != nil {
			return err
		}
		r.process.Kill()
	}
	return r.start(ctx)
}

// pause waits for a random time up to the limit.
func (e *env) pause(ctx context.Context, limit time.Duration) error {
	select {
	case <-time.After(time.Duration(e.rand.Int64N(int64(limit)))):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// killUnderLoad kills n times at random moments while events are published, lets everything settle, repeats one event of
// each connection and publishes one more, and compares the store with what was acknowledged.
//
// Many of the events, and the last of each connection, come from an outbox half an hour behind. They may be repeats, so the
// worker looks for earlier messages of their subjects, which is where it meets what the crashes have left in the streams.
//
// Each of 32 publishers pauses between its events, for as long as pause on average.
func (e *env) killUnderLoad(
	ctx context.Context, r *rig, n int, pause time.Duration, kill func(ctx context.Context, i int) error,
) error {
	p, admin, err := r.begin(ctx)
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	g, gctx := errgroup.WithContext(ctx)
	l, seed := defaultLoad(), e.rand.Uint64()
	l.late, l.pause = lateBy, pause
	g.Go(func() error { return l.run(gctx, stop, p, seed) })
	g.Go(func() error {
		defer close(stop)
		for i := range n {
			if err := e.pause(gctx, 1500*time.Millisecond); err != nil {
				return err
			}
			if r.ended() {
				e.broke("%v", errEndedByItself)
			}
			if err := kill(ctx, i); err != nil { // not gctx, which ends before the worker may
				return fmt.Errorf("restarting after kill %d: %w", i+1, err)
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return err //nolint:wrapcheck // our own
	}
	e.log.InfoContext(ctx, "killed; waiting until all is settled")
	if err := r.awaitSettled(ctx, admin); err != nil {
		e.broke("%v", err)
		return nil // what is unsettled is not lost
	}
	repeats, err := e.publishLate(ctx, p)
	if err != nil {
		return err
	}
	if err := r.awaitSettled(ctx, admin); err != nil {
		e.broke("late events: %v", err)
		return nil
	}
	again, left, err := traces(ctx, admin)
	if err != nil {
		return err
	}
	letters, err := deadLetters(ctx, admin)
	if err != nil {
		return err
	}
	if letters > 0 {
		e.broke("%d good events were refused", letters)
	}
	v, err := r.end(ctx, e)
	if err != nil {
		return err
	}
	defer v.close()
	e.did("%d kills", n)
	e.did("%d acknowledged events of %d connections, %d published again", p.ledger.total, len(p.ledger.entries),
		p.ledger.retried)
	e.did("%d repeated by an outbox", repeats)
	e.did("at least %d delivered again, %d left in the stream though settled", again, left)
	return p.ledger.check(ctx, e, v)
}

// lateBy is older than the worker lets pass without looking for earlier messages.
const lateBy = 30 * time.Minute

// publishLate repeats one event of each connection, chosen at random, and then publishes one more, and returns how many
// repeats there were.
func (e *env) publishLate(ctx context.Context, p *publisher) (repeats int, err error) {
	for key, message := range p.ledger.oneOfEach(e.rand) {
		if _, _, err := p.send(ctx, message); err != nil {
			return 0, err
		}
		repeats++
		if err := p.acquireAt(ctx, key, time.Now().Add(-lateBy)); err != nil {
			return 0, err
		}
	}
	return repeats, nil
}

// traces is what crashes have left: how many deliveries of events were not the first, as far as the consumers remember, and
// how many settled messages the stream still holds.
func traces(ctx context.Context, js jetstream.JetStream) (again int64, left uint64, err error) {
	s, err := js.Stream(ctx, streams.In)
	if err != nil {
		return 0, 0, fmt.Errorf("looking at the stream: %w", err)
	}
	var delivered uint64
	for _, kind := range []string{streams.Acquired, streams.Disconnect, streams.Replay} {
		name, err := durable(ctx, js, kind)
		if err != nil {
			return 0, 0, err
		}
		c, err := s.Consumer(ctx, name)
		if err != nil {
			return 0, 0, fmt.Errorf("looking at consumer %s: %w", name, err)
		}
		delivered += c.CachedInfo().Delivered.Consumer
	}
	state := s.CachedInfo().State
	return max(0, int64(delivered)-int64(state.LastSeq)), state.Msgs, nil
}
