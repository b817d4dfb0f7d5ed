package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/streams"
)

// ErrDuplicate says that the stream has a message of this subject, source and id already, although it was published for the
// first time. Somebody else makes the same ids.
var ErrDuplicate = errors.New("the stream has an event of this source and id already")

// PublisherConfig is how a [Publisher] is set up.
type PublisherConfig struct {
	Source    string           // names the service, the same in all its instances; 1 to 256 bytes
	PublicKey events.PublicKey // the worker's, as `tokenworker keys show` prints it; see [events.ParsePublicKey]
}

// Publisher makes events of one service and publishes them. It is safe for concurrent use.
type Publisher struct {
	cfg PublisherConfig
	js  jetstream.JetStream
}

// NewPublisher returns a publisher.
func NewPublisher(js jetstream.JetStream, cfg PublisherConfig) *Publisher { return &Publisher{cfg, js} }

// Acquired makes the message that a token set was obtained at a time, sealed to the worker. Errors match
// [events.ErrInvalidEvent] or [events.ErrInvalidPublicKey].
func (p *Publisher) Acquired(key tokenworker.Key, set tokenworker.TokenSet, at time.Time) (events.Message, error) {
	e, err := events.NewAcquired(key, p.cfg.Source, set, at)
	if err != nil {
		return events.Message{}, err
	}
	if err := e.Seal(p.cfg.PublicKey); err != nil {
		return events.Message{}, err
	}
	return e.Message()
}

// Disconnect makes the message that asks to stop serving the tokens of a connection, to revoke and to delete them. The reason
// is a snake_case word or empty. The error matches [events.ErrInvalidEvent], here and below.
func (p *Publisher) Disconnect(key tokenworker.Key, reason string, at time.Time) (events.Message, error) {
	return message(events.NewDisconnect(key, p.cfg.Source, reason, at))
}

// Refresh makes the message that asks to refresh the tokens of a connection now.
func (p *Publisher) Refresh(key tokenworker.Key, reason string, at time.Time) (events.Message, error) {
	return message(events.NewRefresh(key, p.cfg.Source, reason, at))
}

// Erase makes the message that asks to delete all data of a connection, or of an organization when the key has no more than
// that.
func (p *Publisher) Erase(key tokenworker.Key, reason string, at time.Time) (events.Message, error) {
	return message(events.NewErase(key, p.cfg.Source, reason, at))
}

func message(e *events.Event, err error) (events.Message, error) {
	if err != nil {
		return events.Message{}, err
	}
	return e.Message()
}

// Publish publishes a message for the first time and returns its sequence in the stream when JetStream has acknowledged it:
// from then on the worker answers for it. The error matches [ErrDuplicate], or [tokenworker.ErrMisconfigured] where JetStream
// says that no stream takes the message, or [tokenworker.ErrUnavailable] where nobody answers, as while servers elect a leader.
// After any error but the first the message may have been stored or not: see [Publisher.Republish].
func (p *Publisher) Publish(ctx context.Context, m events.Message) (sequence uint64, err error) {
	ack, err := p.send(ctx, m)
	if err == nil && ack.Duplicate {
		return 0, fmt.Errorf("publishing: %w, at sequence %d", ErrDuplicate, ack.Sequence)
	}
	return ack.Sequence, err
}

// Republish publishes a message that may have been published before, which is no error.
func (p *Publisher) Republish(ctx context.Context, m events.Message) (sequence uint64, err error) {
	ack, err := p.send(ctx, m)
	return ack.Sequence, err
}

// ackTimeout bounds the wait for JetStream's acknowledgement.
const ackTimeout = 10 * time.Second

func (p *Publisher) send(ctx context.Context, m events.Message) (jetstream.PubAck, error) {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	msg := nats.NewMsg(m.Subject)
	msg.Data = m.Body
	ack, err := p.js.PublishMsg(ctx, msg, jetstream.WithMsgID(m.ID), jetstream.WithRetryAttempts(0))
	if err != nil {
		return jetstream.PubAck{}, fmt.Errorf("publishing: %w", p.why(ctx, err))
	}
	return *ack, nil
}

// whyTimeout bounds the look-up of a stream that does not answer. A publisher without the right to look gets no answer either.
const whyTimeout = 2 * time.Second

// why tells errors that pass from those that do not. Without a leader a stream answers no more than one that is missing.
func (p *Publisher) why(ctx context.Context, err error) error {
	var refused *jetstream.APIError
	switch {
	case errors.As(err, &refused) && refused.ErrorCode == streams.DuplicateInProcess:
		return fmt.Errorf("%w: %w", tokenworker.ErrUnavailable, err)
	case !streams.Unanswered(err):
		return err
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		ctx, cancel := context.WithTimeout(ctx, whyTimeout)
		defer cancel()
		if _, lookErr := p.js.Stream(ctx, streams.In); errors.Is(lookErr, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("%w: no stream takes the event; run `tokenworker setup`", tokenworker.ErrMisconfigured)
		}
	}
	return fmt.Errorf("%w: no acknowledgement; where none ever comes, this user may not publish there, or not hear answers on its inbox: %w",
		tokenworker.ErrUnavailable, err)
}
