package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// refuse keeps a delivery as a dead letter, says so, and then destroys the message that brought it: in this order, so that
// a crash at any point leaves at least one of the two.
func (w *Worker) refuse(ctx context.Context, msg jetstream.Msg, d *delivery, code events.Code) error {
	letter, err := w.keys.SealDeadLetter(ctx, events.DeadLetter{
		Code: code, Stamp: d.stamp, Entered: d.entered, Refused: w.cfg.Now(), Carrier: d.carrier,
		Original: events.Message{Subject: d.subject, ID: d.messageID, Body: d.body},
	})
	if err != nil {
		return fmt.Errorf("sealing a dead letter: %w", err)
	}
	if err := w.publish(ctx, letter); err != nil {
		return err
	}
	if request, key, err := events.ParseSubject(d.subject); err == nil {
		if err := w.tell(ctx, key, events.RejectedData{
			Cause: events.Cause{Epoch: d.stamp.Epoch, Sequence: d.stamp.Sequence}, Request: request, Code: code,
		}); err != nil {
			return err
		}
	}
	if !d.sealed && !w.keys.HoldsNothingInClear(ctx, events.Message{Subject: d.subject, ID: d.messageID, Body: d.body}) {
		w.overwrite(ctx, msg, d)
	}
	if err := msg.TermWithReason(string(code)); err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
		return fmt.Errorf("terminating a refused message: %w", err)
	}
	w.metrics.deadLetters.WithLabelValues(string(code)).Inc()
	return nil
}

// overwrite destroys a message in its stream, which may hold a token in clear: terminating it would leave its bytes on disk
// until NATS compacts the file. Where the worker lacks the right to do so, the message is still terminated.
func (w *Worker) overwrite(ctx context.Context, msg jetstream.Msg, d *delivery) {
	meta, err := msg.Metadata()
	if err != nil {
		return // it was read before
	}
	s, err := w.handles.get(ctx, w.js, meta.Stream)
	if err == nil {
		about, _ := events.KeyOf(d.subject)
		err = w.wipe(ctx, s, meta, about.OrgID)
	}
	if err != nil {
		w.metrics.notErased.Inc()
		w.cfg.Logger.WarnContext(ctx, "a refused message may hold a token in clear and was not overwritten in its stream",
			slog.String("stream", meta.Stream), slog.Uint64("sequence", meta.Sequence.Stream), slog.Any("error", err))
	}
}

// wipe deletes a message, unless the stream was made anew and another message has its sequence.
func (w *Worker) wipe(ctx context.Context, s jetstream.Stream, meta *jetstream.MsgMetadata, orgID string) error {
	there, err := s.GetMsg(ctx, meta.Sequence.Stream)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound), err == nil && !there.Time.Equal(meta.Timestamp):
		return nil
	case err != nil:
		return fmt.Errorf("looking at the message: %w", err)
	}
	return w.wiper.Delete(ctx, s, meta.Sequence.Stream, orgID)
}

// readReplay opens a dead letter that an operator replays. The delivery is the original one, under its original stamp, so
// it cannot undo what came after it.
func (w *Worker) readReplay(ctx context.Context, msg jetstream.Msg, h *hold) (*delivery, error) {
	d, err := w.readLive(ctx, msg, h)
	if err != nil {
		return nil, err
	}
	letter, err := w.keys.OpenDeadLetter(ctx, events.Message{Subject: d.subject, ID: d.messageID, Body: d.body})
	if refusal := events.Code(""); errors.As(err, &refusal) {
		return d, err
	} else if err != nil {
		return d, fmt.Errorf("%w: %w", errKeyring, err)
	}
	if letter.Stamp.Compare(d.stamp) >= 0 || letter.Stamp == (tokenworker.Stamp{}) {
		return d, events.CodeInvalidData // a dead letter is older than its replay
	}
	return &delivery{
		carrier: d.carrier,
		subject: letter.Original.Subject, messageID: letter.Original.ID, body: letter.Original.Body,
		stamp: letter.Stamp, entered: letter.Entered, refused: letter.Refused, tries: d.tries, epoch: d.epoch, sealed: true,
	}, nil
}
