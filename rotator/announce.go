package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/streams"
)

// announceAgain is when a record that is due for nothing else is looked at again, in case the process that wrote it died
// before it announced.
const announceAgain = time.Minute

// owed makes a note of what a write of this process must announce, which is in its hands from now on.
func (r *Rotator) owed(a tokenworker.AttemptID, f tokenworker.Fence, code string, kinds ...events.Kind) *tokenworker.Owed {
	r.unannounced.add(a)
	o := &tokenworker.Owed{Attempt: a, By: r.cfg.Process, Fence: f, Code: code, At: r.cfg.Now()}
	for _, k := range kinds {
		o.Kinds = append(o.Kinds, string(k))
	}
	return o
}

// announceOwn publishes what the write of an attempt owes, be it by an earlier try whose reply was lost, and crosses it off
// where nothing else would soon. A record that is active or disconnecting keeps the note: its next claim crosses it off, and
// until then another process that finds it asks the stream whether it was published. What others owe is theirs to announce.
func (r *Rotator) announceOwn(ctx context.Context, rec tokenworker.Record, a tokenworker.AttemptID) error {
	i := slices.IndexFunc(rec.Owed, func(o tokenworker.Owed) bool { return o.Attempt == a })
	if i < 0 {
		r.unannounced.remove(a) // not written after all, or announced by another
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	if err := r.publishOwed(ctx, rec, rec.Owed[i]); err != nil {
		r.unannounced.keep(rec, rec.Owed[i])
		return nil //nolint:nilerr // it is kept and tried again; the write stands
	}
	if claimed(rec) {
		return nil
	}
	_, _, err := r.store.Update(ctx, rec, tokenworker.Announced(a))
	return err
}

// claimed reports whether a record is sure to be claimed again, which crosses off what it owes. A set of which no expiry is
// known may be due for nothing but the note.
func claimed(rec tokenworker.Record) bool {
	return rec.Status == tokenworker.Active && !rec.ExpiresAt.IsZero() || rec.Status == tokenworker.Disconnecting
}

// settleOwed makes sure that what the record owes is announced, and returns the attempts that owed it for the next claim to
// cross off. What this process wrote it has announced already, unless it is in its hands (OwnToo).
func (r *Rotator) settleOwed(
	ctx context.Context, rec tokenworker.Record,
) (_ tokenworker.Record, announced []tokenworker.AttemptID, _ error) {
	for _, o := range rec.Owed {
		if o.By != r.cfg.Process || r.unannounced.has(o.Attempt) {
			published, err := r.wasPublished(ctx, rec, o)
			if err == nil && !published {
				err = r.publishOwed(ctx, rec, o)
			}
			if err != nil {
				return rec, nil, err
			}
		}
		announced = append(announced, o.Attempt)
	}
	if len(announced) == 0 || claimed(rec) {
		return rec, announced, nil
	}
	next, _, err := r.store.Update(ctx, rec, tokenworker.Announced(announced...))
	return next, nil, err
}

// publishOwed returns when the stream has acknowledged every event that is owed by one write.
func (r *Rotator) publishOwed(ctx context.Context, rec tokenworker.Record, o tokenworker.Owed) error {
	for _, m := range r.notices(rec, o) {
		msg := nats.NewMsg(m.Subject)
		msg.Data = m.Body
		attempt, cancel := context.WithTimeout(ctx, r.cfg.AttemptTimeout)
		_, err := r.js.PublishMsg(attempt, msg, jetstream.WithMsgID(m.ID))
		cancel()
		if err != nil {
			return fmt.Errorf("announcing: %w", err)
		}
	}
	r.unannounced.remove(o.Attempt)
	return nil
}

// wasPublished asks the stream for the last event of the last kind that is owed by one write.
func (r *Rotator) wasPublished(ctx context.Context, rec tokenworker.Record, o tokenworker.Owed) (bool, error) {
	ms := r.notices(rec, o)
	if len(ms) == 0 {
		return true, nil
	}
	stream, err := r.js.Stream(ctx, streams.Out)
	if err != nil {
		return false, fmt.Errorf("looking up the stream of announcements: %w", err)
	}
	last := ms[len(ms)-1]
	found, err := stream.GetLastMsgForSubject(ctx, last.Subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("looking for an announcement: %w", err)
	}
	return found.Header.Get(events.MessageIDHeader) == last.ID, nil
}

// notices are the events that one write of a record owes. Their ids follow from the attempt, so publishing again is a
// repeat. The expiries are those of the set that they are about, as long as the record holds it.
func (r *Rotator) notices(rec tokenworker.Record, o tokenworker.Owed) []events.Message {
	var ms []events.Message
	for _, kind := range o.Kinds {
		m, err := events.NewNotice(rec.Key, r.cfg.Source, noticeData(rec, o, events.Kind(kind)), o.At)
		if err == nil {
			ms = append(ms, m)
		}
	}
	return ms
}

// noticeData is what one of the events says.
func noticeData(rec tokenworker.Record, o tokenworker.Owed, kind events.Kind) events.NoticeData {
	if kind == events.Disconnected {
		return events.DisconnectedData{
			Cause:  events.Cause{Epoch: o.Fence.Stamp.Epoch, Sequence: o.Fence.Stamp.Sequence},
			Reason: o.Code, ToRevoke: len(rec.Revoke),
		}
	}
	data := events.AttemptData{
		Kind: kind, Epoch: o.Fence.Stamp.Epoch, Sequence: o.Fence.Stamp.Sequence,
		Generation: o.Fence.Generation, Attempt: o.Attempt.String(), Code: o.Code,
	}
	if rec.Fence == o.Fence {
		data.ExpiresAt, data.GrantExpiresAt = rec.ExpiresAt, rec.GrantExpiresAt
	}
	return data
}
