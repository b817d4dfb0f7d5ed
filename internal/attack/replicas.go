package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/access"
	"github.com/tokenworker/tokenworker/client"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/attack/process"
)

// replicas are several `tokenworker run` on a nats-server with the shipped configuration, on LocalStack, and on a provider in this
// process.
type replicas struct {
	workers   []*rig // each with its process; they share the rest
	nats      *process.NATS
	cloud     *cloud
	table     string
	kmsKey    string
	server    *demoprovider.Server
	publisher *client.Publisher
	operator  jetstream.JetStream
	closers   []func()
}

// more are users that the shipped configuration does not have, each in an account of its own: a publisher of all organizations, a
// reader of the organization other, and one of all. What they import is exported to everybody here.
const more = `
  ONBOARDING {
    imports: [
      { service: { account: TOKENS, subject: "tokens.v1.acquired.>" } }
      { service: { account: TOKENS, subject: "tokens.v1.disconnect.>" } }
      { service: { account: TOKENS, subject: "tokens.v1.refresh.>" } }
      { stream: { account: TOKENS, subject: "tokens.v1.notice.>" }, to: "tokens.v1.event.>" }
    ]
    users: [{ user: onboarding, password: attack }]
  }
  READER_BILLING {
    imports: [{ service: { account: TOKENS, subject: "tokens.v1.get.billing.other.>" } }]
    users: [{ user: billing, password: attack }]
  }
  READER_EVERYONE {
    imports: [{ service: { account: TOKENS, subject: "tokens.v1.get.everyone.>" } }]
    users: [{ user: everyone, password: attack }]
  }
`

// moreExports are what these import.
const moreExports = `
      { service: "tokens.v1.acquired.>", accounts: [ONBOARDING] }
      { service: "tokens.v1.disconnect.>", accounts: [ONBOARDING, OPERATOR] }
      { service: "tokens.v1.refresh.>", accounts: [ONBOARDING] }
      { stream: "tokens.v1.notice.>", accounts: [ONBOARDING, OPERATOR] }
      { service: "tokens.v1.get.billing.other.>", accounts: [READER_BILLING] }
      { service: "tokens.v1.get.everyone.>", accounts: [READER_EVERYONE] }
`

// witness hears what nobody else may, in the account of the streams.
const witness = `
      {user: witness, password: attack, permissions: {publish: {deny: ">"}, subscribe: [">"]}}
`

// withMore adds them.
func withMore(config string) string {
	return strings.NewReplacer(
		"      # A publisher and a reader each:", moreExports+"      # A publisher and a reader each:",
		"      { stream: \"tokens.v1.notice.>\", accounts: [OPERATOR] }\n", "",
		"      # `tokenworker run`, the connection", witness+"      # `tokenworker run`, the connection",
		"  # Sets up,", more+"  # Sets up,",
	).Replace(config)
}

// onboardingUser hands in tokens of all organizations, and hears what becomes of them.
const onboardingUser = "onboarding"

// strictly are the settings of a provider with the zero policy.
const strictly = "    rotation: strict\n"

// startReplicas starts workers, with more flags, on a provider of the policy and the settings of the configuration.
func startReplicas(ctx context.Context, e *env, workers int, cfg siteConfig, flags ...string) (_ *replicas, err error) {
	f := &replicas{}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	binary, err := e.program(ctx, workerPackage)
	if err != nil {
		return nil, err
	}
	natsBinary, err := e.program(ctx, natsPackage)
	if err != nil {
		return nil, err
	}
	if f.cloud, err = openCloud(ctx); err != nil {
		return nil, err
	}
	f.closers = append(f.closers, f.cloud.close)
	if f.nats, err = process.NewShippedNATS(ctx, natsBinary, e.dir, withMore); err != nil {
		return nil, fmt.Errorf("starting nats-server: %w", err)
	}
	f.closers = append(f.closers, f.nats.Kill)
	args, err := f.startProvider(ctx, e, cfg)
	if err != nil {
		return nil, err
	}
	flags = slices.Concat(flags, args, []string{"--read-rate", "1000000"})
	if err := f.startWorkers(ctx, e, binary, workers, flags); err != nil {
		return nil, err
	}
	return f, f.connectPublisher(ctx)
}

