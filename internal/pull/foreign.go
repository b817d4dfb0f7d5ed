package pull

import (
	"context"
	"errors"
	"log/slog"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// NewForeign makes the counter of messages that were in a stream of the worker's and not put there by it: a reply subject of
// somebody's choice has the server do that. All packages that pull share it.
func NewForeign(reg prometheus.Registerer) (*prometheus.CounterVec, error) {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tokenworker_foreign_messages_total",
		Help: "Messages removed from a stream of the worker's that the worker had not put there, by stream.",
	}, []string{"stream"})
	err := reg.Register(c)
	var registered prometheus.AlreadyRegisteredError
	if errors.As(err, &registered) {
		if shared, ok := registered.ExistingCollector.(*prometheus.CounterVec); ok {
			return shared, nil
		}
	}
	return c, err
}

// handleOwn hands a message to Handle if it is the worker's own, and ends it otherwise.
func (s *Subscription) handleOwn(ctx context.Context, msg jetstream.Msg) error {
	if s.Mark == "" || msg.Headers().Get(s.Mark) != "" {
		return s.Handle(ctx, msg)
	}
	if err := msg.TermWithReason("foreign"); err != nil {
		s.Log.WarnContext(ctx, "a message of somebody else's could not be ended; it comes again", slog.String("stream", s.Stream),
			slog.Any("error", err))
		return nil
	}
	s.Foreign.WithLabelValues(s.Stream).Inc()
	return nil
}
