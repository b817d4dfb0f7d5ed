package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/access"
	"github.com/tokenworker/tokenworker/audit"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/kmsenc"
)

// peerRead is what a fresh read takes a peer on such a machine, in microseconds of CPU.
const peerRead = 730.0

// Ways to answer a read.
const (
	readService  = "service"  // as the worker does, but for the audit trail
	readUncached = "uncached" // so, with a data key that has to be unwrapped each time, by the key file
	readOnRecord = "record"   // as the worker does
	readSeal     = "seal"     // the same token for everybody, sealed with the same suite
	readEcho     = "echo"     // as many bytes as a sealed reply has
)

// readRows compare reads with responders that do nothing but seal, or not even that. Each answers on a NATS server of its own.
func readRows(ctx context.Context, o options) (_ []row, err error) {
	ways := []string{readService, readUncached, readOnRecord, readSeal, readEcho}
	var many, alone []contestant
	for _, way := range ways {
		s, err := openStage(ctx, natsConfig{})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		c, err := s.start(ctx, "reads", readConfig{way, s.natsURL, s.dir, o.profile("read-" + way)}, &effort{})
		if err != nil {
			return nil, err
		}
		body, err := readRequest(events.SuiteHybrid)
		if err != nil {
			return nil, err
		}
		at := func(atOnce int) contestant {
			return func(ctx context.Context, operations int) (e effort, err error) {
				var g errgroup.Group
				g.Go(func() error { return ask(s.js.Conn(), body, operations, atOnce) })
				e, err = c.perform(ctx, operations)
				return e, errors.Join(err, g.Wait())
			}
		}
		many, alone = append(many, at(concurrency)), append(alone, at(1))
	}
	m, err := race(ctx, o.size(5, 21), o.size(2_000, 10_000), many...)
	if err != nil {
		return nil, err
	}
	a, err := race(ctx, o.size(5, 21), o.size(200, 1_000), alone...)
	if err != nil {
		return nil, err
	}
	const service, uncached, record, seal, echo = 0, 1, 2, 3, 4
	return []row{
		rate("reads: responder that only seals", m[service].took, m[seal].took, atLeast(0.70)),
		rate("reads, uncached: responder that only seals", m[uncached].took, m[seal].took, target{}),
		rate("reads, on record: responder that only seals", m[record].took, m[seal].took, target{}),
		rate("reads: responder that seals nothing", m[service].took, m[echo].took, target{}),
		overhead("CPU per read: per reply only sealed", "µs", m[service].cpu, m[seal].cpu, target{}),
		overhead("latency of a read alone: only sealed", "µs", a[service].took, a[seal].took, target{}),
		overhead("latency of a read alone, uncached: only sealed", "µs", a[uncached].took, a[seal].took, target{}),
		overhead("latency of a read alone, on record: only sealed", "µs", a[record].took, a[seal].took, target{}),
		{name: "CPU per read, embedded", unit: "µs", ours: m[service].cpu, target: atMost(peerRead / 5)},
		{name: "CPU per read, on record, embedded", unit: "µs", ours: m[record].cpu},
	}, nil
}

// reader is the caller's name.
const reader = "bench"

// readConnections is how many connections are read, in turns.
const readConnections = 1_000

// readRequest is the body of one request, which is good for all: making a key is the reader's work.
func readRequest(suite events.Suite) ([]byte, error) {
	g, err := events.NewGet(events.GetRequest{Caller: reader, Key: refreshed(0), MinLifetime: time.Minute}, suite)
	if err != nil {
		return nil, err
	}
	return g.Body()
}

