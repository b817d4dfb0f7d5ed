package embedded

import (
	"context"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/tokenworker/tokenworker"
)

// dbError wraps an error of a database call, made while doing what the gerund says, in the root package's meaning: a
// lock, a full disk or lacking memory may pass, [tokenworker.ErrUnavailable]; anything else (a damaged file, a missing
// table, no permission) will not get better by itself, [tokenworker.ErrMisconfigured]. The context's errors stay as they
// are. SQLite's messages name statements, tables and columns, never values.
func dbError(doing string, err error) error {
	var e *sqlite.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w", doing, err)
	case errors.As(err, &e) && !transient(e.Code()):
		return fmt.Errorf("%s: %w: %w", doing, tokenworker.ErrMisconfigured, err)
	default: // also database/sql's own error of a closed handle
		return fmt.Errorf("%s: %w: %w", doing, tokenworker.ErrUnavailable, err)
	}
}

// transient reports the result codes (https://www.sqlite.org/rescode.html) of what may pass. The primary code is the
// low byte. All those that may roll a transaction back by themselves (https://www.sqlite.org/lang_transaction.html,
// section 4) are among them.
func transient(code int) bool {
	switch code & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM,
		sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_CANTOPEN:
		return true
	}
	return false
}

// isBusy reports that another connection holds the lock.
func isBusy(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_BUSY
}
