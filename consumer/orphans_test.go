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

// keepAcknowledged makes the stream of events, or others, keep what is acknowledged, as a work queue does when its server is
// killed between an acknowledgement and the removal of the message.
func keepAcknowledged(t *testing.T, r *rig, names ...string) {
	t.Helper()
	ctx := t.Context()
	for _, name := range append(names, streams.In) {
		s, err := r.js.Stream(ctx, name)
		must(t, err)
		cfg := s.CachedInfo().Config
		var consumers []jetstream.ConsumerConfig
		for c := range s.ListConsumers(ctx).Info() {
			consumers = append(consumers, c.Config)
		}
		must(t, r.js.DeleteStream(ctx, name))
		cfg.Retention, cfg.Duplicates = jetstream.LimitsPolicy, 100*time.Millisecond
		_, err = r.js.CreateStream(ctx, cfg)
		must(t, err)
		for _, c := range consumers {
			_, err := r.js.CreateConsumer(ctx, name, c)
			must(t, err)
		}
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

func TestWhatAKilledServerBringsBackIsFoundAndDeletedInEveryWorkQueue(t *testing.T) {
	r := newRig(t)
	all := []string{streams.Parked, streams.Rescue, streams.Sweep}
	keepAcknowledged(t, r, all...)
	ctx := t.Context()
	var queues []streams.Queue // as the servers know them
	for _, stream := range append(all, streams.In) {
		s, err := r.js.Stream(ctx, stream)
		must(t, err)
		for name := range s.ConsumerNames(ctx).Name() {
			queues = append(queues, streams.Queue{Stream: stream, Durable: name})
		}
	}
	left := func(q streams.Queue) (n int) {
		t.Helper()
		for _, err := range streams.Leftovers(ctx, r.js, q) {
			must(t, err)
			n++
		}
		return n
	}
	for _, q := range queues {
		c, err := r.js.Consumer(ctx, q.Stream, q.Durable)
		must(t, err)
		_, err = r.js.Publish(ctx, strings.TrimSuffix(c.CachedInfo().Config.FilterSubject, ">")+"org.provider.company", nil)
		must(t, err)
		if n := left(q); n != 0 {
			t.Errorf("%s: %d are taken for settled before they are", q.Durable, n)
		}
		msg, err := c.Next()
		must(t, err)
		must(t, msg.DoubleAck(ctx))
	}
	for _, q := range queues {
		if n := left(q); n != 1 {
			t.Errorf("%s: %d of 1 are found", q.Durable, n)
		}
	}
	r.start()
	for _, stream := range append(all, streams.In) {
		r.settled(stream)
	}
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
