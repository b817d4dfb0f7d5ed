package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/streams"
)

// delivery is one event as it reached the worker: live, parked before, or replayed. Its stamp is its place in the
// stream when it first came in, whichever way it came now.
type delivery struct {
	carrier   string // names the message that brings it now, among all that any stream of its name ever had
	subject   string
	messageID string
	body      []byte
	stamp     tokenworker.Stamp
	entered   time.Time // into the stream, first
	refused   time.Time // of what is replayed
	tries     uint64    // deliveries of the message that brings it now, this one included
	epoch     uint64    // of the stream of events now
	parked    bool
	sealed    bool // what brings it now holds nothing in clear
}

// reader makes a delivery of a message. With an error it returns what it could read, so that it can be kept; nil when
// there is nothing to keep.
type reader func(ctx context.Context, msg jetstream.Msg, h *hold) (*delivery, error)

// readLive reads a message of the stream of events. It came by a consumer of the epoch that the worker holds, and so is of that.
func (w *Worker) readLive(_ context.Context, msg jetstream.Msg, h *hold) (*delivery, error) {
	d, err := readMessage(msg, h)
	if err == nil {
		h.see(d.stamp.Sequence)
	}
	return d, err
}

// readMessage reads a message of any stream. Its stamp is its own if it is of the stream of events.
func readMessage(msg jetstream.Msg, h *hold) (*delivery, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return nil, fmt.Errorf("reading the metadata of a message: %w", err)
	}
	return &delivery{
		// A stream that is made anew gives its sequences again, while message ids made of them may still be known.
		carrier: fmt.Sprintf("%s/%d/%d", meta.Stream, meta.Sequence.Stream, meta.Timestamp.UnixNano()),
		subject: msg.Subject(), messageID: msg.Headers().Get(events.MessageIDHeader), body: msg.Data(),
		stamp:   tokenworker.Stamp{Epoch: h.epoch, Sequence: meta.Sequence.Stream},
		entered: meta.Timestamp, tries: meta.NumDelivered, epoch: h.epoch,
	}, nil
}

// eraseDeadline bounds the handling of a request to erase. That of a large organization takes long.
const eraseDeadline = 24 * time.Hour

// handle takes one message from delivery to settlement. The error ends the worker.
func (w *Worker) handle(run, work context.Context, msg jetstream.Msg, h *hold, kind string, read reader) error {
	start := w.cfg.Now()
	deadline := w.cfg.Deadline
	if kind == streams.Erase {
		deadline = eraseDeadline
	}
	ctx, cancel := context.WithTimeout(work, deadline)
	d, err := read(ctx, msg, h)
	if err == nil {
		err = w.sound(ctx, h)
	}
	if err == nil {
		err = w.processSafely(ctx, d)
	}
	cancel()
	if d == nil { // not a message of a stream: nothing to settle
		w.cfg.Logger.ErrorContext(run, "reading a message failed", slog.String("consumer", kind), slog.Any("error", err))
		return nil
	}
	s := settle(err, d.tries, d.parked, run.Err() != nil)
	s = w.carryOut(work, msg, d, s, err)
	w.metrics.deliveries.WithLabelValues(kind, s.verb.String()).Inc()
	w.metrics.seconds.WithLabelValues(kind).Observe(w.cfg.Now().Sub(start).Seconds())
	if s.verb == halt {
		return err
	}
	return nil
}

// processSafely turns a panic into an error. What the panic says could hold a token and is not repeated.
func (w *Worker) processSafely(ctx context.Context, d *delivery) (err error) {
	defer func() {
		if p := recover(); p != nil {
			w.cfg.Logger.ErrorContext(ctx, "handling a delivery panicked", slog.String("stamp", d.stamp.String()),
				slog.String("type", fmt.Sprintf("%T", p)), slog.String("stack", string(debug.Stack())))
			err = errPanicked
		}
	}()
	return w.process(ctx, d)
}

// process does what an event asks for. When it returns nil, the effect is committed and announced.
func (w *Worker) process(ctx context.Context, d *delivery) error {
	e, err := w.admit(ctx, d)
	if err != nil {
		return err
	}
	ev := tokenworker.Event{Key: e.Key, Stamp: d.stamp, Entered: d.entered, ID: e.EventID()}
	cause := events.Cause{Epoch: d.stamp.Epoch, Sequence: d.stamp.Sequence, EventSource: e.Source, EventID: e.ID, EventTime: e.Time}
	var verdict tokenworker.Verdict
	var notice events.NoticeData
	switch e.Kind {
	case events.Acquired:
		verdict, notice, err = w.acquire(ctx, e, ev, cause)
	case events.Disconnect:
		verdict, notice, err = w.disconnect(ctx, ev, cause, e.Reason)
	case events.Refresh:
		return w.refresh(ctx, d, e, cause)
	case events.Erase:
		return w.erase(ctx, ev, cause, e.Reason)
	default:
		return events.CodeUnsupported
	}
	if err != nil {
		return err
	}
	w.handled(ctx, d, e, verdict.String())
	switch verdict {
	case tokenworker.Full:
		return errFull
	case tokenworker.Undecided:
		return errAttempt
	case tokenworker.Spent:
		return w.drop(ctx, ev, cause)
	default: // it is decided
	}
	if err := w.announce(ctx, ev, notice, verdict, d.tries); err != nil {
		return err
	}
	if e.Kind == events.Acquired && (verdict == tokenworker.Applied || verdict == tokenworker.Repeated) {
		return w.rotator.LookBack(ctx, ev.Key, ev.Stamp)
	}
	return nil
}

