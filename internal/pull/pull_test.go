package pull_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/tokenworker/tokenworker/internal/natstest"
	"github.com/tokenworker/tokenworker/internal/pull"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	stream  = "WORK"
	durable = "workers"
)

// published is a work queue with n messages and its consumer.
func published(t *testing.T, n int) (jetstream.JetStream, jetstream.Stream) {
	t.Helper()
	js := natstest.Connect(t)
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: stream, Subjects: []string{"work"}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.MemoryStorage,
	})
	must(t, err)
	_, err = s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{
		Durable: durable, AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Minute,
	})
	must(t, err)
	for range n {
		_, err := js.Publish(t.Context(), "work", nil)
		must(t, err)
	}
	return js, s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func subscription(js jetstream.JetStream, limit int, handle func(context.Context, jetstream.Msg) error) *pull.Subscription {
	return &pull.Subscription{
		JS: js, Log: slog.New(slog.DiscardHandler), Stream: stream, Durable: durable, Limit: limit, Grace: 10 * time.Second, Handle: handle,
	}
}

func left(t *testing.T, s jetstream.Stream) uint64 {
	t.Helper()
	info, err := s.Info(t.Context())
	must(t, err)
	return info.State.Msgs
}

func TestEachMessageIsHandledOnceAndNoMoreThanTheLimitAtOnce(t *testing.T) {
	const n, limit = 500, 8
	js, s := published(t, n)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var handled, under, most atomic.Int64
	err := subscription(js, limit, func(_ context.Context, msg jetstream.Msg) error {
		defer under.Add(-1)
		now, at := under.Add(1), most.Load()
		for now > at && !most.CompareAndSwap(at, now) {
			at = most.Load()
		}
		if handled.Add(1) == n {
			stop()
		}
		return msg.DoubleAck(t.Context())
	}).Run(ctx)
	if err != nil || handled.Load() != n || most.Load() > limit || most.Load() < 2 {
		t.Errorf("%d of %d handled, %d at once, %v", handled.Load(), n, most.Load(), err)
	}
	if n := left(t, s); n != 0 {
		t.Errorf("%d messages are left", n)
	}
}

func TestWhatIsUnderWayIsFinishedAtTheEnd(t *testing.T) {
	const limit = 4
	js, s := published(t, 100)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var begun sync.WaitGroup
	begun.Add(limit)
	var once sync.Map
	err := subscription(js, limit, func(work context.Context, msg jetstream.Msg) error {
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		if _, again := once.LoadOrStore(meta.Sequence.Stream, nil); again {
			t.Errorf("message %d is handled again", meta.Sequence.Stream)
		}
		if meta.Sequence.Stream <= limit {
			begun.Done()
			begun.Wait()
			stop()
		}
		<-ctx.Done()
		if work.Err() != nil {
			t.Error("the context of what is under way ended with the other")
		}
		return msg.DoubleAck(t.Context())
	}).Run(ctx)
	must(t, err)
	pulled := uint64(0)
	once.Range(func(any, any) bool { pulled++; return true })
	if n := left(t, s); pulled < limit || n != 100-pulled {
		t.Errorf("%d messages were begun, and of 100 there are %d left", pulled, n)
	}
}

func TestAFailureEndsItWhateverWaitsForItsTurn(t *testing.T) {
	for _, limit := range []int{1, 3} {
		js, s := published(t, 50)
		failure := errors.New("it must not go on")
		var handled atomic.Int64
		err := subscription(js, limit, func(context.Context, jetstream.Msg) error {
			handled.Add(1)
			return failure
		}).Run(t.Context())
		if !errors.Is(err, failure) || handled.Load() > int64(limit) {
			t.Errorf("%d were handled with a limit of %d, %v", handled.Load(), limit, err)
		}
		if n := left(t, s); n != 50 {
			t.Errorf("of 50 messages %d are left", n)
		}
		must(t, js.DeleteStream(t.Context(), stream))
	}
}

func TestWhatCannotBeHandledYetIsLeftToOthers(t *testing.T) {
	const limit = 2
	js, s := published(t, 2*limit)
	ctx, stop := context.WithCancel(t.Context())
	busy, release := make(chan struct{}, 2*limit), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- subscription(js, limit, func(_ context.Context, msg jetstream.Msg) error {
			busy <- struct{}{}
			<-release
			return msg.DoubleAck(t.Context())
		}).Run(ctx)
	}()
	defer func() { close(release); stop(); must(t, <-ended) }()
	for range limit {
		<-busy
	}
	other, err := s.Consumer(t.Context(), durable)
	must(t, err)
	for range limit {
		msg, err := other.Next(jetstream.FetchMaxWait(5 * time.Second))
		if err != nil {
			t.Fatalf("another replica is given nothing: %v", err)
		}
		must(t, msg.DoubleAck(t.Context()))
	}
}
