package main

// P6, the part of the provider: one that sends the token back in everything that it says.
//
// Breaks that were tried, and what the attack said:
//
//	the debug line of an answer shows the token that was posted   "rotator.log: token as raw at byte 92"

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/internal/attack/leak"
	"github.com/tokenworker/tokenworker/rotator"
)

// tokenMark is in every token of the provider, at its beginning.
const tokenMark = leak.Marker("tw-demo-")

// echoes are the ways in which the provider repeats tokens.
func echoes(at demoprovider.Endpoint) []demoprovider.Fault {
	faults := []demoprovider.Fault{{Kind: demoprovider.Redirect, Endpoint: at}}
	for _, status := range []int{400, 401, 403, 429, 500, 200} {
		for _, code := range []string{"invalid_grant", "invalid_request", "invalid_client"} {
			faults = append(faults, demoprovider.Fault{Kind: demoprovider.Echo, Endpoint: at, Status: status, Error: code})
		}
	}
	return faults
}

// echoTokens refreshes and revokes at a provider that repeats the token in headers, bodies, error_description and redirects,
// and scans what is left of it: logs, errors, metrics, records and announcements, the store and JetStream's files.
func echoTokens(ctx context.Context, e *env, n int) error {
	if err := selfTest(e); err != nil {
		return err
	}
	if err := os.RemoveAll(e.inDir("self-test")); err != nil { // its canaries carry another mark
		return fmt.Errorf("cleaning up: %w", err)
	}
	clock := &simClock{at: time.Now().Truncate(time.Second)}
	s, err := openSite(ctx, e, siteConfig{
		settings: "    rotation: strict\n    revocation_scope: token\n    false_invalid_grant: true\n", providers: 8, now: clock.now,
	})
	if err != nil {
		return err
	}
	defer s.close()
	log, err := os.OpenFile(e.inDir("rotator.log"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening a log: %w", err)
	}
	defer log.Close() //nolint:errcheck // written to the end before it is scanned
	registry := prometheus.NewRegistry()
	r, err := rotator.New(rotator.Config{
		Process: "one", Tick: time.Hour, Now: s.now, Registerer: registry,
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}, s.js, s.store, s.sealer, s.gate)
	if err != nil {
		return fmt.Errorf("making a rotator: %w", err)
	}
	heard, err := listen(s.js)
	if err != nil {
		return err
	}
	faults := echoes(demoprovider.TokenEndpoint)
	connections := max(len(faults), n/20)
	for i := range connections {
		if err := s.echoOne(ctx, log, r, s.key(i), i); err != nil {
			return err
		}
	}
	t := s.server.Totals()
	if err := e.keepEchoes(ctx, s, registry, heard, connections); err != nil {
		return err
	}
	if t.Followed > 0 {
		e.broke("%d redirects with a token in them were followed", t.Followed)
	}
	e.did("%d connections, %d answers that repeat a token, %d redirects to one", connections, t.Faults[demoprovider.Echo],
		t.Faults[demoprovider.Redirect])
	return e.scan(tokenMark)
}

// echoOne refreshes and revokes one connection, with one fault at each endpoint.
func (s *site) echoOne(ctx context.Context, log io.Writer, r *rotator.Rotator, k tokenworker.Key, i int) error {
	if err := s.acquire(ctx, k); err != nil {
		return err
	}
	for _, at := range []demoprovider.Endpoint{
		demoprovider.TokenEndpoint, demoprovider.RevokeEndpoint, demoprovider.IntrospectEndpoint,
	} {
		faults := echoes(at)
		if err := s.server.Inject(faults[i%len(faults)]); err != nil {
			return fmt.Errorf("injecting a fault: %w", err)
		}
	}
	defer s.server.ClearFaults()
	err := r.Do(ctx, k, true)
	_, _ = fmt.Fprintf(log, "%v %+v\n", err, err)
	if err := s.disconnect(ctx, k); err != nil {
		return err
	}
	err = r.Do(ctx, k, false)
	_, _ = fmt.Fprintf(log, "%v %+v\n", err, err)
	return nil
}

// keepEchoes keeps what the rotator says of what it met.
func (e *env) keepEchoes(ctx context.Context, s *site, registry *prometheus.Registry, l *ears, n int) error {
	families, err := registry.Gather()
	if err != nil {
		return fmt.Errorf("gathering metrics: %w", err)
	}
	records, err := s.records(ctx, n)
	if err != nil {
		return err
	}
	codes := map[string]int{}
	for _, r := range records {
		codes[r.FailureCode]++
	}
	if codes[""] == n {
		e.broke("no connection has failed: nothing was tried")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return e.keep("said", l.heard.Bytes(), fmt.Append(nil, families), fmt.Appendf(nil, "%+v %v", records, codes))
}
