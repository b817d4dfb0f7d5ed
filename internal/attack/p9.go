package main

// P9 Outages are waited out: NATS, KMS, DynamoDB or a provider down: back-pressure, no hot loop, no loss, recovery
// without restart.
//
// Breaks that were tried, and what the attack said:
//
//   - consumer/handle.go asks for redelivery without a delay: "one event was tried 189 times in 6 s, at most 4 are allowed:
//     a hot loop", for DynamoDB and for KMS.
//   - cmd/tokenworker/nats.go reconnects every 2 ms: "905 attempts in 6 s with 488 events, at most 17 are allowed".
//   - consumer/settle.go retries what a refused key holds up, instead of parking it: "the others' events stored in 6 s fell
//     from 536 to 0".

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker/internal/attack/proxy"
)

var p9 = promise{
	name: "P9", unit: "seconds of outage", usual: 6, full: 30,
	attacks: []attack{
		{"NATS cut off, then stalled, under load, by a proxy before `tokenworker run`", func(ctx context.Context, e *env, n int) error {
			return e.outage(ctx, n, natsCut)
		}},
		{"DynamoDB cut off, then hanging, the same way", func(ctx context.Context, e *env, n int) error {
			return e.outage(ctx, n, storeCut)
		}},
		{"KMS cut off, then hanging, the same way", func(ctx context.Context, e *env, n int) error {
			return e.outage(ctx, n, keysCut)
		}},
		{"KMS refusing one organization, the others under full load", refuseOne},
	},
}

// cutPlan is how one dependency is cut off.
type cutPlan struct {
	cut, stall, heal func(r *rig, p *proxy.TCP)
	attempts         func(r *rig, p *proxy.TCP) int // at the proxy, so far

	// unready: a worker without it is not ready.
	unready bool

	// perEvent is how many attempts one delivery may make at most; 0: attempts do not depend on events.
	perEvent int
}

// perDelivery is how many calls one delivery may make: the AWS SDK tries each three times, and a failed conditional write
// asks once more.
const perDelivery = 6

var (
	natsCut = cutPlan{ //nolint:gochecknoglobals // a constant
		cut:      func(_ *rig, p *proxy.TCP) { p.Set(proxy.Cut) },
		stall:    func(_ *rig, p *proxy.TCP) { p.Set(proxy.Stall) },
		heal:     func(_ *rig, p *proxy.TCP) { p.Set(proxy.Open) },
		attempts: func(_ *rig, p *proxy.TCP) int { return int(p.Accepted()) },
		unready:  true,
	}
	storeCut = awsCut(func(r *rig) *proxy.AWS { return r.cloud.dynamoDB }, true) //nolint:gochecknoglobals // a constant
	keysCut  = awsCut(func(r *rig) *proxy.AWS { return r.cloud.kms }, false)     //nolint:gochecknoglobals // a constant
)

func awsCut(of func(r *rig) *proxy.AWS, unready bool) cutPlan {
	return cutPlan{
		cut:      func(r *rig, _ *proxy.TCP) { of(r).SetFault(proxy.Always(proxy.Reset)) },
		stall:    func(r *rig, _ *proxy.TCP) { of(r).SetFault(proxy.Always(proxy.Hang)) },
		heal:     func(r *rig, _ *proxy.TCP) { of(r).SetFault(nil) },
		attempts: func(r *rig, _ *proxy.TCP) int { return of(r).Calls() },
		unready:  unready, perEvent: perDelivery,
	}
}

