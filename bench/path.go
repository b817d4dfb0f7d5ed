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

// stage is where contestants meet: a directory, a NATS server, and what else was started.
type stage struct {
	*ground

	dir, natsURL string
	started      []*child
}

// openStage starts a NATS server, and sets up the streams and the keys. Close it.
func openStage(ctx context.Context, natsServer natsConfig) (_ *stage, err error) {
	dir, err := os.MkdirTemp("", "tokenworker-bench-")
	if err != nil {
		return nil, err
	}
	s := &stage{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	natsServer.Dir = filepath.Join(dir, "nats")
	if _, err := s.start(ctx, "nats", natsServer, &s.natsURL); err != nil {
		return nil, err
	}
	s.ground, err = prepare(ctx, s.natsURL, dir)
	return s, err
}

// start starts a child that ends with the stage.
func (s *stage) start(ctx context.Context, role string, config, ready any) (*child, error) {
	c, err := startChild(ctx, role, config, ready)
	if err == nil {
		s.started = append(s.started, c)
	}
	return c, err
}

func (s *stage) close() (err error) {
	if s.ground != nil {
		s.js.Conn().Close()
	}
	for _, c := range slices.Backward(s.started) {
		err = errors.Join(err, c.stop())
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// measurePath starts everything, measures and stops it. Without an endpoint, the table is one that answers at once.
func measurePath(
	ctx context.Context, o options, natsServer natsConfig, table tableConfig, rounds, operations int,
) (_ pathEfforts, err error) {
	s, err := openStage(ctx, natsServer)
	if err != nil {
		return pathEfforts{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if table.Endpoint == "" {
		if _, err := s.start(ctx, "dynamodb", nil, &table.Endpoint); err != nil {
			return pathEfforts{}, err
		}
	}
	puts, err := s.start(ctx, "put", putConfig{table, s.sealedBytes, o.profile("put")}, &effort{})
	if err != nil {
		return pathEfforts{}, err
	}
	contestants := []contestant{puts.perform}
	for _, k := range kinds {
		w, err := s.start(ctx, "worker", workerConfig{table, s.natsURL, s.dir, o.profile(k.name)}, &effort{})
		if err != nil {
			return pathEfforts{}, err
		}
		contestants = append(contestants, func(ctx context.Context, operations int) (effort, error) {
			if err := s.publish(ctx, s.keys[k.suite], operations); err != nil {
				return effort{}, fmt.Errorf("publishing: %w", err)
			}
			e, err := w.perform(ctx, operations)
			return e, errors.Join(err, s.settled(ctx))
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
	s, err := createSafe(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.store.Close()) }()
	if err := streams.Setup(ctx, js, 1, s.store.TakeEpoch); err != nil {
		return nil, err
	}
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
