package access_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/access"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/natstest"
	"github.com/tokenworker/tokenworker/kmsenc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const lifetime = time.Hour // of tokens here

var conn = tokenworker.Key{OrgID: "acme", ProviderID: "google", CompanyID: "42"}

// rig is a service's surroundings: a real NATS server, SQLite store and key file. The fake is the refresher, so that tests
// decide what comes of a refresh.
type rig struct {
	t       *testing.T
	nc      *nats.Conn
	callers map[string]*nats.Conn
	mu      sync.Mutex // over callers
	db      *embedded.Store
	sealer  *kmsenc.Sealer
	clock   clock
	logs    safeBuffer
	metrics *prometheus.Registry
	seq     uint64

	lifetime  time.Duration // of tokens
	refresher refresher
	trail     trail
	broken    error        // of the store
	looks     atomic.Int64 // at the store
	looked    func()       // after each, if set
	service   *access.Service
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// refresher counts what it is asked, and does what it is told.
type refresher struct {
	mu    sync.Mutex
	asked []tokenworker.Fence
	do    func(context.Context, tokenworker.Key, tokenworker.Fence) (tokenworker.Record, error)
}

func (r *refresher) Replace(ctx context.Context, k tokenworker.Key, from tokenworker.Fence) (tokenworker.Record, error) {
	r.mu.Lock()
	r.asked = append(r.asked, from)
	r.mu.Unlock()
	return r.do(ctx, k, from)
}

func (r *refresher) times() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.asked)
}

// trail is an audit trail in memory, which takes nothing from whoever has no time left.
type trail struct {
	mu      sync.Mutex
	entries []tokenworker.AuditEntry
	err     error
}

func (a *trail) Record(ctx context.Context, e tokenworker.AuditEntry) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	a.entries = append(a.entries, e)
	return a.err
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{t: t, lifetime: lifetime, callers: make(map[string]*nats.Conn), clock: clock{now: time.Now().Truncate(time.Second)}, metrics: prometheus.NewRegistry()}
	r.nc = natstest.Connect(t).Conn()
	db, err := embedded.OpenStore(t.Context(), filepath.Join(dir, "store.db"))
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	service, err := embedded.CreateKeyFile(filepath.Join(dir, "key.json"))
	must(t, err)
	r.db, r.sealer = db, kmsenc.New(service, db, kmsenc.Config{})
	r.refresher.do = func(_ context.Context, k tokenworker.Key, from tokenworker.Fence) (tokenworker.Record, error) {
		return r.refresh(k, from), nil
	}
	return r
}

// start runs a service until the test, or the function that it returns, ends it.
func (r *rig) start(change ...func(*access.Config)) (stop func()) {
	r.t.Helper()
	cfg := access.Config{
		Wait: 5 * time.Second, Audit: &r.trail, Now: r.clock.Now, Logger: slog.New(slog.NewTextHandler(&r.logs, nil)),
		Registerer: r.metrics,
	}
	for _, c := range change {
		c(&cfg)
	}
	s, err := access.New(cfg, store{r}, r.sealer, &r.refresher)
	must(r.t, err)
	r.service = s
	nc, err := nats.Connect(r.nc.ConnectedUrl())
	must(r.t, err)
	ctx, cancel := context.WithCancel(r.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, nc) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
		nc.Close()
	})
	r.t.Cleanup(stop)
	r.eventually("the service is there", func() bool {
		_, err := r.nc.Request("$SRV.PING.tokenworker", nil, time.Second)
		return err == nil
	})
	return stop
}

type store struct{ r *rig }

func (s store) Get(ctx context.Context, k tokenworker.Key) (tokenworker.Record, error) {
	s.r.looks.Add(1)
	if s.r.broken != nil {
		return tokenworker.Record{}, s.r.broken
	}
	rec, err := s.r.db.Get(ctx, k)
	if s.r.looked != nil {
		s.r.looked()
	}
	return rec, err
}

func (r *rig) eventually(what string, done func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited 30 s in vain: %s", what)
		}
		time.Sleep(2 * time.Millisecond) //nolint:forbidigo // between looks at the condition
	}
}

func (r *rig) event(k tokenworker.Key) tokenworker.Event {
	r.seq++
	now := r.clock.Now()
	return tokenworker.Event{
		Key: k, Stamp: tokenworker.Stamp{Epoch: 1, Sequence: r.seq}, Entered: now,
		ID: tokenworker.NewEventID("test", fmt.Sprint(r.seq), now),
	}
}

// set is the token set of a generation.
func (r *rig) set(generation uint64) tokenworker.TokenSet {
	return tokenworker.TokenSet{
		AccessToken: tokenworker.SecretString(fmt.Sprint("canary-access-", generation)), RefreshToken: tokenworker.SecretString("canary-refresh"),
		IDToken: tokenworker.SecretString("canary-id"), TokenType: "Bearer", Scope: "read", ExpiresAt: r.clock.Now().Add(r.lifetime),
	}
}

