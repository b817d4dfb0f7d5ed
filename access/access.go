package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"github.com/tokenworker/tokenworker"
)

// Store is what access asks of a store.
type Store interface {
	// Get reads the record consistently: it shows every write that had returned before. The error matches
	// [tokenworker.ErrNotFound] when there is none.
	Get(ctx context.Context, k tokenworker.Key) (tokenworker.Record, error)
}

// Sealer opens token sets.
type Sealer interface {
	Open(ctx context.Context, k tokenworker.Key, f tokenworker.Fence, sealed []byte) ([]byte, error)
}

// Refresher gets successors of token sets.
type Refresher interface {
	// Replace refreshes the set of the fence, if it is still the current one and nobody else is at it, and returns the
	// record as it is afterwards. However many ask, here and in other processes, the provider is asked once. What it has
	// begun it finishes, whatever becomes of ctx. Of a set that cannot be refreshed the provider is asked whether it is
	// still good, if it can be, and the record says what it answered.
	Replace(ctx context.Context, k tokenworker.Key, from tokenworker.Fence) (tokenworker.Record, error)
}

// Audit keeps the trail of reads.
type Audit interface {
	// Record returns when the entry is durable. With an error it may not be, and no token is handed out.
	Record(ctx context.Context, e tokenworker.AuditEntry) error
}

// Config is how a [Service] is set up. Zero values mean the defaults.
type Config struct {
	// Rate is how many requests a second each caller may make of this replica, on average and at once; default 1,000.
	Rate int

	// AtOnce bounds the requests under way; default 10,000. What comes on top is answered as unavailable. Of these each
	// caller may have a tenth; what it asks on top is answered as rate-limited. So many may wait for one provider, too; who comes
	// on top gets the token that still works, if there is one, without a wait.
	AtOnce int

	// Wait bounds a read, three quarters of which are for the store and a refresh; default 10 s.
	Wait time.Duration

	// Grace is how long Run waits, after its context has ended, for what is under way; default 25 s.
	Grace time.Duration

	// Metadata is what each process says of itself to whoever asks on [InfoSubject].
	Metadata map[string]string

	// State is what each process says of itself, as it is then, to whoever asks on [StatsSubject]; default: nothing.
	State func() any

	// Scheme is the scheme under which an API of a provider takes access tokens; empty is Bearer. It is the catalogue's word:
	// what a provider or publisher calls the type of a token goes into no header. Default: Bearer for all.
	Scheme func(provider string) string

	Audit      Audit                 // default: none
	Logger     *slog.Logger          // default: discards
	Registerer prometheus.Registerer // default: a registry of its own
	Now        func() time.Time      // default: time.Now
}

// WithDefaults fills in what is zero.
func (c Config) WithDefaults() Config {
	if c.Rate == 0 {
		c.Rate = 1000
	}
	if c.AtOnce == 0 {
		c.AtOnce = 10_000
	}
	if c.Wait == 0 {
		c.Wait = 10 * time.Second
	}
	if c.Grace == 0 {
		c.Grace = 25 * time.Second
	}
	if c.Scheme == nil {
		c.Scheme = func(string) string { return "" }
	}
	if c.Audit == nil {
		c.Audit = unaudited{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Registerer == nil {
		c.Registerer = prometheus.NewRegistry()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Validate reports what cannot work.
func (c Config) Validate() error {
	if c.Rate < 0 || c.AtOnce < 0 || c.Wait < 0 || c.Grace < 0 {
		return errors.New("access: a bound is negative")
	}
	return nil
}

type unaudited struct{}

func (unaudited) Record(context.Context, tokenworker.AuditEntry) error { return nil }

// Service answers reads.
type Service struct {
	cfg       Config
	looks     looks
	sealer    Sealer
	refresher Refresher
	limits    *limits
	doubts    *limits // on asking providers about tokens, by connection
	shares    *shares // of what is under way, by caller
	waits     *shares // of that what waits for a refresh, by provider
	metrics   *metrics
	slots     chan struct{} // one is taken by each request under way
	hands     *hands
	flights   singleflight.Group
	flying    sync.WaitGroup // flights, which may outlast the requests that wait for them
}

// New makes a service.
func New(cfg Config, store Store, sealer Sealer, refresher Refresher) (*Service, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	return &Service{
		cfg: cfg, sealer: sealer, refresher: refresher,
		looks:  looks{store: store, limit: cfg.Wait, under: make(map[tokenworker.Key]*line)},
		limits: newLimits(rate.Limit(cfg.Rate), cfg.Rate), doubts: newLimits(rate.Every(refusedAgain), 1),
		shares: newShares(max(1, cfg.AtOnce/10)), waits: newShares(max(1, cfg.AtOnce/10)), metrics: m, slots: make(chan struct{}, cfg.AtOnce),
		hands: newHands(),
	}, nil
}
