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
	decoder := events.Decoder{AllowPlain: w.cfg.AllowPlain}
	e, err := decoder.Decode(events.Message{Subject: d.subject, ID: d.messageID, Body: d.body})
	if err != nil {
		return err
	}
	if err := w.checkAge(d, e.Time); err != nil {
		return err
	}
	if e.Kind == events.Acquired {
		if err := w.knowProvider(ctx, e.Key.ProviderID); err != nil {
			return err
		}
	}
	if err := w.holdBack(ctx, d, e); err != nil {
		return err
	}
	if e.Kind == events.Acquired && e.Key.CompanyID == "" {
		if e, err = w.identify(ctx, e); err != nil {
			return err
		}
	}
	ev := tokenworker.Event{Key: e.Key, Stamp: d.stamp, Entered: d.entered, ID: e.EventID()}
	cause := events.Cause{Epoch: d.stamp.Epoch, Sequence: d.stamp.Sequence, EventSource: e.Source, EventID: e.ID, EventTime: e.Time}
	switch {
	case e.Kind == events.Refresh: // a repeat only refreshes again
		if err := w.cfg.Record(ctx, tokenworker.AuditEntry{
			Action: tokenworker.AuditRefresh, Key: e.Key, Actor: e.Source, Reason: e.Reason, Outcome: tokenworker.AuditAsked,
			Fence: tokenworker.Fence{Stamp: d.stamp}, Event: ev.ID, Time: w.cfg.Now(), ID: "event/" + d.stamp.String(),
		}); err != nil {
			return err
		}
		outcome, err := w.rotator.Ask(ctx, e.Key)
		if err != nil {
			return err
		}
		w.handled(ctx, d, e, cmp.Or(outcome, "done"))
		if outcome == "" {
			return nil
		}
		return w.tell(ctx, e.Key, events.DroppedData{Cause: cause, Request: e.Kind, Code: outcome})
	case e.Kind == events.Erase && w.cfg.Eraser == nil: // parked before, or replayed
		return errNoEraser
	case e.Kind == events.Erase:
		return w.cfg.Eraser.Erase(ctx, ev, cause, e.Reason)
	}
	var verdict tokenworker.Verdict
	var notice events.NoticeData
	switch e.Kind {
	case events.Acquired:
		var details tokenworker.Details
		verdict, details, err = w.acquire(ctx, e, ev)
		notice = events.StoredData{
			Cause: cause, ExpiresAt: details.ExpiresAt, GrantExpiresAt: details.GrantExpiresAt, Refreshable: details.Refreshable,
		}
		if err == nil && verdict == tokenworker.Applied && !details.Refreshable && !details.ExpiresAt.IsZero() {
			w.cfg.Logger.WarnContext(ctx, "a set without a refresh token was stored: somebody must log in again when it expires",
				slog.String("key", e.Key.String()), slog.String("stamp", d.stamp.String()), slog.Time("expires_at", details.ExpiresAt))
		}
	case events.Disconnect:
		var waiting int
		verdict, waiting, err = w.disconnect(ctx, ev)
		notice = events.DisconnectedData{Cause: cause, Reason: e.Reason, ToRevoke: waiting}
	default:
		return events.CodeUnsupported
	}
	if err != nil {
		return err
	}
	w.handled(ctx, d, e, verdict.String())
	if verdict == tokenworker.Spent {
		return w.drop(ctx, ev, cause)
	}
	return w.conclude(ctx, d, e, ev, notice, verdict)
}

// conclude does what follows from an event's verdict, or says why the event is not done with.
func (w *Worker) conclude(
	ctx context.Context, d *delivery, e *events.Event, ev tokenworker.Event, notice events.NoticeData, verdict tokenworker.Verdict,
) error {
	if verdict == tokenworker.Full {
		return errFull
	} else if verdict == tokenworker.Undecided {
		return errAttempt
	}
	if err := w.announce(ctx, ev, notice, verdict, d.tries); err != nil {
		return err
	}
	if e.Kind == events.Acquired && (verdict == tokenworker.Applied || verdict == tokenworker.Repeated) {
		return w.rotator.LookBack(ctx, ev.Key, ev.Stamp)
	}
	return nil
}

// drop says that an acquired set was not stored.
func (w *Worker) drop(ctx context.Context, ev tokenworker.Event, cause events.Cause) error {
	w.cfg.Logger.WarnContext(ctx, "an acquired set is dropped: its refresh token may be spent", slog.String("key", ev.Key.String()),
		slog.String("stamp", ev.Stamp.String()), slog.String("code", events.ReusedRefreshToken))
	return w.tell(ctx, ev.Key, events.DroppedData{Cause: cause, Request: events.Acquired, Code: events.ReusedRefreshToken})
}

