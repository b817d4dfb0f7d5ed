package pull_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker/internal/natstest"
)

func TestASilentServerIsNoticedWithinSeconds(t *testing.T) {
	js, _ := published(t, 0)
	requests := make(chan *nats.Msg, 16)
	sub, err := js.Conn().ChanSubscribe("$JS.API.CONSUMER.MSG.NEXT."+stream+"."+durable, requests)
	must(t, err)
	defer sub.Unsubscribe() //nolint:errcheck // the connection is closed after it
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- subscription(js, 1, func(context.Context, jetstream.Msg) error { return nil }).Run(ctx)
	}()
	var asked struct {
		Heartbeat time.Duration `json:"idle_heartbeat"`
	}
	must(t, json.Unmarshal((<-requests).Data, &asked))
	if asked.Heartbeat <= 0 || 2*asked.Heartbeat > 10*time.Second { // after two without one the pull is made anew
		t.Errorf("heartbeats are asked for every %s", asked.Heartbeat)
	}
	stop()
	must(t, <-ended)
}

func TestPullingGoesOnWithAnotherLeader(t *testing.T) {
	c := natstest.StartCluster(t)
	js := natstest.ConnectTo(t, c.Servers[0])
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: stream, Subjects: []string{"work"}, Retention: jetstream.WorkQueuePolicy, Replicas: natstest.ClusterSize,
	})
	must(t, err)
	_, err = s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: durable, AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Minute})
	must(t, err)
	handled := make(chan uint64, 16)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- subscription(js, 1, func(_ context.Context, msg jetstream.Msg) error {
			meta, err := msg.Metadata()
			if err != nil {
				return err
			}
			handled <- meta.Sequence.Stream
			return msg.Ack()
		}).Run(ctx)
	}()
	publishAndAwait := func(when string) {
		t.Helper()
		var sequence uint64
		for deadline := time.Now().Add(time.Minute); ; {
			ack, err := js.Publish(t.Context(), "work", nil)
			if err == nil {
				sequence = ack.Sequence
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
		for patience := time.After(time.Minute); ; {
			select {
			case got := <-handled: // one whose acknowledgement was lost comes again
				if got == sequence {
					return
				}
			case err := <-ended:
				t.Fatalf("it ended: %v", err)
			case <-patience:
				t.Fatalf("message %d is not handled %s", sequence, when)
			}
		}
	}
	publishAndAwait("at first")
	must(t, c.StepDown(stream, durable))
	publishAndAwait("after the leaders have stepped down")
	leader, err := c.Leader(stream)
	must(t, err)
	if leader == 0 {
		leader = 1 // the worker's own server stays
	}
	c.Cut(leader)
	publishAndAwait("while a server is cut off")
	stop()
	must(t, <-ended)
}
