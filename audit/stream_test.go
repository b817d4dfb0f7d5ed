package audit_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker/audit"
)

// blip is JetStream over a connection that breaks during the first fetch of every consumer, as often as left says.
type blip struct {
	jetstream.JetStream
	t     *testing.T
	left  int
	after int // messages that still arrive
	lost  int // messages after those, sent and never received
}

func (b *blip) CreateConsumer(ctx context.Context, stream string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	cons, err := b.JetStream.CreateConsumer(ctx, stream, cfg)
	if err != nil || b.left == 0 {
		return cons, err
	}
	b.left--
	return &blinking{cons, b.t, b.after, b.lost, 0}, nil
}

type blinking struct {
	jetstream.Consumer
	t *testing.T

	after, lost, fetches int
}

func (c *blinking) Fetch(n int, opts ...jetstream.FetchOpt) (jetstream.MessageBatch, error) {
	switch c.fetches++; {
	case c.fetches == 1 && c.after > 0:
		return c.Consumer.Fetch(c.after, opts...)
	case c.fetches <= 2 && c.lost > 0:
		batch, err := c.Consumer.Fetch(c.lost, opts...)
		if err != nil {
			return nil, err
		}
		for range batch.Messages() {
			c.lost--
		}
		soon, cancel := context.WithTimeout(c.t.Context(), 50*time.Millisecond) // it may have been all
		c.t.Cleanup(cancel)
		opts = append(opts, jetstream.FetchContext(soon))
	}
	return c.Consumer.Fetch(n, opts...)
}

func TestWhatABrokenConnectionLosesIsReadAgain(t *testing.T) {
	for _, c := range []struct {
		name string
		blip
	}{
		{"at the beginning", blip{left: 1, lost: 3}},
		{"in the middle", blip{left: 1, after: 5, lost: 3}},
		{"at the end", blip{left: 1, after: 8, lost: 4}},
		{"once for each consumer that came on", blip{left: 3, after: 2, lost: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := covered(t)
			b := c.blip
			b.JetStream, b.t = r.js, t
			trail := r.over(&b)
			report, err := trail.Verify(t.Context())
			must(t, err)
			if report.Last != 12 || report.Covered != 10 || report.Tail != 2 {
				t.Errorf("report %+v", report)
			}
			b = c.blip
			b.JetStream, b.t = r.js, t
			want := uint64(1)
			for rec, err := range trail.Records(t.Context(), 1, r.Keys().Pseudonym(acme)) {
				must(t, err)
				if rec.Sequence != want {
					t.Fatalf("record %d follows on %d", rec.Sequence, want-1)
				}
				want++
			}
			if want != 13 {
				t.Errorf("the last record is %d", want-1)
			}
		})
	}
}

func TestAConnectionThatBreaksAgainAndAgainIsAnErrorAndNoBreak(t *testing.T) {
	r := covered(t)
	_, err := r.over(&blip{JetStream: r.js, t: t, left: 2, lost: 12}).Verify(t.Context())
	var broken *audit.BreakError
	if err == nil || errors.As(err, &broken) {
		t.Errorf("error %v, want that the stream cannot be read", err)
	}
}
