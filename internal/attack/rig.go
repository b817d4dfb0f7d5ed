package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/attack/process"
	"github.com/tokenworker/tokenworker/kmsenc"
	"github.com/tokenworker/tokenworker/streams"
)

// rig is a worker under attack, with everything it works on. A dev rig is one process; a deployment has servers of
// their own, and proxies between.
type rig struct {
	program process.Program
	process *process.Process
	target  []string // flags that make any command work on it
	http    string   // URL of its health and metrics
	natsURL string   // past any proxy
	users   func(user string) nats.Option
	open    func(ctx context.Context) (*view, error)
	closers []func()

	// Of a deployment only.
	nats  *process.NATS
	cloud *cloud
}

// view is what the worker has stored, read past it.
type view struct {
	store  viewStore
	sealer *kmsenc.Sealer
	keys   *events.Keyring
	close  func()
}

type viewStore interface {
	kmsenc.KeyStore
	events.KeyStore
	viewRecords
	AllWrappedKeys(ctx context.Context) iter.Seq2[tokenworker.WrappedKey, error]
}

type viewRecords interface {
	Get(ctx context.Context, k tokenworker.Key) (tokenworker.Record, error)
	Records(ctx context.Context, orgID string) iter.Seq2[tokenworker.Record, error]
	AllRecords(ctx context.Context) iter.Seq2[tokenworker.Record, error]
}

func newView(store viewStore, service tokenworker.KeyService, closeIt func()) (*view, error) {
	keys, err := events.NewKeyring(store, service, events.KeyringConfig{})
	if err != nil {
		return nil, fmt.Errorf("opening the event keys: %w", err)
	}
	return &view{store, kmsenc.New(service, store, kmsenc.Config{}), keys, closeIt}, nil
}

// openSet opens the token set that a sealed blob holds for the connection.
func (v *view) openSet(ctx context.Context, k tokenworker.Key, f tokenworker.Fence, sealed []byte) (tokenworker.TokenSet, error) {
	plain, err := v.sealer.Open(ctx, k, f, sealed)
	if err != nil {
		return tokenworker.TokenSet{}, fmt.Errorf("opening the stored set of %s: %w", k, err)
	}
	set, err := tokenworker.DecodeTokenSet(plain)
	if err != nil {
		return tokenworker.TokenSet{}, fmt.Errorf("decoding the stored set of %s: %w", k, err)
	}
	return set, nil
}

// errEndedByItself: nobody had asked the worker to.
var errEndedByItself = errors.New("the worker ended by itself; its log says why")

const readyWithin = 40 * time.Second

// launch starts the worker without waiting for it.
func (r *rig) launch(ctx context.Context) error {
	var err error
	r.process, err = process.Start(ctx, r.program)
	return err //nolint:wrapcheck // our own
}

// start starts the worker and waits until it is ready.
func (r *rig) start(ctx context.Context) error {
	if err := r.launch(ctx); err != nil {
		return err
	}
	return r.awaitReady(ctx)
}

func (r *rig) awaitReady(ctx context.Context) error {
	return process.Await(ctx, readyWithin, "the worker is ready", func() (bool, error) { //nolint:wrapcheck // our own
		if r.ended() {
			return false, errEndedByItself
		}
		status, _, err := r.get(ctx, "/readyz")
		return err == nil && status == http.StatusOK, nil
	})
}

// ended reports whether the worker's process is gone.
func (r *rig) ended() bool {
	select {
	case <-r.process.Ended():
		return true
	default:
		return false
	}
}

// stop ends the worker in order.
func (r *rig) stop() error { return r.process.Stop(40 * time.Second) }

// end stops the worker and opens what it has stored, which the caller closes. A worker that does not end in order breaks a promise.
func (r *rig) end(ctx context.Context, e *env) (*view, error) {
	if err := r.stop(); err != nil {
		e.broke("at the end the worker %v", err)
	}
	return r.open(ctx)
}

// close ends all that was started.
func (r *rig) close() {
	if r.process != nil {
		r.process.Kill()
	}
	for _, closeIt := range slices.Backward(r.closers) {
		closeIt()
	}
}