func (r *rig) acquire(change ...func(*tokenworker.TokenSet)) tokenworker.Fence {
	r.t.Helper()
	set := r.set(0)
	for _, c := range change {
		c(&set)
	}
	plain, err := tokenworker.EncodeTokenSet(set)
	must(r.t, err)
	ev := r.event(conn)
	fence := tokenworker.Fence{Stamp: ev.Stamp}
	sealed, err := r.sealer.Seal(r.t.Context(), conn, fence, plain)
	must(r.t, err)
	v, err := r.db.Acquire(r.t.Context(), &tokenworker.Acquisition{
		Event: ev, Sealed: sealed, Details: set.Details(), DueAt: r.clock.Now().Add(lifetime / 2),
	})
	must(r.t, err)
	if v != tokenworker.Applied {
		r.t.Fatalf("the acquisition was %s", v)
	}
	return fence
}

// claim leaves a claim on the set, as an attempt does before it posts.
func (r *rig) claim(from tokenworker.Fence, length time.Duration) tokenworker.Claim {
	r.t.Helper()
	now := r.clock.Now()
	c := tokenworker.Claim{Owner: "other", Attempt: tokenworker.NewAttemptID(), At: now, Until: now.Add(length)}
	_, _, err := r.db.Update(r.t.Context(), tokenworker.Record{Key: conn},
		tokenworker.Claiming(from, c, tokenworker.Fingerprint{}, tokenworker.AttemptID{}))
	must(r.t, err)
	return c
}

// refresh commits a successor, of which there is one only.
func (r *rig) refresh(k tokenworker.Key, from tokenworker.Fence) tokenworker.Record {
	ctx := context.Background()
	next := from.Next()
	set := r.set(next.Generation)
	plain, err := tokenworker.EncodeTokenSet(set)
	sealed, err2 := r.sealer.Seal(ctx, k, next, plain)
	rec, _, err3 := r.db.Update(ctx, tokenworker.Record{Key: k}, tokenworker.Committing(&tokenworker.Refresh{
		Key: k, From: from, Sealed: sealed, Attempt: tokenworker.NewAttemptID(), Details: set.Details(),
		RefreshedAt: r.clock.Now(), DueAt: r.clock.Now().Add(lifetime / 2),
	}))
	if err := errors.Join(err, err2, err3); err != nil {
		r.t.Error(err)
	}
	return rec
}

func (r *rig) disconnect() {
	r.t.Helper()
	_, err := r.db.Disconnect(r.t.Context(), &tokenworker.Disconnection{Event: r.event(conn)})
	must(r.t, err)
}

// as is the connection of a caller, which hears its own inboxes.
func (r *rig) as(caller string) *nats.Conn {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	nc, ok := r.callers[caller]
	if !ok {
		var err error
		nc, err = nats.Connect(r.nc.ConnectedUrl(), nats.CustomInboxPrefix(events.InboxPrefix(caller)))
		must(r.t, err)
		r.t.Cleanup(nc.Close)
		r.callers[caller] = nc
	}
	return nc
}

// get asks as a reader does.
func (r *rig) get(change ...func(*events.GetRequest)) (events.AccessToken, error) {
	r.t.Helper()
	q := events.GetRequest{Caller: "payroll", Key: conn}
	for _, c := range change {
		c(&q)
	}
	g, err := events.NewGet(q, events.SuiteHybrid)
	if err != nil {
		return events.AccessToken{}, err
	}
	body, err := g.Body()
	if err != nil {
		return events.AccessToken{}, err
	}
	reply, err := r.as(q.Caller).Request(g.Subject(), body, 20*time.Second)
	if err != nil {
		return events.AccessToken{}, err
	}
	if code := reply.Header.Get(micro.ErrorHeader); code != "" {
		return events.AccessToken{}, events.GetCode(code)
	}
	return g.Open(reply.Data)
}

func (r *rig) expect(want string, change ...func(*events.GetRequest)) events.AccessToken {
	r.t.Helper()
	token, err := r.get(change...)
	if got := string(token.Value.Reveal()); err != nil || got != want {
		r.t.Errorf("got %q, %v; want %q", got, err, want)
	}
	return token
}

func (r *rig) expectCode(want events.GetCode, change ...func(*events.GetRequest)) {
	r.t.Helper()
	if token, err := r.get(change...); !errors.Is(err, want) {
		r.t.Errorf("got a token: %t, %v; want %v", !token.Value.IsEmpty(), err, want)
	}
}

func atLeast(d time.Duration) func(*events.GetRequest) {
	return func(q *events.GetRequest) { q.MinLifetime = d }
}

func refused(f tokenworker.Fence) func(*events.GetRequest) {
	return func(q *events.GetRequest) { q.Refused = f }
}
