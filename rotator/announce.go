package rotator

import (
	"context"
	"errors"
	"fmt"
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

// owed makes a note of what a write of this process must announce.
func (r *Rotator) owed(a tokenworker.AttemptID, f tokenworker.Fence, code string, kinds ...events.Kind) *tokenworker.Owed {
	o := &tokenworker.Owed{Attempt: a, By: r.cfg.Process, Fence: f, Code: code, At: r.cfg.Now()}
	for _, k := range kinds {
		o.Kinds = append(o.Kinds, string(k))
	}
	return o
}

// announce publishes what the write that led to rec owes, and crosses it off where nothing else would soon. A record that
// is active and due again keeps the note: its next write replaces it, and until then another process that finds it asks
// the stream whether it was published.
func (r *Rotator) announce(ctx context.Context, rec tokenworker.Record) error {
	if rec.Owed == nil {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	if err := r.publishOwed(ctx, rec); err != nil {
		r.unannounced.add(rec)
		return nil //nolint:nilerr // it is kept and tried again; the write stands
	}
	return r.crossOff(ctx, rec)
}

// announceOwn announces what an attempt has written, be it by an earlier try whose reply was lost. What others owe is theirs
// to announce.
func (r *Rotator) announceOwn(ctx context.Context, rec tokenworker.Record, a tokenworker.AttemptID) error {
	if rec.Owed == nil || rec.Owed.Attempt != a {
		return nil
	}
	return r.announce(ctx, rec)
}

// crossOff removes the note of a record that would otherwise be due for nothing but the note.
func (r *Rotator) crossOff(ctx context.Context, rec tokenworker.Record) error {
	if rec.Status == tokenworker.Active || rec.Status == tokenworker.Disconnecting {
		return nil
	}
	_, _, err := r.store.Update(ctx, rec, tokenworker.Announced(*rec.Owed))
	return err
}

// settleOwed makes sure that what the last write of the record owes is announced before another write replaces the note.
// What this process wrote it has announced, or still will.
func (r *Rotator) settleOwed(ctx context.Context, rec tokenworker.Record) (tokenworker.Record, error) {
	if rec.Owed == nil || rec.Owed.By == r.cfg.Process && rec.Status == tokenworker.Active {
		return rec, nil
	}
	published, err := r.wasPublished(ctx, rec)
	if err != nil {
		return rec, err
	}
	if !published {
		if err := r.publishOwed(ctx, rec); err != nil {
			return rec, err
		}
	}
	if rec.Status == tokenworker.Active || rec.Status == tokenworker.Disconnecting {
		return rec, nil // the write that follows replaces the note
	}
	next, _, err := r.store.Update(ctx, rec, tokenworker.Announced(*rec.Owed))
	return next, err
}

// publishOwed returns when the stream has acknowledged every event that is owed.
func (r *Rotator) publishOwed(ctx context.Context, rec tokenworker.Record) error {
	for _, m := range r.notices(rec) {
		msg := nats.NewMsg(m.Subject)
		msg.Data = m.Body
		attempt, cancel := context.WithTimeout(ctx, r.cfg.AttemptTimeout)
		_, err := r.js.PublishMsg(attempt, msg, jetstream.WithMsgID(m.ID))
		cancel()
		if err != nil {
			return fmt.Errorf("announcing: %w", err)
		}
	}
	return nil
}

// wasPublished asks the stream for the last event of the last kind that is owed.
func (r *Rotator) wasPublished(ctx context.Context, rec tokenworker.Record) (bool, error) {
	ms := r.notices(rec)
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

// notices are the events that a record owes. Their ids follow from the attempt, so publishing again is a repeat.
func (r *Rotator) notices(rec tokenworker.Record) []events.Message {
	var ms []events.Message
	for _, kind := range rec.Owed.Kinds {
		m, err := events.NewNotice(rec.Key, r.cfg.Source, events.AttemptData{
			Kind: events.Kind(kind), Epoch: rec.Owed.Fence.Stamp.Epoch, Sequence: rec.Owed.Fence.Stamp.Sequence,
			Generation: rec.Owed.Fence.Generation, Attempt: rec.Owed.Attempt.String(), Code: rec.Owed.Code,
			ExpiresAt: rec.ExpiresAt, GrantExpiresAt: rec.GrantExpiresAt,
		}, rec.Owed.At)
		if err == nil {
			ms = append(ms, m)
		}
	}
	return ms
}
