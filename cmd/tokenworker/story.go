package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// story is the demo's: one connection from its first token to its end, with all that goes wrong on the way.
type story struct {
	dir string
	log *os.File // of the worker, at debug level; in the directory, so that it is scanned too

	dev       *dev
	end       func() error        // stops the worker that runs
	publisher jetstream.JetStream // connects as an upstream service does
	close     func()              // its connection

	key, other tokenworker.Key
	secrets    map[string]string // every token by what it is, to be looked for in files
	found      []string          // where one was found

	first, second events.Message // the acquired events that are good
	newest        tokenworker.TokenSet
	letters       []events.Message // dead letters of events in clear, older than the second
}

func newStory(dir string) (*story, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the demo's folder: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(dir, "worker.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making the worker's log: %w", err)
	}
	s := &story{dir: dir, log: log, secrets: map[string]string{}}
	s.key = tokenworker.Key{OrgID: "acme", ProviderID: "gusto", CompanyID: "company-" + rand.Text()}
	s.other = s.key
	s.other.CompanyID = "company-" + rand.Text()
	return s, nil
}

// steps are the checks in the order in which they are made: each builds on those before it.
func (s *story) steps() []step {
	steps := []step{
		{"a worker starts, with all it needs in one process", s.start},
		{"a sealed acquired event is stored", s.acquire},
		{"the stored tokens open with their connection's key", s.open},
		{"they are refused for another connection, organization or place", s.openElsewhere},
		{"bad events land in the dead letters, sealed", s.refuse},
		{"a newer token replaces the older", s.replace},
		{"everything is still there after a restart", s.restart},
		{"stale redeliveries change nothing", s.redeliver},
		{"a disconnect leaves a row that serves nothing", s.disconnect},
		{"no late event brings a token back", s.comeLate},
		{"no token is found in any file, in any form", s.scan},
	}
	for i, st := range steps[1:] {
		steps[i+1].do = func(ctx context.Context) (string, error) {
			if s.dev == nil {
				return "", errors.New("the worker does not run")
			}
			return st.do(ctx)
		}
	}
	return steps
}

func (s *story) start(ctx context.Context) (string, error) {
	begun := time.Now()
	if err := s.run(ctx, false); err != nil {
		return "", err
	}
	return fmt.Sprintf("NATS at %s, after %d ms", s.dev.natsURL, time.Since(begun).Milliseconds()), nil
}

// run starts a worker, and connects to it as a publisher does.
func (s *story) run(ctx context.Context, allowPlain bool) error {
	log := slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	d, err := startDev(ctx, devConfig{
		dir: s.dir, worker: workerFlags{allowPlain: allowPlain, scope: "org"}, log: log, metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		return err
	}
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- d.Run(working) }()
	s.dev, s.end = d, func() error { stop(); return errors.Join(<-ended, d.close()) }
	nc, err := dataDir(s.dir).connect(ctx, natsOptions(log)...)
	if err != nil {
		return err
	}
	s.close = nc.Close
	s.publisher, err = jetstream.New(nc)
	return err
}

// stop ends the worker, if one runs.
func (s *story) stop() error {
	if s.close != nil {
		s.close()
	}
	var err error
	if s.end != nil {
		err = s.end()
	}
	s.dev, s.end, s.close = nil, nil, nil
	return err
}

func (s *story) acquire(ctx context.Context) (string, error) {
	e, set, err := s.event("first", s.key)
	if err != nil {
		return "", err
	}
	if err := s.seal(ctx, e); err != nil {
		return "", err
	}
	if s.first, err = e.Message(); err != nil {
		return "", err
	}
	s.newest = set
	stamp, err := s.publish(ctx, s.first, events.Stored)
	if err != nil {
		return "", err
	}
	r, err := s.record(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s at stamp %s, %d bytes sealed", r.Status, r.Stamp, len(r.Sealed)),
		expect(r.Status == tokenworker.Active && r.Stamp == stamp && len(r.Sealed) > 0, "the record is %s at %s", r.Status, r.Stamp)
}

func (s *story) open(ctx context.Context) (string, error) {
	r, err := s.record(ctx)
	if err != nil {
		return "", err
	}
	return "access, refresh and id token are those that were published", s.holds(ctx, r)
}

func (s *story) openElsewhere(ctx context.Context) (string, error) {
	r, err := s.record(ctx)
	if err != nil {
		return "", err
	}
	otherOrg, later := s.key, r.Fence.Next()
	otherOrg.OrgID = "other"
	for _, at := range []struct {
		what  string
		key   tokenworker.Key
		fence tokenworker.Fence
	}{
		{"another connection", s.other, r.Fence}, {"another organization", otherOrg, r.Fence}, {"a newer record", s.key, later},
	} {
		if _, err := s.dev.sealer.Open(ctx, at.key, at.fence, r.Sealed); !errors.Is(err, tokenworker.ErrSealBroken) {
			return "", fmt.Errorf("opening them for %s gave: %w", at.what, orNone(err))
		}
	}
	return "three tries, each refused as " + fmt.Sprintf("%q", tokenworker.ErrSealBroken), nil
}

var errNone = errors.New("no error")

func orNone(err error) error {
	if err == nil {
		return errNone
	}
	return err
}

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
	if err := s.settled(ctx); err != nil { // by then what was in clear is overwritten
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
	if err := s.replay(ctx, s.letters[0]); err != nil {
		return "", err
	}
	if err := s.settled(ctx); err != nil {
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
	return fmt.Sprintf("%s at stamp %s; its set waits for revocation", r.Status, r.Stamp),
		expect(r.Status == tokenworker.Disconnecting && r.Stamp == stamp && r.Sealed == nil && len(r.Revoke) == 1,
			"the record is %s at %s with %d sets to revoke", r.Status, r.Stamp, len(r.Revoke))
}

func (s *story) comeLate(ctx context.Context) (string, error) {
	repeated, err := send(ctx, s.publisher, s.second)
	if err != nil {
		return "", err
	}
	for _, letter := range s.letters {
		if err := s.replay(ctx, letter); err != nil {
			return "", err
		}
	}
	if err := s.settled(ctx); err != nil {
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
