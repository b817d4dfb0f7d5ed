package erase

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/wipe"
	"github.com/tokenworker/tokenworker/streams"
)

// Store is what an eraser asks of a store. Methods are safe for concurrent use.
type Store interface {
	Rows
	Retained
}

// Rows are the store's part that holds connections.
type Rows interface {
	Disconnect(ctx context.Context, d *tokenworker.Disconnection) (tokenworker.Verdict, error)
	Get(ctx context.Context, k tokenworker.Key) (tokenworker.Record, error)
	Update(ctx context.Context, rec tokenworker.Record, rule tokenworker.Rule) (tokenworker.Record, tokenworker.Verdict, error)
	Records(ctx context.Context, orgID string) iter.Seq2[tokenworker.Record, error]
}

// Retained is the store's part that holds older sets of connections.
type Retained interface {
	// DropRetained removes those of a connection's retained sets that are not newer than a stamp.
	DropRetained(ctx context.Context, k tokenworker.Key, until tokenworker.Stamp) error
}

// Revoker makes one attempt to revoke what of a connection waits for it, if one is due. Not forced it does nothing else to
// a connection that is disconnected. What came of it is in the record.
type Revoker interface {
	Do(ctx context.Context, k tokenworker.Key, forced bool) error

	// SiblingsUntil is what a disconnection must say; see [tokenworker.Disconnection].
	SiblingsUntil(providerID string) time.Time
}

// Keys knows the event keys.
type Keys interface {
	// Public lists the public event keys that are live.
	Public(ctx context.Context) ([]events.PublicKey, error)

	// HoldsNothingInClear proves that no token is in a message that is not sealed; false: it may be.
	HoldsNothingInClear(ctx context.Context, m events.Message) bool
}

// Config is how an [Eraser] is set up. Zero values mean the defaults.
type Config struct {
	Source string // CloudEvents source of its own events; default "tokenworker"

	// FenceOf reads which token set a sealed blob says it holds; required.
	FenceOf func(sealed []byte) (tokenworker.Fence, error)

	// RevokeFor is how long after a request entered the stream its connections are tried to be revoked. Each is tried
	// once at least. Default 2 minutes.
	RevokeFor time.Duration

	// InHand is how long at most a worker has a delivery in hand, from when it comes until it is settled. Default 1 minute: the
	// 45 seconds and the 10 of package consumer, and some to spare.
	InHand time.Duration

	// KeepBackups is how long a backup of the store is kept, which a receipt says. Default 35 days, the most that DynamoDB's
	// point-in-time recovery goes back.
	KeepBackups time.Duration

	// OnRecord returns when the audit trail has what TOKENS_OUT holds up to a sequence; what is deleted before would be
	// lost to it. Default: nobody is waited for.
	OnRecord func(ctx context.Context, sequence uint64) error

	Logger *slog.Logger     // default: discards
	Now    func() time.Time // default: time.Now
}

