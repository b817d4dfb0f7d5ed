package main

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/tokenworker/tokenworker/internal/natstest"
	"github.com/tokenworker/tokenworker/streams"
)

func TestAWorkerIsSeenByWhatItDoes(t *testing.T) {
	t.Parallel()
	take := func(t *testing.T, js jetstream.JetStream) jetstream.Msg {
		t.Helper()
		cons, err := js.Consumer(t.Context(), streams.In, streams.Durable(streams.Disconnect, 1))
		if err != nil {
			t.Fatal(err)
		}
		msg, err := cons.Next()
		if err != nil {
			t.Fatal(err)
		}
		return msg
	}
	for _, c := range []struct {
		name          string
		before, after func(t *testing.T, js jetstream.JetStream) // the first look
		want          error
	}{
		{name: "nobody"},
		{name: "one was killed with a message under way", before: func(t *testing.T, js jetstream.JetStream) { take(t, js) }},
		{name: "one asks for work of one kind", after: func(t *testing.T, js jetstream.JetStream) {
			cons, err := js.Consumer(t.Context(), streams.Sweep, streams.Sweeper)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := cons.Fetch(1, jetstream.FetchContext(t.Context())); err != nil {
				t.Fatal(err)
			}
			for waiting := 0; waiting == 0; { // the server takes the request up in its own time
				info, err := cons.Info(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				waiting = info.NumWaiting
			}
		}, want: errWorker},
		{name: "one is given something between two looks", after: func(t *testing.T, js jetstream.JetStream) {
			if err := take(t, js).DoubleAck(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, want: errWorker},
		{name: "one answers reads", after: func(t *testing.T, js jetstream.JetStream) {
			s, err := micro.AddService(js.Conn(), micro.Config{Name: "tokenworker", Version: "1.0.0"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Stop() })
		}, want: errWorker},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			js := natstest.Connect(t)
			err := streams.Setup(t.Context(), js, 1, func(context.Context) (uint64, error) { return 1, nil })
			if err != nil {
				t.Fatal(err)
			}
			if _, err := js.Publish(t.Context(), "tokens.v1.disconnect.acme.google.42", nil); err != nil {
				t.Fatal(err)
			}
			if c.before != nil {
				c.before(t, js)
			}
			w := &watch{js: js, delivered: make(map[string]uint64)}
			if err := w.quiet(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			if c.after != nil {
				c.after(t, js)
			}
			if err := w.quiet(t.Context(), 0); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}
