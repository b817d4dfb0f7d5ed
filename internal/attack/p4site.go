package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/internal/attack/process"
	"github.com/tokenworker/tokenworker/internal/attack/proxy"
	"github.com/tokenworker/tokenworker/kmsenc"
	"github.com/tokenworker/tokenworker/provider"
	"github.com/tokenworker/tokenworker/rotator"
	"github.com/tokenworker/tokenworker/streams"
)

// site is what rotators work on: a NATS server of its own process, an embedded store, and a demanding provider in this
// process, whose ledger judges them.
type site struct {
	siteConfig
	dir     string
	nats    *process.NATS
	proxy   *proxy.TCP // between the rotators of this process and NATS
	js      jetstream.JetStream
	store   *embedded.Store
	sealer  *kmsenc.Sealer
	server  *demoprovider.Server
	gate    *provider.Gateway
	sent    atomic.Uint64 // stamps handed out
	closers []func()
}

type siteConfig struct {
	policy    demoprovider.Policy
	settings  string           // of each provider in the catalogue, as YAML
	providers int              // names that one server has in the catalogue: each has its own limits
	now       func() time.Time // default: time.Now
	seed      uint64
}

const (
	siteClient = "worker"
	siteSecret = "worker-secret"
)

func openSite(ctx context.Context, e *env, cfg siteConfig) (s *site, err error) {
	if cfg.now == nil {
		cfg.now = time.Now
	}
	s = &site{siteConfig: cfg, dir: e.dir}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	binary, err := e.program(ctx, natsPackage)
	if err != nil {
		return s, err
	}
	if s.nats, err = process.NewNATS(ctx, binary, s.dir); err != nil {
		return s, fmt.Errorf("starting NATS: %w", err)
	}
	s.closers = append(s.closers, s.nats.Kill)
	if s.proxy, err = proxy.NewTCP(ctx, s.nats.Addr); err != nil {
		return s, fmt.Errorf("starting a proxy: %w", err)
	}
	s.closers = append(s.closers, s.proxy.Close)
	js, closeNATS, err := dialNATS(s.proxy.Addr())
	if err != nil {
		return s, err
	}
	s.js = js
	s.closers = append(s.closers, closeNATS)
	if err := streams.Setup(ctx, js, 1, func(context.Context) (uint64, error) { return 1, nil }); err != nil {
		return s, fmt.Errorf("setting the streams up: %w", err)
	}
	if s.server, err = demoprovider.New(demoprovider.Config{
		Now: cfg.now, Seed: cfg.seed, Clients: []demoprovider.Client{
			{ID: siteClient, Secret: siteSecret, Policy: cfg.policy},
			{ID: brokenClient, Secret: siteSecret, Policy: cfg.policy},
		},
	}); err != nil {
		return s, fmt.Errorf("making a provider: %w", err)
	}
	if err := s.server.Start(ctx, "127.0.0.1:0"); err != nil {
		return s, fmt.Errorf("starting the provider: %w", err)
	}
	s.closers = append(s.closers, func() { _ = s.server.Close() })
	return s, s.openRest(ctx)
}

// brokenClient is a client whose grants an attack lets fail: faults can be told to hit its tokens only.
const brokenClient = "broken"

func (s *site) openRest(ctx context.Context) error {
	service, err := embedded.CreateKeyFile(embedded.KeyPath(s.dir))
	if err != nil {
		return fmt.Errorf("making a key file: %w", err)
	}
	if s.store, err = embedded.OpenStore(ctx, embedded.StorePath(s.dir)); err != nil {
		return fmt.Errorf("opening the store: %w", err)
	}
	s.closers = append(s.closers, func() { _ = s.store.Close() })
	s.sealer = kmsenc.New(service, s.store, kmsenc.Config{})
	if err := s.writeCatalogue(); err != nil {
		return err
	}
	gate, closeGate, err := openGate(ctx, s.catalogue(), s.now)
	if err != nil {
		return err
	}
	s.gate = gate
	s.closers = append(s.closers, closeGate)
	return nil
}

func (s *site) catalogue() string { return s.dir + "/catalogue.yaml" }

