package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/streams"
)

// pathRows compare events on the whole path (a NATS server, the worker and a DynamoDB that answers at once, each a
// process of its own) with a bare loop of conditional puts against the same DynamoDB. The events lie in the stream
// beforehand.
func pathRows(ctx context.Context, o options) ([]row, error) {
	atOnce, err := measurePath(ctx, o, natsConfig{}, tableConfig{}, o.size(5, 21), o.size(2_000, 5_000))
	if err != nil {
		return nil, err
	}
	rows := atOnce.rows("", [...]target{atLeast(0.95), atLeast(0.80), {}})
	synced, err := measurePath(ctx, options{}, natsConfig{Sync: true}, tableConfig{}, 3, o.size(500, 2_000))
	if err != nil {
		return nil, err
	}
	return append(rows, synced.rows(", NATS syncs each message", [...]target{{}, {}, {}})...), nil
}

// kinds of events, by how they are sealed on the wire.
var kinds = [...]struct {
	name  string
	suite events.Suite // empty: in clear
}{
	{"plain", ""},
	{"hybrid", events.SuiteHybrid},
	{"x25519", events.SuiteX25519},
}

// pathEfforts are those of a put, and of an event of each kind.
type pathEfforts struct {
	put   efforts
	event [len(kinds)]efforts
}

func (e pathEfforts) rows(where string, bounds [len(kinds)]target) (rows []row) {
	for i, k := range kinds {
		rows = append(rows,
			rate("events, "+k.name+where+": bare puts", e.event[i].took, e.put.took, bounds[i]),
			overhead("CPU per event, "+k.name+where+": per bare put", "µs", e.event[i].cpu, e.put.cpu, target{}),
		)
	}
	return rows
}

// measurePath starts everything, measures and stops it. Without an endpoint, the table is one that answers at once.
func measurePath(
	ctx context.Context, o options, natsServer natsConfig, table tableConfig, rounds, operations int,
) (_ pathEfforts, err error) {
	dir, err := os.MkdirTemp("", "tokenworker-bench-")
	if err != nil {
		return pathEfforts{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var started []*child
	defer func() {
		for _, c := range slices.Backward(started) {
			err = errors.Join(err, c.stop())
		}
	}()
	start := func(role string, config, ready any) (*child, error) {
		c, err := startChild(ctx, role, config, ready)
		if err == nil {
			started = append(started, c)
		}
		return c, err
	}

	var natsURL string
	natsServer.Dir = filepath.Join(dir, "nats")
	if _, err := start("nats", natsServer, &natsURL); err != nil {
		return pathEfforts{}, err
	}
	if table.Endpoint == "" {
		if _, err := start("dynamodb", nil, &table.Endpoint); err != nil {
			return pathEfforts{}, err
		}
	}
	g, err := prepare(ctx, natsURL, dir)
	if err != nil {
		return pathEfforts{}, err
	}
	defer g.js.Conn().Close()
	puts, err := start("put", putConfig{table, g.sealedBytes, o.profile("put")}, &effort{})
	if err != nil {
		return pathEfforts{}, err
	}
	contestants := []contestant{puts.perform}
	for _, k := range kinds {
		w, err := start("worker", workerConfig{table, natsURL, dir, o.profile(k.name)}, &effort{})
		if err != nil {
			return pathEfforts{}, err
		}
		contestants = append(contestants, func(ctx context.Context, operations int) (effort, error) {
			if err := g.publish(ctx, g.keys[k.suite], operations); err != nil {
				return effort{}, fmt.Errorf("publishing: %w", err)
			}
			e, err := w.perform(ctx, operations)
			return e, errors.Join(err, g.settled(ctx))
		})
	}
	medians, err := race(ctx, rounds, operations, contestants...)
	if err != nil {
		return pathEfforts{}, err
	}
	return pathEfforts{medians[0], [len(kinds)]efforts(medians[1:])}, nil
}

// ground is what publishing takes.
type ground struct {
	publisher

	keys        map[events.Suite]*events.PublicKey
	sealedBytes int // of a token set in the table
}

// prepare sets up the streams, and in the directory the keys. The caller closes the connection.
func prepare(ctx context.Context, natsURL, dir string) (_ *ground, err error) {
	js, err := connectNATS(natsURL)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			js.Conn().Close()
		}
	}()
	if err := streams.Setup(ctx, js, 1, func(context.Context) (uint64, error) { return epoch, nil }); err != nil {
		return nil, err
	}
	s, err := createSafe(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.store.Close()) }()
	plaintext, err := tokenworker.EncodeTokenSet(tokenSet())
	if err != nil {
		return nil, err
	}
	sealed, err := s.sealer().Seal(ctx, connection(0), tokenworker.Fence{}, plaintext)
	if err != nil {
		return nil, err
	}
	hybrid, err := s.eventKey(ctx, events.SuiteHybrid, (*events.Keyring).Make)
	if err != nil {
		return nil, err
	}
	x25519, err := s.eventKey(ctx, events.SuiteX25519, (*events.Keyring).Rotate) // two are live
	if err != nil {
		return nil, err
	}
	keys := map[events.Suite]*events.PublicKey{events.SuiteHybrid: &hybrid, events.SuiteX25519: &x25519}
	return &ground{publisher{js: js}, keys, len(sealed)}, nil
}
