package streams

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/nats-io/nats.go/jetstream"
)

// Queue is a durable consumer of a work queue.
type Queue struct{ Stream, Durable string }

// Queues lists all of them; those of [In] are an epoch's.
func Queues(epoch uint64) []Queue {
	var of []Queue
	for _, kind := range []string{Acquired, Disconnect, Refresh, Erase, Replay} {
		of = append(of, Queue{In, Durable(kind, epoch)})
	}
	return append(of, Queue{Parked, ParkedRetry}, Queue{Rescue, Rescuer}, Queue{Sweep, Sweeper})
}

// Leftovers yields the sequences of messages that the consumer has settled and the stream holds all the same: those at or below the
// acknowledgement floor, below which all are acknowledged. nats-server writes a consumer's acknowledgements and the removal of
// the message separately, so one that is killed between the two brings the message back, and never delivers it (seen with 2.15.2
// and sync_interval: always, by the attack on P1). It would stay for ever. What came since the floor was looked up is of a stream
// that was made anew. Where there are none, it costs three requests.
func Leftovers(ctx context.Context, js jetstream.JetStream, q Queue) iter.Seq2[uint64, error] {
	return func(yield func(uint64, error) bool) {
		cons, err := js.Consumer(ctx, q.Stream, q.Durable)
		if err != nil {
			yield(0, fmt.Errorf("looking up consumer %s: %w", q.Durable, err))
			return
		}
		s, err := js.Stream(ctx, q.Stream)
		if err != nil {
			yield(0, fmt.Errorf("looking up stream %s: %w", q.Stream, err))
			return
		}
		floor, filter := cons.CachedInfo().AckFloor.Stream, cons.CachedInfo().Config.FilterSubject
		for from := uint64(1); from <= floor; {
			m, err := s.GetMsg(ctx, from, jetstream.WithGetMsgSubject(filter))
			switch {
			case errors.Is(err, jetstream.ErrMsgNotFound):
				return
			case err != nil:
				yield(0, fmt.Errorf("looking into stream %s: %w", q.Stream, err))
				return
			case m.Sequence > floor || m.Time.After(cons.CachedInfo().TimeStamp) || !yield(m.Sequence, nil):
				return
			}
			from = m.Sequence + 1
		}
	}
}