// WithDefaults fills in what is zero.
func (c Config) WithDefaults() Config {
	if c.Source == "" {
		c.Source = "tokenworker"
	}
	if c.RevokeFor == 0 {
		c.RevokeFor = 2 * time.Minute
	}
	if c.InHand == 0 {
		c.InHand = time.Minute
	}
	if c.KeepBackups == 0 {
		c.KeepBackups = 35 * 24 * time.Hour
	}
	if c.OnRecord == nil {
		c.OnRecord = func(context.Context, uint64) error { return nil }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Validate reports what cannot work.
func (c Config) Validate() error {
	if c.FenceOf == nil {
		return errors.New("erase: FenceOf is required")
	}
	return nil
}

// Eraser handles requests to erase. It is safe for concurrent use.
type Eraser struct {
	cfg     Config
	js      jetstream.JetStream
	store   Store
	revoker Revoker
	keys    Keys
	wiper   wipe.Wiper
}

// New makes an eraser. The connection of js is that of the user that may delete from the streams.
func New(cfg Config, js jetstream.JetStream, store Store, revoker Revoker, keys Keys) (*Eraser, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Eraser{cfg: cfg, js: js, store: store, revoker: revoker, keys: keys}, nil
}

// Erase does what a request asks for and returns when its receipt is in the stream. The request's key lacks provider and
// company where it is about an organization. After an error the request is to be delivered again.
func (e *Eraser) Erase(ctx context.Context, request tokenworker.Event, cause events.Cause, reason string) error {
	r := &erasure{Eraser: e, Event: request, cause: cause, reason: reason}
	if done, err := r.hasReceipt(ctx); err != nil || done {
		return err
	}
	log := e.cfg.Logger.With(slog.String("key", events.KeyText(r.Key)), slog.String("stamp", r.Stamp.String()))
	log.InfoContext(ctx, "erasing")
	for _, step := range []struct {
		doing string
		do    func(context.Context) error
	}{
		{"disconnecting", r.disconnectAll},
		{"revoking", r.revokeAll},
		{"leaving tombstones", r.entomb},
		{"deleting messages", r.deleteAll},
		{"waiting for deliveries in hand", r.finishInHand},
		{"leaving a receipt", r.leaveReceipt},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("erasing: %s: %w", step.doing, err)
		}
	}
	log.InfoContext(ctx, "erased", slog.Int("connections", r.connections), slog.Int("unconfirmed", r.unconfirmed),
		slog.Int("messages", r.deleted))
	return nil
}

// erasure is one request under way.
type erasure struct {
	*Eraser
	tokenworker.Event
	cause  events.Cause
	reason string

	connections, unconfirmed, deleted, unrevoked int
	unsettled                                    bool         // messages that a worker may have in hand were deleted
	dropped                                      atomic.Int64 // of rows that are no tombstones, those with sets dropped unconfirmed
}

// hasReceipt reports whether the request was met before.
func (r *erasure) hasReceipt(ctx context.Context) (bool, error) {
	out, err := r.stream(ctx, streams.Out)
	if err != nil {
		return false, err
	}
	for m, err := range messages(ctx, out, events.Erased.Subject(r.Key)) {
		if err != nil {
			return false, err
		}
		n, err := events.ParseNotice(events.Message{Subject: m.Subject, Body: m.Data})
		var data events.ErasedData
		if err == nil && json.Unmarshal(n.Data, &data) == nil &&
			data.EventSource == r.cause.EventSource && data.EventID == r.cause.EventID {
			return true, nil
		}
	}
	return false, nil
}

func (r *erasure) leaveReceipt(ctx context.Context) error {
	keys, err := r.keys.Public(ctx)
	if err != nil {
		return fmt.Errorf("listing the event keys: %w", err)
	}
	now := r.cfg.Now()
	data := events.ErasedData{
		Cause: r.cause, Reason: r.reason, Connections: r.connections, Unconfirmed: r.unconfirmed, Messages: r.deleted, Unrevoked: r.unrevoked,
		EventKeys: make([]string, len(keys)), BackupsUntil: now.Add(r.cfg.KeepBackups).UTC().Truncate(time.Second),
	}
	for i, k := range keys {
		data.EventKeys[i] = k.KeyID
	}
	if data.EventKeysUntil = r.keysUntil(keys, now); data.EventKeysUntil.IsZero() && len(keys) > 0 {
		r.cfg.Logger.WarnContext(ctx, "an event key is overdue to be destroyed: the receipt names no day",
			slog.String("key", events.KeyText(r.Key)))
	}
	return r.announce(ctx, r.Key, data)
}

// keysUntil is the day by which the last of the keys is to be destroyed, in backups of the store too, where it lies wrapped. It is
// zero when one is overdue.
func (e *Eraser) keysUntil(keys []events.PublicKey, now time.Time) (until time.Time) {
	for _, k := range keys {
		retired := k.CreatedAt.Add(events.KeyLifetime)
		if retired.Before(now) {
			return time.Time{}
		}
		if end := retired.Add(e.cfg.KeepBackups).UTC(); end.After(until) {
			until = end
		}
	}
	return until
}

// announce returns when JetStream has acknowledged the notice.
func (r *erasure) announce(ctx context.Context, k tokenworker.Key, data events.NoticeData) error {
	notice, err := events.NewNotice(k, r.cfg.Source, data, r.cfg.Now())
	if err != nil {
		return err
	}
	msg := nats.NewMsg(notice.Subject)
	msg.Data = notice.Body
	if _, err := r.js.PublishMsg(ctx, msg, jetstream.WithMsgID(notice.ID)); err != nil {
		return fmt.Errorf("publishing on NATS: %w", err)
	}
	return nil
}