// get asks the worker's HTTP server.
func (r *rig) get(ctx context.Context, path string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.http+path, nil)
	if err != nil {
		return 0, nil, fmt.Errorf("asking for %s: %w", path, err)
	}
	request.Close = true
	answer, err := new(http.Client).Do(request) // bounded by ctx
	if err != nil {
		return 0, nil, fmt.Errorf("asking for %s: %w", path, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return answer.StatusCode, body, nil
}

// cli runs a command of the binary on the rig.
func (r *rig) cli(ctx context.Context, stdin []byte, command ...string) (process.Output, error) {
	out, err := process.Run(ctx, process.Program{
		Path: r.program.Path, Args: append(command, r.target...), Env: r.program.Env,
	}, stdin)
	if err != nil {
		return out, fmt.Errorf("running tokenworker %s: %w", command[0], err)
	}
	return out, nil
}

// mustCLI is cli for a command that has to succeed.
func (r *rig) mustCLI(ctx context.Context, command ...string) ([]byte, error) {
	out, err := r.cli(ctx, nil, command...)
	if err == nil && out.ExitCode != 0 {
		err = fmt.Errorf("tokenworker %s: exit %d: %s", command[0], out.ExitCode, bytes.TrimSpace(out.Stderr))
	}
	return out.Stdout, err
}

// connect connects to NATS, and again after each cut, as the given user of a deployment.
func (r *rig) connect(user string, opts ...nats.Option) (jetstream.JetStream, error) {
	nc, err := nats.Connect(r.natsURL, append([]nats.Option{
		r.users(user), nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectJitter(0, 0),
		nats.ReconnectBufSize(-1), nats.Timeout(2 * time.Second), nats.IgnoreAuthErrorAbort(),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // what is cut off complains
	}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("connecting to NATS: %w", err)
	}
	r.closers = append(r.closers, nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("opening JetStream: %w", err)
	}
	return js, nil
}

// deadLetters is how many there are.
func deadLetters(ctx context.Context, js jetstream.JetStream) (uint64, error) {
	s, err := js.Stream(ctx, streams.DLQ)
	if err != nil {
		return 0, fmt.Errorf("looking at the dead letters: %w", err)
	}
	return s.CachedInfo().State.Msgs, nil
}

// unsettled is how many messages the consumers have yet to deliver or to see settled. It is not how many the streams
// hold: a single NATS server that is killed may keep one that was acknowledged.
func unsettled(ctx context.Context, js jetstream.JetStream) (uint64, error) {
	var n uint64
	for _, c := range [...][2]string{
		{streams.In, streams.Acquired}, {streams.In, streams.Disconnect}, {streams.In, streams.Replay},
		{streams.Parked, streams.ParkedRetry},
	} {
		one, err := unsettledOf(ctx, js, c[0], c[1])
		if err != nil {
			return 0, err
		}
		n += one
	}
	return n, nil
}

// durable is what the consumer of a kind of events is called in the stream as it is now.
func durable(ctx context.Context, js jetstream.JetStream, kind string) (string, error) {
	last, err := streams.Last(ctx, js)
	return streams.Durable(kind, last.Epoch), err
}

// unsettledOf is how many of them are one consumer's; of the stream of events, that of a kind.
func unsettledOf(ctx context.Context, js jetstream.JetStream, stream, consumer string) (n uint64, err error) {
	if stream == streams.In {
		if consumer, err = durable(ctx, js, consumer); err != nil {
			return 0, err
		}
	}
	c, err := js.Consumer(ctx, stream, consumer)
	if err != nil {
		return 0, fmt.Errorf("looking at consumer %s: %w", consumer, err)
	}
	return c.CachedInfo().NumPending + uint64(c.CachedInfo().NumAckPending), nil
}

// awaitNone waits until a consumer of the stream of events has nothing left to do.
func awaitNone(ctx context.Context, js jetstream.JetStream, consumer string, limit time.Duration) error {
	return process.Await(ctx, limit, "consumer "+consumer+" is done", func() (bool, error) { //nolint:wrapcheck // our own
		n, err := unsettledOf(ctx, js, streams.In, consumer)
		return n == 0, err
	})
}

// settledWithin is how long nothing may be settled while something is not: what a killed worker held comes again after the
// acknowledgement wait.
const settledWithin = 3 * streams.AckWait

// awaitSettled waits until every event is settled, and none is parked.
func (r *rig) awaitSettled(ctx context.Context, js jetstream.JetStream) error {
	return r.awaitSettledBut(ctx, js, 0)
}

// awaitSettledBut waits until no more than the given number are left. It gives up when there has been no progress for
// settledWithin, however many are left: a slow machine is not a lost event.
func (r *rig) awaitSettledBut(ctx context.Context, js jetstream.JetStream, left uint64) error {
	fewest, since := uint64(math.MaxUint64), time.Now()
	for {
		if r.ended() {
			return errEndedByItself
		}
		n, err := unsettled(ctx, js) // which fails while a server starts again
		switch {
		case err == nil && n <= left:
			return nil
		case err == nil && n < fewest:
			fewest, since = n, time.Now()
		case time.Since(since) > settledWithin:
			return errors.Join(fmt.Errorf("%d events are unsettled, and none was settled for %s", fewest, settledWithin), err)
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// publicKey is the one that publishers seal to.
func (r *rig) publicKey(ctx context.Context) (events.PublicKey, error) {
	document, err := r.mustCLI(ctx, "keys", "show")
	if err != nil {
		return events.PublicKey{}, err
	}
	key, err := events.ParsePublicKey(document)
	if err != nil {
		return events.PublicKey{}, fmt.Errorf("reading the public key: %w", err)
	}
	return key, nil
}

// storedProvider is whose connections attacks have stored to which nothing is ever sent.
const storedProvider = "provider"

// declare returns the flags by which a worker knows storedProvider.
func (e *env) declare() ([]string, error) {
	file := e.inDir("stored.yaml")
	if err := os.WriteFile(file, []byte("providers:\n  "+storedProvider+": {}\n"), 0o600); err != nil {
		return nil, fmt.Errorf("declaring a provider: %w", err)
	}
	return []string{"--providers", file}, nil
}

// inDir is a path in the attack's own directory.
func (e *env) inDir(name string) string { return filepath.Join(e.dir, name) }
