package embedded

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/tokenworker/tokenworker"
)

const (
	selectRetained = `SELECT fence, sealed, expires_at, scope, at FROM retained_sets WHERE org = ? AND conn = ? ORDER BY fence DESC`

	insertRetained = `INSERT OR REPLACE INTO retained_sets (org, conn, fence, sealed, expires_at, scope, at)
		VALUES (?, ?, ?, ?, ?, ?, ?)`

	// pruneRetained leaves the newest so many.
	pruneRetained = `DELETE FROM retained_sets WHERE org = ?1 AND conn = ?2 AND fence NOT IN
		(SELECT fence FROM retained_sets WHERE org = ?1 AND conn = ?2 ORDER BY fence DESC LIMIT ?3)`

	dropRetained = `DELETE FROM retained_sets WHERE org = ? AND conn = ? AND fence <= ?`

	rewrapRetained = `UPDATE retained_sets SET sealed = ? WHERE org = ? AND conn = ? AND fence = ? AND sealed = ?`

	// A savepoint makes several statements of one operation take place together or not at all.
	savepoint       = "SAVEPOINT operation"
	rollbackToPoint = "ROLLBACK TO operation"
	releasePoint    = "RELEASE operation"
)

// Retained returns the sets that are kept beside a record, the newest first.
func (s *Store) Retained(ctx context.Context, k tokenworker.Key) ([]tokenworker.RetainedSet, error) {
	const doing = "listing retained sets"
	rows, err := s.read[selectRetained].QueryContext(ctx, tokenworker.EscapePart(k.OrgID), connOf(k))
	if err != nil {
		return nil, dbError(doing, err)
	}
	defer rows.Close() //nolint:errcheck // reading: rows.Err has said it
	var sets []tokenworker.RetainedSet
	for rows.Next() {
		var set tokenworker.RetainedSet
		var fence []byte
		var expires, at sql.NullInt64
		if err := rows.Scan(&fence, &set.Sealed, &expires, &set.Scope, &at); err != nil {
			return nil, dbError(doing, err)
		}
		if len(fence) != fenceBytes {
			return nil, fmt.Errorf("%w: a retained set of %s is damaged", tokenworker.ErrMisconfigured, k)
		}
		set.Stamp.Epoch, set.Stamp.Sequence = binary.BigEndian.Uint64(fence), binary.BigEndian.Uint64(fence[8:])
		set.Generation = binary.BigEndian.Uint64(fence[16:])
		set.ExpiresAt, set.At = timeOrZero(expires), timeOrZero(at)
		sets = append(sets, set)
	}
	return sets, dbError(doing, rows.Err())
}

// RewrapRetained replaces a retained set by what it is since its data key was wrapped again, unless it is no longer as it was.
// Errors also match [tokenworker.ErrTooLarge].
func (s *Store) RewrapRetained(
	ctx context.Context, k tokenworker.Key, f tokenworker.Fence, set tokenworker.Rewrapped,
) error {
	if err := checkSize(set.New); err != nil {
		return err
	}
	return s.writer.write(ctx, func(ctx context.Context, st statements) error {
		_, err := st[rewrapRetained].ExecContext(ctx, set.New, tokenworker.EscapePart(k.OrgID), connOf(k), fenceBlob(f), set.Old)
		return dbError("writing a retained set", err)
	})
}

// DropRetained removes those of the sets kept beside a record that are not newer than a stamp.
func (s *Store) DropRetained(ctx context.Context, k tokenworker.Key, until tokenworker.Stamp) error {
	last := fenceBlob(tokenworker.Fence{Stamp: until, Generation: math.MaxUint64})
	return s.writer.write(ctx, func(ctx context.Context, st statements) error {
		_, err := st[dropRetained].ExecContext(ctx, tokenworker.EscapePart(k.OrgID), connOf(k), last)
		return dbError("removing retained sets", err)
	})
}

// writeWhole writes a record and what is kept beside it, or removed with it.
func writeWhole(ctx context.Context, st statements, current, next *tokenworker.Record) error {
	gone := next.Status == tokenworker.Disconnected && current != nil && current.Retained
	if next.Retain == 0 && !gone {
		return writeRecord(ctx, st, next)
	}
	if _, err := st[savepoint].ExecContext(ctx); err != nil {
		return dbError("beginning to write", err)
	}
	err := writeRecord(ctx, st, next)
	if err == nil {
		err = writeRetained(ctx, st, next)
	}
	if err != nil {
		_, _ = st[rollbackToPoint].ExecContext(ctx) // fails when SQLite has rolled back all
	}
	if _, e := st[releasePoint].ExecContext(ctx); err == nil {
		err = dbError("ending to write", e)
	}
	return err
}

// writeRetained keeps the record's set, if it is to be kept, and removes what is more than that.
func writeRetained(ctx context.Context, st statements, r *tokenworker.Record) error {
	org, conn := tokenworker.EscapePart(r.Key.OrgID), connOf(r.Key)
	if set := r.RetainedSet(); r.Retain > 0 {
		_, err := st[insertRetained].ExecContext(ctx, org, conn, fenceBlob(set.Fence), set.Sealed, unixOrNull(set.ExpiresAt),
			set.Scope, unixOrNull(set.At))
		if err != nil {
			return dbError("writing a retained set", err)
		}
	}
	_, err := st[pruneRetained].ExecContext(ctx, org, conn, r.Retain)
	return dbError("removing retained sets", err)
}

const fenceBytes = 3 * 8

func fenceBlob(f tokenworker.Fence) []byte {
	b := make([]byte, 0, fenceBytes)
	b = binary.BigEndian.AppendUint64(b, f.Stamp.Epoch)
	b = binary.BigEndian.AppendUint64(b, f.Stamp.Sequence)
	return binary.BigEndian.AppendUint64(b, f.Generation)
}

// timeOrZero undoes unixOrNull.
func timeOrZero(unix sql.NullInt64) time.Time {
	if !unix.Valid {
		return time.Time{}
	}
	return time.Unix(unix.Int64, 0).UTC()
}