// handled counts what an event has come to.
func (w *Worker) handled(ctx context.Context, d *delivery, e *events.Event, verdict string) {
	w.metrics.verdicts.WithLabelValues(string(e.Kind), verdict).Inc()
	w.cfg.Logger.DebugContext(ctx, "event handled", slog.String("kind", string(e.Kind)), slog.String("key", e.Key.String()),
		slog.String("stamp", d.stamp.String()), slog.String("verdict", verdict), slog.Uint64("tries", d.tries))
}

// acquire opens the token set on the wire, seals it for the store, and stores it.
func (w *Worker) acquire(
	ctx context.Context, e *events.Event, ev tokenworker.Event,
) (tokenworker.Verdict, tokenworker.Details, error) {
	set, err := w.open(ctx, e)
	if err != nil {
		return 0, tokenworker.Details{}, err
	}
	if !set.IDToken.IsEmpty() {
		err = w.asking.do(ctx, e.Key.ProviderID, func() (err error) {
			set, err = w.cfg.VerifyIDToken(ctx, e.Key, set, e.Time)
			return err
		})
		if err != nil {
			return 0, tokenworker.Details{}, err
		}
	}
	set.Nonce = ""
	details := set.Details()
	plaintext, err := tokenworker.EncodeTokenSet(set)
	if err != nil {
		return 0, details, events.CodeInvalidTokenSet
	}
	sealed, err := w.sealer.Seal(ctx, e.Key, tokenworker.Fence{Stamp: ev.Stamp}, plaintext)
	clear(plaintext)
	if err != nil {
		return 0, details, err
	}
	policy := w.cfg.Policy(e.Key.ProviderID)
	a := &tokenworker.Acquisition{
		Event: ev, Sealed: sealed, Token: set.Fingerprint(e.Key), Details: details, DueAt: w.cfg.Due(e.Key, e.Time, set),
		KeepRevocations: policy.NarrowRevocation, Retain: policy.Retain, CheckAt: w.cfg.Now().Add(policy.CheckAfter),
		SiblingsUntil: w.rotator.SiblingsUntil(e.Key.ProviderID),
	}
	if !policy.Static {
		a.Spendable = tokenworker.NewFingerprint(e.Key, set.RefreshToken)
	}
	end, err := w.turns.take(ctx, e.Key)
	if err != nil {
		return 0, details, err
	}
	defer end()
	verdict, err := w.store.Acquire(ctx, a)
	if err == nil && verdict == tokenworker.Undecided {
		if a.Over, err = w.attemptOver(ctx, a); err == nil {
			verdict, err = w.store.Acquire(ctx, a)
		}
	}
	if verdict == tokenworker.Applied {
		w.rotator.Expect(e.Key, a.DueAt)
	}
	return verdict, details, err
}

// attemptOver returns the latest attempt at the refresh token of a set, which is over; zero: none is noted any more.
func (w *Worker) attemptOver(ctx context.Context, a *tokenworker.Acquisition) (tokenworker.AttemptID, error) {
	rec, err := w.store.Get(ctx, a.Key)
	if err != nil {
		return tokenworker.AttemptID{}, err
	}
	at := rec.AttemptAt(a.Spendable)
	if at == nil {
		return tokenworker.AttemptID{}, nil
	}
	if over, err := w.rotator.Over(ctx, a.Key, *at); err != nil {
		return tokenworker.AttemptID{}, err
	} else if !over {
		return tokenworker.AttemptID{}, errAttempt
	}
	return at.ID, nil
}

// open opens the token set on the wire.
func (w *Worker) open(ctx context.Context, e *events.Event) (tokenworker.TokenSet, error) {
	set, err := w.keys.Open(ctx, e)
	if refusal := events.Code(""); err != nil && !errors.As(err, &refusal) {
		err = fmt.Errorf("%w: %w", errKeyring, err)
	}
	return set, err
}

// disconnect stops what the store holds from being served, and returns how many sets wait to be revoked.
func (w *Worker) disconnect(ctx context.Context, ev tokenworker.Event) (tokenworker.Verdict, int, error) {
	end, err := w.turns.take(ctx, ev.Key)
	if err != nil {
		return 0, 0, err
	}
	defer end()
	verdict, err := w.store.Disconnect(ctx, &tokenworker.Disconnection{
		Event: ev, SiblingsUntil: w.rotator.SiblingsUntil(ev.Key.ProviderID),
	})
	if err != nil || verdict != tokenworker.Applied && verdict != tokenworker.Repeated {
		return verdict, 0, err
	}
	rec, err := w.store.Get(ctx, ev.Key)
	return verdict, len(rec.Revoke), err
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
