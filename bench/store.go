package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/embedded"
)

// storeRows compare acquisitions in the embedded store, from as many callers at once as the worker has, with the least
// that the same SQLite could do: one caller that puts the sealed bytes under a key, in transactions of so many rows.
func storeRows(ctx context.Context, o options) (rows []row, err error) {
	dir, err := os.MkdirTemp("", "tokenworker-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	store, err := embedded.OpenStore(ctx, filepath.Join(dir, "store.db"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	db, err := openBare(ctx, filepath.Join(dir, "bare.db"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()

	sealed, last := make([]byte, tokenSetBytes), uint64(0)
	ours := func(ctx context.Context, operations int) (effort, error) {
		first := last
		last += uint64(operations)
		return measure(func() error { return acquireAll(ctx, store, first, last, sealed) })
	}
	bare := func(ctx context.Context, operations int) (effort, error) {
		return measure(func() error { return upsertAll(ctx, db, operations, sealed) })
	}
	e, err := race(ctx, o.size(5, 21), o.size(2_000, 10_000), ours, bare)
	if err != nil {
		return nil, err
	}
	return []row{
		overhead("CPU per acquisition, embedded store: per bare upsert", "µs", e[0].cpu, e[1].cpu, target{}),
	}, nil
}

func acquireAll(ctx context.Context, s *embedded.Store, after, last uint64, sealed []byte) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrency)
	for n := after + 1; n <= last; n++ {
		g.Go(func() error {
			now := time.Now()
			v, err := s.Acquire(ctx, &tokenworker.Acquisition{
				Event: tokenworker.Event{
					Key: connection(n), Stamp: tokenworker.Stamp{Epoch: epoch, Sequence: n}, Entered: now,
					ID: tokenworker.NewEventID("bench", strconv.FormatUint(n, 10), now),
				},
				Sealed: sealed, DueAt: now.Add(time.Hour),
				Details: tokenworker.Details{ExpiresAt: now.Add(time.Hour)},
			})
			if err == nil && v != tokenworker.Applied {
				err = fmt.Errorf("an acquisition was %s", v)
			}
			return err
		})
	}
	return g.Wait()
}

// openBare opens a table of keys and values, synced at each commit as the store is.
func openBare(ctx context.Context, path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(ctx, "CREATE TABLE bare (k TEXT PRIMARY KEY, v BLOB) WITHOUT ROWID")
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func upsertAll(ctx context.Context, db *sql.DB, operations int, value []byte) error {
	for n := 0; n < operations; n += concurrency {
		if err := upsert(ctx, db, n, min(n+concurrency, operations), value); err != nil {
			return err
		}
	}
	return nil
}

// upsert is one transaction.
func upsert(ctx context.Context, db *sql.DB, from, to int, value []byte) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // does nothing after a commit
	put, err := tx.PrepareContext(ctx, "INSERT INTO bare VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v")
	if err != nil {
		return err
	}
	defer put.Close() //nolint:errcheck // ends with the transaction
	for n := from; n < to; n++ {
		if _, err := put.ExecContext(ctx, connection(uint64(n)).String(), value); err != nil {
			return err
		}
	}
	return tx.Commit()
}
