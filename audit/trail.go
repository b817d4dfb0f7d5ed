package audit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// Store keeps the checkpoints. Methods are safe for concurrent use. Errors match [tokenworker.ErrUnavailable] where trying
// again may help.
type Store interface {
	// PutCheckpoint stores c unless there is one of its chain and sequence, and returns the one that is there afterwards.
	PutCheckpoint(ctx context.Context, c tokenworker.AuditCheckpoint) (tokenworker.AuditCheckpoint, error)

	// LastCheckpoint returns the newest: of the highest chain, the highest sequence. It reads consistently. The error
	// matches [tokenworker.ErrNotFound] when there is none.
	LastCheckpoint(ctx context.Context) (tokenworker.AuditCheckpoint, error)

	// Checkpoints yields those of a chain by sequence. After an error, the last thing it yields, it stops.
	Checkpoints(ctx context.Context, chain uint64) iter.Seq2[tokenworker.AuditCheckpoint, error]
}

// Config is how a [Trail] is set up. Zero values mean the defaults.
type Config struct {
	// Every is how old a record may be before a checkpoint covers it, when all is well; default 30 s.
	Every time.Duration

	Grace      time.Duration         // for what is under way when Run's context ends; default 25 s
	Logger     *slog.Logger          // default: discards
	Registerer prometheus.Registerer // default: a registry of its own
	Now        func() time.Time      // default: time.Now
}

// WithDefaults fills in what is zero.
func (c Config) WithDefaults() Config {
	if c.Every == 0 {
		c.Every = 30 * time.Second
	}
	if c.Grace == 0 {
		c.Grace = 25 * time.Second
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

// Trail is the audit trail. It is safe for concurrent use.
type Trail struct {
	cfg     Config
	js      jetstream.JetStream
	store   Store
	keys    *Keys
	metrics *metrics
}

// New returns the trail in the stream and the store. Run keeps it; all else works without.
func New(cfg Config, js jetstream.JetStream, store Store, keys *Keys) (*Trail, error) {
	cfg = cfg.WithDefaults()
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	return &Trail{cfg, js, store, keys, m}, nil
}

// Keys are the keys of the trail.
func (t *Trail) Keys() *Keys { return t.keys }

// Run records what the worker announces and extends the chain until ctx ends; then it finishes what is under way, and what is
// recorded by then gets a last checkpoint. Outages are waited out.
func (t *Trail) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return t.recordNotices(ctx) })
	g.Go(func() error { t.keepChain(ctx); return nil })
	return g.Wait()
}

// recordTimeout bounds the wait for an acknowledgement.
const recordTimeout = 5 * time.Second

// Record returns when the entry is durable. With an error, which matches [tokenworker.ErrUnavailable] unless it is the
// context's own, it may not be, and what must be on record is not to be done.
func (t *Trail) Record(ctx context.Context, e tokenworker.AuditEntry) error {
	subject, data, err := t.keys.encode(e)
	if err != nil {
		return err
	}
	msg := nats.NewMsg(subject)
	msg.Data = data
	var opts []jetstream.PublishOpt
	if e.ID != "" {
		opts = append(opts, jetstream.WithMsgID("audit/"+e.ID))
	}
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	if _, err := t.js.PublishMsg(ctx, msg, opts...); err != nil {
		t.metrics.failures.Inc()
		if errors.Is(err, context.Canceled) {
			return err
		}
		return fmt.Errorf("%w: recording in the audit trail: %w", tokenworker.ErrUnavailable, err)
	}
	t.metrics.records.WithLabelValues(string(e.Action), string(e.Outcome)).Inc()
	return nil
}

// Records yields the records from a sequence on that are there when it begins; of a pseudonym, unless that is empty. What is
// no record is left out. After an error, the last thing it yields, it stops.
func (t *Trail) Records(ctx context.Context, from uint64, pseudonym string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for m, err := range t.messages(ctx, from, filter(pseudonym)) {
			if err != nil {
				yield(Record{}, err)
				return
			}
			r, err := m.read()
			if err != nil {
				continue // Verify does not leave it out
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

// filter is the subject of a pseudonym's records; of all, when it is empty.
func filter(pseudonym string) string {
	if pseudonym == "" {
		return ""
	}
	return events.AuditSubject("*", pseudonym)
}
