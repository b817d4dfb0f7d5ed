package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// story is the demo's: one connection from its first token to its end, with all that goes wrong on the way, and four at
// the demo provider.
type story struct {
	dir string
	log *os.File // of the worker, at debug level; in the directory, so that it is scanned too

	dev       *dev                // nil while it cannot be worked with
	end       func() error        // stops the worker that runs
	publisher jetstream.JetStream // connects as an upstream service does
	close     func()              // its connection

	key, other tokenworker.Key
	secrets    map[string]string // every token by what it is, to be looked for in files

	first, second events.Message // the acquired events that are good
	newest        tokenworker.TokenSet
	letters       []events.Message // dead letters of events in clear, older than the second

	due, asked, lost, dead *granted // of the demo provider
}

func newStory(dir string) (*story, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the demo's folder: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(dir, "worker.log"), //nolint:gosec // the user names the folder
		os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
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
		{"a token set is refreshed before it expires", s.refreshDue},
		{"each rotated refresh token is used once and never again", s.rotate},
		{"a token whose answer was lost is not gambled with", s.loseAnswer},
		{"a dead grant asks for a new login, which mends it", s.reauthorize},
		{"a disconnect revokes at the provider", s.revoke},
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
	s.end = func() error { stop(); return errors.Join(<-ended, d.close()) }
	nc, err := dataDir(s.dir).connect(ctx, natsOptions(log)...)
	if err != nil {
		return err
	}
	s.close = nc.Close
	if s.publisher, err = jetstream.New(nc); err != nil {
		return fmt.Errorf("opening JetStream: %w", err)
	}
	s.dev = d
	return nil
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

// finish ends what is left of the story.
func (s *story) finish() error { return errors.Join(s.stop(), s.log.Close()) }

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
	otherOrg, later := s.key, r.Next()
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
	return fmt.Sprintf("four tries, each refused as %q", tokenworker.ErrSealBroken), s.unwrapElsewhere(ctx, otherOrg.OrgID)
}

// unwrapElsewhere makes sure that the key service gives the organization's data key out for that organization alone.
func (s *story) unwrapElsewhere(ctx context.Context, otherOrg string) error {
	dataKey, err := s.dev.store.WrappedKey(ctx, "org/"+s.key.OrgID)
	if err != nil {
		return fmt.Errorf("looking up the data key: %w", err)
	}
	unwrap := func(org string) error {
		key, err := s.dev.service.Decrypt(ctx, dataKey.KeyID, dataKey.Wrapped, map[string]string{"app": "tokenworker", "org": org})
		key.Wipe()
		return err
	}
	if err := unwrap(s.key.OrgID); err != nil {
		return fmt.Errorf("unwrapping the organization's data key: %w", err)
	}
	if err := unwrap(otherOrg); !errors.Is(err, tokenworker.ErrSealBroken) {
		return fmt.Errorf("unwrapping the data key for another organization gave: %w", orNone(err))
	}
	return nil
}

var errNone = errors.New("no error")

func orNone(err error) error {
	if err == nil {
		return errNone
	}
	return err
}
