package erase

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/wipe"
	"github.com/tokenworker/tokenworker/streams"
)

// Streams are those that an eraser reads and deletes from.
func Streams() []string {
	return []string{streams.In, streams.Parked, streams.Rescue, streams.DLQ, streams.Out}
}

// Count returns how many messages of each stream are about a connection, or about an organization, receipts and requests to
// erase aside.
func Count(ctx context.Context, js jetstream.JetStream, k tokenworker.Key) (map[string]int, error) {
	r := &erasure{Eraser: &Eraser{js: js}, Event: tokenworker.Event{
		Key: k, Stamp: tokenworker.Stamp{Epoch: math.MaxUint64, Sequence: math.MaxUint64},
	}}
	counts := make(map[string]int)
	for _, name := range Streams() {
		seen := make(map[uint64]bool)
		for m, err := range r.found(ctx, name) {
			if err != nil {
				return nil, err
			}
			seen[m.Sequence] = true
		}
		counts[name] = len(seen)
	}
	return counts, nil
}

// named lists the connections that an older message names which could still lead to a row: events that are not settled,
// rescued answers, dead letters. A request about one connection names it itself.
func (r *erasure) named(ctx context.Context) (map[tokenworker.Key]struct{}, error) {
	keys := make(map[tokenworker.Key]struct{})
	if r.Key.ProviderID != "" {
		keys[r.Key] = struct{}{}
		return keys, nil
	}
	for _, name := range []string{streams.In, streams.Parked, streams.Rescue, streams.DLQ} {
		for m, err := range r.found(ctx, name) {
			if err != nil {
				return nil, err
			}
			if k, _ := events.KeyOf(m.Subject); k.CompanyID != "" {
				keys[k] = struct{}{}
			}
		}
	}
	return keys, nil
}

// deleteAll deletes, in every stream, the messages that the request is about. Those that may hold a token in clear are
// overwritten: events that somebody has published, and that are not proven to be sealed. All other streams are the worker's.
func (r *erasure) deleteAll(ctx context.Context) error {
	for _, name := range Streams() {
		s, err := r.stream(ctx, name)
		if err != nil {
			return err
		}
		for m, err := range r.found(ctx, name) {
			if err == nil && name == streams.Out {
				err = r.cfg.OnRecord(ctx, m.Sequence)
			}
			if err != nil {
				return err
			}
			if err := r.delete(ctx, s, name, m); errors.Is(err, errMadeAnew) {
				break // what is in it now is newer than the request
			} else if err != nil {
				return fmt.Errorf("deleting from %s: %w", name, err)
			}
			r.deleted++
			if name != streams.Out && carriesTokens(m.Subject) {
				r.unrevoked++
			}
			r.unsettled = r.unsettled || name == streams.In || name == streams.Parked
		}
	}
	return nil
}

// errMadeAnew: since it was searched, the stream of events was deleted and made again, and it gives its sequences anew.
var errMadeAnew = errors.New("the stream of events was made anew")

func (r *erasure) delete(ctx context.Context, s jetstream.Stream, name string, m *jetstream.RawStreamMsg) error {
	event, published := eventIn(name, m)
	inClear := published && !r.keys.HoldsNothingInClear(ctx, event)
	if name == streams.In {
		if now, err := r.stream(ctx, name); err != nil {
			return err
		} else if !now.CachedInfo().Created.Equal(s.CachedInfo().Created) {
			return errMadeAnew
		}
	}
	if inClear {
		err := r.wiper.Delete(ctx, s, m.Sequence, r.Key.OrgID)
		if errors.Is(err, wipe.ErrOverLimit) {
			r.cfg.Logger.WarnContext(ctx, "a message may hold a token in clear and was not overwritten in its stream",
				slog.String("stream", name), slog.Uint64("sequence", m.Sequence), slog.Any("error", err))
			return nil
		}
		return err
	}
	if err := s.DeleteMsg(ctx, m.Sequence); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return fmt.Errorf("deleting message %d: %w", m.Sequence, err)
	}
	return nil
}

// eventIn is the event that a message of a stream is, as it was published; false: the worker has made the message.
func eventIn(stream string, m *jetstream.RawStreamMsg) (events.Message, bool) {
	switch stream {
	case streams.In:
		return events.Message{Subject: m.Subject, ID: m.Header.Get(events.MessageIDHeader), Body: m.Data}, true
	case streams.Parked:
		subject, _ := events.ParseParkedSubject(m.Subject)
		return events.Message{Subject: subject, ID: m.Header.Get(events.ParkedIDHeader), Body: m.Data}, true
	}
	return events.Message{}, false
}