// admit reads the event of a delivery and returns it under its full key, once it may be handled.
func (w *Worker) admit(ctx context.Context, d *delivery) (*events.Event, error) {
	decoder := events.Decoder{AllowPlain: w.cfg.AllowPlain}
	e, err := decoder.Decode(events.Message{Subject: d.subject, ID: d.messageID, Body: d.body})
	if err != nil {
		return nil, err
	}
	if err := w.checkAge(d, e.Time); err != nil {
		return nil, err
	}
	if e.Kind == events.Acquired {
		if err := w.knowProvider(ctx, e.Key.ProviderID); err != nil {
			return nil, err
		}
	}
	if err := w.holdBack(ctx, d, e); err != nil {
		return nil, err
	}
	if e.Kind == events.Acquired && e.Key.CompanyID == "" {
		return w.identify(ctx, e)
	}
	return e, nil
}

// handled counts what an event has come to.
func (w *Worker) handled(ctx context.Context, d *delivery, e *events.Event, verdict string) {
	w.metrics.verdicts.WithLabelValues(string(e.Kind), verdict).Inc()
	w.cfg.Logger.DebugContext(ctx, "event handled", slog.String("kind", string(e.Kind)), slog.String("key", e.Key.String()),
		slog.String("stamp", d.stamp.String()), slog.String("verdict", verdict), slog.Uint64("tries", d.tries))
}

// disconnect stops what the store holds from being served, and says what to announce: how many sets wait to be revoked.
func (w *Worker) disconnect(
	ctx context.Context, ev tokenworker.Event, cause events.Cause, reason string,
) (tokenworker.Verdict, events.NoticeData, error) {
	end, err := w.turns.take(ctx, ev.Key)
	if err != nil {
		return 0, nil, err
	}
	defer end()
	notice := events.DisconnectedData{Cause: cause, Reason: reason}
	verdict, err := w.store.Disconnect(ctx, &tokenworker.Disconnection{
		Event: ev, SiblingsUntil: w.rotator.SiblingsUntil(ev.Key.ProviderID),
	})
	if err != nil || verdict != tokenworker.Applied && verdict != tokenworker.Repeated {
		return verdict, notice, err
	}
	rec, err := w.store.Get(ctx, ev.Key)
	notice.ToRevoke = len(rec.Revoke)
	return verdict, notice, err
}

// refresh puts a request to refresh on record and meets it, or says why not. A repeat only refreshes again.
func (w *Worker) refresh(ctx context.Context, d *delivery, e *events.Event, cause events.Cause) error {
	err := w.cfg.Record(ctx, tokenworker.AuditEntry{
		Action: tokenworker.AuditRefresh, Key: e.Key, Actor: e.Source, Reason: e.Reason, Outcome: tokenworker.AuditAsked,
		Fence: tokenworker.Fence{Stamp: d.stamp}, Event: e.EventID(), Time: w.cfg.Now(), ID: "event/" + d.stamp.String(),
	})
	if err != nil {
		return err
	}
	dropped, err := w.rotator.Ask(ctx, e.Key)
	if err != nil {
		return err
	}
	w.handled(ctx, d, e, cmp.Or(dropped, "done"))
	if dropped == "" {
		return nil
	}
	return w.tell(ctx, e.Key, events.DroppedData{Cause: cause, Request: e.Kind, Code: dropped})
}

// erase meets a request to erase. Without an eraser there is still what was parked before, or is replayed.
func (w *Worker) erase(ctx context.Context, ev tokenworker.Event, cause events.Cause, reason string) error {
	if w.cfg.Eraser == nil {
		return errNoEraser
	}
	return w.cfg.Eraser.Erase(ctx, ev, cause, reason)
}

// settleTimeout bounds each message to NATS that settling takes. Failing, the delivery comes again.
const settleTimeout = 10 * time.Second

// carryOut settles the message and returns what really became of it.
func (w *Worker) carryOut(work context.Context, msg jetstream.Msg, d *delivery, s settlement, cause error) settlement {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(work), settleTimeout)
	defer cancel()
	attrs := []slog.Attr{
		slog.String("stamp", d.stamp.String()), slog.Uint64("tries", d.tries), slog.String("settled", s.verb.String()),
		slog.Any("error", cause),
	}
	var err error
	switch s.verb {
	case ack:
		err = msg.Ack()
	case retry:
		w.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "delivery failed; trying again", attrs...)
		err = msg.NakWithDelay(jitter(s.delay))
	case release:
		err = msg.Nak()
	case halt:
		w.cfg.Logger.LogAttrs(ctx, slog.LevelError, "delivery stops the worker", attrs...)
	case park:
		w.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "event parked", attrs...)
		if err = w.parkDelivery(ctx, d); err == nil {
			err = msg.Ack()
		}
	case deadLetter:
		w.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "event refused", append(attrs, slog.String("code", string(s.code)))...)
		err = w.refuse(ctx, msg, d, s.code)
	}
	if err == nil || errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
		return s
	}
	w.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "settling a delivery failed; it comes again", append(attrs, slog.Any("settling", err))...)
	again := settlement{verb: retry, delay: backoff(firstRetry, lastRetry, d.tries)}
	_ = msg.NakWithDelay(jitter(again.delay)) // failing too, it comes again after AckWait
	return again
}

// jitter spreads d over ±20 %, so that what failed together does not come back together.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.4*float64(d)) //nolint:gosec // spreading load needs no secrecy
}
