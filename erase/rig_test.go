package erase_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/erase"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/natstest"
	"github.com/tokenworker/tokenworker/kmsenc"
	"github.com/tokenworker/tokenworker/provider"
	"github.com/tokenworker/tokenworker/rotator"
	"github.com/tokenworker/tokenworker/streams"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const epoch = 7

// rig is an eraser's surroundings, all of them real: NATS, SQLite, key file, a rotator, and an OAuth server.
type rig struct {
	t      *testing.T
	js     jetstream.JetStream
	db     *embedded.Store
	keys   *events.Keyring
	public events.PublicKey
	sealer *kmsenc.Sealer
	server *demoprovider.Server
	rot    *rotator.Rotator
	files  string // where NATS keeps its streams

	// fault is asked ahead of each change of the store; an error takes its place.
	fault func() error
}

func newRig(t *testing.T) *rig {
	t.Helper()
	ctx, dir := t.Context(), t.TempDir()
	server := natstest.Start(t)
	r := &rig{t: t, js: natstest.ConnectTo(t, server), files: server.StoreDir()}
	must(t, streams.Setup(ctx, r.js, 1, func(context.Context) (uint64, error) { return epoch, nil }))
	db, err := embedded.OpenStore(ctx, filepath.Join(dir, "store.db"))
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	service, err := embedded.CreateKeyFile(filepath.Join(dir, "key.json"))
	must(t, err)
	r.db, r.sealer = db, kmsenc.New(service, db, kmsenc.Config{})
	r.keys, err = events.NewKeyring(db, service, events.KeyringConfig{})
	must(t, err)
	r.public, err = r.keys.Make(ctx)
	must(t, err)

	r.server, err = demoprovider.New(demoprovider.Config{Clients: []demoprovider.Client{{ID: "worker", Secret: "worker-secret"}}})
	must(t, err)
	must(t, r.server.Start(ctx, "127.0.0.1:0"))
	t.Cleanup(func() { must(t, r.server.Close()) })
	t.Setenv("ERASE_TEST_ID", "worker")
	t.Setenv("ERASE_TEST_SECRET", "worker-secret")
	catalogue, err := provider.Load(ctx, nil, provider.Source{Name: "test.yaml", YAML: fmt.Appendf(nil, `providers:
  demo:
    token_url: %[1]s/token
    auth: client_secret_basic
    revoke: {url: %[1]s/revoke}
    allow_networks: [127.0.0.0/8]
    revocation_scope: family
    client: {id: "env:ERASE_TEST_ID", secret: "env:ERASE_TEST_SECRET"}
`, r.server.URL())})
	must(t, err)
	client := provider.NewClient(provider.Config{})
	t.Cleanup(client.Close)
	r.rot, err = rotator.New(rotator.Config{Process: "test", AttemptTimeout: time.Second}, r.js, db, r.sealer, provider.NewGateway(catalogue, client))
	must(t, err)
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (r *rig) eraser(change ...func(*erase.Config)) *erase.Eraser {
	r.t.Helper()
	cfg := erase.Config{FenceOf: kmsenc.FenceOf, RevokeFor: 20 * time.Second, InHand: 100 * time.Millisecond}
	for _, c := range change {
		c(&cfg)
	}
	e, err := erase.New(cfg, r.js, faulty{r.db, r}, r.rot, r.keys)
	must(r.t, err)
	return e
}

type faulty struct {
	*embedded.Store
	r *rig
}

func (f faulty) Disconnect(ctx context.Context, d *tokenworker.Disconnection) (tokenworker.Verdict, error) {
	if f.r.fault != nil {
		if err := f.r.fault(); err != nil {
			return 0, err
		}
	}
	return f.Store.Disconnect(ctx, d)
}

func (f faulty) Update(
	ctx context.Context, rec tokenworker.Record, rule tokenworker.Rule,
) (tokenworker.Record, tokenworker.Verdict, error) {
	if f.r.fault != nil {
		if err := f.r.fault(); err != nil {
			return tokenworker.Record{}, 0, err
		}
	}
	return f.Store.Update(ctx, rec, rule)
}

func key(org, company string) tokenworker.Key {
	return tokenworker.Key{OrgID: org, ProviderID: "demo", CompanyID: company}
}

// publish returns the place of a message that nobody has settled.
func (r *rig) publish(m events.Message, headers ...string) uint64 {
	r.t.Helper()
	msg := nats.NewMsg(m.Subject)
	msg.Data = m.Body
	for i := 0; i+1 < len(headers); i += 2 {
		msg.Header.Set(headers[i], headers[i+1])
	}
	ack, err := r.js.PublishMsg(r.t.Context(), msg, jetstream.WithMsgID(m.ID))
	must(r.t, err)
	return ack.Sequence
}

// acquired makes a sealed event that brings a fresh grant of the provider.
func (r *rig) acquired(k tokenworker.Key) (events.Message, tokenworker.TokenSet) {
	r.t.Helper()
	tokens, err := r.server.Grant("worker", k.String(), "")
	must(r.t, err)
	set := tokenworker.TokenSet{
		AccessToken: tokenworker.SecretString(tokens.AccessToken), RefreshToken: tokenworker.SecretString(tokens.RefreshToken),
		ExpiresAt: time.Now().Add(time.Hour).Truncate(time.Second), Subject: "person of " + k.CompanyID, Issuer: "https://issuer.example",
	}
	e, err := events.NewAcquired(k, "test", set, time.Now())
	must(r.t, err)
	must(r.t, e.Seal(r.public))
	m, err := e.Message()
	must(r.t, err)
	return m, set
}

// acquire publishes an acquisition, and stores and settles it as the consumer would; also when it comes late. It returns its
// place.
func (r *rig) acquire(k tokenworker.Key) uint64 {
	r.t.Helper()
	m, set := r.acquired(k)
	seq := r.publish(m)
	r.store(k, seq, set)
	in, err := r.js.Stream(r.t.Context(), streams.In)
	must(r.t, err)
	must(r.t, in.DeleteMsg(r.t.Context(), seq))
	r.notice(k, events.StoredData{Cause: events.Cause{Epoch: epoch, Sequence: seq}})
	return seq
}

func (r *rig) store(k tokenworker.Key, seq uint64, set tokenworker.TokenSet) tokenworker.Verdict {
	r.t.Helper()
	ev := r.event(k, seq)
	plain, err := tokenworker.EncodeTokenSet(set)
	must(r.t, err)
	sealed, err := r.sealer.Seal(r.t.Context(), k, tokenworker.Fence{Stamp: ev.Stamp}, plain)
	must(r.t, err)
	v, err := r.db.Acquire(r.t.Context(), &tokenworker.Acquisition{
		Event: ev, Sealed: sealed, Details: set.Details(), DueAt: time.Now().Add(time.Hour), KeepRevocations: true, Retain: 3,
	})
	must(r.t, err)
	return v
}

func (r *rig) event(k tokenworker.Key, seq uint64) tokenworker.Event {
	now := time.Now()
	return tokenworker.Event{
		Key: k, Stamp: tokenworker.Stamp{Epoch: epoch, Sequence: seq}, Entered: now,
		ID: tokenworker.NewEventID("test", fmt.Sprint(seq), now),
	}
}

func (r *rig) notice(k tokenworker.Key, data events.NoticeData) {
	r.t.Helper()
	m, err := events.NewNotice(k, "tokenworker", data, time.Now())
	must(r.t, err)
	r.publish(m)
}

// letter leaves a dead letter of an acquisition that was refused, and returns it.
func (r *rig) letter(k tokenworker.Key, seq uint64) events.Message {
	r.t.Helper()
	m, _ := r.acquired(k)
	letter, err := r.keys.SealDeadLetter(r.t.Context(), events.DeadLetter{
		Code: events.CodeTooOld, Original: m, Stamp: tokenworker.Stamp{Epoch: epoch, Sequence: seq}, Entered: time.Now(),
	})
	must(r.t, err)
	r.publish(letter)
	return letter
}

// park leaves a parked acquisition.
func (r *rig) park(k tokenworker.Key, seq uint64) {
	r.t.Helper()
	m, _ := r.acquired(k)
	m.Subject, m.ID = events.ParkedSubject(m.Subject), fmt.Sprint("parked/", seq, k)
	r.publish(m, events.StampHeader, tokenworker.Stamp{Epoch: epoch, Sequence: seq}.String())
}

// request publishes a request to erase and returns what the consumer would hand to the eraser.
func (r *rig) request(k tokenworker.Key) (tokenworker.Event, events.Cause) {
	r.t.Helper()
	e, err := events.NewErase(k, "test", "gdpr", time.Now())
	must(r.t, err)
	m, err := e.Message()
	must(r.t, err)
	seq := r.publish(m)
	ev := r.event(k, seq)
	ev.ID = e.EventID()
	return ev, events.Cause{Epoch: epoch, Sequence: seq, EventSource: e.Source, EventID: e.ID}
}

// erase has a request met.
func (r *rig) erase(e *erase.Eraser, k tokenworker.Key) (tokenworker.Event, events.Cause) {
	r.t.Helper()
	ev, cause := r.request(k)
	must(r.t, e.Erase(r.t.Context(), ev, cause, "gdpr"))
	return ev, cause
}

// about lists the subjects of the messages of every stream that are about a key.
func (r *rig) about(k tokenworker.Key) (subjects []string) {
	r.t.Helper()
	for _, name := range erase.Streams() {
		s, err := r.js.Stream(r.t.Context(), name)
		must(r.t, err)
		for from := uint64(1); ; {
			m, err := s.GetMsg(r.t.Context(), from, jetstream.WithGetMsgSubject("tokens.v1.>"))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				break
			}
			must(r.t, err)
			if named, _ := events.KeyOf(m.Subject); named == k || k.ProviderID == "" && named.OrgID == k.OrgID {
				subjects = append(subjects, m.Subject)
			}
			from = m.Sequence + 1
		}
	}
	return subjects
}

func (r *rig) get(k tokenworker.Key) tokenworker.Record {
	r.t.Helper()
	rec, err := r.db.Get(r.t.Context(), k)
	must(r.t, err)
	return rec
}

// onDisk reports whether a file of the NATS server holds the bytes.
func (r *rig) onDisk(b []byte) (found bool) {
	r.t.Helper()
	must(r.t, filepath.WalkDir(r.files, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || found {
			return err
		}
		content, err := os.ReadFile(path)
		found = bytes.Contains(content, b)
		return err
	}))
	return found
}
