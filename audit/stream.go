package audit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/streams"
)

// message is a message of the stream of the trail.
type message struct {
	sequence uint64
	entered  time.Time
	subject  string
	data     []byte
}

// Sequences are those of the first and the last record, answered by the stream's leader. When there is none, last is less.
func (t *Trail) Sequences(ctx context.Context) (first, last uint64, err error) {
	s, err := t.js.Stream(ctx, streams.Audit)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, 0, fmt.Errorf("%w: stream %s does not exist; run `tokenworker setup`", tokenworker.ErrMisconfigured, streams.Audit)
	} else if err != nil {
		return 0, 0, fmt.Errorf("%w: looking up stream %s: %w", tokenworker.ErrUnavailable, streams.Audit, err)
	}
	state := s.CachedInfo().State
	return max(state.FirstSeq, 1), state.LastSeq, nil
}

const (
	readBatch   = 500
	readWait    = 5 * time.Second  // for a batch that the stream has said it holds
	readerAlive = 30 * time.Second // for a reader that stopped asking
)

// messages yields the messages from a sequence on, in order, that match a subject (empty: all) and are there when it begins.
// After an error it stops. It takes one consumer, which the server removes by itself.
func (t *Trail) messages(ctx context.Context, from uint64, subject string) iter.Seq2[message, error] {
	return func(yield func(message, error) bool) {
		cons, err := t.js.CreateConsumer(ctx, streams.Audit, jetstream.ConsumerConfig{
			DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from, FilterSubject: subject,
			AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: readerAlive,
		})
		if err != nil {
			yield(message{}, fmt.Errorf("%w: reading the audit trail: %w", tokenworker.ErrUnavailable, err))
			return
		}
		left := cons.CachedInfo().NumPending
		for left > 0 {
			batch, err := cons.Fetch(int(min(left, readBatch)), jetstream.FetchMaxWait(readWait))
			if err != nil {
				yield(message{}, fmt.Errorf("%w: reading the audit trail: %w", tokenworker.ErrUnavailable, err))
				return
			}
			got := 0
			for msg := range batch.Messages() {
				got++
				meta, err := msg.Metadata()
				if err != nil {
					yield(message{}, fmt.Errorf("reading the metadata of a message: %w", err))
					return
				}
				if !yield(message{meta.Sequence.Stream, meta.Timestamp, msg.Subject(), msg.Data()}, nil) {
					return
				}
			}
			if got == 0 {
				yield(message{}, fmt.Errorf("%w: reading the audit trail: %w", tokenworker.ErrUnavailable,
					errors.Join(errStopped, batch.Error(), ctx.Err())))
				return
			}
			left -= min(left, uint64(got))
		}
	}
}

var errStopped = errors.New("the stream stopped answering")
