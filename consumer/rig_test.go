package consumer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/consumer"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/natstest"
	"github.com/tokenworker/tokenworker/kmsenc"
	"github.com/tokenworker/tokenworker/streams"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	epoch  = 3
	secret = "canary-7f3a9c51e0" // part of every token that the tests publish
)

var (
	acme  = tokenworker.Key{OrgID: "acme", ProviderID: "google", CompanyID: "42"}
	other = tokenworker.Key{OrgID: "other", ProviderID: "google", CompanyID: "42"}
)

// rig is a worker's surroundings: a real NATS server, SQLite store and key file. Faults are put in by the two hooks.
type rig struct {
	t      *testing.T
	js     jetstream.JetStream
	db     *embedded.Store
	keys   *events.Keyring
	sealer *kmsenc.Sealer
	public events.PublicKey
	logs   *safeBuffer
	worker *consumer.Worker // the last that was started
	files  string           // where the NATS server keeps its files

	refreshed  safeBuffer  // what was to be refreshed, a line each
	over       atomic.Bool // attempts are over
	lookedBack safeBuffer  // what was acquired and is to look at its siblings, a line each

	// beforeStore and afterStore run around each call of the store that changes it; beforeSeal before each seal. An error
	// is returned in place of what the call gives. Set them before start.
	beforeStore, afterStore func(ctx context.Context, k tokenworker.Key) error
	beforeSeal              func(k tokenworker.Key) error
}

func newRig(t *testing.T) *rig {
	t.Helper()
	ctx, dir := t.Context(), t.TempDir()
	server := natstest.Start(t)
	r := &rig{t: t, js: natstest.ConnectTo(t, server), logs: &safeBuffer{}, files: server.StoreDir()}
	db, err := embedded.OpenStore(ctx, filepath.Join(dir, "store.db"))
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	for range epoch - 1 { // streams that there were before
		_, err := db.TakeEpoch(ctx)
		must(t, err)
	}
	must(t, streams.Setup(ctx, r.js, 1, db.TakeEpoch))
	service, err := embedded.CreateKeyFile(filepath.Join(dir, "key.json"))
	must(t, err)
	r.db, r.sealer = db, kmsenc.New(service, db, kmsenc.Config{})
	r.keys, err = events.NewKeyring(db, service, events.KeyringConfig{})
	must(t, err)
	r.public, err = r.keys.Make(ctx)
	must(t, err)
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start runs a worker until the test ends or stop is called. Stop returns what Run returned.
func (r *rig) start(change ...func(*consumer.Config)) (stop func() error) {
	r.t.Helper()
	cfg := consumer.Config{Logger: slog.New(slog.NewJSONHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for _, c := range change {
		c(&cfg)
	}
	w, err := consumer.New(cfg, r.js, r.keys, faultySealer{r}, faultyStore{r}, refresher{r})
	must(r.t, err)
	r.worker = w
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	r.t.Cleanup(func() { _ = stop() })
	return stop
}

type faultyStore struct{ *rig }

func (f faultyStore) around(ctx context.Context, k tokenworker.Key, call func() (tokenworker.Verdict, error)) (tokenworker.Verdict, error) {
	if f.beforeStore != nil {
		if err := f.beforeStore(ctx, k); err != nil {
			return 0, err
		}
	}
	v, err := call()
	if f.afterStore != nil && err == nil {
		err = f.afterStore(ctx, k)
	}
	return v, err
}

func (f faultyStore) Acquire(ctx context.Context, a *tokenworker.Acquisition) (tokenworker.Verdict, error) {
	return f.around(ctx, a.Key, func() (tokenworker.Verdict, error) { return f.db.Acquire(ctx, a) })
}

func (f faultyStore) Disconnect(ctx context.Context, d *tokenworker.Disconnection) (tokenworker.Verdict, error) {
	return f.around(ctx, d.Key, func() (tokenworker.Verdict, error) { return f.db.Disconnect(ctx, d) })
}

func (f faultyStore) Get(ctx context.Context, k tokenworker.Key) (tokenworker.Record, error) {
	return f.db.Get(ctx, k)
}

func (f faultyStore) HighWater(ctx context.Context) (tokenworker.Stamp, error) {
	return f.db.HighWater(ctx)
}

func (f faultyStore) RaiseHighWater(ctx context.Context, to tokenworker.Stamp) error {
	return f.db.RaiseHighWater(ctx, to)
}

func (f faultyStore) NoteProvider(ctx context.Context, id string) error {
	return f.db.NoteProvider(ctx, id)
}

func (f faultyStore) Providers(ctx context.Context) ([]string, error) { return f.db.Providers(ctx) }

// refresher stands in for the rotator and notes what it is asked.
type refresher struct{ *rig }

func (f refresher) Ask(_ context.Context, k tokenworker.Key) (string, error) {
	_, err := fmt.Fprintf(&f.refreshed, "%s\n", k)
	return "", err
}

func (f refresher) Over(context.Context, tokenworker.Key, tokenworker.Attempt) (bool, error) {
	return f.over.Load(), nil
}

func (refresher) SiblingsUntil(string) time.Time { return time.Time{} }

func (f refresher) Expect(tokenworker.Key, time.Time) {}

func (f refresher) LookBack(_ context.Context, k tokenworker.Key, _ tokenworker.Stamp) error {
	_, err := fmt.Fprintf(&f.lookedBack, "%s\n", k)
	return err
}

type faultySealer struct{ *rig }

func (f faultySealer) Seal(ctx context.Context, k tokenworker.Key, fence tokenworker.Fence, plaintext []byte) ([]byte, error) {
	if f.beforeSeal != nil {
		if err := f.beforeSeal(k); err != nil {
			return nil, err
		}
	}
	return f.sealer.Seal(ctx, k, fence, plaintext)
}

// acquired makes a sealed event that brings a token set whose access token ends in name.
func (r *rig) acquired(k tokenworker.Key, name string, at time.Time) events.Message {
	r.t.Helper()
	e, err := events.NewAcquired(k, "test", tokenworker.TokenSet{
		AccessToken: tokenworker.SecretString(secret + "-" + name), RefreshToken: tokenworker.SecretString(secret + "-refresh-" + name),
		ExpiresAt: at.Add(time.Hour).Truncate(time.Second),
	}, at)
	must(r.t, err)
	must(r.t, e.Seal(r.public))
	m, err := e.Message()
	must(r.t, err)
	return m
}

func (r *rig) disconnect(k tokenworker.Key, at time.Time) events.Message {
	r.t.Helper()
	e, err := events.NewDisconnect(k, "test", "customer_left", at)
	must(r.t, err)
	m, err := e.Message()
	must(r.t, err)
	return m
}

// publish returns the sequence that the stream gave the message.
func (r *rig) publish(m events.Message) uint64 {
	r.t.Helper()
	ack := r.tryPublish(m)
	if ack.Duplicate {
		r.t.Fatal("the stream took the message for a duplicate")
	}
	return ack.Sequence
}

func (r *rig) tryPublish(m events.Message) *jetstream.PubAck {
	r.t.Helper()
	msg := nats.NewMsg(m.Subject)
	msg.Data = m.Body
	if m.ID != "" {
		msg.Header.Set(events.MessageIDHeader, m.ID)
	}
	ack, err := r.js.PublishMsg(r.t.Context(), msg)
	must(r.t, err)
	return ack
}

// eventually waits until done, or fails the test with what was waited for.
func (r *rig) eventually(what string, done func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited 30 s in vain: %s\n%s", what, r.logs)
		}
		time.Sleep(2 * time.Millisecond) //nolint:forbidigo // between looks at the condition
	}
}

// settled waits until a stream holds no message.
func (r *rig) settled(stream string) {
	r.t.Helper()
	r.eventually("every message of "+stream+" settled", func() bool { return r.count(stream) == 0 })
}

func (r *rig) count(stream string) uint64 {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), stream)
	must(r.t, err)
	return s.CachedInfo().State.Msgs
}

