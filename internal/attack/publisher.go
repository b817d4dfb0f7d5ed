package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/attack/process"
)

// publisher is an upstream service: it seals, publishes, and tries again until JetStream acknowledges. It is safe for
// concurrent use for different connections.
type publisher struct {
	js     jetstream.JetStream
	public events.PublicKey
	ledger *ledger

	mu       sync.Mutex
	attempts context.Context //nolint:containedctx // ends with the connection to NATS, and with it every attempt
	lost     context.CancelFunc
}

const source = "attack"

// newPublisher connects one. Publishing tries again at once when the connection is lost.
func newPublisher(ctx context.Context, r *rig) (*publisher, error) {
	p := &publisher{ledger: newLedger()}
	p.connected()
	public, err := r.publicKey(ctx)
	if err != nil {
		return nil, err
	}
	p.public = public
	p.js, err = r.connect(process.Publisher, nats.DisconnectErrHandler(func(*nats.Conn, error) { p.connected() }))
	return p, err
}

// begin starts the rig and connects to it twice: as a publisher, and as the worker's user, who sees the streams.
func (r *rig) begin(ctx context.Context) (p *publisher, admin jetstream.JetStream, err error) {
	if err := r.start(ctx); err != nil {
		return nil, nil, err
	}
	if p, err = newPublisher(ctx, r); err != nil {
		return nil, nil, err
	}
	admin, err = r.connect(process.Worker)
	return p, admin, err
}

// connected ends the attempts on the connection before and begins those on the next.
func (p *publisher) connected() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost != nil {
		p.lost()
	}
	p.attempts, p.lost = context.WithCancel(context.Background())
}

// made is an event ready to be published, and again.
type made struct {
	event   *events.Event
	message events.Message
	token   string // the access token of an acquired event
}

// newAcquired makes an event with a token set of its own, obtained at the given time; sealed, unless it is to be plain.
func (p *publisher) newAcquired(k tokenworker.Key, at time.Time, plain bool) (made, error) {
	m := made{token: "access-" + rand.Text()}
	var err error
	m.event, err = events.NewAcquired(k, source, tokenworker.TokenSet{
		AccessToken: tokenworker.SecretString(m.token), RefreshToken: tokenworker.SecretString("refresh-" + rand.Text()),
		ExpiresAt: time.Now().Add(time.Hour).Truncate(time.Second),
	}, at)
	if err == nil && !plain {
		err = m.event.Seal(p.public)
	}
	if err == nil {
		m.message, err = m.event.PlainMessage() // of a sealed event the same as Message
	}
	if err != nil {
		return made{}, fmt.Errorf("making an event: %w", err)
	}
	return m, nil
}

// newDisconnect makes a disconnect.
func (p *publisher) newDisconnect(k tokenworker.Key) (made, error) {
	e, err := events.NewDisconnect(k, source, "attack", time.Now())
	if err != nil {
		return made{}, fmt.Errorf("making an event: %w", err)
	}
	m, err := e.Message()
	if err != nil {
		return made{}, fmt.Errorf("encoding an event: %w", err)
	}
	return made{event: e, message: m}, nil
}

// acquire publishes a new token set for the connection and notes it.
func (p *publisher) acquire(ctx context.Context, k tokenworker.Key) error {
	return p.acquireAt(ctx, k, time.Now())
}

// acquireAt publishes one that was obtained at the given time.
func (p *publisher) acquireAt(ctx context.Context, k tokenworker.Key, at time.Time) error {
	m, err := p.newAcquired(k, at, false)
	if err != nil {
		return err
	}
	return p.publish(ctx, m)
}

// disconnect publishes a disconnect of the connection and notes it.
func (p *publisher) disconnect(ctx context.Context, k tokenworker.Key) error {
	m, err := p.newDisconnect(k)
	if err != nil {
		return err
	}
	return p.publish(ctx, m)
}

func (p *publisher) publish(ctx context.Context, m made) error {
	seq, tries, err := p.send(ctx, m.message)
	if err != nil {
		return err
	}
	p.ledger.add(m.event.Key, entry{m.event.Kind, m.event.EventID(), m.token, seq, tries, m.message})
	return nil
}

// send publishes a message until it is acknowledged and returns its sequence and how often it was tried.
func (p *publisher) send(ctx context.Context, m events.Message) (seq uint64, tries int, err error) {
	msg := nats.NewMsg(m.Subject)
	msg.Data = m.Body
	if m.ID != "" {
		msg.Header.Set(events.MessageIDHeader, m.ID)
	}
	for {
		tries++
		ack, err := p.try(ctx, msg)
		if err == nil {
			return ack.Sequence, tries, nil
		}
		var refused *jetstream.APIError
		if errors.As(err, &refused) && refused.Code >= 400 && refused.Code < 500 {
			return 0, tries, fmt.Errorf("publishing: %w", err)
		}
		select {
		case <-ctx.Done():
			return 0, tries, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (p *publisher) try(ctx context.Context, msg *nats.Msg) (*jetstream.PubAck, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	p.mu.Lock()
	attempts := p.attempts
	p.mu.Unlock()
	defer context.AfterFunc(attempts, cancel)()
	return p.js.PublishMsg(ctx, msg) //nolint:wrapcheck // send says what it was doing
}
