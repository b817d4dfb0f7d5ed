package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/pull"
	"github.com/tokenworker/tokenworker/streams"
)

const (
	noticesAtOnce = 16
	noticeRetry   = 5 * time.Second // while the trail cannot be written
)

// recordNotices makes a record of each announcement, and acknowledges the announcement when that is durable.
func (t *Trail) recordNotices(ctx context.Context) error {
	return (&pull.Subscription{
		JS: t.js, Log: t.cfg.Logger, Stream: streams.Out, Durable: streams.Auditor, Limit: noticesAtOnce, Grace: t.cfg.Grace,
		Mark: events.MessageIDHeader, Foreign: t.metrics.foreign,
		Handle: func(ctx context.Context, msg jetstream.Msg) error {
			if err := t.recordNotice(ctx, msg); err != nil {
				t.cfg.Logger.WarnContext(ctx, "an announcement is not on record yet; trying again", slog.Any("error", err))
				_ = msg.NakWithDelay(noticeRetry) // failing too, it comes again after AckWait
			}
			return nil
		},
	}).Run(ctx)
}

func (t *Trail) recordNotice(ctx context.Context, msg jetstream.Msg) error {
	if meta, err := msg.Metadata(); err == nil {
		t.metrics.waiting.Set(float64(meta.NumPending))
	}
	n, err := events.ParseNotice(events.Message{Subject: msg.Subject(), Body: msg.Data()})
	if err != nil {
		t.cfg.Logger.ErrorContext(ctx, "an announcement cannot be read and is not on record", slog.Any("error", err))
		return msg.Ack()
	}
	if e, worth := entryOf(n); worth {
		if err := t.Record(ctx, e); err != nil {
			return err
		}
	}
	return msg.Ack()
}

// onRecordEvery is how often OnRecord looks.
const onRecordEvery = 100 * time.Millisecond

// OnRecord returns when every announcement up to a sequence of TOKENS_OUT is on record, or ctx ends.
func (t *Trail) OnRecord(ctx context.Context, sequence uint64) error {
	for {
		if is, err := t.isOnRecord(ctx, sequence); err != nil {
			return fmt.Errorf("%w: asking how far the audit trail is: %w", tokenworker.ErrUnavailable, err)
		} else if is {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(onRecordEvery):
		}
	}
}

// isOnRecord asks the stream itself what is left: how many messages the consumer says are pending lags behind what is stored
// already (nats-server 2.15).
func (t *Trail) isOnRecord(ctx context.Context, sequence uint64) (bool, error) {
	cons, err := t.js.Consumer(ctx, streams.Out, streams.Auditor)
	if err != nil {
		return false, err
	}
	at := cons.CachedInfo()
	if at.AckFloor.Stream >= sequence || at.NumAckPending > 0 {
		return at.AckFloor.Stream >= sequence, nil
	}
	out, err := t.js.Stream(ctx, streams.Out)
	if err != nil {
		return false, err
	}
	next, err := out.GetMsg(ctx, at.Delivered.Stream+1, jetstream.WithGetMsgSubject(at.Config.FilterSubject))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return true, nil
	} else if err != nil {
		return false, err
	}
	return next.Sequence > sequence, nil
}

// CatchUp records what was announced, as Run does, and returns when nothing is left.
func (t *Trail) CatchUp(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	ctx, done := context.WithCancel(ctx)
	g.Go(func() error { return t.recordNotices(ctx) })
	g.Go(func() error {
		defer done()
		return t.OnRecord(ctx, math.MaxUint64)
	})
	return g.Wait()
}

// entryOf is the record that a notice calls for. Two kinds call for none: recovered comes with refreshed, and expiring only
// warns.
func entryOf(n events.Notice) (tokenworker.AuditEntry, bool) {
	var data struct { // of any kind: they do not disagree on a field
		events.Cause
		Request    events.Kind `json:"request"`
		Reason     string      `json:"reason"`
		Code       string      `json:"code"`
		Generation uint64      `json:"generation"`
	}
	_ = json.Unmarshal(n.Data, &data) // what cannot be read is left out of the record
	e := tokenworker.AuditEntry{
		Key: n.Key, Actor: n.Source, Outcome: tokenworker.AuditDone, Time: n.Time, ID: n.Source + "/" + n.ID,
		Fence: tokenworker.Fence{
			Stamp: tokenworker.Stamp{Epoch: data.Epoch, Sequence: data.Sequence}, Generation: data.Generation,
		},
	}
	if data.EventID != "" {
		e.Actor, e.Event = data.EventSource, data.EventIdentity()
	}
	switch n.Kind {
	case events.Stored:
		e.Action, e.Reason = tokenworker.AuditWrite, string(events.Acquired)
	case events.Refreshed:
		e.Action, e.Reason = tokenworker.AuditRefresh, "rotation"
	case events.RefreshFailed:
		e.Action, e.Outcome, e.Reason = tokenworker.AuditRefresh, tokenworker.AuditFailed, data.Code
	case events.ReauthRequired:
		e.Action, e.Outcome, e.Reason = tokenworker.AuditRefresh, tokenworker.AuditRefused, data.Code
	case events.Disconnected:
		e.Action, e.Reason = tokenworker.AuditDisconnect, data.Reason
	case events.Revoked:
		e.Action, e.Reason = tokenworker.AuditRevoke, string(events.Disconnected)
	case events.RevokeFailed:
		e.Action, e.Outcome, e.Reason = tokenworker.AuditRevoke, tokenworker.AuditFailed, data.Code
	case events.Erased:
		e.Action, e.Reason = tokenworker.AuditErase, data.Reason
	case events.Rejected, events.Dropped:
		e.Action, e.Outcome, e.Reason = requested(data.Request), tokenworker.AuditRefused, data.Code
	default:
		return tokenworker.AuditEntry{}, false
	}
	return e, true
}

// requested is the action that a request asks for.
func requested(k events.Kind) tokenworker.AuditAction {
	switch k {
	case events.Acquired:
		return tokenworker.AuditWrite
	case events.Erase:
		return tokenworker.AuditErase
	case events.Disconnect:
		return tokenworker.AuditDisconnect
	default:
		return tokenworker.AuditRefresh
	}
}
