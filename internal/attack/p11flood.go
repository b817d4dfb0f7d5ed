package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/attack/leak"
	"github.com/tokenworker/tokenworker/streams"
)

const (
	floodTimes = 10  // bad events for each one of the attack's size
	badRate    = 167 // a second: 10,000 a minute
	goodRate   = 50  // a second

	tokenBytes = 350 // of a bad event's two tokens, each: it has 1 KB then

	mostWritten = 20 // bytes for each byte of a bad event
	mostSlower  = 3  // times, at the 99th percentile

	droppedWithin = 3 * time.Minute // NATS compacts every two
)

// flood sends bad events of one publisher at 10,000 a minute, each with a token in clear that must not stay on disk. Beside them,
// and for as long before, come good events of others. What the process writes is measured, and how long the good ones take. It writes to
// files, and a little to sockets and its log; the disk gets more than that, since each message is synced by itself, in pages of 4 KB. An event that nobody handles keeps NATS from dropping the file that they all lie in.
func (e *env) flood(ctx context.Context, r *rig, n int) error {
	p, admin, err := r.begin(ctx)
	if err != nil {
		return err
	}
	if err := leaveOne(ctx, admin, p); err != nil {
		return err
	}
	stored := newStopwatch()
	if _, err := admin.Conn().Subscribe(events.Prefix+"event.stored.>", stored.stop); err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	marker := leak.NewMarker()
	bad, size, err := clearEvents(p, marker, n*floodTimes)
	if err != nil {
		return err
	}
	alone, err := e.measure(ctx, r, p, stored, "alone", len(bad), nil)
	if err != nil {
		return err
	}
	beside, err := e.measure(ctx, r, p, stored, "beside", len(bad), bad)
	if err != nil {
		return err
	}
	if err := r.awaitSettledBut(ctx, admin, 1); err != nil {
		e.broke("%v", err)
	}
	if letters, err := deadLetters(ctx, admin); err != nil || letters != uint64(len(bad)) {
		e.broke("of %d bad events %d are dead letters: %v", len(bad), letters, err)
	}
	times := float64(beside.written.bytes-alone.written.bytes) / float64(size)
	e.did("%d bad events of %d bytes in %s, for each byte of them %.1f written, %.1f in whole pages", len(bad), size/len(bad),
		beside.took.Round(time.Second), times, float64(beside.written.pages-alone.written.pages)/float64(size))
	e.did("good events' 99th percentile %s beside them, %s alone", beside.p99.Round(time.Millisecond), alone.p99.Round(time.Millisecond))
	if err := e.releaseLeft(ctx, admin, p, marker); err != nil {
		return err
	}
	if times > mostWritten {
		e.broke("for each byte of a bad event %.0f bytes were written, want at most %d", times, mostWritten)
	}
	if beside.p99 > mostSlower*alone.p99 {
		e.broke("good events took %s beside bad ones and %s alone (99th percentile), want at most %d times as long", beside.p99,
			alone.p99, mostSlower)
	}
	return nil
}

