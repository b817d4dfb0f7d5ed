package client_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/access"
	"github.com/tokenworker/tokenworker/client"
	"github.com/tokenworker/tokenworker/consumer"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/natstest"
	"github.com/tokenworker/tokenworker/kmsenc"
	"github.com/tokenworker/tokenworker/provider"
	"github.com/tokenworker/tokenworker/rotator"
	"github.com/tokenworker/tokenworker/streams"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var conn = tokenworker.Key{OrgID: "acme", ProviderID: "demo", CompanyID: "1"}

// rig is a whole worker in this process, on a real NATS server, SQLite store, key file and OAuth server.
type rig struct {
	js        jetstream.JetStream
	server    *demoprovider.Server
	publisher *client.Publisher
	reader    *client.Reader
	now       func() time.Time
	scheme    atomic.Value // of the provider's API, by the catalogue
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clock is the time of everybody but NATS. It moves with the real one, and ahead when told to.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

const lifetime = 10 * time.Minute // of the provider's access tokens

func newRig(t testing.TB, c *clock) *rig {
	t.Helper()
	ctx, dir := t.Context(), t.TempDir()
	server := natstest.Start(t)
	r := &rig{js: natstest.ConnectTo(t, server), now: c.Now}
	db, err := embedded.OpenStore(ctx, filepath.Join(dir, "store.db"))
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	must(t, streams.Setup(ctx, r.js, 1, db.TakeEpoch))
	service, err := embedded.CreateKeyFile(filepath.Join(dir, "key.json"))
	must(t, err)
	sealer := kmsenc.New(service, db, kmsenc.Config{})
	keys, err := events.NewKeyring(db, service, events.KeyringConfig{})
	must(t, err)
	public, err := keys.Make(ctx)
	must(t, err)

	r.server, err = demoprovider.New(demoprovider.Config{
		Now: c.Now, Clients: []demoprovider.Client{{ID: "worker", Secret: "secret", Policy: demoprovider.Policy{AccessLifetime: lifetime}}},
	})
	must(t, err)
	must(t, r.server.Start(ctx, "127.0.0.1:0"))
	t.Cleanup(func() { must(t, r.server.Close()) })
	gate := openGate(t, c, r.server.URL())
	rot, err := rotator.New(rotator.Config{Process: "test", Now: c.Now}, r.js, db, sealer, gate)
	must(t, err)
	worker, err := consumer.New(consumer.Config{
		Policy: func(string) consumer.Policy { return consumer.Policy{} },
		Due:    func(_ tokenworker.Key, at time.Time, _ tokenworker.TokenSet) time.Time { return at.Add(time.Hour) },
	}, r.js, keys, sealer, db, rot)
	must(t, err)
	r.scheme.Store("")
	reads, err := access.New(access.Config{
		Now: c.Now, Scheme: func(string) string { return r.scheme.Load().(string) },
	}, db, sealer, rot)
	must(t, err)

	readsConn := natstest.ConnectTo(t, server).Conn()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func() error{
		func() error { return worker.Run(ctx) }, func() error { return reads.Run(ctx, readsConn) },
	} {
		running.Go(func() {
			if err := run(); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { cancel(); running.Wait() })
	r.publisher = client.NewPublisher(r.js, client.PublisherConfig{Source: "//test", PublicKey: public})
	r.reader = newReader(t, server, client.ReaderConfig{Now: c.Now})
	awaitService(t, r.js.Conn())
	return r
}

// newReader connects a reader, by the name of payroll.
func newReader(t testing.TB, s *server.Server, cfg client.ReaderConfig) *client.Reader {
	t.Helper()
	nc, err := nats.Connect(s.ClientURL(), nats.CustomInboxPrefix(events.InboxPrefix("payroll")))
	must(t, err)
	t.Cleanup(nc.Close)
	return client.NewReader(nc, "payroll", cfg)
}

func awaitService(t testing.TB, nc *nats.Conn) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, err := nc.Request("$SRV.PING.tokenworker", nil, time.Second)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func openGate(t testing.TB, c *clock, url string) *provider.Gateway {
	t.Helper()
	dir := t.TempDir()
	yaml := fmt.Sprintf(`providers:
  demo:
    token_url: %[1]s/token
    auth: client_secret_basic
    revoke: {url: %[1]s/revoke}
    rotation: strict
    allow_networks: [127.0.0.0/8]
    client: {id: "file:%[2]s/id", secret: "file:%[2]s/secret"}
`, url, dir)
	writeFile(t, dir+"/id", "worker")
	writeFile(t, dir+"/secret", "secret")
	catalogue, err := provider.Load(t.Context(), nil, provider.Source{Name: "test.yaml", YAML: []byte(yaml)})
	must(t, err)
	requests := provider.NewClient(provider.Config{Now: c.Now})
	t.Cleanup(requests.Close)
	return provider.NewGateway(catalogue, requests)
}

// grant is what a service has when a customer has logged in.
func (r *rig) grant(t testing.TB) tokenworker.TokenSet {
	t.Helper()
	tokens, err := r.server.Grant("worker", conn.String(), "")
	must(t, err)
	return tokenworker.TokenSet{
		AccessToken: tokenworker.SecretString(tokens.AccessToken), RefreshToken: tokenworker.SecretString(tokens.RefreshToken), TokenType: "bot",
		ExpiresAt: r.now().Add(time.Duration(tokens.ExpiresIn) * time.Second).Truncate(time.Second),
	}
}

// acquire hands a grant in.
func (r *rig) acquire(t testing.TB) {
	t.Helper()
	m, err := r.publisher.Acquired(conn, r.grant(t), time.Now())
	must(t, err)
	r.expect(t, m, client.Outcome(events.Stored))
}

func (r *rig) expect(t testing.TB, m events.Message, want client.Outcome) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, got, err := r.publisher.PublishAndWait(ctx, m); got != want || err != nil {
		t.Fatalf("the outcome is %q, %v; want %q", got, err, want)
	}
}
