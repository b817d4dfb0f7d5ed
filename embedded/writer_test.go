package embedded

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"modernc.org/sqlite"

	"github.com/tokenworker/tokenworker"
)

// openQuiet opens a store that nobody else uses.
func openQuiet(t *testing.T) *Store {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "store.db"))
}

func openAt(t *testing.T, path string) *Store {
	t.Helper()
	s, err := OpenStore(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return s
}

// waiting is a writer on the connection of s, whose own writer stays idle, before which the given operations wait.
func waiting(s *Store, runs ...func(context.Context, statements) error) (*writer, []*operation) {
	w := &writer{conn: s.writer.conn, statements: s.writer.statements, operations: make(chan *operation, len(runs))}
	ops := make([]*operation, len(runs))
	for i, run := range runs {
		ops[i] = &operation{run: run, done: make(chan error, 1)}
		w.operations <- ops[i]
	}
	return w, ops
}

// next takes the first operation that waits.
func next(t *testing.T, w *writer) *operation {
	t.Helper()
	select {
	case op := <-w.operations:
		return op
	default:
		t.Fatal("no operation waits")
		return nil
	}
}

// outcome is what an operation of a batch that has returned was told.
func outcome(t *testing.T, op *operation) error {
	t.Helper()
	select {
	case err := <-op.done:
		return err
	default:
		t.Error("an operation was not told its outcome")
		return nil
	}
}

// nextEpoch is an operation that succeeds and leaves a trace.
func nextEpoch(ctx context.Context, st statements) error {
	var highest uint64
	return st[takeEpoch].QueryRowContext(ctx).Scan(&highest)
}

func failWith(err error) func(context.Context, statements) error {
	return func(context.Context, statements) error { return err }
}

// countCommits counts the transactions that the store's connection commits from now on.
func countCommits(t *testing.T, s *Store) *int {
	t.Helper()
	commits := new(int)
	if err := s.writer.conn.Raw(func(driverConn any) error {
		hooks, ok := driverConn.(sqlite.HookRegisterer)
		if !ok {
			return errors.New("the driver has no hooks")
		}
		hooks.RegisterCommitHook(func() int32 { *commits++; return 0 })
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return commits
}

func requireEpoch(t *testing.T, s *Store, want uint64) {
	t.Helper()
	if got, err := s.HighWater(t.Context()); got.Epoch != want || err != nil {
		t.Errorf("epoch %d, error %v; want %d", got.Epoch, err, want)
	}
}

func TestOperationsThatWaitShareOneCommit(t *testing.T) {
	const n = 64
	s := openQuiet(t)
	commits := countCommits(t, s)
	runs := make([]func(context.Context, statements) error, n)
	for i := range runs {
		runs[i] = nextEpoch
	}
	w, ops := waiting(s, runs...)
	w.batch(next(t, w))
	for i, op := range ops {
		if err := outcome(t, op); err != nil {
			t.Errorf("operation %d: %v", i, err)
		}
	}
	if *commits != 1 {
		t.Errorf("%d commits for %d operations, want 1", *commits, n)
	}
	requireEpoch(t, s, n)
}

func TestABatchIsBounded(t *testing.T) {
	s := openQuiet(t)
	commits := countCommits(t, s)
	runs := make([]func(context.Context, statements) error, batchLimit+1)
	for i := range runs {
		runs[i] = nextEpoch
	}
	w, _ := waiting(s, runs...)
	w.batch(next(t, w))
	requireEpoch(t, s, batchLimit)
	w.batch(next(t, w))
	requireEpoch(t, s, batchLimit+1)
	if *commits != 2 {
		t.Errorf("%d commits, want 2", *commits)
	}
}

func TestALostFenceIsNobodyElsesError(t *testing.T) {
	s := openQuiet(t)
	w, ops := waiting(s, nextEpoch, failWith(tokenworker.ErrFenced), nextEpoch)
	w.batch(next(t, w))
	for i, want := range []error{nil, tokenworker.ErrFenced, nil} {
		if err := outcome(t, ops[i]); !errors.Is(err, want) {
			t.Errorf("operation %d: error %v, want %v", i, err, want)
		}
	}
	requireEpoch(t, s, 2)
}

func TestAFailingDiskTakesTheWholeBatchBack(t *testing.T) {
	s := openQuiet(t)
	w, ops := waiting(s, nextEpoch, failWith(fmt.Errorf("writing: %w", tokenworker.ErrUnavailable)), nextEpoch)
	w.batch(next(t, w))
	for i := range 2 {
		if err := outcome(t, ops[i]); !errors.Is(err, tokenworker.ErrUnavailable) {
			t.Errorf("operation %d: error %v, want ErrUnavailable", i, err)
		}
	}
	requireEpoch(t, s, 0)
	w.batch(next(t, w)) // the third one, which had not been begun
	if err := outcome(t, ops[2]); err != nil {
		t.Errorf("the next batch: %v", err)
	}
	requireEpoch(t, s, 1)
}

func TestAContextEndsTheWaitButNotTheWork(t *testing.T) {
	s := openQuiet(t)
	began, release := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	outcome := make(chan error, 1)
	go func() {
		outcome <- s.writer.write(ctx, func(ctx context.Context, st statements) error {
			close(began)
			<-release
			return nextEpoch(ctx, st)
		})
	}()
	<-began
	waits, giveUp := context.WithCancel(t.Context())
	second := make(chan error, 1)
	go func() { second <- s.writer.write(waits, nextEpoch) }()
	cancel()
	giveUp()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("an operation that waits: error %v, want Canceled", err)
	}
	select {
	case err := <-outcome:
		t.Errorf("an operation under way returned before it ended: %v", err)
	default:
	}
	close(release)
	if err := <-outcome; err != nil {
		t.Errorf("an operation under way: %v, want its own outcome", err)
	}
	requireEpoch(t, s, 1)
}

func TestCloseFinishesWhatIsUnderWayAndRefusesTheRest(t *testing.T) {
	s := openQuiet(t)
	began, release := make(chan struct{}), make(chan struct{})
	outcome, closed, late := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() {
		outcome <- s.writer.write(t.Context(), func(ctx context.Context, st statements) error {
			close(began)
			<-release
			return nextEpoch(ctx, st)
		})
	}()
	<-began
	go func() { closed <- s.Close() }()
	<-s.writer.closing
	go func() { late <- s.writer.write(t.Context(), nextEpoch) }()
	if err := <-late; !errors.Is(err, tokenworker.ErrUnavailable) {
		t.Errorf("a write after Close began: error %v, want ErrUnavailable", err)
	}
	close(release)
	if err := errors.Join(<-outcome, <-closed); err != nil {
		t.Errorf("the write under way, and Close: %v", err)
	}
	if _, err := s.HighWater(t.Context()); !errors.Is(err, tokenworker.ErrUnavailable) {
		t.Errorf("a read after Close: error %v, want ErrUnavailable", err)
	}
}

func TestTheWritingConnectionIsDurableAndLeavesNothing(t *testing.T) {
	s := openQuiet(t)
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "secure_delete": "1", "fullfsync": "1", "checkpoint_fullfsync": "1",
	} {
		var got string
		if err := s.writer.conn.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, error %v; want %q", pragma, got, err, want)
		}
	}
}

