package main

// P6 No plaintext anywhere: tokens never reach NATS disk, the table, logs, metrics, error strings, advisories, dead
// letters, argv, the environment or HTTP responses.
//
// Breaks that were tried, and what the attack said:
//
//   - consumer/acquire.go logs the opened token in hex at debug level: "dev.log: token as hex at byte 4397".
//   - consumer/deadletter.go deletes refused messages without overwriting them: "nats/jetstream/$G/streams/TOKENS_IN/msgs/1.blk: token as raw at byte 25613". At first it was not noticed: see leaveOne.
//   - embedded/nats.go does not remove what a killed server leaves behind: "1.blk.tmp: token as raw at byte 0".

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/attack/leak"
	"github.com/tokenworker/tokenworker/streams"
)

var p6 = promise{
	name: "P6", unit: "canaries", usual: 600, full: 10_000,
	attacks: []attack{{
		"canary tokens, sealed, refused and refused in clear, through `tokenworker dev` at debug level; a scan of all it leaves",
		plantCanaries,
	}, {
		"a provider that repeats the token in headers, bodies, error_description and redirects; a scan of all that is left",
		echoTokens,
	}, {
		"a provider's host that is a loopback, private or metadata address, in disguise, by redirect, by a name that is bound anew",
		springTraps,
	}},
}

// plantCanaries sends canaries on every way that a token may come in, makes the worker talk, and then scans its data
// directory, its log, what it published, what HTTP and commands answered, and what other users see of the process.
func plantCanaries(ctx context.Context, e *env, n int) error {
	if err := selfTest(e); err != nil {
		return err
	}
	marker := leak.NewMarker()
	r, err := newDev(ctx, e, "--log-level", "debug")
	if err != nil {
		return err
	}
	defer r.close()
	if err := os.Mkdir(e.inDir("tmp"), 0o700); err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	r.program.Env = append(r.program.Env, "TMPDIR="+e.inDir("tmp"))
	p, admin, err := r.begin(ctx)
	if err != nil {
		return err
	}
	heard, err := listen(admin)
	if err != nil {
		return err
	}
	if err := leaveOne(ctx, admin, p); err != nil {
		return err
	}
	refused, err := e.publishCanaries(ctx, r, p, marker, n)
	if err != nil {
		return err
	}
	if err := r.awaitSettledBut(ctx, admin, 1); err != nil {
		e.broke("%v", err)
	}
	letters, err := deadLetters(ctx, admin)
	if err != nil {
		return err
	}
	if letters != uint64(refused) {
		e.broke("%d canaries were refused and %d dead letters are there", refused, letters)
	}
	if err := e.record(ctx, r, heard); err != nil {
		return err
	}
	r.process.Quit() // the stacks of all goroutines go to its log

	e.did("%d canaries, %d of them refused", n, refused)
	if err := e.checkArrived(ctx, r, p); err != nil {
		return err
	}
	return e.tellLeftovers(ctx, r, marker)
}

// tellLeftovers tells what a server that was killed has left behind, which the next start must remove, from what may not be there at
// all. It leaves such a file itself: the stream's file, as it is written anew to overwrite a message.
func (e *env) tellLeftovers(ctx context.Context, r *rig, marker leak.Marker) error {
	files := e.inDir("data/nats/jetstream/$G/streams/" + streams.In + "/msgs")
	if err := os.WriteFile(filepath.Join(files, "1.blk.tmp"), []byte(marker.Token(0)), 0o600); err != nil {
		return fmt.Errorf("leaving a file behind: %w", err)
	}
	found, err := leak.NewScanner(marker).ScanFiles(e.dir)
	if err != nil {
		return fmt.Errorf("scanning: %w", err)
	}
	left := 0
	for _, f := range found {
		if strings.Contains(f.String(), ".blk.tmp:") {
			left++
		}
	}
	if err := r.start(ctx); err != nil {
		return err
	}
	if err := r.stop(); err != nil {
		e.broke("started once more the worker %v", err)
	}
	e.did("%d found in what a kill leaves behind", left)
	return e.scan(marker)
}

// leaveOne leaves an event in the stream that nobody handles: NATS removes a file from which every message is gone, and
// what a refused event left there would be gone with it.
func leaveOne(ctx context.Context, admin jetstream.JetStream, p *publisher) error {
	name, err := durable(ctx, admin, streams.Disconnect)
	if err != nil {
		return err
	}
	_, err = admin.PauseConsumer(ctx, streams.In, name, time.Now().Add(24*time.Hour))
	if err != nil {
		return fmt.Errorf("pausing a consumer: %w", err)
	}
	m, err := p.newDisconnect(tokenworker.Key{OrgID: "org-0", ProviderID: storedProvider, CompanyID: "left"})
	if err != nil {
		return err
	}
	_, _, err = p.send(ctx, m.message)
	return err
}

// selfTest shows that the scanner finds canaries before it is believed that there are none.
func selfTest(e *env) error {
	plants := e.inDir("self-test")
	if err := os.Mkdir(plants, 0o700); err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	if err := leak.SelfTest(plants); err != nil {
		return fmt.Errorf("testing the scanner: %w", err)
	}
	return nil
}