// startDevReplica starts one worker, `tokenworker dev`, likewise. Whoever connects to it may be any user.
func startDevReplica(ctx context.Context, e *env, cfg siteConfig) (_ *replicas, err error) {
	f := &replicas{}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	args, err := f.startProvider(ctx, e, cfg)
	if err != nil {
		return nil, err
	}
	r, err := newDev(ctx, e, args...)
	if err != nil {
		return nil, err
	}
	f.workers, f.closers = []*rig{r}, append(f.closers, r.close)
	if err := r.start(ctx); err != nil {
		return nil, err
	}
	if err := f.awaitReads(ctx); err != nil {
		return nil, err
	}
	return f, f.connectPublisher(ctx)
}

// startProvider starts the provider and returns the flags by which workers know of it.
func (f *replicas) startProvider(ctx context.Context, e *env, cfg siteConfig) (args []string, err error) {
	f.server, err = demoprovider.New(demoprovider.Config{
		Clients: []demoprovider.Client{{ID: siteClient, Secret: siteSecret, Policy: cfg.policy}},
	})
	if err != nil {
		return nil, fmt.Errorf("making a provider: %w", err)
	}
	if err := f.server.Start(ctx, "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("starting the provider: %w", err)
	}
	f.closers = append(f.closers, func() { _ = f.server.Close() })
	s := &site{siteConfig: cfg, dir: e.dir, server: f.server}
	return []string{"--providers", s.catalogue()}, s.writeCatalogue()
}

// startWorkers sets everything up as the operator, and starts the workers as theirs.
func (f *replicas) startWorkers(ctx context.Context, e *env, binary string, workers int, args []string) error {
	var err error
	if f.kmsKey, err = f.cloud.newKey(ctx); err != nil {
		return err
	}
	f.table = f.cloud.newTableName()
	password := e.inDir("password")
	if err := os.WriteFile(password, []byte(process.Password+"\n"), 0o600); err != nil {
		return fmt.Errorf("writing the password: %w", err)
	}
	target := func(user string) []string {
		return []string{
			"--nats-url", "nats://" + f.nats.Addr, "--nats-user", user, "--nats-password-file", password,
			"--nats-inbox", "_INBOX." + user, "--table", f.table,
		}
	}
	for i := range workers {
		httpAddr, err := process.FreeAddr(ctx)
		if err != nil {
			return fmt.Errorf("choosing a port: %w", err)
		}
		r := &rig{target: target(process.Operator), http: "http://" + httpAddr, natsURL: "nats://" + f.nats.Addr}
		r.users = func(user string) nats.Option { return nats.UserInfo(user, process.Password) }
		r.open = func(ctx context.Context) (*view, error) { return f.cloud.view(ctx, f.table, f.kmsKey) }
		r.program = process.Program{
			Path: binary, Log: e.inDir(fmt.Sprintf("run-%d.log", i)), Env: f.env(f.kmsKey),
			Args: slices.Concat([]string{"run", "--http-addr", httpAddr, "--access-user", "access", "--access-password-file", password},
				target(process.Worker), args),
		}
		f.workers = append(f.workers, r)
		f.closers = append(f.closers, r.close)
	}
	if _, err := f.workers[0].mustCLI(ctx, "setup", "--replicas", "1"); err != nil {
		return err
	}
	for _, r := range f.workers {
		if err := r.start(ctx); err != nil {
			return err
		}
	}
	return f.awaitReads(ctx)
}

// env are the variables of programs that use these KMS keys.
func (f *replicas) env(keys ...string) []string {
	return append(f.cloud.env(), "TOKENWORKER_KMS_KEY="+strings.Join(keys, ","))
}

// awaitReads waits until every worker answers reads.
func (f *replicas) awaitReads(ctx context.Context) error {
	if f.operator == nil {
		var err error
		if f.operator, err = f.dial(process.Operator); err != nil {
			return err
		}
	}
	nc := f.operator.Conn()
	return process.Await(ctx, readyWithin, "every worker answers reads", func() (bool, error) { //nolint:wrapcheck // our own
		inbox := nc.NewInbox()
		sub, err := nc.SubscribeSync(inbox)
		if err != nil {
			return false, err //nolint:wrapcheck // our own
		}
		defer sub.Unsubscribe() //nolint:errcheck // it is looked at no more
		if err := nc.PublishRequest(access.PingSubject, inbox, nil); err != nil {
			return false, err //nolint:wrapcheck // our own
		}
		for range f.workers {
			if _, err := sub.NextMsg(time.Second); err != nil {
				return false, nil // not yet
			}
		}
		return true, nil
	})
}