// ask makes requests, some at once, and looks at no reply but for whether it is one.
func ask(nc *nats.Conn, body []byte, operations, atOnce int) error {
	var asked atomic.Int64
	var g errgroup.Group
	for range atOnce {
		g.Go(func() error {
			for n := int(asked.Add(1)); n <= operations; n = int(asked.Add(1)) {
				reply, err := nc.Request(events.GetSubject(reader, refreshed(n%readConnections)), body, readyWithin)
				if err != nil {
					return fmt.Errorf("reading, request %d of %d, %d reconnects: %w", n, operations, nc.Stats().Reconnects, err)
				}
				if len(reply.Data) == 0 {
					return fmt.Errorf("reading: %v", reply.Header)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// readConfig is the role "reads".
type readConfig struct{ Way, NATS, Dir, Profile string }

// performReads answers reads, and counts them as its operations.
func performReads(ctx context.Context, config []byte, requests *json.Decoder, answers *json.Encoder) (err error) {
	var c readConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return err
	}
	js, err := connectNATS(c.NATS)
	if err != nil {
		return err
	}
	nc := js.Conn()
	defer nc.Close()
	answered := make(chan struct{}, 1<<20)
	switch c.Way {
	case readSeal, readEcho:
		if err := respond(nc, c.Way, answered); err != nil {
			return err
		}
	default:
		s, err := openSafe(ctx, c.Dir)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.store.Close()) }()
		if err := acquireSets(ctx, s, readConnections); err != nil {
			return err
		}
		cfg := access.Config{Rate: 1 << 30, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
		if c.Way == readOnRecord {
			keys, err := audit.OpenKeys(ctx, s.store, s.service)
			if err != nil {
				return err
			}
			if cfg.Audit, err = audit.New(audit.Config{}, js, s.store, keys); err != nil {
				return err
			}
		}
		var sealer access.Sealer = s.sealer()
		if c.Way == readUncached {
			sealer = coldSealer{s}
		}
		service, err := access.New(cfg, counting{s, answered}, sealer, noRefresher{})
		if err != nil {
			return err
		}
		reads, err := nats.Connect(c.NATS)
		if err != nil {
			return err
		}
		defer reads.Close()
		ctx, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- service.Run(ctx, reads) }()
		defer func() { cancel(); err = errors.Join(err, <-ended) }()
	}
	if err := awaitResponder(nc); err != nil {
		return err
	}
	for len(answered) > 0 {
		<-answered
	}
	return perform(c.Profile, requests, answers, func(operations int) error {
		for range operations {
			<-answered
		}
		return nil
	})
}

// awaitResponder waits until requests are answered.
func awaitResponder(nc *nats.Conn) error {
	body, err := readRequest(events.SuiteHybrid)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(readyWithin); ; {
		_, err := nc.Request(events.GetSubject(reader, refreshed(0)), body, time.Second)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// respond answers with a token that it has at hand, sealed, or with as many bytes.
func respond(nc *nats.Conn, way string, answered chan<- struct{}) error {
	token := events.AccessToken{
		Value: tokenSet().AccessToken, Type: "Bearer", Scope: "openid payroll", ExpiresAt: time.Now().Add(time.Hour),
	}
	body, err := readRequest(events.SuiteHybrid)
	if err != nil {
		return err
	}
	q, err := events.DecodeGet(events.GetSubject(reader, refreshed(0)), body)
	if err != nil {
		return err
	}
	sealed, err := q.Reply(token)
	if err != nil {
		return err
	}
	blank := bytes.Repeat([]byte("x"), len(sealed))
	_, err = nc.QueueSubscribe(events.GetSubjects, "q", func(m *nats.Msg) {
		if way == readEcho {
			_ = m.Respond(blank)
			answered <- struct{}{}
			return
		}
		go func() {
			if q, err := events.DecodeGet(m.Subject, m.Data); err == nil {
				if sealed, err := q.Reply(token); err == nil {
					_ = m.Respond(sealed)
				}
			}
			answered <- struct{}{}
		}()
	})
	return err
}

// counting is a store that counts looks, of which each read makes one.
type counting struct {
	safe
	looked chan<- struct{}
}

func (c counting) Get(ctx context.Context, k tokenworker.Key) (tokenworker.Record, error) {
	defer func() { c.looked <- struct{}{} }()
	return c.store.Get(ctx, k)
}

// coldSealer has no data key in memory.
type coldSealer struct{ safe }

func (c coldSealer) Open(ctx context.Context, k tokenworker.Key, f tokenworker.Fence, sealed []byte) ([]byte, error) {
	return kmsenc.New(c.service, c.store, kmsenc.Config{}).Open(ctx, k, f, sealed)
}

// noRefresher is never asked: all tokens are fresh.
type noRefresher struct{}

func (noRefresher) Replace(context.Context, tokenworker.Key, tokenworker.Fence) (tokenworker.Record, error) {
	return tokenworker.Record{}, tokenworker.ErrUnavailable
}
