package rotator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/streams"
)

// save makes a provider's answer durable before anything else happens: in the store or, while that is down, in the rescue
// stream. With both down it keeps trying both, whatever becomes of ctx, until one succeeds or the grace after shutdown has
// passed. Then it announces.
func (r *Rotator) save(ctx context.Context, rec tokenworker.Record, f *tokenworker.Refresh) error {
	for try := 1; ; try++ {
		next, verdict, err := r.commit(ctx, rec, f)
		if err == nil {
			r.metrics.saved.WithLabelValues("store", verdict.String()).Inc()
			if verdict != tokenworker.Full {
				return r.announceOwn(ctx, next, f.Attempt)
			}
			err = fmt.Errorf("%w: no room on the revoke list", tokenworker.ErrUnavailable)
		}
		rescueErr := r.rescue.keep(ctx, r.cfg.AttemptTimeout, f)
		if rescueErr == nil {
			r.metrics.saved.WithLabelValues("rescue", "").Inc()
			r.cfg.Logger.WarnContext(ctx, "a refreshed set waits in the rescue stream", slog.String("key", f.Key.String()),
				slog.Any("error", err))
			return nil
		}
		r.cfg.Logger.ErrorContext(ctx, "a refreshed set cannot be saved; trying again", slog.String("key", f.Key.String()),
			slog.Int("try", try), slog.Any("store", err), slog.Any("rescue", rescueErr))
		select {
		case <-r.giveUp:
			r.cfg.Logger.ErrorContext(ctx, "a refreshed set is lost: neither store nor rescue stream took it before shutdown",
				slog.String("key", f.Key.String()))
			return errors.Join(err, rescueErr)
		case <-time.After(retryAfter(try)):
		}
	}
}

// retryAfter is the pause after so many tries to write what must be written.
func retryAfter(try int) time.Duration {
	return min(time.Duration(try)*100*time.Millisecond, 2*time.Second)
}

func (r *Rotator) commit(
	ctx context.Context, rec tokenworker.Record, f *tokenworker.Refresh,
) (tokenworker.Record, tokenworker.Verdict, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.AttemptTimeout)
	defer cancel()
	return r.store.Update(ctx, rec, tokenworker.Committing(f))
}

// failureTries is how often the end of an attempt that brought nothing is tried to be written, over some seconds. Failing, the claim
// stays and the attempt counts as unresolved, which is safe.
const failureTries = 10

// updateDurably writes how an attempt ended that brought nothing.
func (r *Rotator) updateDurably(
	ctx context.Context, rec tokenworker.Record, rule tokenworker.Rule,
) (next tokenworker.Record, err error) {
	for try := 1; ; try++ {
		attempt, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.AttemptTimeout)
		next, _, err = r.store.Update(attempt, rec, rule)
		cancel()
		if err == nil || try == failureTries {
			return next, err
		}
		select {
		case <-r.giveUp:
			return next, err
		case <-time.After(retryAfter(try)):
		}
	}
}

// rescue is the stream of answers that could not be stored.
type rescue struct {
	js jetstream.JetStream
}

// rescued is a refresh as the stream keeps it. The token set in it is sealed for the store.
type rescued struct {
	Version int                 `json:"version"`
	Key     string              `json:"key"`
	Refresh tokenworker.Refresh `json:"refresh"`
}

// keep returns when the stream has acknowledged.
func (s *rescue) keep(ctx context.Context, timeout time.Duration, f *tokenworker.Refresh) error {
	body, err := json.Marshal(rescued{Version: rescuedVersion, Key: f.Key.String(), Refresh: *f})
	if err != nil {
		return fmt.Errorf("encoding a refreshed set: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	msg := nats.NewMsg(events.RescueSubject(f.Key))
	msg.Data = body
	msg.Header.Set(events.StampHeader, f.From.Stamp.String())
	if _, err := s.js.PublishMsg(ctx, msg, jetstream.WithMsgID("rescue/"+f.Attempt.String())); err != nil {
		return fmt.Errorf("publishing to the rescue stream: %w", err)
	}
	return nil
}

// has reports whether such an answer about the connection waits in the stream. What another version has put there is not to be
// read: it is nil, and its event's stamp is what is known of it. The stream is asked at its leader.
func (s *rescue) has(ctx context.Context, k tokenworker.Key, such func(f *tokenworker.Refresh, stamp string) bool) (bool, error) {
	stream, err := s.js.Stream(ctx, streams.Rescue)
	if err != nil {
		return false, fmt.Errorf("looking up the rescue stream: %w", err)
	}
	for seq := uint64(1); ; {
		msg, err := stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(events.RescueSubject(k)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return false, nil
		} else if err != nil {
			return false, fmt.Errorf("looking into the rescue stream: %w", err)
		}
		f, err := readRescued(msg.Data)
		if err != nil {
			f = nil
		}
		if such(f, msg.Header.Get(events.StampHeader)) {
			return true, nil
		}
		seq = msg.Sequence + 1
	}
}

// rescuedVersion is that of the form. Another version's is kept for workers that know it.
const rescuedVersion = 1

var errRescued = errors.New("not a rescued refresh of this version")

func readRescued(body []byte) (*tokenworker.Refresh, error) {
	var w rescued
	if json.Unmarshal(body, &w) != nil || w.Version != rescuedVersion {
		return nil, errRescued
	}
	k, err := tokenworker.ParseKey(w.Key)
	if err != nil || k != w.Refresh.Key {
		return nil, errRescued
	}
	return &w.Refresh, nil
}

// replay commits what waits in the rescue stream. What waits any longer is given back, so that it holds nobody else up: the
// consumer has no bound on how many may wait.
func (r *Rotator) replay(ctx context.Context, msg jetstream.Msg) error {
	f, err := readRescued(msg.Data())
	if err != nil {
		r.cfg.Logger.ErrorContext(ctx, "a rescued set is of a version that this worker does not know; it is kept for one that does",
			slog.String("subject", msg.Subject()))
		return msg.NakWithDelay(unknownRetry)
	}
	again := func() error { return msg.NakWithDelay(rescueDelay(msg)) }
	next, verdict, err := r.commit(ctx, tokenworker.Record{Key: f.Key}, f)
	if err != nil || verdict == tokenworker.Full {
		return again()
	}
	r.metrics.saved.WithLabelValues("replay", verdict.String()).Inc()
	if err := r.announceOwn(ctx, next, f.Attempt); err != nil {
		return again()
	}
	return msg.Ack()
}

// Delays until what waits in the rescue stream is tried again; those of rescued sets double from first to last.
const (
	firstRescue, lastRescue = 5 * time.Second, time.Minute
	unknownRetry            = 10 * time.Minute
)

func rescueDelay(msg jetstream.Msg) time.Duration {
	delay := firstRescue
	if meta, err := msg.Metadata(); err == nil {
		for n := uint64(1); n < meta.NumDelivered && delay < lastRescue; n++ {
			delay *= 2
		}
	}
	return min(delay, lastRescue)
}
