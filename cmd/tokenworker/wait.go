package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/streams"
)

const (
	waitLimit = time.Minute            // for the worker to deal with an event
	lookEvery = 200 * time.Millisecond // whether the event still is in the stream
)

// withoutEffect is the outcome of an event that the worker is done with and has announced nothing about: a repeat, or
// older than what is stored; or parked.
const withoutEffect = "without_effect"

// waiter learns what the worker does about the events of one connection.
type waiter struct {
	request      events.Kind
	js           jetstream.JetStream
	notices      chan *nats.Msg
	subscription *nats.Subscription
}

// newWaiter begins to listen. It is made before the event is published.
func newWaiter(js jetstream.JetStream, request events.Kind, key tokenworker.Key) (*waiter, error) {
	anyKind := strings.Replace(events.Stored.Subject(key), string(events.Stored), "*", 1)
	notices := make(chan *nats.Msg, 1024)
	sub, err := js.Conn().ChanSubscribe(anyKind, notices)
	if err != nil {
		return nil, fmt.Errorf("listening for the worker's answer: %w", err)
	}
	return &waiter{request: request, js: js, notices: notices, subscription: sub}, nil
}

// wait returns what became of the event at the given sequence: the kind of the notice about it, or withoutEffect. A
// refused event, and a refresh that brought nothing, have an outcome and an error.
func (w *waiter) wait(ctx context.Context, sequence uint64) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, waitLimit)
	defer cancel()
	defer w.subscription.Unsubscribe() //nolint:errcheck // the connection is closed next
	settled := make(chan struct{})
	go w.look(ctx, sequence, settled)
	var over <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("the event is in the stream, at sequence %d, and no worker has dealt with it within %s: %w",
				sequence, waitLimit, ctx.Err())
		case <-settled:
			settled, over = nil, time.After(lookEvery) // its notice, sent before, may still be on its way
		case <-over:
			return withoutEffect, nil
		case msg := <-w.notices:
			n, err := parseAnswer(msg)
			switch {
			case err != nil, !n.answers(w.request, sequence): // about another event
			case n.code != "":
				return string(n.kind), fmt.Errorf("the worker answers: %w", n.code)
			default:
				return string(n.kind), nil
			}
		}
	}
}

// look closes settled when the stream, which is a work queue, has let go of the event. A publisher's rights do not extend
// to looking: its requests get no answer then, and notices are all it learns by.
func (w *waiter) look(ctx context.Context, sequence uint64, settled chan<- struct{}) {
	every := time.NewTicker(lookEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		s, err := w.js.Stream(ctx, streams.In)
		if err == nil {
			_, err = s.GetMsg(ctx, sequence)
		}
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			close(settled)
			return
		}
	}
}

// answer is what a notice says of the event that caused it.
type answer struct {
	kind  events.Kind
	cause events.Cause
	code  events.Code // of a rejection or a failure
}

// answers reports whether the notice is about the awaited request. What the worker does of its own accord does not name a
// request: whatever came of a refresh since it was asked for answers it.
func (n answer) answers(request events.Kind, sequence uint64) bool {
	switch n.kind {
	case events.Stored, events.Disconnected, events.Rejected:
		return n.cause.Sequence == sequence
	case events.Refreshed, events.RefreshFailed, events.ReauthRequired:
		return request == events.Refresh
	default:
		return false
	}
}

// parseAnswer reads a notice.
func parseAnswer(msg *nats.Msg) (answer, error) {
	n, err := events.ParseNotice(events.Message{Subject: msg.Subject, Body: msg.Data})
	if err != nil {
		return answer{}, fmt.Errorf("reading a notice: %w", err)
	}
	var data events.RejectedData // the data of every kind has a cause
	if err := json.Unmarshal(n.Data, &data); err != nil {
		return answer{}, fmt.Errorf("reading a notice: %w", err)
	}
	return answer{n.Kind, data.Cause, data.Code}, nil
}