func (s *site) writeCatalogue() error {
	var text strings.Builder
	text.WriteString("providers:\n")
	for i := range max(1, s.providers) {
		_, _ = fmt.Fprintf(&text, `  %[1]s:
    token_url: %[2]s/token
    auth: client_secret_basic
    revoke: {url: %[2]s/revoke}
    introspect: {url: %[2]s/introspect, company: sub}
    allow_networks: [127.0.0.0/8]
    rate_limit: 10000
    client: {id: "file:%[3]s/client-id", secret: "file:%[3]s/client-secret"}
%[4]s`, siteProvider(i), s.server.URL(), s.dir, s.settings)
	}
	for name, content := range map[string]string{
		"client-id": siteClient, "client-secret": siteSecret, "catalogue.yaml": text.String(),
	} {
		if err := os.WriteFile(s.dir+"/"+name, []byte(content), 0o600); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	return nil
}

func siteProvider(i int) string { return fmt.Sprintf("demo-%d", i) }

// openGate reads a catalogue and makes a gateway to its providers.
func openGate(ctx context.Context, path string, now func() time.Time) (*provider.Gateway, func(), error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the catalogue: %w", err)
	}
	catalogue, err := provider.Load(ctx, nil, provider.Source{Name: path, YAML: text})
	if err != nil {
		return nil, nil, fmt.Errorf("loading the catalogue: %w", err)
	}
	client := provider.NewClient(provider.Config{Now: now})
	return provider.NewGateway(catalogue, client), client.Close, nil
}

// dialNATS connects as the worker, and again after each cut.
func dialNATS(addr string) (jetstream.JetStream, func(), error) {
	nc, err := nats.Connect("nats://"+addr, nats.UserInfo(process.Worker, process.Password), nats.MaxReconnects(-1),
		nats.ReconnectWait(50*time.Millisecond), nats.ReconnectBufSize(-1), nats.Timeout(2*time.Second),
		nats.RetryOnFailedConnect(true), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		return nil, nil, fmt.Errorf("connecting to NATS: %w", err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, nil, fmt.Errorf("opening JetStream: %w", err)
	}
	return js, nc.Close, nil
}

func (s *site) close() {
	for _, closeIt := range slices.Backward(s.closers) {
		closeIt()
	}
}

// rotator makes one in this process, over the store or something around it. It sweeps when it is told to only.
func (s *site) rotator(store rotator.Store, log *slog.Logger) (*rotator.Rotator, error) {
	r, err := rotator.New(rotator.Config{
		Process: "one", Tick: time.Hour, AttemptTimeout: time.Second, Now: s.now, Logger: log,
	}, s.js, store, s.sealer, s.gate)
	if err != nil {
		return nil, fmt.Errorf("making a rotator: %w", err)
	}
	return r, nil
}

// running runs a rotator until the function that it returns is called.
func running(ctx context.Context, r *rotator.Rotator) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	return func() error {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			return fmt.Errorf("running a rotator: %w", err)
		}
		return nil
	}
}

// key names the connection of a number, at one of the names of the provider.
func (s *site) key(i int) tokenworker.Key {
	return tokenworker.Key{
		OrgID: fmt.Sprintf("org-%d", i%5), ProviderID: siteProvider(i % max(1, s.providers)), CompanyID: fmt.Sprint(i),
	}
}

// acquire makes a grant at the provider and stores it.
func (s *site) acquire(ctx context.Context, k tokenworker.Key) error {
	return s.acquireAs(ctx, siteClient, k)
}

func (s *site) acquireAs(ctx context.Context, client string, k tokenworker.Key) error {
	tokens, err := s.server.Grant(client, k.String(), "")
	if err != nil {
		return fmt.Errorf("granting: %w", err)
	}
	v, err := s.publish(ctx, k, tokens)
	if err == nil && v != tokenworker.Applied {
		err = fmt.Errorf("storing a grant: it was %s", v)
	}
	return err
}

// publish stores tokens as an acquisition that is newer than everything before.
func (s *site) publish(ctx context.Context, k tokenworker.Key, tokens demoprovider.Tokens) (tokenworker.Verdict, error) {
	a, err := s.acquisition(ctx, k, tokens)
	if err != nil {
		return 0, err
	}
	v, err := s.store.Acquire(ctx, a)
	if err != nil {
		return 0, fmt.Errorf("storing a set: %w", err)
	}
	return v, nil
}

