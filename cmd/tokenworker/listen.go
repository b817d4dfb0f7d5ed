package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// listener hears what the worker announces about a key. It is made before the event is published whose effect it is to hear
// of.
type listener struct {
	subscription *nats.Subscription
	messages     chan *nats.Msg
}

func listen(js jetstream.JetStream, key tokenworker.Key) (*listener, error) {
	anyKind := strings.Replace(events.Stored.Subject(key), string(events.Stored), "*", 1)
	l := &listener{messages: make(chan *nats.Msg, 1024)}
	var err error
	if l.subscription, err = js.Conn().ChanSubscribe(anyKind, l.messages); err != nil {
		return nil, fmt.Errorf("listening to the worker: %w", err)
	}
	return l, nil
}

func (l *listener) close() { _ = l.subscription.Unsubscribe() } // the connection is closed next

// next waits for the next notice whose cause is at the given sequence, and reads its data.
func (l *listener) next(ctx context.Context, sequence uint64, data any) (events.Kind, error) {
	for {
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case msg := <-l.messages:
			n, err := events.ParseNotice(events.Message{Subject: msg.Subject, Body: msg.Data})
			var cause events.Cause // the data of every kind has one
			if err != nil || json.Unmarshal(n.Data, &cause) != nil || cause.Sequence != sequence {
				continue
			}
			if err := json.Unmarshal(n.Data, data); err != nil {
				return "", fmt.Errorf("reading a notice: %w", err)
			}
			return n.Kind, nil
		}
	}
}

// What is known of a revocation that no notice tells of.
const (
	nothingToRevoke  = "nothing_to_revoke"
	revocationToCome = "pending"
)

// revocation waits for what the provider answers about the disconnect at the given sequence: the kind of the notice and
// its code, nothingToRevoke, or revocationToCome.
func (l *listener) revocation(ctx context.Context, sequence uint64) (revocation, code string) {
	ctx, cancel := context.WithTimeout(ctx, waitLimit)
	defer cancel()
	for {
		var data struct {
			Code     string `json:"code"`
			ToRevoke int    `json:"to_revoke"`
		}
		switch kind, err := l.next(ctx, sequence, &data); {
		case err != nil:
			return revocationToCome, ""
		case kind == events.Revoked, kind == events.RevokeFailed:
			return string(kind), data.Code
		case kind == events.Disconnected && data.ToRevoke == 0:
			return nothingToRevoke, ""
		}
	}
}