// outage cuts a dependency off for n seconds under load, and compares what the worker did meanwhile with what backing off
// allows, and what is stored in the end with what was published.
func (e *env) outage(ctx context.Context, n int, plan cutPlan) error {
	var between *proxy.TCP
	r, err := newDeployment(ctx, e, func(target string) (string, error) {
		var err error
		if between, err = proxy.NewTCP(ctx, target); err != nil {
			return "", fmt.Errorf("starting a proxy: %w", err)
		}
		return between.Addr(), nil
	}, "--scope", "token") // each seal needs the key service
	if between != nil {
		defer between.Close()
	}
	if err != nil {
		return err
	}
	defer r.close()
	p, admin, err := r.begin(ctx)
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	g, gctx := errgroup.WithContext(ctx)
	l, seed := defaultLoad(), e.rand.Uint64()
	l.publishers, l.pause = 8, 200*time.Millisecond
	g.Go(func() error { return l.run(gctx, stop, p, seed) })
	g.Go(func() error {
		defer close(stop)
		return e.cutOff(gctx, r, between, admin, p, n, plan)
	})
	if err := g.Wait(); err != nil {
		return err //nolint:wrapcheck // our own
	}
	healed := time.Now()
	if err := r.awaitSettled(ctx, admin); err != nil {
		e.broke("%v", err)
	}
	e.did("%d events, all settled %s after", p.ledger.count(), time.Since(healed).Round(time.Second))
	return e.finish(ctx, r, admin, p)
}

// finish stops the worker, looks for good events among the dead letters, and compares the store with the ledger.
func (e *env) finish(ctx context.Context, r *rig, admin jetstream.JetStream, p *publisher) error {
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
	return p.ledger.check(ctx, e, v)
}

// cutOff is the outage itself: a second of normal load, half of the time cut, half of it stalled.
func (e *env) cutOff(
	ctx context.Context, r *rig, between *proxy.TCP, admin jetstream.JetStream, p *publisher, n int, plan cutPlan,
) error {
	if err := sleep(ctx, time.Second); err != nil {
		return err
	}
	naks, err := countNaks(admin)
	if err != nil {
		return err
	}
	attempts, events := plan.attempts(r, between), p.ledger.count()
	cpu, err := r.cpuSeconds(ctx)
	if err != nil {
		return err
	}
	half := time.Duration(n) * time.Second / 2
	plan.cut(r, between)
	if err := sleep(ctx, half); err != nil {
		return err
	}
	e.checkHealth(ctx, r, plan)
	plan.stall(r, between)
	if err := sleep(ctx, half); err != nil {
		return err
	}
	attempts = plan.attempts(r, between) - attempts
	pending, err := unsettled(ctx, admin)
	if err != nil {
		return err
	}
	plan.heal(r, between)
	used, err := r.cpuSeconds(ctx)
	if err != nil {
		return err
	}
	// What was published meanwhile, and what was under way before.
	events = p.ledger.count() - events + int(pending)
	e.checkPace(n, plan, attempts, naks(), events, used-cpu)
	return nil
}

// checkPace compares what the worker tried during n seconds with what backing off from one second by doubling allows.
func (e *env) checkPace(n int, plan cutPlan, attempts, mostTries, events int, cpu float64) {
	tries := 2 + int(math.Log2(float64(n)))
	allowed := 2*n + 5 // one connection, tried again about once a second
	if plan.perEvent > 0 {
		allowed = plan.perEvent * tries * events
	}
	if attempts > allowed {
		e.broke("%d attempts in %d s with %d events, at most %d are allowed: a hot loop", attempts, n, events, allowed)
	}
	if mostTries > tries {
		e.broke("one event was tried %d times in %d s, at most %d are allowed: a hot loop", mostTries, n, tries)
	}
	if most := 1 + float64(n)/2; cpu > most {
		e.broke("%.1f s of CPU in %d s of outage, at most %.1f are allowed: a hot loop", cpu, n, most)
	}
	e.did("%d s cut off: %.1f attempts/s, an event tried %d times at most, %.2f CPU", n, float64(attempts)/float64(n),
		mostTries, cpu/float64(n))
}

// checkHealth looks at what a supervisor would see: the process lives, and says that it is not ready.
func (e *env) checkHealth(ctx context.Context, r *rig, plan cutPlan) {
	if status, _, err := r.get(ctx, "/healthz"); err != nil || status != http.StatusOK {
		e.broke("/healthz answers %d during the outage, %v", status, err)
	}
	if !plan.unready {
		return
	}
	if status, _, err := r.get(ctx, "/readyz"); err != nil || status != http.StatusServiceUnavailable {
		e.broke("/readyz answers %d during the outage, %v", status, err)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
