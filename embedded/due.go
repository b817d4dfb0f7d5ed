package embedded

import (
	"context"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/tokenworker/tokenworker"
)

const (
	selectDue = `SELECT due_at, org, conn FROM connections
		WHERE provider = ? AND due_at <= ? AND (due_at, org, conn) > (?, ?, ?) ORDER BY due_at, org, conn LIMIT ?`

	// duePage is how many keys [Store.Due] reads at once.
	duePage = 1000
)

// Shards is how many shards the due connections of a provider are spread over: one writer needs no more than one.
func (s *Store) Shards() int { return 1 }

// Due yields the keys of one provider's connections that are due at a time, soonest first. All of them are in shard 0.
// Rows that are not due cost it nothing. It stops after the first error. No transaction stays open between two keys: what
// changes meanwhile may or may not be seen.
func (s *Store) Due(ctx context.Context, providerID string, shard int, at time.Time) iter.Seq2[tokenworker.Key, error] {
	provider := tokenworker.EscapePart(providerID)
	return func(yield func(tokenworker.Key, error) bool) {
		if shard != 0 {
			return
		}
		for last := (dueRow{at: math.MinInt64}); ; {
			page, err := s.duePage(ctx, provider, at, last)
			if err != nil {
				yield(tokenworker.Key{}, err)
				return
			}
			for _, last = range page {
				if k, err := last.key(); !yield(k, err) || err != nil {
					return
				}
			}
			if len(page) < duePage {
				return
			}
		}
	}
}

// dueRow is a row of the index of due rows, but for its provider.
type dueRow struct {
	at        int64
	org, conn string
}

func (d dueRow) key() (tokenworker.Key, error) {
	k, err := tokenworker.ParseKey(d.org + ":" + d.conn)
	if err != nil {
		return k, fmt.Errorf("%w: the store holds a row without a valid key: %w", tokenworker.ErrMisconfigured, err)
	}
	return k, nil
}

// duePage returns up to duePage rows of a provider that are due at a time and come after last.
func (s *Store) duePage(ctx context.Context, provider string, at time.Time, last dueRow) ([]dueRow, error) {
	const doing = "listing due connections"
	rows, err := s.read[selectDue].QueryContext(ctx, provider, at.Unix(), last.at, last.org, last.conn, duePage)
	if err != nil {
		return nil, dbError(doing, err)
	}
	defer rows.Close() //nolint:errcheck // reading: rows.Err has said it
	var page []dueRow
	for rows.Next() {
		var d dueRow
		if err := rows.Scan(&d.at, &d.org, &d.conn); err != nil {
			return nil, dbError(doing, err)
		}
		page = append(page, d)
	}
	return page, dbError(doing, rows.Err())
}
