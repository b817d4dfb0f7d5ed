package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

func (s *story) refuse(ctx context.Context) (string, error) {
	before, err := s.record(ctx)
	if err != nil {
		return "", err
	}
	// A sealed payload under the name of another connection.
	moved, _, err := s.event("moved", s.other)
	if err != nil {
		return "", err
	}
	if err := s.seal(ctx, moved); err != nil {
		return "", err
	}
	original, err := events.Decoder{}.Decode(s.first)
	if err != nil {
		return "", err
	}
	moved.Sealed = original.Sealed
	m, err := moved.Message()
	if err != nil {
		return "", err
	}
	if _, err := s.deadLetter(ctx, m, events.CodeSealBroken); err != nil {
		return "", err
	}
	// Two whose tokens are in clear; they come back later.
	release, err := s.occupy(ctx)
	if err != nil {
		return "", err
	}
	for _, name := range []string{"late", "later"} {
		e, _, err := s.event(name, s.key)
		if err != nil {
			return "", err
		}
		if m, err = e.PlainMessage(); err != nil {
			return "", err
		}
		letter, err := s.deadLetter(ctx, m, events.CodePlainRefused)
		if err != nil {
			return "", err
		}
		s.letters = append(s.letters, letter)
	}
	if err := s.settled(ctx, 1); err != nil {
		return "", err
	}
	if _, err := s.scan(ctx); err != nil {
		return "", err
	}
	if err := release(); err != nil {
		return "", err
	}
	if _, err := s.dev.store.Get(ctx, s.other); !errors.Is(err, tokenworker.ErrNotFound) {
		return "", fmt.Errorf("looking up the other connection gave: %w", orNone(err))
	}
	return fmt.Sprintf("%s once, %s twice; each opens to the event it was", string(events.CodeSealBroken), string(events.CodePlainRefused)),
		s.unchanged(ctx, before)
}

func (s *story) replace(ctx context.Context) (string, error) {
	before, err := s.record(ctx)
	if err != nil {
		return "", err
	}
	e, set, err := s.event("second", s.key)
	if err != nil {
		return "", err
	}
	if err := s.seal(ctx, e); err != nil {
		return "", err
	}
	if s.second, err = e.Message(); err != nil {
		return "", err
	}
	stamp, err := s.publish(ctx, s.second, events.Stored)
	if err != nil {
		return "", err
	}
	s.newest = set
	r, err := s.record(ctx)
	if err != nil {
		return "", err
	}
	if err := expect(r.Stamp == stamp && stamp.Compare(before.Stamp) > 0, "the record is at %s", r.Stamp); err != nil {
		return "", err
	}
	if _, err := s.dev.sealer.Open(ctx, s.key, r.Fence, before.Sealed); !errors.Is(err, tokenworker.ErrSealBroken) {
		return "", fmt.Errorf("opening the older set in the newer record gave: %w", orNone(err))
	}
	return fmt.Sprintf("stamp %s after %s; the older set does not open in the newer record", r.Stamp, before.Stamp),
		s.holds(ctx, r)
}

// restart also lets the stream forget the message ids it has seen, as it does in an upgrade.
func (s *story) restart(ctx context.Context) (string, error) {
	before, err := s.record(ctx)
	if err != nil {
		return "", err
	}
	if _, err := s.scan(ctx); err != nil { // what shutting down tidies away
		return "", err
	}
	if err := s.stop(); err != nil {
		return "", err
	}
	begun := time.Now()
	if err := s.run(ctx, true); err != nil {
		return "", err
	}
	if err := s.unchanged(ctx, before); err != nil {
		return "", err
	}
	return fmt.Sprintf("after %d ms", time.Since(begun).Milliseconds()), s.holds(ctx, before)
}

func (s *story) redeliver(ctx context.Context) (string, error) {
	before, err := s.record(ctx)
	if err != nil {
		return "", err
	}
	repeated, err := send(ctx, s.publisher, s.first)
	if err != nil {
		return "", err
	}
	if err := s.replay(ctx, 0); err != nil {
		return "", err
	}
	if err := s.settled(ctx, 0); err != nil {
		return "", err
	}
	return fmt.Sprintf("the first event again at sequence %d, and a replayed dead letter", repeated), s.unchanged(ctx, before)
}

func (s *story) disconnect(ctx context.Context) (string, error) {
	e, err := events.NewDisconnect(s.key, "demo", "", time.Now())
	if err != nil {
		return "", err
	}
	m, err := e.Message()
	if err != nil {
		return "", err
	}
	stamp, err := s.publish(ctx, m, events.Disconnected)
	if err != nil {
		return "", err
	}
	r, err := s.record(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s at stamp %s; its set waits until the provider is enabled", r.Status, r.Stamp),
		expect(r.Status == tokenworker.Disconnecting && r.Stamp == stamp && r.Sealed == nil && len(r.Revoke) == 1,
			"the record is %s at %s with %d sets to revoke", r.Status, r.Stamp, len(r.Revoke))
}

func (s *story) comeLate(ctx context.Context) (string, error) {
	repeated, err := send(ctx, s.publisher, s.second)
	if err != nil {
		return "", err
	}
	for i := range 2 {
		if err := s.replay(ctx, i); err != nil {
			return "", err
		}
	}
	if err := s.settled(ctx, 0); err != nil {
		return "", err
	}
	r, err := s.record(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("the second event again at sequence %d, and two replays; one more set to revoke", repeated),
		expect(r.Status == tokenworker.Disconnecting && r.Sealed == nil && len(r.Revoke) == 2,
			"the record is %s with %d sets to revoke", r.Status, len(r.Revoke))
}

// scan looks through every file, and makes sure that it would have found something.
func (s *story) scan(context.Context) (string, error) {
	control, err := scanFiles(s.dir, map[string]string{"company id": s.key.CompanyID})
	if err != nil {
		return "", err
	}
	for _, place := range []string{"store.db", "nats" + string(filepath.Separator), "worker.log"} {
		found := slices.ContainsFunc(control.found, func(f string) bool { return strings.HasPrefix(f, place) })
		if err := expect(found, "the scan does not find what is in clear in %s", place); err != nil {
			return "", err
		}
	}
	looked, err := scanFiles(s.dir, s.secrets)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d tokens in %d files of %d KiB", len(s.secrets), looked.files, looked.bytes>>10),
		expect(len(looked.found) == 0, "%v", looked.found)
}
