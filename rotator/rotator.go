package rotator

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokenworker/tokenworker"
)

// Store is what the rotator asks of a store. Methods are safe for concurrent use.
type Store interface {
	// Get reads the record consistently. The error matches [tokenworker.ErrNotFound] when there is none.
	Get(ctx context.Context, k tokenworker.Key) (tokenworker.Record, error)

	// Update makes the record what the rule says of it, in one atomic step. rec is the record as it was last read or
	// returned here; the rule is asked about the record as it is by then. It returns the record as it now is.
	Update(ctx context.Context, rec tokenworker.Record, rule tokenworker.Rule) (tokenworker.Record, tokenworker.Verdict, error)

	// Due lists the connections of one provider and shard that are due at a time, soonest first. It may name one that is no
	// longer due, and may miss one that became due this second.
	Due(ctx context.Context, providerID string, shard int, at time.Time) iter.Seq2[tokenworker.Key, error]

	// Providers lists the providers that connections were ever stored for.
	Providers(ctx context.Context) ([]string, error)

	// Siblings lists the connections to the same company in other organizations, and may miss one that was first stored
	// within IndexLag.
	Siblings(ctx context.Context, k tokenworker.Key) iter.Seq2[tokenworker.Key, error]
	IndexLag() time.Duration

	// ClockOff is by how much this machine's clock may differ from the store's, as the last answer to Get showed it; zero while
	// nothing is known, and for a store on this machine.
	ClockOff() time.Duration

	// Shards is how many shards the due connections of a provider are spread over.
	Shards() int
}

// Sealer opens and seals token sets.
type Sealer interface {
	Open(ctx context.Context, k tokenworker.Key, f tokenworker.Fence, sealed []byte) ([]byte, error)

	// OpenListed opens a set of a revoke list, which stands under the fence that its own header names.
	OpenListed(ctx context.Context, k tokenworker.Key, sealed []byte) ([]byte, error)

	// Prepare gets all that sealing under the fence needs, so that the function it returns needs no service and cannot
	// fail for want of one.
	Prepare(ctx context.Context, k tokenworker.Key, f tokenworker.Fence) (seal func(plaintext []byte) ([]byte, error), err error)
}

// Config is how a [Rotator] is set up. Zero values mean the defaults.
type Config struct {
	Process  string        // names this process among all that ever ran; required
	Source   string        // CloudEvents source of its events; default "tokenworker"
	Tick     time.Duration // between sweeps; default 30 s
	ClaimFor time.Duration // a claim's length; the request's deadline is two thirds of it; default 60 s

	// ClockSkew is how far the clocks of two workers may be apart; default [tokenworker.ClockSkew]. A worker whose clock is
	// off by more than nine tenths of it takes no claim, one that is off by more than a tenth judges no other's.
	ClockSkew time.Duration

	// AttemptTimeout bounds each try to save a provider's answer; default 5 s. The tries go on until one succeeds, or
	// Grace has passed since Run's context ended; default 25 s.
	AttemptTimeout, Grace time.Duration

	Logger     *slog.Logger          // default: discards
	Registerer prometheus.Registerer // default: a registry of its own
	Now        func() time.Time      // default: time.Now
}

// WithDefaults fills in what is zero.
func (c Config) WithDefaults() Config {
	if c.Source == "" {
		c.Source = "tokenworker"
	}
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&c.Tick, 30 * time.Second}, {&c.ClaimFor, time.Minute}, {&c.ClockSkew, tokenworker.ClockSkew},
		{&c.AttemptTimeout, 5 * time.Second}, {&c.Grace, 25 * time.Second},
	} {
		if *d.v == 0 {
			*d.v = d.d
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Registerer == nil {
		c.Registerer = prometheus.NewRegistry()
	}
	now := c.Now
	if now == nil {
		now = time.Now
	}
	// Without its monotonic reading, which stands still while the machine is suspended: a claim has run on meanwhile (WallTime).
	c.Now = func() time.Time { return now().Round(0) }
	return c
}

// Validate reports what cannot work.
func (c Config) Validate() error {
	if c.Process == "" {
		return errors.New("rotator: the process needs a name")
	}
	return nil
}

// Rotator refreshes token sets before they expire, and revokes what was disconnected.
type Rotator struct {
	cfg       Config
	js        jetstream.JetStream
	store     Store
	sealer    Sealer
	providers Providers
	metrics   *metrics
	limits    limits
	asked     recently
	rescue    *rescue
	agenda    *agenda

	unannounced unannounced
	giveUp      chan struct{} // closed when answers that are not saved yet must be given up
	stopSaving  func()        // closes it
}

// New makes a rotator.
func New(
	cfg Config, js jetstream.JetStream, store Store, sealer Sealer, providers Providers,
) (*Rotator, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	a := newAgenda(cfg.Now)
	r := &Rotator{
		cfg: cfg, js: js, store: expecting{store, a}, sealer: sealer, providers: providers, metrics: m,
		rescue: &rescue{js}, agenda: a, giveUp: make(chan struct{}),
	}
	r.stopSaving = sync.OnceFunc(func() { close(r.giveUp) })
	return r, nil
}