// carriesTokens reports whether a message of the subject, or what is parked, refused or replayed in it, may hold a token set.
func carriesTokens(subject string) bool {
	if original, err := events.ParseParkedSubject(subject); err == nil {
		return carriesTokens(original)
	}
	for _, parse := range []func(string) (events.Code, string, error){events.ParseDeadLetterSubject, events.ParseReplaySubject} {
		if _, original, err := parse(subject); err == nil {
			return carriesTokens(original)
		}
	}
	if _, err := events.ParseRescueSubject(subject); err == nil {
		return true
	}
	kind, _, err := events.ParseSubject(subject)
	return err == nil && kind == events.Acquired
}

// found yields the messages of a stream that are about the connections and older than the request, but for receipts and
// requests to erase.
func (r *erasure) found(ctx context.Context, name string) iter.Seq2[*jetstream.RawStreamMsg, error] {
	return func(yield func(*jetstream.RawStreamMsg, error) bool) {
		s, err := r.stream(ctx, name)
		if err != nil {
			yield(nil, err)
			return
		}
		var epoch uint64
		if name == streams.In { // asked each time: it may have been made anew
			if epoch, err = streams.EpochIn(s.CachedInfo()); err != nil {
				yield(nil, err)
				return
			}
		}
		for _, pattern := range events.About(r.Key) {
			for m, err := range messages(ctx, s, pattern) {
				if err == nil && (!r.names(m.Subject) || !r.isOlder(name, epoch, m)) {
					continue
				}
				if !yield(m, err) || err != nil {
					return
				}
			}
		}
	}
}

// names reports whether a subject is about what the request is about.
func (r *erasure) names(subject string) bool {
	k, ok := events.KeyOf(subject)
	return ok && k.OrgID == r.Key.OrgID && (r.Key.ProviderID == "" || k == r.Key)
}

// isOlder reports whether a message of a stream is about what was before the request. One that does not say is. The epoch is
// that of the stream of events.
func (r *erasure) isOlder(name string, epoch uint64, m *jetstream.RawStreamMsg) bool {
	kind, _, err := events.ParseSubject(m.Subject)
	if err == nil && (kind == events.Erase || kind == events.Erased) {
		return false
	}
	switch name {
	case streams.In:
		return tokenworker.Stamp{Epoch: epoch, Sequence: m.Sequence}.Compare(r.Stamp) < 0
	case streams.DLQ:
		letter, err := events.ReadDeadLetter(events.Message{Subject: m.Subject, Body: m.Data})
		return err != nil || letter.Stamp.Compare(r.Stamp) < 0
	case streams.Out:
		var cause events.Cause // of what happened because of the request itself, too
		n, err := events.ParseNotice(events.Message{Subject: m.Subject, Body: m.Data})
		return err != nil || json.Unmarshal(n.Data, &cause) != nil ||
			tokenworker.Stamp{Epoch: cause.Epoch, Sequence: cause.Sequence}.Compare(r.Stamp) <= 0
	default:
		stamp, err := tokenworker.ParseStamp(m.Header.Get(events.StampHeader))
		return err != nil || stamp.Compare(r.Stamp) < 0
	}
}

// stream looks a stream up. Its leader is asked for messages (AllowDirect is off): a replica may lag, and miss what is to be deleted.
func (e *Eraser) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	s, err := e.js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("looking up stream %s: %w", name, err)
	}
	return s, nil
}

// messages yields the messages of a stream whose subjects match a pattern, in order. It stops after the first error.
func messages(ctx context.Context, s jetstream.Stream, pattern string) iter.Seq2[*jetstream.RawStreamMsg, error] {
	return func(yield func(*jetstream.RawStreamMsg, error) bool) {
		for from := uint64(1); ; {
			m, err := s.GetMsg(ctx, from, jetstream.WithGetMsgSubject(pattern))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return
			}
			if err != nil {
				err = fmt.Errorf("looking for messages: %w", err)
			}
			if !yield(m, err) || err != nil {
				return
			}
			from = m.Sequence + 1
		}
	}
}
