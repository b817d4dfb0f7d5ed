package consumer

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/pull"
	"github.com/tokenworker/tokenworker/internal/wipe"
	"github.com/tokenworker/tokenworker/streams"
)

// Store is what the worker asks of a store. Methods are safe for concurrent use. An error that matches
// [tokenworker.ErrUnavailable] leaves open whether a write was done; doing it again is harmless.
type Store interface {
	Records
	Providers
	streams.HighWaterMark
}

// Records applies events to records by the rules of the root package, each in one atomic step.
type Records interface {
	Acquire(ctx context.Context, a *tokenworker.Acquisition) (tokenworker.Verdict, error)
	Disconnect(ctx context.Context, d *tokenworker.Disconnection) (tokenworker.Verdict, error)
	Get(ctx context.Context, k tokenworker.Key) (tokenworker.Record, error)
}

// Providers remembers of which providers there are connections.
type Providers interface {
	// NoteProvider adds a provider, for the sweeps.
	NoteProvider(ctx context.Context, id string) error

	// Providers lists them.
	Providers(ctx context.Context) ([]string, error)
}

// Rotator is what the worker asks of the rotator. Methods are safe for concurrent use. An error says that one of the worker's
// own services failed.
type Rotator interface {
	Refresher
	Siblings

	// Over reports whether an attempt at a refresh token has ended for good: no process holds it any more, and no answer of it
	// waits in the rescue stream.
	Over(ctx context.Context, k tokenworker.Key, a tokenworker.Attempt) (bool, error)
}

// Refresher refreshes connections.
type Refresher interface {
	// Ask meets a request to refresh a connection now. What the provider answers is recorded and announced; where it was not
	// asked, Ask returns why, as a code of a dropped event. It does not wait for a provider that is busy or down: the
	// connection is then due before Ask returns.
	Ask(ctx context.Context, k tokenworker.Key) (dropped string, err error)

	// Expect is told of a set that was stored and when it is due. It does not block.
	Expect(k tokenworker.Key, due time.Time)
}

// Siblings answers for the connections of other organizations to the same company, where the provider ends them all with one.
type Siblings interface {
	// SiblingsUntil is when the index will show all of a company's connections that are stored by now; zero where the provider
	// does not end them with one.
	SiblingsUntil(providerID string) time.Time

	// LookBack looks, before an acquisition is acknowledged, whether its siblings' disconnects concern it.
	LookBack(ctx context.Context, k tokenworker.Key, at tokenworker.Stamp) error
}

// Eraser meets a request to erase, of a connection or, where the key lacks the rest, of an organization. When it returns nil
// the request is met and its receipt published. Being asked again is harmless.
type Eraser interface {
	Erase(ctx context.Context, request tokenworker.Event, cause events.Cause, reason string) error
}

// Sealer seals a token set for the connection and fence it is stored under.
type Sealer interface {
	Seal(ctx context.Context, k tokenworker.Key, f tokenworker.Fence, plaintext []byte) ([]byte, error)
}

// Policy is what the rules need to know of a provider.
type Policy struct {
	// Static: its refresh tokens never change, so none is ever spent. False is the safe answer.
	Static bool

	// NarrowRevocation: revoking a token reaches no further than the token or its family, so it cannot harm a newer
	// grant. False is the safe answer: revocations still pending when a connection comes back are dropped.
	NarrowRevocation bool

	// Retain is how many of a connection's last token sets are kept, the current one among them; 0: that alone.
	Retain int

	// CheckAfter is how long after a moment no request of a revocation that was begun before it can still arrive.
	CheckAfter time.Duration
}

// Config is how a [Worker] is set up. Zero values mean the defaults.
type Config struct {
	Source     string // CloudEvents source of the worker's own events; default "tokenworker"
	AllowPlain bool   // accept events whose data is not sealed; development only

	// Known reports whether the configuration knows a provider. Acquisitions of one that neither it nor the store knows are
	// refused, so that made-up ids fill nothing; default: it knows all.
	Known func(providerID string) bool

	// Policy says what the rules must know of a provider; default: the zero Policy for all.
	Policy func(providerID string) Policy

	// Identify asks a provider which company the token set of an event is for; the key lacks it. An error that is an
	// [events.Code] refuses the event; any other says that the provider could not be asked. Default: such events are refused.
	Identify func(ctx context.Context, k tokenworker.Key, event tokenworker.EventID, set tokenworker.TokenSet) (Identity, error)

	// VerifyIDToken verifies the ID token of a set that was obtained at a time, where it can be verified, and returns the set
	// with the subject and issuer that it names. Errors are as those of Identify. Default: ID tokens are stored unseen.
	VerifyIDToken func(ctx context.Context, k tokenworker.Key, set tokenworker.TokenSet, at time.Time) (tokenworker.TokenSet, error)

	// Due says when the rotator should look at a set that was acquired at the given time; default: never.
	Due func(tokenworker.Key, time.Time, tokenworker.TokenSet) time.Time

	// Eraser meets requests to erase; default: they are left to other replicas.
	Eraser Eraser

	// Record puts requests to refresh on record in the audit trail, which the worker's announcements do not name. It returns
	// when that is durable; with an error the request is delivered again. Default: they are not on record.
	Record func(context.Context, tokenworker.AuditEntry) error

	// Deliveries handled at once, each; default 64, 16, 64, 2, 16, 16.
	Acquired, Disconnects, Refreshes, Erasures, Replays, Parked int

	Deadline time.Duration // for handling one delivery, but for requests to erase, which take what they take; default 45 s
	Grace    time.Duration // for deliveries under way when Run's context ends; default 25 s

	Logger     *slog.Logger          // default: discards
	Registerer prometheus.Registerer // default: a registry of its own
	Now        func() time.Time      // default: time.Now
}

