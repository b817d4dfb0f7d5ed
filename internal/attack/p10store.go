package main

import (
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/streams"
)

// memory is a store for simulations, by the rules that every store goes by.
type memory struct {
	mu      sync.Mutex
	records map[tokenworker.Key]tokenworker.Record
}

func (m *memory) Get(_ context.Context, k tokenworker.Key) (tokenworker.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r, ok := m.records[k]; ok {
		return r, nil
	}
	return tokenworker.Record{}, tokenworker.ErrNotFound
}

func (m *memory) Update(
	_ context.Context, rec tokenworker.Record, rule tokenworker.Rule,
) (tokenworker.Record, tokenworker.Verdict, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.records[rec.Key]
	now := &r
	if !ok {
		now = nil
	}
	next, v, err := rule(now)
	if err == nil && v == tokenworker.Applied {
		m.records[rec.Key] = next
	}
	return next, v, err
}

func (m *memory) Due(_ context.Context, id string, _ int, at time.Time) iter.Seq2[tokenworker.Key, error] {
	m.mu.Lock()
	defer m.mu.Unlock()
	var due []tokenworker.Record
	for k, r := range m.records {
		if k.ProviderID == id && !r.Due().IsZero() && !r.Due().After(at) {
			due = append(due, r)
		}
	}
	slices.SortFunc(due, func(a, b tokenworker.Record) int { return a.Due().Compare(b.Due()) })
	return func(yield func(tokenworker.Key, error) bool) {
		for _, r := range due {
			if !yield(r.Key, nil) {
				return
			}
		}
	}
}

func (m *memory) Providers(context.Context) ([]string, error) { return []string{siteProvider(0)}, nil }
func (m *memory) Shards() int                                 { return 1 }
func (m *memory) IndexLag() time.Duration                     { return 0 }
func (m *memory) ClockOff() time.Duration                     { return 0 }

// Siblings yields none: each company is one organization's.
func (m *memory) Siblings(context.Context, tokenworker.Key) iter.Seq2[tokenworker.Key, error] {
	return func(func(tokenworker.Key, error) bool) {}
}

// clearSealer seals nothing: a simulation has no secrets.
type clearSealer struct{}

func (clearSealer) Open(_ context.Context, _ tokenworker.Key, _ tokenworker.Fence, sealed []byte) ([]byte, error) {
	return slices.Clone(sealed), nil
}

func (clearSealer) OpenListed(_ context.Context, _ tokenworker.Key, sealed []byte) ([]byte, error) {
	return slices.Clone(sealed), nil
}

func (clearSealer) Prepare(context.Context, tokenworker.Key, tokenworker.Fence) (func([]byte) ([]byte, error), error) {
	return func(plain []byte) ([]byte, error) { return slices.Clone(plain), nil }, nil
}

// deafNATS takes every message, and has an empty rescue stream.
type deafNATS struct{ jetstream.JetStream }

func (deafNATS) PublishMsg(context.Context, *nats.Msg, ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	return &jetstream.PubAck{Stream: streams.Out}, nil
}

func (deafNATS) Stream(context.Context, string) (jetstream.Stream, error) { return emptyStream{}, nil }

type emptyStream struct{ jetstream.Stream }

func (emptyStream) GetMsg(context.Context, uint64, ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	return nil, jetstream.ErrMsgNotFound
}

func (emptyStream) GetLastMsgForSubject(context.Context, string) (*jetstream.RawStreamMsg, error) {
	return &jetstream.RawStreamMsg{Header: nats.Header{events.MessageIDHeader: nil}}, nil
}

// simClock is the time of everybody in a simulation.
type simClock struct {
	mu sync.Mutex
	at time.Time
}

func (c *simClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *simClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}