func (f *replicas) connectPublisher(ctx context.Context) error {
	public, err := f.workers[0].publicKey(ctx)
	if err != nil {
		return err
	}
	js, err := f.dial(onboardingUser)
	if err != nil {
		return err
	}
	f.publisher = client.NewPublisher(js, client.PublisherConfig{Source: source, PublicKey: public})
	return nil
}

// dial connects as a user of the configuration, hearing its own inboxes.
func (f *replicas) dial(user string) (jetstream.JetStream, error) {
	return f.workers[0].connect(user, nats.CustomInboxPrefix("_INBOX."+user))
}

// connect is dial for who has nothing to do with streams.
func (f *replicas) connect(user string) (*nats.Conn, error) {
	js, err := f.dial(user)
	if err != nil {
		return nil, err
	}
	return js.Conn(), nil
}

// onNotice calls back with each notice of the worker's on a subject, one after another.
func (f *replicas) onNotice(subject string, heard func(events.Notice)) error {
	nc, err := f.connect(onboardingUser)
	if err != nil {
		return err
	}
	_, err = nc.Subscribe(subject, func(m *nats.Msg) {
		if n, err := events.ParseNotice(events.Message{Subject: m.Subject, Body: m.Data}); err == nil {
			heard(n)
		}
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		return fmt.Errorf("listening to announcements: %w", err)
	}
	return nil
}

// reader connects one that reads as a caller of its user's name.
func (f *replicas) reader(user string, cfg client.ReaderConfig) (*client.Reader, error) {
	nc, err := f.connect(user)
	if err != nil {
		return nil, err
	}
	return client.NewReader(nc, user, cfg), nil
}

// acquireTwo acquires a connection of the organization acme, which the shipped users may touch, and one of another, which they may
// not.
func (f *replicas) acquireTwo(ctx context.Context) (own, theirs tokenworker.Key, err error) {
	own = tokenworker.Key{OrgID: "acme", ProviderID: siteProvider(0), CompanyID: "1"}
	theirs = tokenworker.Key{OrgID: "other", ProviderID: siteProvider(0), CompanyID: "1"}
	for _, k := range []tokenworker.Key{own, theirs} {
		if err := f.acquire(ctx, k, 0, time.Hour); err != nil {
			return own, theirs, err
		}
	}
	return own, theirs, nil
}

// acquire makes a grant at the provider, obtained some time ago and with so much time left, and has it stored.
func (f *replicas) acquire(ctx context.Context, k tokenworker.Key, ago, left time.Duration) error {
	tokens, err := f.server.Grant(siteClient, k.String(), "")
	if err != nil {
		return fmt.Errorf("granting: %w", err)
	}
	m, err := f.publisher.Acquired(k, tokenworker.TokenSet{
		AccessToken:  tokenworker.SecretString(tokens.AccessToken),
		RefreshToken: tokenworker.SecretString(tokens.RefreshToken),
		ExpiresAt:    time.Now().Add(left).Truncate(time.Second),
	}, time.Now().Add(-ago))
	if err != nil {
		return fmt.Errorf("making an event: %w", err)
	}
	return f.publish(ctx, m, events.Stored)
}

// acquireAll is acquire for n connections, whose tokens have so much time left, some at once.
func (f *replicas) acquireAll(ctx context.Context, n int, key func(i int) tokenworker.Key, left time.Duration) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	for i := range n {
		g.Go(func() error { return f.acquire(ctx, key(i), 0, left) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("acquiring: %w", err)
	}
	return nil
}

// publish publishes an event and waits for what must come of it.
func (f *replicas) publish(ctx context.Context, m events.Message, want events.Kind) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, got, err := f.publisher.PublishAndWait(ctx, m)
	if err == nil && got != client.Outcome(want) {
		err = fmt.Errorf("an event was %s, want %s", got, want)
	}
	return err //nolint:wrapcheck // our own
}

// answered is how many requests the workers have answered, or dealt with otherwise.
func (f *replicas) answered(ctx context.Context) (string, error) {
	var all []string
	for _, r := range f.workers {
		status, body, err := r.get(ctx, "/metrics")
		if err != nil || status != http.StatusOK {
			return "", errors.Join(fmt.Errorf("asking for metrics: %d", status), err)
		}
		for line := range strings.SplitSeq(string(body), "\n") {
			if strings.HasPrefix(line, "tokenworker_reads_total") {
				all = append(all, line)
			}
		}
	}
	return strings.Join(all, ", "), nil
}

func (f *replicas) close() {
	for _, closeIt := range slices.Backward(f.closers) {
		closeIt()
	}
}
