package streams

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/internal/natstest"
)

// highWater is the store's part, in memory.
type highWater struct{ mark tokenworker.Stamp }

func at(epoch, sequence uint64) *highWater {
	return &highWater{tokenworker.Stamp{Epoch: epoch, Sequence: sequence}}
}

func (h *highWater) HighWater(context.Context) (tokenworker.Stamp, error) { return h.mark, nil }

func (h *highWater) RaiseHighWater(_ context.Context, to tokenworker.Stamp) error {
	h.mark = to
	return nil
}

func setup(t *testing.T, js jetstream.JetStream, epoch uint64) {
	t.Helper()
	if err := Setup(t.Context(), js, 1, takeEpoch(epoch)); err != nil {
		t.Fatal(err)
	}
}

func publish(t *testing.T, js jetstream.JetStream, subject string) uint64 {
	t.Helper()
	ack, err := js.Publish(t.Context(), subject, nil)
	if err != nil {
		t.Fatal(err)
	}
	return ack.Sequence
}

func TestEpochTellsAStreamThatIsNotTheNewestFromOneThatIs(t *testing.T) {
	js := natstest.Connect(t)
	if _, err := Epoch(t.Context(), js, at(1, 0)); !errors.Is(err, tokenworker.ErrMisconfigured) {
		t.Fatalf("without a stream: %v", err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: In, Subjects: []string{"x"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := Epoch(t.Context(), js, at(1, 0)); !errors.Is(err, tokenworker.ErrMisconfigured) {
		t.Fatalf("without an epoch: %v", err)
	}
	if err := js.DeleteStream(t.Context(), In); err != nil {
		t.Fatal(err)
	}
	setup(t, js, 3)
	if _, err := Epoch(t.Context(), js, at(4, 0)); !errors.Is(err, tokenworker.ErrRolledBack) {
		t.Fatalf("with an epoch that is not the highest: %v", err)
	}
}

func TestFollowRaisesTheMarkAndTellsAStreamThatGaveLess(t *testing.T) {
	js := natstest.Connect(t)
	setup(t, js, 3)
	for range 5 {
		publish(t, js, "tokens.v1.acquired.acme.google.42")
	}
	h := at(3, 2)
	if e, err := Follow(t.Context(), js, h, tokenworker.Stamp{}); e != 3 || err != nil || h.mark != at(3, 5).mark {
		t.Fatalf("epoch %d, error %v, mark %s; want 3, none, 3/5", e, err, h.mark)
	}
	if _, err := Follow(t.Context(), js, h, at(3, 6).mark); !errors.Is(err, tokenworker.ErrRolledBack) {
		t.Errorf("given 6 before, and the stream ends at 5: %v", err)
	}
	if _, err := Follow(t.Context(), js, h, at(2, 1000).mark); err != nil {
		t.Errorf("what a former stream gave does not count: %v", err)
	}
	h = at(3, 6)
	for name, look := range map[string]func() error{
		"Epoch":  func() error { _, err := Epoch(t.Context(), js, h); return err },
		"Follow": func() error { _, err := Follow(t.Context(), js, h, tokenworker.Stamp{}); return err },
	} {
		if err := look(); !errors.Is(err, tokenworker.ErrRolledBack) || h.mark != at(3, 6).mark {
			t.Errorf("%s below the mark: error %v, mark %s", name, err, h.mark)
		}
	}
}

func TestWhatAnEpochHandsOutIsReachedByItsNamesAlone(t *testing.T) {
	js, ctx := natstest.Connect(t), t.Context()
	setup(t, js, 3)
	if err := js.DeleteStream(ctx, In); err != nil {
		t.Fatal(err)
	}
	setup(t, js, 4)
	publish(t, js, "tokens.v1.disconnect.acme.google.42")
	for _, kind := range []string{Acquired, Disconnect, Refresh, Erase, Replay} {
		if _, err := js.Consumer(ctx, In, Durable(kind, 3)); !errors.Is(err, jetstream.ErrConsumerNotFound) {
			t.Errorf("the consumer of %s of the former epoch: %v", kind, err)
		}
		if _, err := js.Consumer(ctx, In, Durable(kind, 4)); err != nil {
			t.Errorf("the consumer of %s: %v", kind, err)
		}
	}
}

func TestSetupDeletesConsumersOfOtherNamesBeforeItCreates(t *testing.T) {
	js, ctx := natstest.Connect(t), t.Context()
	setup(t, js, 3)
	want := names(t, js)
	for _, kind := range []string{Acquired, Disconnect} { // as other epochs had them, and today's users have them
		if err := js.DeleteConsumer(ctx, In, Durable(kind, 3)); err != nil {
			t.Fatal(err)
		}
		c := consumerOf(kind).config(kind)
		if _, err := js.CreateConsumer(ctx, In, c); err != nil {
			t.Fatal(err)
		}
	}
	seq := publish(t, js, "tokens.v1.acquired.acme.google.42")
	foreign, err := js.Consumer(ctx, In, Acquired)
	if err != nil {
		t.Fatal(err)
	}
	pending, err := foreign.Next()
	if err != nil {
		t.Fatal(err)
	}
	if ds := check(t, js); len(ds) != 2 {
		t.Fatalf("Check = %v, want the two that are missing", ds)
	}

	setup(t, js, 99) // the stream is there: no epoch is taken
	if got := names(t, js); !slices.Equal(got, want) {
		t.Fatalf("consumers %v, want %v", got, want)
	}
	if err := pending.Ack(); err != nil {
		t.Fatal(err)
	}
	own, err := js.Consumer(ctx, In, Durable(Acquired, 3))
	if err != nil {
		t.Fatal(err)
	}
	again, err := own.Next(jetstream.FetchMaxWait(5 * time.Second))
	if err != nil {
		t.Fatalf("what was pending does not come again: %v", err)
	}
	if meta, err := again.Metadata(); err != nil || meta.Sequence.Stream != seq {
		t.Fatalf("message %+v, error %v; want sequence %d", meta, err, seq)
	}
}

func names(t *testing.T, js jetstream.JetStream) (list []string) {
	t.Helper()
	s, err := js.Stream(t.Context(), In)
	if err != nil {
		t.Fatal(err)
	}
	l := s.ConsumerNames(t.Context())
	for name := range l.Name() {
		list = append(list, name)
	}
	if l.Err() != nil {
		t.Fatal(l.Err())
	}
	slices.Sort(list)
	return list
}

func consumerOf(kind string) consumer {
	all := table(1)[0].consumers
	return all[slices.IndexFunc(all, func(c consumer) bool { return c.name == kind })]
}