// WithDefaults fills in what is zero.
func (c Config) WithDefaults() Config {
	setDefault(&c.Source, "tokenworker")
	setDefault(&c.Acquired, 64)
	setDefault(&c.Disconnects, 16)
	setDefault(&c.Refreshes, 64)
	setDefault(&c.Erasures, 2)
	setDefault(&c.Replays, 16)
	setDefault(&c.Parked, 16)
	setDefault(&c.Deadline, 45*time.Second)
	setDefault(&c.Grace, 25*time.Second)
	setDefault(&c.Logger, slog.New(slog.DiscardHandler))
	if c.Known == nil {
		c.Known = func(string) bool { return true }
	}
	if c.Policy == nil {
		c.Policy = func(string) Policy { return Policy{} }
	}
	if c.Record == nil {
		c.Record = func(context.Context, tokenworker.AuditEntry) error { return nil }
	}
	if c.VerifyIDToken == nil {
		c.VerifyIDToken = func(_ context.Context, _ tokenworker.Key, set tokenworker.TokenSet, _ time.Time) (tokenworker.TokenSet, error) {
			return set, nil
		}
	}
	if c.Due == nil {
		c.Due = func(tokenworker.Key, time.Time, tokenworker.TokenSet) time.Time { return time.Time{} }
	}
	if c.Registerer == nil {
		c.Registerer = prometheus.NewRegistry()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Worker handles the events of the streams.
type Worker struct {
	cfg     Config
	js      jetstream.JetStream
	keys    *events.Keyring
	sealer  Sealer
	store   Store
	rotator Rotator
	metrics *metrics
	stored  storedProviders
	asking  asking
	turns   turns
	handles handles
	wiper   wipe.Wiper
	holds   atomic.Pointer[hold]
}

// New makes a worker. Run starts it.
func New(
	cfg Config, js jetstream.JetStream, keys *events.Keyring, sealer Sealer, store Store, rotator Rotator,
) (*Worker, error) {
	cfg = cfg.WithDefaults()
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	return &Worker{cfg: cfg, js: js, keys: keys, sealer: sealer, store: store, rotator: rotator, metrics: m}, nil
}

// Run handles deliveries until ctx ends, then finishes those under way within the grace and returns nil. Outages are
// waited out, and so is a stream that was lost: when it is there again, of the next epoch, Run goes on with that. It returns an
// error that matches [tokenworker.ErrRolledBack] when the stream of events was rolled back.
func (w *Worker) Run(ctx context.Context) error {
	err := w.follow(ctx)
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if w.js.Conn().IsConnected() {
		_ = w.js.Conn().FlushWithContext(flush) // acknowledgements on their way; lost ones only mean a redelivery
	}
	return err
}

// handleAll handles the deliveries of one epoch. The error is errNewEpoch when the stream is of another one.
func (w *Worker) handleAll(ctx context.Context, h *hold) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range []struct {
		stream, kind, durable string
		limit                 int
		read                  reader
	}{
		{streams.In, streams.Acquired, h.durable(streams.Acquired), w.cfg.Acquired, w.readLive},
		{streams.In, streams.Disconnect, h.durable(streams.Disconnect), w.cfg.Disconnects, w.readLive},
		{streams.In, streams.Refresh, h.durable(streams.Refresh), w.cfg.Refreshes, w.readLive},
		{streams.In, streams.Erase, h.durable(streams.Erase), w.cfg.Erasures, w.readLive},
		{streams.In, streams.Replay, h.durable(streams.Replay), w.cfg.Replays, w.readReplay},
		{streams.Parked, streams.ParkedRetry, streams.ParkedRetry, w.cfg.Parked, w.readParked},
	} {
		if s.kind == streams.Erase && w.cfg.Eraser == nil {
			continue
		}
		sub := &pull.Subscription{
			JS: w.js, Log: w.cfg.Logger, Stream: s.stream, Durable: s.durable, Limit: s.limit, Grace: w.cfg.Grace,
			Handle: func(work context.Context, msg jetstream.Msg) error {
				return w.handle(ctx, work, msg, h, s.kind, s.read)
			},
			Foreign: w.metrics.foreign,
		}
		if s.stream == streams.Parked { // what is in the stream of events without an id is a publisher's mistake, and refused
			sub.Mark = events.StampHeader
		}
		g.Go(func() error { return sub.Run(ctx) })
	}
	g.Go(func() error { return w.watch(ctx, h) })
	g.Go(func() error { w.sweepOrphans(ctx, h); return nil })
	return g.Wait()
}