func TestAFullDiskIsWaitedOut(t *testing.T) {
	s := openQuiet(t)
	setPages := func(n int) {
		if _, err := s.writer.conn.ExecContext(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", n)); err != nil {
			t.Fatal(err)
		}
	}
	put := func(name string) error {
		k := tokenworker.WrappedKey{Name: name, Wrapped: make([]byte, 64<<10)}
		_, err := s.PutWrappedKey(t.Context(), k, nil)
		return err
	}
	setPages(1) // SQLite takes what the file has for it
	if err := put("pool/1"); !errors.Is(err, tokenworker.ErrUnavailable) {
		t.Errorf("on a full disk: error %v, want ErrUnavailable", err)
	}
	setPages(1 << 20)
	if err := put("pool/1"); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func TestALockIsWaitedForButNotForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "store.db")
		s, other := openAt(t, path), openAt(t, path)
		lock := func(statement string) {
			t.Helper()
			if _, err := other.writer.conn.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		lock(beginImmediate)
		if _, err := s.TakeEpoch(t.Context()); !errors.Is(err, tokenworker.ErrUnavailable) {
			t.Errorf("behind a lock that stays: error %v, want ErrUnavailable", err)
		}
		go func() {
			time.Sleep(busyTimeout / 2) //nolint:forbidigo // in the time of the bubble
			lock(rollback)
		}()
		if _, err := s.TakeEpoch(t.Context()); err != nil {
			t.Errorf("behind a lock that goes: %v", err)
		}
	})
}
