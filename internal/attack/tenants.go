package main

// Tenants: what one publisher, connection or provider causes holds nothing that others need (package consumer). A publisher that
// NATS pins to one organization does what it can, a provider answers nothing and another says 429; meanwhile another
// organization's acquisitions, refreshes and disconnects keep their pace, and nothing is lost.
//
// Breaks that were tried, and what the attack said:
//
//   - consumer/identify.go and rotator/ask.go let a provider that hangs have any number of handlers, at 100: "a neighbour's event took
//     42.747s, at most 356ms before".
//   - package consumer lets events of one connection change its record at the same time, at 400: "the event is in the stream, at
//     sequence 2965, and no worker has dealt with it yet".

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/client"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/attack/process"
	"github.com/tokenworker/tokenworker/streams"
)

var tenants = promise{
	name: "tenants", unit: "events of each kind by a hostile publisher", usual: 100, full: 400,
	attacks: []attack{
		{"a publisher pinned to one organization: made-up providers, one connection only, refreshes at a provider that hangs and one " +
			"that says 429, tokens without a company; another organization's events meanwhile, on LocalStack", besideHostile},
	},
}

const (
	hostileOrg = "acme" // whose publisher the shipped configuration has

	// hangingProvider takes connections and never answers.
	hangingProvider = "hanging"

	// neighbours is how many connections the other organization acquires, refreshes and disconnects, before and beside.
	neighbours = 20

	// neighbourWaits is how long an event may take: consumers take events in their order, so it waits for those before it, but
	// for no provider, whose requests take longer.
	neighbourWaits = 20 * time.Second
)

// besideHostile measures what another organization's events take, before and beside n events of each kind by the hostile one.
func besideHostile(ctx context.Context, e *env, n int) error {
	hangs, err := newHanging(ctx)
	if err != nil {
		return err
	}
	defer hangs.Close() //nolint:errcheck // nothing is kept
	declared, err := e.declareHanging(hangs.Addr().String())
	if err != nil {
		return err
	}
	f, err := startReplicas(ctx, e, 1, siteConfig{settings: strictly}, declared...)
	if err != nil {
		return err
	}
	defer f.close()
	h, err := newHostile(ctx, f, n)
	if err != nil {
		return err
	}
	before, err := neighbour(ctx, f, "before")
	if err != nil {
		return err
	}
	begun := time.Now()
	flood, floodCtx := errgroup.WithContext(ctx)
	flood.Go(func() error { return h.publish(floodCtx) })
	beside, err := neighbour(ctx, f, "beside")
	if err != nil {
		e.broke("another organization's event: %v", err)
	}
	if err := flood.Wait(); err != nil {
		return err //nolint:wrapcheck // our own
	}
	after, err := neighbour(ctx, f, "after") // while what was published last is handled
	if err != nil {
		e.broke("another organization's event: %v", err)
	}
	e.did("%d hostile events in %s; the slowest of %d neighbours' took %s before, %s beside, %s after", h.published(),
		time.Since(begun).Round(time.Second), 3*neighbours, before, beside, after)
	for _, slowest := range []time.Duration{beside, after} {
		if slowest > neighbourWaits {
			e.broke("a neighbour's event took %s, at most %s before", slowest, before)
		}
	}
	return h.judge(ctx, e)
}

// neighbour has the other organization acquire, refresh and disconnect, and returns what the slowest of its events took.
func neighbour(ctx context.Context, f *replicas, prefix string) (slowest time.Duration, _ error) {
	for i := range neighbours {
		k := tokenworker.Key{OrgID: "other", ProviderID: siteProvider(0), CompanyID: fmt.Sprint(prefix, "-", i)}
		refresh, err1 := f.publisher.Refresh(k, "", time.Now())
		disconnect, err2 := f.publisher.Disconnect(k, "", time.Now())
		if err := errors.Join(err1, err2); err != nil {
			return 0, fmt.Errorf("making events: %w", err)
		}
		for _, step := range []func() error{
			func() error { return f.acquire(ctx, k, 0, time.Hour) },
			func() error { return f.publish(ctx, refresh, events.Refreshed) },
			func() error { return f.publish(ctx, disconnect, events.Disconnected) },
		} {
			begun := time.Now()
			if err := step(); err != nil {
				return slowest, fmt.Errorf("%s: %w", k, err)
			}
			slowest = max(slowest, time.Since(begun).Round(time.Millisecond))
		}
	}
	return slowest, nil
}

// hostile is the publisher of one organization, which may publish nothing but that one's events.
type hostile struct {
	*replicas
	publisher *client.Publisher
	messages  []events.Message
	refused   int             // of them
	newest    tokenworker.Key // whose last login must be the one that is stored
	last      atomic.Uint64   // sequence of that login
	limited   tokenworker.Key // at a provider that says 429
}

