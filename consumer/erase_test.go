package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/consumer"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/streams"
)

// eraser stands in for package erase and notes what it is asked. Its first tries fail.
type eraser struct {
	fails int
	asked safeBuffer
}

func (e *eraser) Erase(_ context.Context, request tokenworker.Event, cause events.Cause, reason string) error {
	_, _ = fmt.Fprintf(&e.asked, "%s %s %s %s\n", events.KeyText(request.Key), request.Stamp, cause.EventSource, reason)
	if e.fails > 0 {
		e.fails--
		return errors.New("not yet")
	}
	return nil
}

func (r *rig) eraseRequest(k tokenworker.Key) events.Message {
	r.t.Helper()
	e, err := events.NewErase(k, "test", "gdpr", time.Now())
	must(r.t, err)
	m, err := e.Message()
	must(r.t, err)
	return m
}

func TestARequestToEraseIsAcknowledgedOnceItIsMet(t *testing.T) {
	r, e := newRig(t), &eraser{fails: 1}
	r.start(func(c *consumer.Config) { c.Eraser = e })
	seq := r.publish(r.eraseRequest(tokenworker.Key{OrgID: "acme"}))
	r.settled(streams.In)
	want := fmt.Sprintf("acme %d/%d test gdpr\n", epoch, seq)
	if got := e.asked.String(); got != want+want {
		t.Errorf("asked\n%swant twice\n%s", got, want)
	}
}

func TestWithoutAnEraserRequestsAreLeftToOthers(t *testing.T) {
	r := newRig(t)
	r.start()
	r.publish(r.eraseRequest(acme))
	r.publish(r.disconnect(other, time.Now()))
	r.eventually("the other event is settled", func() bool { return r.count(streams.In) == 1 })
	e := &eraser{}
	r.start(func(c *consumer.Config) { c.Eraser = e })
	r.settled(streams.In)
	if got := e.asked.String(); got == "" {
		t.Error("the request was settled and not met")
	}
}