// messages reads a stream from its beginning, without taking anything.
func (r *rig) messages(stream string) []events.Message {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), stream)
	must(r.t, err)
	var ms []events.Message
	for from := uint64(1); ; {
		m, err := s.GetMsg(r.t.Context(), from, jetstream.WithGetMsgSubject("tokens.v1.>"))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return ms
		}
		must(r.t, err)
		ms = append(ms, events.Message{Subject: m.Subject, ID: m.Header.Get(events.MessageIDHeader), Body: m.Data})
		from = m.Sequence + 1
	}
}

// notices lists what the worker announced, as "kind key".
func (r *rig) notices() string {
	r.t.Helper()
	var list []string
	for _, m := range r.messages(streams.Out) {
		n, err := events.ParseNotice(m)
		must(r.t, err)
		list = append(list, fmt.Sprintf("%s %s", n.Kind, events.KeyText(n.Key)))
	}
	return strings.Join(list, ", ")
}

// token opens what the store holds for k: the access token's name, or a word for why there is none.
func (r *rig) token(k tokenworker.Key) string {
	r.t.Helper()
	rec, err := r.db.Get(r.t.Context(), k)
	if errors.Is(err, tokenworker.ErrNotFound) {
		return "none"
	}
	must(r.t, err)
	if rec.Status != tokenworker.Active {
		return string(rec.Status)
	}
	return r.open(k, rec.Fence, rec.Sealed)
}

func (r *rig) open(k tokenworker.Key, f tokenworker.Fence, sealed []byte) string {
	r.t.Helper()
	plain, err := r.sealer.Open(r.t.Context(), k, f, sealed)
	must(r.t, err)
	set, err := tokenworker.DecodeTokenSet(plain)
	must(r.t, err)
	return strings.TrimPrefix(string(set.AccessToken.Reveal()), secret+"-")
}

// onDisk reports whether a file of the NATS server holds the text.
func (r *rig) onDisk(text string) (found bool) {
	r.t.Helper()
	must(r.t, filepath.WalkDir(r.files, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || found {
			return err
		}
		b, err := os.ReadFile(path)
		found = bytes.Contains(b, []byte(text))
		return err
	}))
	return found
}

// safeBuffer is a bytes.Buffer for several goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