// acquisition seals tokens for a store.
func (s *site) acquisition(
	ctx context.Context, k tokenworker.Key, tokens demoprovider.Tokens,
) (*tokenworker.Acquisition, error) {
	set := tokenworker.TokenSet{
		AccessToken:  tokenworker.SecretString(tokens.AccessToken),
		RefreshToken: tokenworker.SecretString(tokens.RefreshToken),
		ExpiresAt:    s.now().Add(time.Duration(tokens.ExpiresIn) * time.Second),
	}
	plain, err := tokenworker.EncodeTokenSet(set)
	if err != nil {
		return nil, fmt.Errorf("encoding a set: %w", err)
	}
	event := s.event(k)
	sealed, err := s.sealer.Seal(ctx, k, tokenworker.Fence{Stamp: event.Stamp}, plain)
	if err != nil {
		return nil, fmt.Errorf("sealing a set: %w", err)
	}
	policy, _ := s.gate.Policy(k.ProviderID)
	return &tokenworker.Acquisition{
		Event: event, Sealed: sealed, Details: set.Details(), DueAt: rotator.DueAfter(policy, k, s.now(), set),
		Spendable: tokenworker.NewFingerprint(k, set.RefreshToken), KeepRevocations: policy.RevokesNarrowly(),
	}, nil
}

func (s *site) disconnect(ctx context.Context, k tokenworker.Key) error {
	if _, err := s.store.Disconnect(ctx, &tokenworker.Disconnection{Event: s.event(k)}); err != nil {
		return fmt.Errorf("disconnecting: %w", err)
	}
	return nil
}

func (s *site) event(k tokenworker.Key) tokenworker.Event {
	seq, now := s.sent.Add(1), s.now()
	return tokenworker.Event{
		Key: k, Stamp: tokenworker.Stamp{Epoch: 1, Sequence: seq}, Entered: now,
		ID: tokenworker.NewEventID("attack", fmt.Sprint(seq), now),
	}
}

// held opens the refresh token that the record holds; empty when it holds none.
func (s *site) held(ctx context.Context, r tokenworker.Record) (string, error) {
	if r.Sealed == nil {
		return "", nil
	}
	plain, err := s.sealer.Open(ctx, r.Key, r.Fence, r.Sealed)
	if err != nil {
		return "", fmt.Errorf("opening the stored set of %s: %w", r.Key, err)
	}
	set, err := tokenworker.DecodeTokenSet(plain)
	if err != nil {
		return "", fmt.Errorf("decoding the stored set of %s: %w", r.Key, err)
	}
	return string(set.RefreshToken.Reveal()), nil
}

// records reads the records of the first n connections.
func (s *site) records(ctx context.Context, n int) ([]tokenworker.Record, error) {
	all := make([]tokenworker.Record, 0, n)
	for i := range n {
		r, err := s.store.Get(ctx, s.key(i))
		if err != nil {
			return nil, fmt.Errorf("reading a record: %w", err)
		}
		all = append(all, r)
	}
	return all, nil
}

// waiting is how many messages a stream holds.
func (s *site) waiting(ctx context.Context, stream string) (uint64, error) {
	st, err := s.js.Stream(ctx, stream)
	if err != nil {
		return 0, fmt.Errorf("looking up a stream: %w", err)
	}
	return st.CachedInfo().State.Msgs, nil
}

// judgeHeld reports what the provider's ledger says of the tokens in the records: a family that lives and is not held is
// lost, a held token that does not work is useless. It returns how many are held and live.
func (s *site) judgeHeld(ctx context.Context, e *env, records []tokenworker.Record) (int, error) {
	var tokens []string
	for _, r := range records {
		if r.Status != tokenworker.Active {
			continue
		}
		token, err := s.held(ctx, r)
		if err != nil {
			return 0, err
		}
		tokens = append(tokens, token)
	}
	j := s.server.Judge(tokens)
	for _, f := range j.Unheld {
		e.broke("%s: family %d is alive at the provider and its token is not in the store (answer never sent: %t)", f.Subject,
			f.Family, f.NeverSent)
	}
	for _, f := range j.Useless {
		e.broke("%s: the store holds a token that does not work: family %d is %s", f.Subject, f.Family, f.Fate)
	}
	if j.Unknown > 0 {
		e.broke("the store holds %d tokens that the provider never made", j.Unknown)
	}
	return j.Held, nil
}

// below is the attack in a directory of its own.
func (e *env) below(name string) (*env, error) {
	inner := *e
	inner.dir = e.inDir(name)
	if err := os.Mkdir(inner.dir, 0o700); err != nil {
		return nil, fmt.Errorf("making a directory: %w", err)
	}
	return &inner, nil
}
