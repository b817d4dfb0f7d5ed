package main

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/attack/process"
	"github.com/tokenworker/tokenworker/streams"
)

// publisher puts acquired events into the stream.
type publisher struct {
	js   jetstream.JetStream
	sent uint64
}

// publish returns once the stream holds so many more events, each for the next connection, and sealed to the key unless
// it is nil.
func (p *publisher) publish(ctx context.Context, key *events.PublicKey, n int) error {
	acks := make([]jetstream.PubAckFuture, 0, n)
	for range n {
		p.sent++
		m, err := acquired(p.sent, key)
		if err != nil {
			return err
		}
		ack, err := p.js.PublishMsgAsync(&nats.Msg{
			Subject: m.Subject, Data: m.Body, Header: nats.Header{events.MessageIDHeader: {m.ID}},
		})
		if err != nil {
			return err
		}
		acks = append(acks, ack)
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// acquired is an event that brings the n-th connection a token set.
func acquired(n uint64, key *events.PublicKey) (events.Message, error) {
	e, err := events.NewAcquired(connection(n), "bench", tokenSet(), time.Now())
	if err != nil {
		return events.Message{}, err
	}
	if key == nil {
		return e.PlainMessage()
	}
	if err := e.Seal(*key); err != nil {
		return events.Message{}, err
	}
	return e.Message()
}

// tokenSet takes tokenSetBytes, within a few.
func tokenSet() tokenworker.TokenSet {
	return tokenworker.TokenSet{
		AccessToken:  tokenworker.SecretString(strings.Repeat("a", 1260)), // a JSON web token
		RefreshToken: tokenworker.SecretString(strings.Repeat("r", 120)),
		TokenType:    "Bearer", Scope: "openid payroll", ExpiresAt: time.Now().Add(time.Hour).Truncate(time.Second),
	}
}

// settled waits until everything that was published is acknowledged and announced.
func (p *publisher) settled(ctx context.Context) error {
	return process.Await(ctx, time.Minute, "every event is settled", func() (bool, error) {
		left, err := p.count(ctx, streams.In)
		if err != nil || left > 0 {
			return false, err
		}
		announced, err := p.count(ctx, streams.Out)
		return announced == p.sent, err
	})
}

// count is how many messages a stream holds.
func (p *publisher) count(ctx context.Context, stream string) (uint64, error) {
	s, err := p.js.Stream(ctx, stream)
	if err != nil {
		return 0, err
	}
	return s.CachedInfo().State.Msgs, nil
}
