package main

// Rewrap: every row is moved to another wrapping key beside workers at work, whoever kills `tokenworker rewrap` meanwhile; then
// the former key can be given up. What a row is wrapped under is read from its sealed sets, with code of the attack's own.
//
// Breaks that were tried, on `tokenworker dev` with 300 rows, and what the attack said:
//
//   - kmsenc/rewrap.go names the new key in the header and keeps what the former one wrapped: "a read fails: no token:
//     unavailable", 6,815 of 13,114. The count of rows alone says nothing.
//   - rewrap/rewrap.go passes over the store's own keys: "0 rows and 11 keys of the store are under the former key afterwards",
//     and the worker does not start without it.
//   - rules_rewrap.go replaces a set although it is another by now: the same reads that fail, 15 of them.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/client"
	"github.com/tokenworker/tokenworker/internal/attack/process"
	"github.com/tokenworker/tokenworker/rewrap"
)

var rewrapping = promise{
	name: "rewrap", unit: "rows", usual: 1000, full: 10_000,
	attacks: []attack{
		{"all moved to another KMS key under reads, acquisitions and refreshes, with kill -9 half way, on two workers on LocalStack",
			rewrapDeployed},
		{"all moved to another key of the key file, likewise, on `tokenworker dev`", rewrapDev},
	},
}

// move is the way of n rows from one wrapping key to another, with the workers on them. rewrapsites.go makes them.
type move struct {
	*env
	*replicas
	n               int
	key             func(i int) tokenworker.Key
	caller          func(i int) string // the names that readers go by
	former, current string             // ids of the keys, as sealed sets name them
	keys            wrappingKeys

	reads, acquired atomic.Int64
}

// wrappingKeys are those of a site.
type wrappingKeys interface {
	// use has workers and commands that are started from now on use these keys, the first of which wraps.
	use(keys ...string) error

	// view opens the store past the workers, with these keys.
	view(ctx context.Context, keys ...string) (*view, error)

	// giveUp makes the former key useless to everybody, and returns the keys of a view that is to show it, and the error that
	// this key's sets are refused with there.
	giveUp(ctx context.Context, former, current string) (keys []string, refusal, err error)
}

// How much goes on beside `tokenworker rewrap`.
const (
	moveReaders = 8
	moveWriters = 2
	movePause   = 20 * time.Millisecond // of each before each acquisition
	busyOneIn   = 10                    // connections is acquired anew again and again, and refreshed
	moveFor     = 15                    // seconds that all rows take at the rate that rewrap is given
)

func (m *move) run(ctx context.Context) error {
	if err := m.acquireAll(ctx, m.n, m.key, 12*time.Hour); err != nil { // longer than the attack
		return err
	}
	first, err := m.keys.view(ctx, m.former)
	if err != nil {
		return err
	}
	defer first.close()
	if left, _, err := m.under(ctx, first); err != nil {
		return err
	} else if left != m.n {
		return fmt.Errorf("%d of %d rows are under the former key at first", left, m.n)
	}
	before, err := first.store.Get(ctx, m.key(m.n-1))
	if err != nil {
		return fmt.Errorf("reading a record: %w", err)
	}
	if _, err := first.openSet(ctx, before.Key, before.Fence, before.Sealed); err != nil {
		return err
	}
	if err := m.restart(ctx, m.current, m.former); err != nil {
		return err
	}
	posts := m.server.Totals().Posts
	stop, err := m.traffic(ctx)
	if err != nil {
		return err
	}
	err = m.rewrap(ctx, first)
	if stop(); err != nil {
		return err
	}
	refreshes := m.server.Totals().Posts - posts
	m.did("meanwhile %d reads, %d acquisitions, %d refreshes", m.reads.Load(), m.acquired.Load(), refreshes)
	if m.reads.Load() == 0 || m.acquired.Load() == 0 || refreshes == 0 {
		return errors.New("rows were not moved under reads, acquisitions and refreshes: nothing was shown")
	}
	keys, refusal, err := m.keys.giveUp(ctx, m.former, m.current)
	if err != nil {
		return err
	}
	last, err := m.keys.view(ctx, keys...)
	if err != nil {
		return err
	}
	defer last.close()
	if _, err := last.openSet(ctx, before.Key, before.Fence, before.Sealed); err == nil {
		return errors.New("the former key was given up, and opens what it has wrapped")
	} else if !errors.Is(err, refusal) {
		return fmt.Errorf("the former key was given up, and what it has wrapped does not open for another reason: %w", err)
	}
	return m.readWithout(ctx)
}

// restart ends the workers in order and starts them with other keys.
func (m *move) restart(ctx context.Context, keys ...string) error {
	if err := m.keys.use(keys...); err != nil {
		return err
	}
	for _, r := range m.workers {
		if err := r.stop(); err != nil {
			m.broke("a worker %v", err)
		}
		if err := r.start(ctx); err != nil {
			return err
		}
	}
	return m.awaitReads(ctx)
}