// publishCanaries publishes n events with a canary each, and kills and restarts the worker in between. Every thirtieth is
// one that is refused, half of those with the canary in clear. They come as fast as they are overwritten: see package wipe.
func (e *env) publishCanaries(
	ctx context.Context, r *rig, p *publisher, marker leak.Marker, n int,
) (refused int, err error) {
	ofSealed, ofClear := badKinds(), clearKinds()
	overwritten := rate.NewLimiter(rate.Every(2500*time.Millisecond), 14) // less than package wipe has limits
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	for i := range n {
		key := tokenworker.Key{
			OrgID: fmt.Sprintf("org-%d", i%5), ProviderID: storedProvider, CompanyID: fmt.Sprint("company-", i),
		}
		if i == n/2 {
			r.process.Kill()
			if err := r.start(ctx); err != nil {
				return 0, err
			}
		}
		if i%30 != 2 {
			m, err := p.newCanary(key, marker.Token(i))
			if err != nil {
				return 0, err
			}
			g.Go(func() error { return p.publish(gctx, m) })
			continue
		}
		refused++
		kind, inClear := ofSealed[i/60%len(ofSealed)], i%60 == 2
		if inClear {
			kind = ofClear[i/60%len(ofClear)]
		}
		key.OrgID = fmt.Sprintf("org-%d", refused%5)
		if err := overwritten.Wait(ctx); err != nil {
			return 0, err //nolint:wrapcheck // ctx's
		}
		m, err := newBad(kind, p.public, key, marker.Token(i), inClear)
		if err != nil {
			return 0, err
		}
		g.Go(func() error {
			_, _, err := p.send(gctx, m)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return 0, err //nolint:wrapcheck // our own
	}
	// The way of a person: the token on the command's standard input.
	for i := range 3 {
		out, err := r.cli(ctx, []byte(marker.Token(n+i)), "publish", "acquired", fmt.Sprint("org-0:gusto:cli-", i), "--wait")
		if err != nil {
			return 0, err
		}
		if err := e.keep(fmt.Sprint("publish-", i), out.Stdout, out.Stderr); err != nil {
			return 0, err
		}
		if out.ExitCode != 0 {
			e.broke("tokenworker publish failed with %d", out.ExitCode)
		}
	}
	return refused, nil
}

// newCanary makes an acquired event whose every token is the canary.
func (p *publisher) newCanary(k tokenworker.Key, canary string) (made, error) {
	token := func() tokenworker.Secret { return tokenworker.SecretString(canary) }
	event, err := events.NewAcquired(k, source, tokenworker.TokenSet{
		AccessToken: token(), RefreshToken: token(), IDToken: token(), Scope: "read write", Subject: "user-1",
	}, time.Now())
	if err == nil {
		err = event.Seal(p.public)
	}
	if err != nil {
		return made{}, fmt.Errorf("making an event: %w", err)
	}
	m, err := event.Message()
	if err != nil {
		return made{}, fmt.Errorf("encoding an event: %w", err)
	}
	return made{event: event, message: m, token: canary}, nil
}

// ears keep what they hear.
type ears struct {
	mu    sync.Mutex
	heard bytes.Buffer
}

// listen hears what is published while the worker works, the events themselves aside: its announcements, dead letters,
// and the advisories of JetStream.
func listen(admin jetstream.JetStream) (*ears, error) {
	l := &ears{}
	for _, subject := range []string{"tokens.v1.event.>", "tokens.v1.dlq.>", "$JS.EVENT.>"} {
		_, err := admin.Conn().Subscribe(subject, func(m *nats.Msg) {
			l.mu.Lock()
			defer l.mu.Unlock()
			_, _ = fmt.Fprintln(&l.heard, m.Subject, m.Header, string(m.Data))
		})
		if err != nil {
			return nil, fmt.Errorf("listening to %s: %w", subject, err)
		}
	}
	if err := admin.Conn().Flush(); err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	return l, nil
}

// keep puts something below the attack's directory, to be scanned.
func (e *env) keep(name string, parts ...[]byte) error {
	if err := os.WriteFile(e.inDir(name), bytes.Join(parts, []byte("\n")), 0o600); err != nil {
		return fmt.Errorf("keeping %s: %w", name, err)
	}
	return nil
}

// record keeps what was heard, and what can be asked of the worker by HTTP, on the command line and by looking at its
// process.
func (e *env) record(ctx context.Context, r *rig, l *ears) error {
	l.mu.Lock()
	heard := bytes.Clone(l.heard.Bytes())
	l.mu.Unlock()
	if err := e.keep("heard", heard, r.process.Visible()); err != nil {
		return err
	}
	for i, path := range []string{"/metrics", "/healthz", "/readyz", "/", "/debug/pprof/heap", "/debug/vars"} {
		_, body, err := r.get(ctx, path)
		if err != nil {
			return err
		}
		if err := e.keep(fmt.Sprint("http-", i), body); err != nil {
			return err
		}
	}
	for i, command := range [][]string{
		{"list", "--org", "org-0", "--json"}, {"inspect", "org-0:provider:company-0"}, {"dlq", "list", "--json"},
		{"dlq", "show", "1"}, {"keys", "show"}, {"doctor"}, {"inspect", "org-0:provider:nothing"}, {"dlq", "replay", "1"},
	} {
		out, err := r.cli(ctx, nil, command...)
		if err != nil {
			return err
		}
		if err := e.keep(fmt.Sprint("command-", i), out.Stdout, out.Stderr); err != nil {
			return err
		}
	}
	return nil
}

// checkArrived opens what was stored: the canaries that were not refused have been where they would have leaked from.
func (e *env) checkArrived(ctx context.Context, r *rig, p *publisher) error {
	v, err := r.open(ctx)
	if err != nil {
		return err
	}
	defer v.close()
	return p.ledger.check(ctx, e, v)
}

// scan looks for the marker in every file below the attack's directory.
func (e *env) scan(marker leak.Marker) error {
	s := leak.NewScanner(marker)
	found, err := s.ScanFiles(e.dir)
	if err != nil {
		return fmt.Errorf("scanning: %w", err)
	}
	for _, f := range found {
		e.broke("%s", f)
	}
	e.did("%d files, %.1f MB scanned", s.Things, float64(s.Bytes)/1e6)
	return nil
}
