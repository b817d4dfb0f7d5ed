package streams

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker/internal/natstest"
)

// Misplace has a message of one stream delivered into another.
func misplace(t *testing.T, js jetstream.JetStream, from, durable, subject string) {
	t.Helper()
	if err := js.Conn().PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+from+"."+durable, subject, []byte(`{"batch": 1}`)); err != nil {
		t.Fatal(err)
	}
}

func TestMessagesOfOtherStreamsAreCounted(t *testing.T) {
	js := natstest.Connect(t)
	if err := Setup(t.Context(), js, 1, takeEpoch(1)); err != nil {
		t.Fatal(err)
	}
	into := map[string]string{ // a subject of each stream
		In: "tokens.v1.erase.a", DLQ: "tokens.v1.dlq.too_old.acquired.a.b.c", Parked: "tokens.v1.parked.acquired.a.b.c",
		Rescue: "tokens.v1.rescue.a.b.c", Sweep: "tokens.v1.sweep.b.0", Audit: "tokens.v1.audit.read.x",
	}
	for name, subject := range into {
		if _, err := js.Publish(t.Context(), "tokens.v1.event.stored.a.b.c", nil); err != nil {
			t.Fatal(err)
		}
		misplace(t, js, Out, Auditor, subject)
		deadline := time.Now().Add(10 * time.Second)
		for {
			s, err := js.Stream(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			n, err := Misplaced(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			if n == 1 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d misplaced messages in %s, want 1", n, name)
			}
		}
	}
	s, err := js.Stream(t.Context(), Out)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := Misplaced(t.Context(), s); n != 0 || err != nil {
		t.Errorf("%d misplaced messages in %s, %v", n, Out, err)
	}
}
