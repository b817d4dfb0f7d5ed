package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/streams"
)

// Headers of a parked message beside [events.StampHeader], whose subject, sequence and time in the stream are no longer the event's own.
const (
	enteredHeader   = "Tokenworker-Entered" // RFC 3339 with nanoseconds
	messageIDHeader = events.ParkedIDHeader // the event's own Nats-Msg-Id
)

// parkDelivery publishes the event unchanged on the parked stream, with its stamp. The event's own message may be
// acknowledged once it returns nil. The message id is that of the message which brought the event now: were it the
// event's, one that is parked, refused and replayed within the duplicate window would be lost as a repeat.
func (w *Worker) parkDelivery(ctx context.Context, d *delivery) error {
	msg := nats.NewMsg(events.ParkedSubject(d.subject))
	msg.Data = d.body
	msg.Header.Set(events.StampHeader, d.stamp.String())
	msg.Header.Set(enteredHeader, d.entered.UTC().Format(time.RFC3339Nano))
	msg.Header.Set(messageIDHeader, d.messageID)
	if _, err := w.js.PublishMsg(ctx, msg, jetstream.WithMsgID("parked/"+d.carrier)); err != nil {
		return fmt.Errorf("parking the event: %w", err)
	}
	return nil
}

// readParked restores the delivery that parkDelivery put aside.
func (w *Worker) readParked(_ context.Context, msg jetstream.Msg, h *hold) (*delivery, error) {
	d, err := readMessage(msg, h)
	if err != nil {
		return nil, err
	}
	d.parked = true
	subject, err := events.ParseParkedSubject(msg.Subject())
	if err != nil {
		return d, err
	}
	stamp, err := tokenworker.ParseStamp(msg.Headers().Get(events.StampHeader))
	if err != nil {
		return d, events.CodeInvalidEnvelope
	}
	entered, err := time.Parse(time.RFC3339Nano, msg.Headers().Get(enteredHeader))
	if err != nil {
		return d, events.CodeInvalidEnvelope
	}
	d.subject, d.stamp, d.entered, d.messageID = subject, stamp, entered, msg.Headers().Get(messageIDHeader)
	return d, nil
}

// holdBack returns errHeldBack while the original of a possible repeat is unsettled, or errAside where that is parked: what may take
// days holds no slot. An event may be a repeat that overtakes its own original if it entered the stream so long after its time that
// the stream's memory of message ids may no longer tell; all other events skip the look-up. A repeat has its original's subject and
// message id, so no other message is waited for.
//
// That a message is in the work queue does not prove that it is unsettled: a server that was killed may bring back messages
// that were acknowledged, and never deliver them again (see orphans.go). But an original that was settled is known to the
// record by its id, and then the repeat will change nothing.
func (w *Worker) holdBack(ctx context.Context, d *delivery, e *events.Event) error {
	if d.entered.Sub(e.Time) <= streams.DuplicateWindow-tokenworker.ClockSkew {
		return nil
	}
	held := w.original(ctx, d)
	if !errors.Is(held, errHeldBack) && !errors.Is(held, errAside) || e.Kind == events.Erase { // of an organization there is no record
		return held
	}
	rec, err := w.store.Get(ctx, e.Key)
	if err != nil && !errors.Is(err, tokenworker.ErrNotFound) {
		return err
	}
	if slices.Contains(rec.Seen, e.EventID()) {
		return nil
	}
	return held
}

// original returns errHeldBack or errAside if an earlier message of the same subject and message id is in the stream of events, or
// parked. Both streams answer from their leader (AllowDirect is off).
func (w *Worker) original(ctx context.Context, d *delivery) error {
	for from := uint64(1); ; {
		m, err := w.first(ctx, streams.In, from, d.subject)
		if err != nil {
			return err
		}
		if m == nil || d.stamp.Epoch == d.epoch && m.Sequence >= d.stamp.Sequence {
			break
		}
		if m.Header.Get(events.MessageIDHeader) == d.messageID {
			return errHeldBack
		}
		from = m.Sequence + 1
	}
	for from := uint64(1); ; {
		m, err := w.first(ctx, streams.Parked, from, events.ParkedSubject(d.subject))
		if m == nil || err != nil {
			return err
		}
		stamp, err := tokenworker.ParseStamp(m.Header.Get(events.StampHeader))
		if err == nil && stamp.Compare(d.stamp) < 0 && m.Header.Get(messageIDHeader) == d.messageID {
			return errAside
		}
		from = m.Sequence + 1
	}
}

// first is the first message of a subject at or after a sequence; nil: there is none.
func (w *Worker) first(ctx context.Context, stream string, from uint64, subject string) (*jetstream.RawStreamMsg, error) {
	s, err := w.handles.get(ctx, w.js, stream)
	if err != nil {
		return nil, fmt.Errorf("looking up stream %s: %w", stream, err)
	}
	msg, err := s.GetMsg(ctx, from, jetstream.WithGetMsgSubject(subject))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("looking for an earlier message: %w", err)
	}
	return msg, nil
}

// handles remembers the streams looked up so far.
type handles struct {
	mu      sync.Mutex
	streams map[string]jetstream.Stream
}

func (h *handles) get(ctx context.Context, js jetstream.JetStream, name string) (jetstream.Stream, error) {
	h.mu.Lock()
	s := h.streams[name]
	h.mu.Unlock()
	if s != nil {
		return s, nil
	}
	s, err := js.Stream(ctx, name)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.streams == nil {
		h.streams = make(map[string]jetstream.Stream)
	}
	h.streams[name] = s
	return s, nil
}
