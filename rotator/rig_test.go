package rotator_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/natstest"
	"github.com/tokenworker/tokenworker/kmsenc"
	"github.com/tokenworker/tokenworker/provider"
	"github.com/tokenworker/tokenworker/rotator"
	"github.com/tokenworker/tokenworker/streams"
)

// rig is a rotator's surroundings: a real NATS server, SQLite store, key file, OAuth server, and HTTP between.
type rig struct {
	t      *testing.T
	js     jetstream.JetStream
	db     *embedded.Store
	sealer *kmsenc.Sealer
	server *demoprovider.Server
	gate   *provider.Gateway
	clock  *clock
	seq    uint64

	// Faults, to be set before start. before runs ahead of each update of the store.
	before func(ctx context.Context, k tokenworker.Key) error
	after  func() error // and after it

	off time.Duration // by how much the machine's clock differs from the store's
}

// clock is the time of everybody in the test.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func newRig(t *testing.T, policy demoprovider.Policy, settings string) *rig {
	t.Helper()
	ctx, dir := t.Context(), t.TempDir()
	r := &rig{t: t, js: natstest.Connect(t), clock: &clock{now: time.Now().Truncate(time.Second)}}
	must(t, streams.Setup(ctx, r.js, 1, func(context.Context) (uint64, error) { return 1, nil }))
	db, err := embedded.OpenStore(ctx, filepath.Join(dir, "store.db"))
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	service, err := embedded.CreateKeyFile(filepath.Join(dir, "key.json"))
	must(t, err)
	r.db, r.sealer = db, kmsenc.New(service, db, kmsenc.Config{})

	r.server, err = demoprovider.New(demoprovider.Config{
		Now: r.clock.Now, Clients: []demoprovider.Client{{ID: "worker", Secret: "worker-secret", Policy: policy}},
	})
	must(t, err)
	must(t, r.server.Start(ctx, "127.0.0.1:0"))
	t.Cleanup(func() { must(t, r.server.Close()) })
	t.Setenv("ROTATOR_TEST_ID", "worker")
	t.Setenv("ROTATOR_TEST_SECRET", "worker-secret")
	yaml := fmt.Sprintf(`providers:
  demo:
    token_url: %[1]s/token
    auth: client_secret_basic
    revoke: {url: %[1]s/revoke}
    introspect: {url: %[1]s/introspect}
    allow_networks: [127.0.0.0/8]
    client: {id: "env:ROTATOR_TEST_ID", secret: "env:ROTATOR_TEST_SECRET"}
%[2]s`, r.server.URL(), settings)
	catalogue, err := provider.Load(ctx, nil, provider.Source{Name: "test.yaml", YAML: []byte(yaml)})
	must(t, err)
	client := provider.NewClient(provider.Config{Now: r.clock.Now})
	t.Cleanup(client.Close)
	r.gate = provider.NewGateway(catalogue, client)
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rotator makes one process of the fleet.
func (r *rig) rotator(process string, change ...func(*rotator.Config)) *rotator.Rotator {
	r.t.Helper()
	cfg := rotator.Config{Process: process, Now: r.clock.Now, AttemptTimeout: time.Second}
	for _, c := range change {
		c(&cfg)
	}
	rot, err := rotator.New(cfg, r.js, faulty{r.db, r}, r.sealer, r.gate)
	must(r.t, err)
	return rot
}

type faulty struct {
	*embedded.Store
	r *rig
}

func (f faulty) Update(ctx context.Context, rec tokenworker.Record, rule tokenworker.Rule) (tokenworker.Record, tokenworker.Verdict, error) {
	if f.r.before != nil {
		if err := f.r.before(ctx, rec.Key); err != nil {
			return tokenworker.Record{}, 0, err
		}
	}
	next, v, err := f.Store.Update(ctx, rec, rule)
	if f.r.after != nil && err == nil {
		err = f.r.after()
	}
	return next, v, err
}

func (f faulty) ClockOff() time.Duration { return f.r.off }

var conn = tokenworker.Key{OrgID: "acme", ProviderID: "demo", CompanyID: "1"}

// acquire stores a fresh grant of the OAuth server for the connection.
func (r *rig) acquire(k tokenworker.Key) demoprovider.Tokens {
	r.t.Helper()
	tokens, err := r.server.Grant("worker", k.String(), "")
	must(r.t, err)
	if v := r.store(k, tokens); v != tokenworker.Applied {
		r.t.Fatalf("the acquisition was %s", v)
	}
	return tokens
}

