package client

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

// Outcome is what became of an event: the kind of the worker's notice about it, or [WithoutEffect].
type Outcome string

// WithoutEffect is the outcome of an event that the worker is done with and has announced nothing about: a repeat, or
// older than what is stored; or parked.
const WithoutEffect Outcome = "without_effect"

// PublishAndWait is [Publisher.Publish], and waits until the worker has dealt with the event or ctx ends. A refused event, one
// that was dropped, and a refresh that brought nothing have an outcome and an error, which wraps the [events.Code]. With a sequence
// but no outcome the event is in the stream, and what becomes of it is not known yet. It needs the right to subscribe to the worker's
// notices; [WithoutEffect] is seen only by those who may also look into the stream. An acquired event without a company is
// refused here: what becomes of it is announced under the connection that the provider names.
func (p *Publisher) PublishAndWait(ctx context.Context, m events.Message) (sequence uint64, _ Outcome, _ error) {
	request, key, err := events.ParseSubject(m.Subject)
	switch {
	case err != nil:
		return 0, "", err
	case request == events.Acquired && key.CompanyID == "":
		return 0, "", errNoCompany
	}
	w, err := newWaiter(p.js, request, key)
	if err != nil {
		return 0, "", err
	}
	defer w.subscription.Unsubscribe() //nolint:errcheck // it fails when the connection is closed
	if sequence, err = p.Publish(ctx, m); err != nil {
		return 0, "", err
	}
	outcome, err := w.wait(ctx, sequence)
	return sequence, outcome, err
}

var errNoCompany = errors.New("an event without a company cannot be waited for")

// lookEvery is how often the stream is asked whether the event still is in it.
const lookEvery = 200 * time.Millisecond

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

// wait returns what became of the event at the given sequence.
func (w *waiter) wait(ctx context.Context, sequence uint64) (Outcome, error) {
	looking, cancel := context.WithCancel(ctx)
	defer cancel()
	settled := make(chan struct{})
	go w.look(looking, sequence, settled)
	var over <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("the event is in the stream, at sequence %d, and what became of it was not told: %w", sequence, ctx.Err())
		case <-settled:
			settled, over = nil, time.After(lookEvery) // its notice, sent before, may still be on its way
		case <-over:
			return WithoutEffect, nil
		case msg := <-w.notices:
			n, err := parseAnswer(msg)
			switch {
			case err != nil, !n.answers(w.request, sequence): // about another event
			case n.code != "":
				return Outcome(n.kind), fmt.Errorf("the worker answers: %w", n.code)
			default:
				return Outcome(n.kind), nil
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
	code  events.Code // of a rejection, a set that was dropped, or a failure
}

// answers reports whether the notice is about the awaited request. What the worker does of its own accord does not name a
// request: whatever came of a refresh since it was asked for answers it.
func (n answer) answers(request events.Kind, sequence uint64) bool {
	switch n.kind {
	case events.Stored, events.Rejected, events.Dropped, events.Erased:
		return n.cause.Sequence == sequence
	case events.Disconnected: // which an erasure begins with
		return request == events.Disconnect && n.cause.Sequence == sequence
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
