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

// orphansEvery is how often the work queues are searched for orphans and for what is misplaced. An orphaned sweep job keeps its
// shard from being swept.
const orphansEvery = time.Minute

// sweepOrphans deletes orphans at once and then every minute, until ctx ends. An orphan is a message of a work queue that was
// settled and is there all the same: see [streams.Leftovers].
func (w *Worker) sweepOrphans(ctx context.Context, h *hold) {
	for ctx.Err() == nil {
		for _, q := range streams.Queues(h.epoch) {
			n, err := w.deleteOrphans(ctx, q)
			if n > 0 {
				w.cfg.Logger.InfoContext(ctx, "deleted messages that were settled before a server died",
					slog.String("consumer", q.Durable), slog.Int("messages", n))
			}
			if err != nil && ctx.Err() == nil {
				w.cfg.Logger.WarnContext(ctx, "looking for settled messages failed", slog.String("consumer", q.Durable),
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

// deleteOrphans deletes the orphans of one queue.
func (w *Worker) deleteOrphans(ctx context.Context, q streams.Queue) (deleted int, err error) {
	for sequence, err := range streams.Leftovers(ctx, w.js, q) {
		if err != nil {
			return deleted, err
		}
		s, err := w.handles.get(ctx, w.js, q.Stream)
		if err != nil {
			return deleted, err
		}
		if err := s.DeleteMsg(ctx, sequence); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return deleted, fmt.Errorf("deleting a settled message: %w", err)
		}
		deleted++
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