// releaseLeft has the event handled that was left, and then looks whether NATS drops the files with the tokens in clear that were not
// overwritten, for the limit on that.
func (e *env) releaseLeft(ctx context.Context, admin jetstream.JetStream, p *publisher, marker leak.Marker) error {
	name, err := durable(ctx, admin, streams.Disconnect)
	if err != nil {
		return err
	}
	if _, err := admin.ResumeConsumer(ctx, streams.In, name); err != nil {
		return fmt.Errorf("resuming a consumer: %w", err)
	}
	// A resumed consumer delivers when the next message comes (nats-server 2.15).
	if err := p.disconnect(ctx, tokenworker.Key{OrgID: "org-0", ProviderID: storedProvider, CompanyID: "another"}); err != nil {
		return err
	}
	for limit := time.Now().Add(droppedWithin); ; {
		found, err := leak.NewScanner(marker).ScanFiles(e.inDir("data/nats"))
		switch {
		case errors.Is(err, fs.ErrNotExist): // NATS has just dropped a file
		case err != nil:
			return fmt.Errorf("scanning: %w", err)
		case len(found) == 0:
			return nil
		}
		if time.Now().After(limit) {
			e.broke("%s after all was settled: %v", droppedWithin, found)
			return nil
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

// clearEvents makes events with a token in clear, and says how many bytes they are together.
func clearEvents(p *publisher, marker leak.Marker, n int) (made []events.Message, size int, err error) {
	kinds := clearKinds()
	for i := range n {
		key := tokenworker.Key{OrgID: "org-0", ProviderID: storedProvider, CompanyID: fmt.Sprint("bad-", i)}
		m, err := newBad(kinds[len(kinds)-1], p.public, key, marker.Token(i)+strings.Repeat("x", tokenBytes), true)
		if err != nil {
			return nil, 0, err
		}
		made, size = append(made, m), size+len(m.Body)
	}
	return made, size, nil
}

// measured is what a phase of the flood came to.
type measured struct {
	took    time.Duration
	written written
	p99     time.Duration // until a good event was announced as stored
}

// measure publishes good events as long as that many bad ones take, and these beside them, if there are any.
func (e *env) measure(
	ctx context.Context, r *rig, p *publisher, stored *stopwatch, phase string, bads int, bad []events.Message,
) (m measured, err error) {
	start := time.Now()
	before, err := r.written()
	if err != nil {
		return m, err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return atRate(gctx, badRate, len(bad), func(ctx context.Context, i int) error {
			_, _, err := p.send(ctx, bad[i])
			return err
		})
	})
	goods := bads * goodRate / badRate
	g.Go(func() error {
		return atRate(gctx, goodRate, goods, func(ctx context.Context, i int) error {
			key := tokenworker.Key{OrgID: "org-1", ProviderID: storedProvider, CompanyID: fmt.Sprint(phase, "-", i)}
			stored.start(events.Stored.Subject(key))
			return p.acquire(ctx, key)
		})
	})
	if err := g.Wait(); err != nil {
		return m, err //nolint:wrapcheck // our own
	}
	took, err := stored.all(ctx, goods)
	if err != nil {
		return m, err
	}
	m.took, m.p99 = time.Since(start), took[(len(took)*99+99)/100-1]
	after, err := r.written()
	m.written = written{after.bytes - before.bytes, after.pages - before.pages}
	return m, err
}

// atRate does something n times, so often a second, one beside the other when one takes longer.
func atRate(ctx context.Context, rate, n int, do func(ctx context.Context, i int) error) error {
	every := time.NewTicker(time.Second / time.Duration(rate))
	defer every.Stop()
	g, ctx := errgroup.WithContext(ctx)
	for i := range n {
		select {
		case <-every.C:
		case <-ctx.Done():
			return g.Wait() //nolint:wrapcheck // our own
		}
		g.Go(func() error { return do(ctx, i) })
	}
	return g.Wait() //nolint:wrapcheck // our own
}

// written is what a process has written: bytes, and those of the pages of files that this made dirty.
type written struct{ bytes, pages int }

// written is what the worker's process has written so far (Linux, proc(5)).
func (r *rig) written() (w written, err error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(r.process.PID()), "io"))
	if err != nil {
		return w, fmt.Errorf("asking what was written: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		n, err := strconv.Atoi(strings.TrimSpace(value))
		if err != nil {
			return w, fmt.Errorf("asking what was written: %w", err)
		}
		switch name {
		case "wchar":
			w.bytes = n
		case "write_bytes":
			w.pages = n
		}
	}
	return w, nil
}

// stopwatch times what begins here and is heard of later, by subject.
type stopwatch struct {
	mu      sync.Mutex
	started map[string]time.Time
	took    []time.Duration
	stopped chan struct{} // one for each
}

func newStopwatch() *stopwatch {
	return &stopwatch{started: make(map[string]time.Time), stopped: make(chan struct{}, 1<<20)}
}

func (s *stopwatch) start(subject string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started[subject] = time.Now()
}

func (s *stopwatch) stop(m *nats.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.started[m.Subject]; ok {
		delete(s.started, m.Subject)
		s.took = append(s.took, time.Since(at))
		s.stopped <- struct{}{}
	}
}

// all waits for n, and returns what they took, the shortest first.
func (s *stopwatch) all(ctx context.Context, n int) ([]time.Duration, error) {
	limit := time.After(settledWithin)
	for i := range n {
		select {
		case <-s.stopped:
		case <-limit:
			return nil, fmt.Errorf("of %d good events %d were stored within %s", n, i, settledWithin)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	took := s.took
	s.took = nil
	slices.Sort(took)
	return took, nil
}
