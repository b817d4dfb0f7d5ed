package nats_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker/internal/pull"
	"github.com/tokenworker/tokenworker/streams"
)

// TestEmptyEventsWithholdNoOthers: through an import, the server takes a message without headers and body for the last answer to a
// request, and drops what else it sends for that. A worker that asks for one message at a time loses nothing by it.
func TestEmptyEventsWithholdNoOthers(t *testing.T) {
	const pairs = 100
	r := try(t, apart(), admin, auditAdmin)
	events := r.js(publisher)
	for range pairs {
		for _, body := range [][]byte{nil, []byte("x")} {
			_, err := events.Publish(t.Context(), "tokens.v1.acquired.acme.google.1", body)
			must(t, err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var handled, again atomic.Int64
	must(t, (&pull.Subscription{
		JS: r.js(worker), Log: slog.New(slog.DiscardHandler), Stream: streams.In, Durable: r.ofSeed(streams.In), Limit: 64,
		Grace: 10 * time.Second,
		Handle: func(ctx context.Context, msg jetstream.Msg) error {
			meta, err := msg.Metadata()
			if err != nil {
				return err
			}
			if meta.NumDelivered > 1 {
				again.Add(1)
			}
			if err := msg.DoubleAck(ctx); err != nil {
				return err
			}
			if handled.Add(1) == 2*pairs {
				stop()
			}
			return nil
		},
	}).Run(ctx))
	if n := again.Load(); n > 0 {
		t.Errorf("%d of %d events were withheld and delivered again", n, 2*pairs)
	}
}
