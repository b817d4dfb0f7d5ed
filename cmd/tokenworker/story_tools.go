package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/client"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/streams"
)

// lookAgain is how often the demo looks at whether a condition holds.
const lookAgain = 10 * time.Millisecond

// expect returns an error in the given words unless what must hold does.
func expect(holds bool, format string, args ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, args...)
}

// event makes an acquired event with tokens of its own, which are remembered for the scan.
func (s *story) event(name string, key tokenworker.Key) (*events.Event, tokenworker.TokenSet, error) {
	// Characters that are spelled otherwise in a URL are among them.
	token := func(kind string) tokenworker.Secret {
		t := kind + "+" + rand.Text() + "/" + rand.Text()
		s.secrets[name+" "+kind+" token"] = t
		return tokenworker.SecretString(t)
	}
	set := tokenworker.TokenSet{
		AccessToken: token("access"), RefreshToken: token("refresh"), IDToken: token("id"),
		ExpiresAt: time.Now().Add(time.Hour).UTC().Truncate(time.Second),
	}
	e, err := events.NewAcquired(key, "demo", set, time.Now())
	return e, set, err
}

// seal seals an event to the worker's public key.
func (s *story) seal(ctx context.Context, e *events.Event) error {
	public, err := currentKey(ctx, s.dev.keys)
	if err != nil {
		return err
	}
	return e.Seal(public)
}

// publish publishes an event, waits until the worker has announced what it did, which must be want, and returns the
// event's stamp.
func (s *story) publish(ctx context.Context, m events.Message, want events.Kind) (tokenworker.Stamp, error) {
	sequence, got, err := client.NewPublisher(s.publisher, client.PublisherConfig{}).PublishAndWait(ctx, m)
	stamp := tokenworker.Stamp{Epoch: s.dev.consumer.Epoch(), Sequence: sequence}
	if got == client.Outcome(want) {
		return stamp, nil
	}
	return stamp, errors.Join(fmt.Errorf("the worker says %q, want %q", got, want), err)
}

// deadLetter publishes an event that must be refused with a code, and returns its dead letter, opened and compared.
func (s *story) deadLetter(ctx context.Context, m events.Message, code events.Code) (events.Message, error) {
	stamp, err := s.publish(ctx, m, events.Rejected)
	if err != nil {
		return events.Message{}, err
	}
	for kept, err := range messages(ctx, s.publisher, streams.DLQ) {
		if err != nil {
			return events.Message{}, err
		}
		letter := events.Message{Subject: kept.Subject, ID: kept.Header.Get(events.MessageIDHeader), Body: kept.Data}
		if d := readDeadLetter(kept); d.EventSequence != stamp.Sequence || d.Code != code {
			continue
		}
		opened, err := s.dev.keys.OpenDeadLetter(ctx, letter)
		if err != nil {
			return letter, fmt.Errorf("opening the dead letter: %w", err)
		}
		return letter, expect(reflect.DeepEqual(opened.Original, m) && opened.Stamp == stamp, "the dead letter is of another event")
	}
	return events.Message{}, fmt.Errorf("there is no dead letter of event %s with code %s", stamp, string(code))
}

// occupy leaves an event of another connection unsettled until it is released. NATS drops the files of a stream that gets
// empty, and with them what the worker should have overwritten.
func (s *story) occupy(ctx context.Context) (release func() error, err error) {
	if _, err := s.publisher.PauseConsumer(ctx, streams.In, s.durable(streams.Disconnect), time.Now().Add(stepLimit)); err != nil {
		return nil, fmt.Errorf("holding up disconnects: %w", err)
	}
	if err := s.disconnectBystander(ctx); err != nil {
		return nil, err
	}
	return func() error {
		if _, err := s.publisher.ResumeConsumer(ctx, streams.In, s.durable(streams.Disconnect)); err != nil {
			return fmt.Errorf("letting disconnects go on: %w", err)
		}
		// A resumed consumer delivers when the next message comes (nats-server 2.15).
		if err := s.disconnectBystander(ctx); err != nil {
			return err
		}
		return s.settled(ctx, 0)
	}, nil
}

// durable is what a consumer of the stream of events is called.
func (s *story) durable(kind string) string { return streams.Durable(kind, s.dev.consumer.Epoch()) }

func (s *story) disconnectBystander(ctx context.Context) error {
	bystander := s.key
	bystander.OrgID = "bystander"
	e, err := events.NewDisconnect(bystander, "demo", "", time.Now())
	if err != nil {
		return err
	}
	m, err := e.Message()
	if err == nil {
		_, err = send(ctx, s.publisher, m)
	}
	return err
}

// replay publishes the replay of a dead letter of an event in clear, as an operator does.
func (s *story) replay(ctx context.Context, i int) error {
	if i >= len(s.letters) {
		return errors.New("there is no dead letter to replay")
	}
	m, err := events.Replay(s.letters[i])
	if err == nil {
		_, err = send(ctx, s.publisher, m)
	}
	return err
}

// settled waits until no more than some events are unsettled, and makes sure that the worker has parked none and refused
// only the three that are bad.
func (s *story) settled(ctx context.Context, but uint64) error {
	counts := map[string]uint64{}
	for {
		for _, name := range []string{streams.In, streams.Parked, streams.DLQ} {
			stream, err := s.publisher.Stream(ctx, name)
			if err != nil {
				return streamError(name, err)
			}
			counts[name] = stream.CachedInfo().State.Msgs
		}
		if counts[streams.In] <= but {
			return expect(counts[streams.Parked] == 0 && counts[streams.DLQ] == 3, "%d events are parked and %d refused",
				counts[streams.Parked], counts[streams.DLQ])
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d events are not settled: %w", counts[streams.In], ctx.Err())
		case <-time.After(lookAgain):
		}
	}
}

func (s *story) record(ctx context.Context) (tokenworker.Record, error) {
	r, err := s.dev.store.Get(ctx, s.key)
	if err != nil {
		return r, fmt.Errorf("reading the record: %w", err)
	}
	return r, nil
}

// unchanged compares the record with what it was. Ids of events that had no effect may have been noted.
func (s *story) unchanged(ctx context.Context, before tokenworker.Record) error {
	r, err := s.record(ctx)
	if err != nil {
		return err
	}
	r.Seen, before.Seen = nil, nil
	return expect(reflect.DeepEqual(r, before), "the record changed: %s at %s, was %s at %s", r.Status, r.Stamp, before.Status,
		before.Stamp)
}

// holds makes sure that a record's sealed set is the newest that was published.
func (s *story) holds(ctx context.Context, r tokenworker.Record) error {
	plaintext, err := s.dev.sealer.Open(ctx, s.key, r.Fence, r.Sealed)
	if err != nil {
		return err
	}
	set, err := tokenworker.DecodeTokenSet(plaintext)
	if err != nil {
		return err
	}
	return expect(set.AccessToken.Equal(s.newest.AccessToken) && set.RefreshToken.Equal(s.newest.RefreshToken) &&
		set.IDToken.Equal(s.newest.IDToken), "the stored tokens are not those that were published last")
}
