package embedded

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

const (
	// busyTimeout is how long an operation waits for another process that is writing. A batch takes milliseconds.
	busyTimeout = 10 * time.Second

	// maxReaders is how many reads of one record run at the same time, and how many others do; each has a connection with a page
	// cache of 2 MB.
	maxReaders = 4
)

// Store keeps connection records and wrapped keys in one SQLite file. It is safe for concurrent use, also by several
// processes on the same machine.
//
// What every method promises:
//
//   - What it reports as done is on disk, synced; a crash of the process or of the machine does not undo it.
//   - Decisions are made by the rules of package tokenworker, on what is stored, inside a transaction that holds the
//     write lock.
//   - A context that ends before the operation is begun ends it, without effect; after that the outcome is awaited, so a
//     context's error always means that nothing was written.
//   - Errors match [tokenworker.ErrUnavailable] (locked for too long, disk full or failing, Store closed) or
//     [tokenworker.ErrMisconfigured] (damaged, or not a store), besides those that the method names.
//
// Times are kept in whole seconds and come back in UTC.
type Store struct {
	writer  *writer
	read    statements
	get     chan statements // those that read one record, each on a connection of its own
	closers []func() error  // what is open, in the order of opening
	close   func() error    // runs closers once
}

// statements are prepared statements by their text.
type statements map[string]*sql.Stmt

// OpenStore opens the SQLite file at path, and creates it with mode 0600 when there is none; its directory must be there.
// It takes no lock that keeps other processes out. A file that others than its owner may open, that belongs to another
// program, or that a newer version wrote is refused with an error that matches [tokenworker.ErrMisconfigured].
func OpenStore(ctx context.Context, path string) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	if err := createPrivate(path); err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	s := &Store{}
	s.close = sync.OnceValue(s.closeAll)
	if err := s.open(ctx, path); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the store %s: %w", path, err), s.Close())
	}
	return s, nil
}

// createPrivate makes an empty file, unless there is one already, which must not be open to others. SQLite gives the
// files that it adds beside it the same mode.
func createPrivate(path string) error {
	// Never opened when it exists: closing a file gives up every lock that this process holds on it, SQLite's too
	// (https://www.sqlite.org/howtocorrupt.html, section 2.2).
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the operator names the path
	if err == nil {
		return f.Close()
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	return checkPrivate(path)
}

// open leaves what it has opened to Close, also when it fails.
func (s *Store) open(ctx context.Context, path string) error {
	// FULL syncs the log before a commit returns; F_FULLFSYNC is macOS's real sync and means nothing elsewhere.
	writing, err := s.connect(path, url.Values{"mode": {"rw"}, "_pragma": {
		"synchronous(FULL)", "fullfsync(ON)", "checkpoint_fullfsync(ON)", "secure_delete(ON)",
	}})
	if err != nil {
		return err
	}
	conn, err := writing.Conn(ctx)
	if err != nil {
		return dbError("connecting", err)
	}
	s.closers = append(s.closers, conn.Close)
	if err := ensureSchema(ctx, conn); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "PRAGMA busy_timeout = 0"); err != nil { // from here on the writer waits itself
		return dbError("connecting", err)
	}
	write, err := s.prepare(ctx, conn, beginImmediate, commit, savepoint, rollbackToPoint, releasePoint, selectRecord, upsertRecord,
		insertRetained, pruneRetained, dropRetained, rewrapRetained, insertProvider, selectWrappedKey, upsertWrappedKey,
		deleteWrappedKey, takeEpoch, raiseHighWater, selectCheckpoint, insertCheckpoint)
	if err != nil {
		return err
	}
	reading, err := s.connect(path, url.Values{"mode": {"ro"}})
	if err != nil {
		return err
	}
	reading.SetMaxOpenConns(2 * maxReaders)
	reading.SetMaxIdleConns(2 * maxReaders)
	s.get = make(chan statements, maxReaders)
	for range maxReaders {
		conn, err := reading.Conn(ctx)
		if err != nil {
			return dbError("connecting", err)
		}
		s.closers = append(s.closers, conn.Close)
		st, err := s.prepare(ctx, conn, selectRecord)
		if err != nil {
			return err
		}
		s.get <- st
	}
	if s.read, err = s.prepare(ctx, reading, selectPage, selectAll, selectRetained, selectDue, selectSiblings,
		selectSubject, selectProviders, selectWrappedKey, selectWrappedKeys, selectHighWater, selectLastCheckpoint,
		selectCheckpoints); err != nil {
		return err
	}
	s.writer = startWriter(conn, write)
	s.closers = append(s.closers, func() error { s.writer.stop(); return nil })
	return nil
}

func (s *Store) connect(path string, query url.Values) (*sql.DB, error) {
	query.Set("_busy_timeout", strconv.FormatInt(busyTimeout.Milliseconds(), 10))
	u := url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, dbError("connecting", err)
	}
	s.closers = append(s.closers, db.Close)
	return db, nil
}

func (s *Store) prepare(ctx context.Context, on interface {
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}, queries ...string) (statements, error) {
	prepared := statements{}
	for _, q := range queries {
		stmt, err := on.PrepareContext(ctx, q) //nolint:sqlclosecheck // Close does
		if err != nil {
			return nil, dbError("preparing a statement", err)
		}
		s.closers = append(s.closers, stmt.Close)
		prepared[q] = stmt
	}
	return prepared, nil
}

// Close lets the operations that are under way finish and closes the file. Calls that come later fail with an error
// that matches [tokenworker.ErrUnavailable].
func (s *Store) Close() error { return s.close() }

// closeAll closes in the reverse order of opening, so the writing connection goes last: the last one of all to close
// copies the log into the file and removes it, and one that may only read cannot.
func (s *Store) closeAll() error {
	var errs []error
	for _, closer := range slices.Backward(s.closers) {
		errs = append(errs, closer())
	}
	return dbError("closing the store", errors.Join(errs...))
}