// traffic reads all connections at random until it is stopped, and acquires some anew, with so little time left that the next
// reader has them refreshed.
func (m *move) traffic(ctx context.Context) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	for i := range moveReaders {
		r, err := m.reader(m.caller(i), client.ReaderConfig{})
		if err != nil {
			cancel()
			return nil, err
		}
		all.Go(func() {
			for ctx.Err() == nil {
				m.read(ctx, r, m.key(rand.IntN(m.n)))
			}
		})
	}
	busy := max(1, m.n/busyOneIn)
	for w := range moveWriters {
		all.Go(func() {
			for i := w; i < busy*defaultLoad().most && sleep(ctx, movePause) == nil; i += moveWriters {
				k := m.key(i % busy * busyOneIn % m.n)
				if err := m.acquire(ctx, k, time.Hour, time.Minute); err == nil {
					m.acquired.Add(1)
				} else if ctx.Err() == nil {
					m.broke("%s: an acquisition: %v", k, err)
				}
			}
		})
	}
	return func() { cancel(); all.Wait() }, nil
}

// read reads a connection, which must give a token that the provider granted for it.
func (m *move) read(ctx context.Context, r *client.Reader, k tokenworker.Key) {
	t, err := r.Token(ctx, k)
	if ctx.Err() != nil {
		return
	}
	m.reads.Add(1)
	if err != nil {
		m.broke("%s: a read fails: %v", k, err)
		return
	}
	if f, err := m.server.Family(string(t.Value.Reveal())); err != nil || f.Subject != k.String() {
		m.broke("%s: a read gives a token of %q: %v", k, f.Subject, err)
	}
}

// rewrap starts `tokenworker rewrap`, kills it when half is moved, runs it to its end, and counts.
func (m *move) rewrap(ctx context.Context, v *view) error {
	r := m.workers[0]
	rate := strconv.Itoa(max(1, m.n/moveFor))
	p, err := process.Start(ctx, process.Program{
		Path: r.program.Path, Args: append([]string{"rewrap", "--rate", rate}, r.target...), Env: r.program.Env, Log: m.inDir("rewrap.log"),
	})
	if err != nil {
		return err //nolint:wrapcheck // our own
	}
	err = process.Await(ctx, 10*time.Minute, "half of the rows are moved", func() (bool, error) {
		left, _, err := m.under(ctx, v)
		return left <= m.n/2, err
	})
	select {
	case <-p.Ended():
		err = errors.Join(err, errors.New("rewrap ended before it was killed; rewrap.log says why"))
	default:
		p.Kill()
	}
	if err != nil {
		return err //nolint:wrapcheck // our own
	}
	half, _, err := m.under(ctx, v)
	if err != nil {
		return err
	}
	if out, err := r.cli(ctx, nil, "rewrap", "--check"); err != nil || out.ExitCode == 0 && half > 0 {
		m.broke("%d rows are under the former key, and rewrap --check finds none: %v", half, err)
	}
	out, err := r.mustCLI(ctx, "rewrap", "--rate", rate, "--json")
	if err != nil {
		m.broke("run again: %v", err)
		return nil
	}
	var done rewrap.Result
	if err := json.Unmarshal(out, &done); err != nil {
		return fmt.Errorf("reading what rewrap has done: %w", err)
	}
	if done.Sets > half {
		m.broke("run again, rewrap wrapped %d sets, and %d were left", done.Sets, half)
	}
	if out, err := r.cli(ctx, nil, "rewrap", "--check"); err != nil || out.ExitCode != 0 {
		m.broke("rewrap --check afterwards: exit %d: %s (%v)", out.ExitCode, bytes.TrimSpace(out.Stderr), err)
	}
	left, keys, err := m.under(ctx, v)
	if err != nil {
		return err
	}
	if left > 0 || keys > 0 {
		m.broke("%d rows and %d keys of the store are under the former key afterwards", left, keys)
	}
	m.did("%d rows, %d of them left when rewrap was killed, %d after it was run again (%d sets)", m.n, half, left, done.Sets)
	return nil
}

// under counts the rows with a set that the former key wraps, and the store's own keys.
func (m *move) under(ctx context.Context, v *view) (rows, keys int, err error) {
	for rec, err := range v.store.AllRecords(ctx) {
		if err != nil {
			return 0, 0, fmt.Errorf("reading the store: %w", err)
		}
		former := false
		for _, sealed := range append(rec.Waiting(), rec.Sealed) { // none was disconnected
			id, err := keyOf(sealed)
			if err != nil {
				return 0, 0, fmt.Errorf("%s: %w", rec.Key, err)
			}
			if id != m.former && id != m.current {
				return 0, 0, fmt.Errorf("%s names another key: %q", rec.Key, id)
			}
			former = former || id == m.former
		}
		if former {
			rows++
		}
	}
	for k, err := range v.store.AllWrappedKeys(ctx) {
		if err != nil {
			return 0, 0, fmt.Errorf("reading the store's keys: %w", err)
		}
		if k.KeyID == m.former {
			keys++
		}
	}
	return rows, keys, nil
}

// readWithout starts the workers anew, which know no data key then, with the current key alone, and has a sample of rows read.
func (m *move) readWithout(ctx context.Context) error {
	if err := m.restart(ctx, m.current); err != nil {
		return err
	}
	r, err := m.reader(m.caller(0), client.ReaderConfig{})
	if err != nil {
		return err
	}
	const sample = 1000
	rows := m.rand.Perm(m.n)
	rows = rows[:min(len(rows), sample)]
	var g errgroup.Group
	g.SetLimit(moveReaders)
	for _, i := range rows {
		g.Go(func() error { m.read(ctx, r, m.key(i)); return nil })
	}
	_ = g.Wait() // no error is returned
	m.did("%d rows read when the former key was gone", len(rows))
	return nil
}
