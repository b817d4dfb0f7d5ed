package embedded

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/tokenworker/tokenworker"
)

// batchLimit is the most operations that share a transaction. It bounds how long one holds the write lock against other
// processes, a few milliseconds.
const batchLimit = 256

const (
	// beginImmediate takes the write lock at once, so that what a transaction reads stays true until it commits,
	// whichever process writes next.
	beginImmediate = "BEGIN IMMEDIATE"
	commit         = "COMMIT"
	rollback       = "ROLLBACK"
)

// lockEvery is how often the writer asks for the lock that another process holds. A process under load leaves it free for
// some tens of microseconds between two batches. SQLite's own wait asks every 100 ms and was seen to miss those gaps
// for seconds.
const lockEvery = time.Millisecond

// operation reads rows, decides, and writes with at most one statement, or several within a savepoint, so that it takes place
// whole or not at all. An error of the decision (a lost fence, say) is its own; the rest of the batch goes on.
type operation struct {
	run  func(context.Context, statements) error
	err  error      // what run returned, true once the batch is committed
	done chan error // receives the outcome once; never blocks
}

// writer owns the one connection that writes. It works off operations in batches: all that come while one batch is
// being synced to disk share the next one's sync.
type writer struct {
	conn       *sql.Conn
	statements statements
	operations chan *operation // unbuffered: an operation is either in a batch or not begun
	closing    chan struct{}
	ended      chan struct{}
}

func startWriter(conn *sql.Conn, s statements) *writer {
	w := &writer{
		conn: conn, statements: s,
		operations: make(chan *operation), closing: make(chan struct{}), ended: make(chan struct{}),
	}
	go w.loop()
	return w
}

// stop returns once the batch that is under way is committed. Operations that are not begun by then fail.
func (w *writer) stop() {
	close(w.closing)
	<-w.ended
}

// write runs an operation and returns once it is on disk. Until the writer has taken it, ctx may end the wait, and then
// nothing has happened; from then on the outcome is awaited whatever becomes of ctx, so that the caller always knows.
func (w *writer) write(ctx context.Context, run func(context.Context, statements) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	op := &operation{run: run, done: make(chan error, 1)}
	select {
	case w.operations <- op:
		return <-op.done
	case <-ctx.Done():
		return ctx.Err()
	case <-w.closing:
		return fmt.Errorf("%w: the store is closed", tokenworker.ErrUnavailable)
	}
}

func (w *writer) loop() {
	defer close(w.ended)
	for {
		select {
		case op := <-w.operations:
			w.batch(op)
		case <-w.closing:
			return
		}
	}
}

// batch runs first and every operation that is waiting in one transaction, and tells each how it ended.
func (w *writer) batch(first *operation) {
	ctx := context.Background() // no caller's context may interrupt what is others' too
	batch := []*operation{first}
	err := w.transact(ctx, func() error {
		for i := 0; i < len(batch); i++ {
			op := batch[i]
			// After an error that may pass, SQLite may have rolled the transaction back: nothing of it can be kept.
			if op.err = op.run(ctx, w.statements); errors.Is(op.err, tokenworker.ErrUnavailable) {
				return op.err
			}
			if len(batch) == batchLimit {
				continue
			}
			select {
			case next := <-w.operations:
				batch = append(batch, next)
			default:
			}
		}
		return nil
	})
	for _, op := range batch {
		if err != nil {
			op.done <- err
		} else {
			op.done <- op.err
		}
	}
}

// write runs an operation in w and returns its result once it is on disk; see [writer.write].
func write[T any](ctx context.Context, w *writer, run func(context.Context, statements) (T, error)) (T, error) {
	var result, zero T
	err := w.write(ctx, func(ctx context.Context, st statements) (err error) {
		result, err = run(ctx, st)
		return err
	})
	if err != nil {
		return zero, err
	}
	return result, nil
}

// transact runs fn in a transaction that is committed if fn returns nil.
func (w *writer) transact(ctx context.Context, fn func() error) error {
	err := w.begin(ctx)
	if err != nil {
		return err
	}
	err = fn()
	if err == nil {
		_, err = w.statements[commit].ExecContext(ctx)
		err = dbError("committing", err)
	}
	if err != nil {
		_, _ = w.conn.ExecContext(ctx, rollback) // fails when SQLite has already done so
	}
	return err
}

// begin waits up to busyTimeout for the lock.
func (w *writer) begin(ctx context.Context) error {
	var err error
	for range busyTimeout / lockEvery {
		if _, err = w.statements[beginImmediate].ExecContext(ctx); !isBusy(err) {
			break
		}
		time.Sleep(lockEvery) //nolint:forbidigo // SQLite tells nobody that a lock has become free
	}
	return dbError("locking the store", err)
}
