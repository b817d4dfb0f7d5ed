package embedded

import (
	"context"
	"database/sql"
	"iter"
	"time"

	"github.com/tokenworker/tokenworker"
)

const (
	selectSiblings = `SELECT org, conn FROM connections WHERE conn = ? AND org <> ? ORDER BY org`
	selectSubject  = `SELECT org, conn FROM connections WHERE subject = ? ORDER BY org, conn`
)

// Siblings yields the keys of the same company at the same provider in other organizations.
func (s *Store) Siblings(ctx context.Context, k tokenworker.Key) iter.Seq2[tokenworker.Key, error] {
	return s.find(ctx, "listing siblings", selectSiblings, connOf(k), tokenworker.EscapePart(k.OrgID))
}

// BySubject yields the keys of the connections that a person has granted. It looks at the subject alone: whose issuer is
// another is named too.
func (s *Store) BySubject(ctx context.Context, _, subject string) iter.Seq2[tokenworker.Key, error] {
	return s.find(ctx, "listing a person's connections", selectSubject, subject)
}

// IndexLag is zero: the indexes are written with the rows.
func (s *Store) IndexLag() time.Duration { return 0 }

// ClockOff is zero: the store has no clock but this machine's.
func (s *Store) ClockOff() time.Duration { return 0 }

// find yields the keys that a query gives. It has read them all before it yields the first, so no transaction stays open
// meanwhile.
func (s *Store) find(ctx context.Context, doing, query string, args ...any) iter.Seq2[tokenworker.Key, error] {
	return func(yield func(tokenworker.Key, error) bool) {
		rows, err := s.read[query].QueryContext(ctx, args...)
		if err != nil {
			yield(tokenworker.Key{}, dbError(doing, err))
			return
		}
		found, err := scanKeys(rows)
		for _, row := range found {
			if k, err := row.key(); !yield(k, err) || err != nil {
				return
			}
		}
		if err != nil {
			yield(tokenworker.Key{}, dbError(doing, err))
		}
	}
}

func scanKeys(rows *sql.Rows) ([]dueRow, error) {
	defer rows.Close() //nolint:errcheck // reading: rows.Err has said it
	var found []dueRow
	for rows.Next() {
		var row dueRow
		if err := rows.Scan(&row.org, &row.conn); err != nil {
			return found, err
		}
		found = append(found, row)
	}
	return found, rows.Err()
}
