package audit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
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
// After an error it stops. It takes one consumer, which the server removes by itself, and another where a delivery was lost:
// to the server what it has sent to a connection that breaks is delivered.
func (t *Trail) messages(ctx context.Context, from uint64, subject string) iter.Seq2[message, error] {
	return func(yield func(message, error) bool) {
		r := reader{trail: t, subject: subject, next: from, left: math.MaxUint64}
		for {
			before := r.next
			err := r.read(ctx, yield)
			if err == nil {
				return
			}
			if r.next == before && r.retried || ctx.Err() != nil {
				yield(message{}, fmt.Errorf("%w: reading the audit trail: %w", tokenworker.ErrUnavailable, err))
				return
			}
			r.retried = r.next == before
		}
	}
}

// reader reads the stream once, with one consumer after the other.
type reader struct {
	trail   *Trail
	subject string
	next    uint64 // sequence after the last message that was yielded
	left    uint64 // messages to come, at most
	retried bool   // the consumer before the last yielded nothing
}

var (
	errStopped = errors.New("the stream stopped answering")
	errLost    = errors.New("a delivery was lost")
)

// read yields what one consumer delivers. The error says that there may be more.
func (r *reader) read(ctx context.Context, yield func(message, error) bool) error {
	cons, err := r.trail.js.CreateConsumer(ctx, streams.Audit, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: r.next, FilterSubject: r.subject,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: readerAlive,
	})
	if err != nil {
		return err
	}
	r.left = min(r.left, cons.CachedInfo().NumPending)
	more := true
	for delivered := uint64(0); more && r.left > 0 && err == nil; {
		more, err = r.batch(ctx, cons, &delivered, yield)
	}
	return err
}

// batch yields a batch of what a consumer delivers, and counts it. It is false when no more is wanted.
func (r *reader) batch(
	ctx context.Context, cons jetstream.Consumer, delivered *uint64, yield func(message, error) bool,
) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, readWait)
	defer cancel()
	batch, err := cons.Fetch(int(min(r.left, readBatch)), jetstream.FetchContext(ctx))
	if err != nil {
		return false, err
	}
	before := *delivered
	for msg := range batch.Messages() {
		meta, err := msg.Metadata()
		if err != nil {
			return false, err
		}
		if *delivered++; meta.Sequence.Consumer != *delivered {
			return false, errLost
		}
		r.next, r.left = meta.Sequence.Stream+1, r.left-1
		if !yield(message{meta.Sequence.Stream, meta.Timestamp, msg.Subject(), msg.Data()}, nil) {
			return false, nil
		}
	}
	if err := batch.Error(); err != nil {
		return false, err
	}
	if *delivered == before {
		return false, errors.Join(errStopped, ctx.Err())
	}
	return true, nil
}
