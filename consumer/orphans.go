package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker/streams"
)

// orphansEvery is how often the work queues are searched for orphans and for what is misplaced.
const orphansEvery = 10 * time.Minute

// sweepOrphans deletes orphans at once and then every ten minutes, until ctx ends.
//
// An orphan is a message of a work queue that was acknowledged and is there all the same: nats-server writes a consumer's
// acknowledgements and the removal of the message separately, so one that is killed between the two brings the message
// back, and never delivers it (seen with 2.15.2 and sync_interval: always, by the attack on P1). It would stay for ever.
func (w *Worker) sweepOrphans(ctx context.Context, h *hold) {
	for ctx.Err() == nil {
		for _, q := range [...]struct{ stream, durable string }{
			{streams.In, h.durable(streams.Acquired)}, {streams.In, h.durable(streams.Disconnect)},
			{streams.In, h.durable(streams.Erase)}, {streams.In, h.durable(streams.Replay)},
			{streams.Parked, streams.ParkedRetry},
		} {
			n, err := w.deleteOrphans(ctx, q.stream, q.durable)
			if n > 0 {
				w.cfg.Logger.InfoContext(ctx, "deleted messages that were settled before a server died",
					slog.String("consumer", q.durable), slog.Int("messages", n))
			}
			if err != nil && ctx.Err() == nil {
				w.cfg.Logger.WarnContext(ctx, "looking for settled messages failed", slog.String("consumer", q.durable),
					slog.Any("error", err))
			}
		}
		for _, stream := range [...]string{streams.In, streams.Parked, streams.Rescue} { // others let go of everything in time
			n, err := w.deleteMisplaced(ctx, stream)
			if n > 0 {
				w.metrics.foreign.WithLabelValues(stream).Add(float64(n))
				w.cfg.Logger.WarnContext(ctx, "deleted messages of other streams: somebody has had them delivered there",
					slog.String("stream", stream), slog.Int("messages", n))
			}
			if err != nil && ctx.Err() == nil {
				w.cfg.Logger.WarnContext(ctx, "looking for messages of other streams failed", slog.String("stream", stream),
					slog.Any("error", err))
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(orphansEvery):
		}
	}
}

// deleteOrphans deletes the messages of a consumer at or below its acknowledgement floor, below which all are
// acknowledged. What came since the floor was looked up is of a stream that was made anew. Where there are none, it costs two
// requests.
func (w *Worker) deleteOrphans(ctx context.Context, stream, durable string) (deleted int, err error) {
	cons, err := w.js.Consumer(ctx, stream, durable)
	if err != nil {
		return 0, fmt.Errorf("looking up the consumer: %w", err)
	}
	floor, filter := cons.CachedInfo().AckFloor.Stream, cons.CachedInfo().Config.FilterSubject
	for from := uint64(1); from <= floor; deleted++ {
		m, err := w.first(ctx, stream, from, filter)
		if err != nil || m == nil || m.Sequence > floor || m.Time.After(cons.CachedInfo().TimeStamp) {
			return deleted, err
		}
		s, err := w.handles.get(ctx, w.js, stream)
		if err != nil {
			return deleted, err
		}
		if err := s.DeleteMsg(ctx, m.Sequence); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return deleted, fmt.Errorf("deleting a settled message: %w", err)
		}
		from = m.Sequence + 1
	}
	return deleted, nil
}

// deleteMisplaced deletes messages that lie in a stream under a subject of another of the worker's. A pull whose reply subject is
// the stream's puts them there, under their old subject, where no consumer's filter finds them.
func (w *Worker) deleteMisplaced(ctx context.Context, stream string) (deleted int, err error) {
	s, err := w.handles.get(ctx, w.js, stream)
	if err != nil {
		return 0, fmt.Errorf("looking up stream %s: %w", stream, err)
	}
	for _, subject := range streams.Elsewhere(stream) {
		for ; ; deleted++ {
			m, err := w.first(ctx, stream, 1, subject)
			if err != nil {
				return deleted, err
			}
			if m == nil {
				break
			}
			if err := s.DeleteMsg(ctx, m.Sequence); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
				return deleted, fmt.Errorf("deleting a message of another stream: %w", err)
			}
		}
	}
	return deleted, nil
}
