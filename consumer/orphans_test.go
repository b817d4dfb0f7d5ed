package consumer_test

import (
	"strings"
	"testing"
	"time"

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
		c, err := r.js.Consumer(r.t.Context(), streams.In, streams.Acquired)
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
