package consumer

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// announce publishes what an event that was applied has led to. When the event is known already on a later delivery of
// its message, an earlier one may have died between commit and announcement: while the record still reflects the event, it
// is announced again, under the same message id.
func (w *Worker) announce(
	ctx context.Context, ev tokenworker.Event, data events.NoticeData, v tokenworker.Verdict, tries uint64,
) error {
	if v != tokenworker.Applied && (v != tokenworker.Repeated || tries < 2) {
		return nil
	}
	if v == tokenworker.Repeated {
		rec, err := w.store.Get(ctx, ev.Key)
		if errors.Is(err, tokenworker.ErrNotFound) || err == nil && rec.Stamp != ev.Stamp {
			return nil
		} else if err != nil {
			return err
		}
	}
	return w.tell(ctx, ev.Key, data)
}

// tell publishes a notice.
func (w *Worker) tell(ctx context.Context, k tokenworker.Key, data events.NoticeData) error {
	notice, err := events.NewNotice(k, w.cfg.Source, data, w.cfg.Now())
	if err != nil {
		return err
	}
	return w.publish(ctx, notice)
}

// publish returns when JetStream has acknowledged the message.
func (w *Worker) publish(ctx context.Context, m events.Message) error {
	msg := nats.NewMsg(m.Subject)
	msg.Data = m.Body
	if _, err := w.js.PublishMsg(ctx, msg, jetstream.WithMsgID(m.ID)); err != nil {
		return fmt.Errorf("publishing on NATS: %w", err)
	}
	return nil
}
