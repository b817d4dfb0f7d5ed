package consumer_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker/streams"
)

// keepAcknowledged makes the stream of events keep what is acknowledged, as a work queue does when its server is killed
// between an acknowledgement and the removal of the message.
func keepAcknowledged(t *testing.T, r *rig) {
	t.Helper()
	ctx := t.Context()
	s, err := r.js.Stream(ctx, streams.In)
	must(t, err)
	cfg := s.CachedInfo().Config
	var consumers []jetstream.ConsumerConfig
	for c := range s.ListConsumers(ctx).Info() {
		consumers = append(consumers, c.Config)
	}
	must(t, r.js.DeleteStream(ctx, streams.In))
	cfg.Retention, cfg.Duplicates = jetstream.LimitsPolicy, 100*time.Millisecond
	_, err = r.js.CreateStream(ctx, cfg)
	must(t, err)
	for _, c := range consumers {
		_, err := r.js.CreateConsumer(ctx, streams.In, c)
		must(t, err)
	}
}

// acknowledged waits until the consumer of acquisitions has acknowledged everything up to a sequence.
func (r *rig) acknowledged(seq uint64) {
	r.t.Helper()
	r.eventually("all is acknowledged", func() bool {
		c, err := r.js.Consumer(r.t.Context(), streams.In, streams.Durable(streams.Acquired, epoch))
		must(r.t, err)
		return c.CachedInfo().AckFloor.Stream >= seq
	})
}

func TestSettledMessagesThatComeBackAreDeleted(t *testing.T) {
	r := newRig(t)
	keepAcknowledged(t, r)
	stop := r.start()
	r.publish(r.acquired(acme, "a", time.Now()))
	r.acknowledged(r.publish(r.acquired(other, "b", time.Now())))
	if got := r.count(streams.In); got != 2 {
		t.Fatalf("%d messages in the stream; the test wants the settled ones to stay", got)
	}
	must(t, stop())
	r.start()
	r.settled(streams.In)
}

func TestAnUnsettledMessageIsNoOrphan(t *testing.T) {
	r := newRig(t)
	r.publish(r.acquired(acme, "a", time.Now()))
	stop := r.start() // looks for orphans, and handles the event
	r.settled(streams.In)
	must(t, stop())
	r.publish(r.acquired(other, "b", time.Now()))
	r.start()
	r.settled(streams.In)
	if got := r.token(other); got != "b" {
		t.Errorf("the event was deleted unhandled: %q", got)
	}
}

func TestAnOriginalThatIsSettledHoldsNoRepeatBack(t *testing.T) {
	r := newRig(t)
	keepAcknowledged(t, r)
	r.start()
	event := r.acquired(acme, "a", time.Now().Add(-time.Hour))
	r.acknowledged(r.publish(event))
	var seq uint64
	r.eventually("the stream takes the repeat for new", func() bool {
		ack := r.tryPublish(event)
		seq = ack.Sequence
		return !ack.Duplicate
	})
	r.acknowledged(seq)
	if strings.Contains(r.logs.String(), "earlier message") {
		t.Error("the repeat waited for an original that is settled")
	}
}

func TestMessagesOfOtherStreamsAreDeleted(t *testing.T) {
	r := newRig(t)
	for stream, subject := range map[string]string{
		streams.In: "tokens.v1.erase.a", streams.Parked: "tokens.v1.parked.acquired.a.b.c", streams.Rescue: "tokens.v1.rescue.a.b.c",
	} {
		_, err := r.js.Publish(t.Context(), "tokens.v1.event.stored.a.b.c", nil)
		must(t, err)
		must(t, r.js.Conn().PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+streams.Out+"."+streams.Auditor, subject, []byte(`{"batch": 1}`)))
		r.eventually("a notice lies in "+stream, func() bool { return r.count(stream) == 1 })
	}
	r.start()
	for _, stream := range []string{streams.In, streams.Parked, streams.Rescue} {
		r.settled(stream)
	}
	if n := r.count(streams.DLQ); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

func TestWhatTheWorkerHasNotParkedIsEndedWithoutADeadLetter(t *testing.T) {
	r := newRig(t)
	for i := range 20 { // acknowledgements of a stream, on the subject that somebody named for them
		m := &nats.Msg{Subject: "tokens.v1.event.stored.a.b.c", Reply: fmt.Sprint("tokens.v1.parked.acquired.a.b.", i)}
		must(t, r.js.Conn().PublishMsg(m))
	}
	r.eventually("the acknowledgements are in the stream", func() bool { return r.count(streams.Parked) == 20 })
	r.start()
	r.settled(streams.Parked)
	if n := r.count(streams.DLQ); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}