// newHostile prepares n events of each kind.
func newHostile(ctx context.Context, f *replicas, n int) (*hostile, error) {
	key := func(provider, company string) tokenworker.Key {
		return tokenworker.Key{OrgID: hostileOrg, ProviderID: provider, CompanyID: company}
	}
	h := &hostile{replicas: f, newest: key(siteProvider(0), "newest"), limited: key(siteProvider(0), "limited")}
	public, err := f.workers[0].publicKey(ctx)
	if err != nil {
		return nil, err
	}
	js, err := f.dial(process.Publisher)
	if err != nil {
		return nil, err
	}
	h.publisher = client.NewPublisher(js, client.PublisherConfig{Source: "hostile", PublicKey: public})
	if err := f.acquire(ctx, h.limited, 0, time.Hour); err != nil {
		return nil, err
	}
	if err := f.server.Inject(demoprovider.Fault{
		Kind: demoprovider.RateLimited, Subject: h.limited.String(), RetryAfter: time.Hour,
	}); err != nil {
		return nil, fmt.Errorf("injecting a fault: %w", err)
	}
	const atHanging = 100
	for i := range atHanging {
		if err := f.acquire(ctx, key(hangingProvider, fmt.Sprint(i)), 0, time.Hour); err != nil {
			return nil, err
		}
	}
	var errs []error
	add := func(m events.Message, err error) {
		h.messages, errs = append(h.messages, m), append(errs, err)
	}
	for i := range n {
		set := tokenworker.TokenSet{
			AccessToken: tokenworker.SecretString(fmt.Sprint("access-", i)), ExpiresAt: time.Now().Add(time.Hour).Truncate(time.Second),
		}
		now, madeUp := time.Now(), fmt.Sprint("made-up-", i)
		add(h.publisher.Acquired(key(madeUp, "1"), set, now))
		add(h.publisher.Acquired(key(madeUp, ""), set, now))
		h.refused += 2
		add(h.publisher.Disconnect(key(madeUp+"-too", "1"), "", now))
		add(h.publisher.Acquired(h.newest, set, now))
		add(h.publisher.Acquired(key(hangingProvider, ""), set, now))
		add(h.publisher.Refresh(key(hangingProvider, fmt.Sprint(i%atHanging)), "", now))
		add(h.publisher.Refresh(h.limited, "", now))
	}
	return h, errors.Join(errs...)
}

func (h *hostile) published() int { return len(h.messages) }

// publish publishes them all, many at once.
func (h *hostile) publish(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, m := range h.messages {
		g.Go(func() error {
			sequence, err := h.publisher.Publish(ctx, m)
			if err != nil {
				return fmt.Errorf("publishing: %w", err)
			}
			for last := h.last.Load(); m.Subject == events.Acquired.Subject(h.newest) && sequence > last; last = h.last.Load() {
				h.last.CompareAndSwap(last, sequence)
			}
			return nil
		})
	}
	return g.Wait() //nolint:wrapcheck // our own
}

// judge waits until the stream of events is empty, and looks at what has become of the hostile events.
func (h *hostile) judge(ctx context.Context, e *env) error {
	for _, c := range []string{streams.Acquired, streams.Disconnect, streams.Refresh} {
		if err := awaitNone(ctx, h.operator, c, 2*time.Minute); err != nil {
			e.broke("hostile events stay in the way: %v", err)
		}
	}
	letters, err := deadLetters(ctx, h.operator)
	if err != nil {
		return err
	}
	if letters != uint64(h.refused) {
		e.broke("%d events of made-up providers are dead letters, want %d", letters, h.refused)
	}
	status, body, err := h.workers[0].get(ctx, "/metrics")
	if err != nil || status != http.StatusOK {
		return errors.Join(fmt.Errorf("asking for metrics: %d", status), err)
	}
	if bytes.Contains(body, []byte("made-up")) {
		e.broke("metrics name made-up providers")
	}
	parked, err := h.operator.Stream(ctx, streams.Parked)
	if err != nil {
		return fmt.Errorf("looking at the parked events: %w", err)
	}
	v, err := h.workers[0].end(ctx, e)
	if err != nil {
		return err
	}
	defer v.close()
	rec, err := v.store.Get(ctx, h.limited)
	if err != nil {
		return fmt.Errorf("reading %s: %w", h.limited, err)
	}
	if rec.Failures != 1 {
		e.broke("a connection whose provider says Retry-After was tried %d times", rec.Failures)
	}
	if rec, err = v.store.Get(ctx, h.newest); err != nil {
		return fmt.Errorf("reading %s: %w", h.newest, err)
	}
	if last := h.last.Load(); rec.Stamp.Sequence != last {
		e.broke("%s holds the login at %s, the last is at %d", h.newest, rec.Stamp, last)
	}
	e.did("%d made-up providers refused, %d ids of one connection, %d events parked for the provider that hangs", h.refused,
		len(rec.Seen), parked.CachedInfo().State.Msgs)
	return nil
}

// newHanging listens where nobody answers. Connections wait to be accepted by nobody.
func newHanging(ctx context.Context) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	return l, nil
}

// declareHanging returns the flags by which a worker knows a provider that hangs.
func (e *env) declareHanging(addr string) ([]string, error) {
	file := e.inDir("hanging.yaml")
	text := strings.NewReplacer("URL", "http://"+addr, "DIR", e.dir).Replace(`providers:
  ` + hangingProvider + `:
    token_url: URL/token
    auth: client_secret_basic
    introspect: {url: URL/introspect, company: sub}
    allow_networks: [127.0.0.0/8]
    client: {id: "file:DIR/client-id", secret: "file:DIR/client-secret"}
`)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("declaring a provider: %w", err)
	}
	return []string{"--providers", file}, nil
}
