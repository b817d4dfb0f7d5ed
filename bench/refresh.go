package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/provider"
	"github.com/tokenworker/tokenworker/rotator"
)

// What a peer takes on such a machine, in microseconds of CPU: an event stored, a refresh, and a stored credential at each sweep.
const (
	peerStore   = 1_800.0
	peerRefresh = 1_900.0
	peerSweep   = 750.0
)

// refreshRows compare refreshes on the embedded store with a bare loop that does what no refresh can do without: a
// conditional write that claims, one POST, a conditional write that saves. Both post to the same token endpoint, and both
// sync each transaction to disk.
func refreshRows(ctx context.Context, o options) (_ []row, err error) {
	s, err := openStage(ctx, natsConfig{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	c := refreshConfig{NATS: s.natsURL, Dir: s.dir, Connections: o.size(500, 5_000), Profile: o.profile("refresh")}
	if _, err := s.start(ctx, "token-endpoint", nil, &c.TokenEndpoint); err != nil {
		return nil, err
	}
	ours, err := s.start(ctx, "refresh", c, &effort{})
	if err != nil {
		return nil, err
	}
	bare, err := s.start(ctx, "bare-refresh", c, &effort{})
	if err != nil {
		return nil, err
	}
	worker, err := s.start(ctx, "worker", workerConfig{NATS: s.natsURL, Dir: s.dir}, &effort{})
	if err != nil {
		return nil, err
	}
	stored := func(ctx context.Context, operations int) (effort, error) {
		if err := s.publish(ctx, s.keys[events.SuiteHybrid], operations); err != nil {
			return effort{}, fmt.Errorf("publishing: %w", err)
		}
		return worker.perform(ctx, operations)
	}
	e, err := race(ctx, o.size(5, 21), c.Connections, ours.perform, bare.perform, stored)
	if err != nil {
		return nil, err
	}
	idle, err := sweepNothing(ctx, o.size(10_000, 100_000))
	if err != nil {
		return nil, err
	}
	return []row{
		rate("refreshes, embedded: bare POST and two writes", e[0].took, e[1].took, atLeast(0.90)),
		overhead("CPU per refresh, embedded: per bare POST and two writes", "µs", e[0].cpu, e[1].cpu, target{}),
		{name: "CPU per event stored, hybrid, embedded", unit: "µs", ours: e[2].cpu, target: atMost(peerStore / 5)},
		{name: "CPU per refresh, embedded", unit: "µs", ours: e[0].cpu, target: atMost(peerRefresh / 5)},
		{name: "CPU per stored connection and sweep, none due, embedded", unit: "µs", ours: idle, target: atMost(peerSweep / 5)},
	}, nil
}

// refreshConfig is the roles "refresh" and "bare-refresh".
type refreshConfig struct {
	NATS, TokenEndpoint string // URLs
	Dir                 string // of the key file and the store
	Connections         int
	Profile             string
}

// names is how many names the provider has: a rotator has a few requests at a time under way at each.
const names = 8

// refreshed is the n-th connection.
func refreshed(n int) tokenworker.Key {
	return tokenworker.Key{OrgID: fmt.Sprintf("org-%d", n%100), ProviderID: fmt.Sprintf("p-%d", n%names), CompanyID: fmt.Sprint(n)}
}

// performRefreshes refreshes connections as the worker does.
func performRefreshes(ctx context.Context, config []byte, requests *json.Decoder, answers *json.Encoder) (err error) {
	var c refreshConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return err
	}
	js, err := connectNATS(c.NATS)
	if err != nil {
		return err
	}
	defer js.Conn().Close()
	s, err := openSafe(ctx, c.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.store.Close()) }()
	gate, err := openGate(ctx, c)
	if err != nil {
		return err
	}
	sealer := s.sealer()
	if err := acquireSets(ctx, s, c.Connections); err != nil {
		return err
	}
	r, err := rotator.New(rotator.Config{Process: "bench"}, js, s.store, sealer, gate)
	if err != nil {
		return err
	}
	return perform(c.Profile, requests, answers, func(operations int) error {
		var g errgroup.Group
		g.SetLimit(concurrency)
		for n := range operations {
			g.Go(func() error { return r.Do(ctx, refreshed(n), true) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
		return someRefreshed(ctx, s, operations)
	})
}

// someRefreshed reports a connection whose last refresh failed. It looks at some, because looking counts as well.
func someRefreshed(ctx context.Context, s safe, n int) error {
	for i := 0; i < n; i += 50 {
		if rec, err := s.store.Get(ctx, refreshed(i)); err != nil || rec.Generation == 0 || rec.Failures > 0 {
			return fmt.Errorf("%s: generation %d, %s: %w", rec.Key, rec.Generation, rec.FailureCode, err)
		}
	}
	return nil
}

func acquireSets(ctx context.Context, s safe, n int) error {
	plain, err := tokenworker.EncodeTokenSet(tokenSet())
	if err != nil {
		return err
	}
	sealer := s.sealer()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrency)
	for i := range n {
		g.Go(func() error {
			k, stamp, now := refreshed(i), tokenworker.Stamp{Epoch: epoch, Sequence: uint64(i + 1)}, time.Now()
			sealed, err := sealer.Seal(ctx, k, tokenworker.Fence{Stamp: stamp}, plain)
			if err != nil {
				return err
			}
			_, err = s.store.Acquire(ctx, &tokenworker.Acquisition{
				Event:  tokenworker.Event{Key: k, Stamp: stamp, Entered: now, ID: tokenworker.NewEventID("bench", fmt.Sprint(i), now)},
				Sealed: sealed, Details: tokenSet().Details(), DueAt: now.Add(time.Hour),
			})
			return err
		})
	}
	return g.Wait()
}

// openGate knows one token endpoint by several names.
func openGate(ctx context.Context, c refreshConfig) (*provider.Gateway, error) {
	for name, content := range map[string]string{"client-id": "bench", "client-secret": "bench-secret"} {
		if err := os.WriteFile(filepath.Join(c.Dir, name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	var text strings.Builder
	text.WriteString("providers:\n")
	for i := range names {
		_, _ = fmt.Fprintf(&text, `  p-%d:
    token_url: %s/token
    auth: client_secret_basic
    allow_networks: [127.0.0.0/8]
    rate_limit: 1000000
    rotation: strict
    client: {id: "file:%[3]s/client-id", secret: "file:%[3]s/client-secret"}
`, i, c.TokenEndpoint, c.Dir)
	}
	catalogue, err := provider.Load(ctx, nil, provider.Source{Name: "bench", YAML: []byte(text.String())})
	if err != nil {
		return nil, err
	}
	return provider.NewGateway(catalogue, provider.NewClient(provider.Config{})), nil
}

// serveTokens is the role "token-endpoint": it answers each refresh at once with tokens of the usual size.
func serveTokens(ctx context.Context, _ []byte, requests *json.Decoder, answers *json.Encoder) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var minted atomic.Uint64
	set := tokenSet()
	s := &http.Server{ReadHeaderTimeout: readyWithin, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":%q,"refresh_token":"%d-%s","token_type":"Bearer","expires_in":3600}`,
			set.AccessToken.Reveal(), minted.Add(1), set.RefreshToken.Reveal())
	})}
	defer func() { _ = s.Close() }()
	go func() { _ = s.Serve(l) }() // until it is closed
	return serve("http://"+l.Addr().String(), requests, answers)
}

// performBareRefreshes is the baseline: what one would write first.
func performBareRefreshes(ctx context.Context, config []byte, requests *json.Decoder, answers *json.Encoder) (err error) {
	var c refreshConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return err
	}
	db, err := openBare(ctx, filepath.Join(c.Dir, "bare-refresh.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := upsertAll(ctx, db, c.Connections, make([]byte, tokenSetBytes)); err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConns: concurrency, MaxIdleConnsPerHost: concurrency}}
	return perform("", requests, answers, func(operations int) error {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(concurrency)
		for n := range operations {
			g.Go(func() error {
				return bareRefresh(ctx, db, client, c.TokenEndpoint, connection(uint64(n)).String())
			})
		}
		return g.Wait()
	})
}

func bareRefresh(ctx context.Context, db *sql.DB, client *http.Client, endpoint, key string) error {
	if err := writeOne(ctx, db, "UPDATE bare SET v = v WHERE k = ? AND v IS NOT NULL", key); err != nil {
		return err
	}
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {strings.Repeat("r", 120)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("bench", "bench-secret")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return err
	}
	return writeOne(ctx, db, "UPDATE bare SET v = ? WHERE k = ? AND v IS NOT NULL", body, key)
}

func writeOne(ctx context.Context, db *sql.DB, query string, args ...any) error {
	result, err := db.ExecContext(ctx, query, args...)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("a write met %d rows: %w", n, err)
	}
	return nil
}

// sweepNothing is the processor time of a sweep of all shards, for each of so many stored connections of which none is due,
// in microseconds.
func sweepNothing(ctx context.Context, stored int) (_ float64, err error) {
	dir, err := os.MkdirTemp("", "tokenworker-bench-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := createSafe(ctx, dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.store.Close()) }()
	if err := acquireSets(ctx, s, stored); err != nil {
		return 0, err
	}
	gate, err := openGate(ctx, refreshConfig{TokenEndpoint: "http://127.0.0.1:1", Dir: dir})
	if err != nil {
		return 0, err
	}
	r, err := rotator.New(rotator.Config{Process: "bench", Logger: slog.New(slog.DiscardHandler)}, nil, s.store, s.sealer(), gate)
	if err != nil {
		return 0, err
	}
	times, err := contest(ctx, func() error {
		for i := range names {
			for shard := range s.store.Shards() {
				if looked, err := r.Sweep(ctx, fmt.Sprintf("p-%d", i), shard); err != nil || looked > 0 {
					return fmt.Errorf("a sweep of nothing looked at %d: %w", looked, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return times[0] / float64(stored), nil
}