func (r *rig) store(k tokenworker.Key, tokens demoprovider.Tokens) tokenworker.Verdict {
	r.t.Helper()
	set := tokenworker.TokenSet{
		AccessToken: tokenworker.SecretString(tokens.AccessToken), RefreshToken: tokenworker.SecretString(tokens.RefreshToken),
	}
	if tokens.ExpiresIn != 0 {
		set.ExpiresAt = r.clock.Now().Add(time.Duration(tokens.ExpiresIn) * time.Second)
	}
	plain, err := tokenworker.EncodeTokenSet(set)
	must(r.t, err)
	ev := r.event(k)
	sealed, err := r.sealer.Seal(r.t.Context(), k, tokenworker.Fence{Stamp: ev.Stamp}, plain)
	must(r.t, err)
	policy, _ := r.gate.Policy(k.ProviderID)
	consumer := r.rotator("consumer")
	v, err := r.db.Acquire(r.t.Context(), &tokenworker.Acquisition{
		Event: ev, Sealed: sealed, Token: set.Fingerprint(k), Details: set.Details(), DueAt: rotator.DueAfter(policy, k, r.clock.Now(), set),
		Spendable: tokenworker.NewFingerprint(k, set.RefreshToken), KeepRevocations: policy.RevokesNarrowly(),
		CheckAt: r.clock.Now().Add(consumer.SettledAfter(policy)), SiblingsUntil: consumer.SiblingsUntil(k.ProviderID),
	})
	must(r.t, err)
	return v
}

func (r *rig) disconnect(k tokenworker.Key) {
	r.t.Helper()
	_, err := r.db.Disconnect(r.t.Context(), &tokenworker.Disconnection{Event: r.event(k)})
	must(r.t, err)
}

func (r *rig) event(k tokenworker.Key) tokenworker.Event {
	r.seq++
	now := r.clock.Now()
	return tokenworker.Event{
		Key: k, Stamp: tokenworker.Stamp{Epoch: 1, Sequence: r.seq}, Entered: now,
		ID: tokenworker.NewEventID("test", fmt.Sprint(r.seq), now),
	}
}

func (r *rig) advance(d time.Duration) {
	r.clock.mu.Lock()
	defer r.clock.mu.Unlock()
	r.clock.now = r.clock.now.Add(d)
}

func (r *rig) get(k tokenworker.Key) tokenworker.Record {
	r.t.Helper()
	rec, err := r.db.Get(r.t.Context(), k)
	must(r.t, err)
	return rec
}

// storeDownAfterTheClaim lets one write through, and none after it.
func (r *rig) storeDownAfterTheClaim() {
	writes := 0
	r.before = func(context.Context, tokenworker.Key) error {
		if writes++; writes > 1 {
			return fmt.Errorf("test: %w", tokenworker.ErrUnavailable)
		}
		return nil
	}
}

// set opens what the store holds.
func (r *rig) set(k tokenworker.Key) tokenworker.TokenSet {
	r.t.Helper()
	rec := r.get(k)
	plain, err := r.sealer.Open(r.t.Context(), k, rec.Fence, rec.Sealed)
	must(r.t, err)
	set, err := tokenworker.DecodeTokenSet(plain)
	must(r.t, err)
	return set
}

// refreshes reports whether the stored refresh token is the live one at the provider, by using it up.
func (r *rig) refreshes(k tokenworker.Key) bool {
	r.t.Helper()
	return r.gate.Refresh(r.t.Context(), k, r.set(k)).Outcome == provider.OK
}

// notices lists what was announced, by kind.
func (r *rig) notices() string {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), streams.Out)
	must(r.t, err)
	var kinds []string
	for from := uint64(1); ; {
		m, err := s.GetMsg(r.t.Context(), from, jetstream.WithGetMsgSubject("tokens.v1.event.>"))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return strings.Join(kinds, " ")
		}
		must(r.t, err)
		n, err := events.ParseNotice(events.Message{Subject: m.Subject, Body: m.Data})
		must(r.t, err)
		kinds = append(kinds, string(n.Kind))
		from = m.Sequence + 1
	}
}

// eventually waits until done, or fails the test with what was waited for.
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

func (r *rig) count(stream string) uint64 {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), stream)
	must(r.t, err)
	return s.CachedInfo().State.Msgs
}

// forgetMessageIDs makes the stream of announcements forget its message ids: it has when it takes a later one again.
func (r *rig) forgetMessageIDs() {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), streams.Out)
	must(r.t, err)
	probe := func() (isNew bool) {
		ack, err := r.js.Publish(r.t.Context(), "tokens.v1.event.probe", nil, jetstream.WithMsgID("probe"))
		must(r.t, err)
		if !ack.Duplicate {
			must(r.t, s.DeleteMsg(r.t.Context(), ack.Sequence))
		}
		return !ack.Duplicate
	}
	probe()
	c := s.CachedInfo().Config
	c.Duplicates = 100 * time.Millisecond
	_, err = r.js.UpdateStream(r.t.Context(), c)
	must(r.t, err)
	r.eventually("the stream forgets message ids", probe)
}
