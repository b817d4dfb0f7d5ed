package embedded

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"time"

	"github.com/tokenworker/tokenworker"
)

const (
	selectRecord = `SELECT sealed, record FROM connections WHERE org = ? AND conn = ?`

	upsertRecord = `INSERT INTO connections (org, conn, due_at, subject, sealed, record) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (org, conn) DO UPDATE SET due_at = excluded.due_at, subject = excluded.subject,
			sealed = excluded.sealed, record = excluded.record`

	selectPage = `SELECT org, conn, sealed, record FROM connections WHERE org = ? AND conn > ? ORDER BY conn LIMIT ?`

	selectAll = `SELECT org, conn, sealed, record FROM connections WHERE (org, conn) > (?, ?) ORDER BY org, conn LIMIT ?`

	// pageRows is how many rows [Store.Records] reads at once: few enough to hold in memory at 64 KiB each.
	pageRows = 100
)

// Acquire applies a token-acquired event by [tokenworker.Record.Acquire]. Errors also match [tokenworker.ErrTooLarge]
// and [tokenworker.ErrInvalidKey].
func (s *Store) Acquire(ctx context.Context, a *tokenworker.Acquisition) (tokenworker.Verdict, error) {
	if err := checkSize(a.Sealed); err != nil {
		return 0, err
	}
	_, v, err := s.Update(ctx, tokenworker.Record{Key: a.Key},
		func(r *tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error) { return r.Acquire(a) })
	return v, err
}

// Disconnect applies a disconnect event by [tokenworker.Record.Disconnect]. Errors also match
// [tokenworker.ErrInvalidKey].
func (s *Store) Disconnect(ctx context.Context, d *tokenworker.Disconnection) (tokenworker.Verdict, error) {
	_, v, err := s.Update(ctx, tokenworker.Record{Key: d.Key},
		func(r *tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error) { return r.Disconnect(d) })
	return v, err
}

// decided is a record as it is after a rule was asked about it, and the rule's verdict.
type decided struct {
	record  tokenworker.Record
	verdict tokenworker.Verdict
}

// Update makes the record of rec's key what the rule says of it, inside a transaction, and returns the record as it then
// is and the rule's verdict. Of rec nothing but the key counts. Errors also match the rule's own,
// [tokenworker.ErrTooLarge] and [tokenworker.ErrInvalidKey].
func (s *Store) Update(
	ctx context.Context, rec tokenworker.Record, rule tokenworker.Rule,
) (tokenworker.Record, tokenworker.Verdict, error) {
	if err := rec.Key.Validate(); err != nil {
		return tokenworker.Record{}, 0, err
	}
	d, err := write(ctx, s.writer, func(ctx context.Context, st statements) (decided, error) {
		current, err := readRecord(ctx, st, rec.Key)
		if err != nil {
			return decided{}, err
		}
		next, verdict, err := rule(current)
		switch {
		case err != nil:
			return decided{}, err
		case next.Status == "": // what was not there is not there
		case current != nil && reflect.DeepEqual(*current, next):
		default:
			err = writeWhole(ctx, st, current, &next)
		}
		next.Retain = 0
		return decided{next, verdict}, err
	})
	return d.record, d.verdict, err
}

// Get returns the record of a connection as the last write left it. Errors also match [tokenworker.ErrNotFound].
func (s *Store) Get(ctx context.Context, k tokenworker.Key) (tokenworker.Record, error) {
	if err := ctx.Err(); err != nil {
		return tokenworker.Record{}, err
	}
	var st statements
	select {
	case <-ctx.Done():
		return tokenworker.Record{}, ctx.Err()
	case st = <-s.get:
		defer func() { s.get <- st }()
	}
	// The statement waits for nobody. Watching ctx meanwhile takes two goroutines, a third of the read (BenchmarkStore/get).
	r, err := readRecord(context.WithoutCancel(ctx), st, k)
	if err != nil {
		return tokenworker.Record{}, err
	}
	if r == nil {
		return tokenworker.Record{}, tokenworker.ErrNotFound
	}
	return *r, nil
}

// Records yields the records of one organization, ordered by the text form of their keys. It stops after the first
// error. No transaction stays open between two records: what changes meanwhile may or may not be seen.
func (s *Store) Records(ctx context.Context, orgID string) iter.Seq2[tokenworker.Record, error] {
	org := tokenworker.EscapePart(orgID)
	return paged(func(last tokenworker.Record) ([]tokenworker.Record, error) {
		after := ""
		if last.Status != "" {
			after = connOf(last.Key)
		}
		return s.page(ctx, selectPage, org, after, pageRows)
	})
}

// AllRecords yields every record, of one organization after the other, as [Store.Records] does.
func (s *Store) AllRecords(ctx context.Context) iter.Seq2[tokenworker.Record, error] {
	return paged(func(last tokenworker.Record) ([]tokenworker.Record, error) {
		org, after := "", ""
		if last.Status != "" {
			org, after = tokenworker.EscapePart(last.Key.OrgID), connOf(last.Key)
		}
		return s.page(ctx, selectAll, org, after, pageRows)
	})
}

// paged yields the records of one page after the other. Next returns up to pageRows records after the last one, which is
// the zero record at first, and those before an error with it.
func paged(next func(last tokenworker.Record) ([]tokenworker.Record, error)) iter.Seq2[tokenworker.Record, error] {
	return func(yield func(tokenworker.Record, error) bool) {
		for last := (tokenworker.Record{}); ; {
			page, err := next(last)
			for _, last = range page {
				if !yield(last, nil) {
					return
				}
			}
			if err != nil {
				yield(tokenworker.Record{}, err)
				return
			}
			if len(page) < pageRows {
				return
			}
		}
	}
}

// page returns the records that a query finds, and those before an error with it.
func (s *Store) page(ctx context.Context, query string, args ...any) ([]tokenworker.Record, error) {
	const doing = "listing connections"
	rows, err := s.read[query].QueryContext(ctx, args...)
	if err != nil {
		return nil, dbError(doing, err)
	}
	defer rows.Close() //nolint:errcheck // reading: rows.Err has said it
	var page []tokenworker.Record
	for rows.Next() {
		var org, conn string
		var sealed, record []byte
		if err := rows.Scan(&org, &conn, &sealed, &record); err != nil {
			return page, dbError(doing, err)
		}
		k, err := tokenworker.ParseKey(org + ":" + conn)
		if err != nil {
			return page, fmt.Errorf("%w: the store holds a row without a valid key: %w", tokenworker.ErrMisconfigured, err)
		}
		r, err := decodeRecord(k, sealed, record)
		if err != nil {
			return page, err
		}
		page = append(page, r)
	}
	return page, dbError(doing, rows.Err())
}

// readRecord returns nil when there is none.
func readRecord(ctx context.Context, st statements, k tokenworker.Key) (*tokenworker.Record, error) {
	var sealed, record []byte
	row := st[selectRecord].QueryRowContext(ctx, tokenworker.EscapePart(k.OrgID), connOf(k))
	if err := row.Scan(&sealed, &record); errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	} else if err != nil {
		return nil, dbError("reading a connection", err)
	}
	r, err := decodeRecord(k, sealed, record)
	if err != nil {
		return nil, err
	}
	return &r, nil
}

func checkSize(sealed []byte) error {
	if len(sealed) > tokenworker.MaxSealedBytes {
		return fmt.Errorf("%w: %d bytes sealed, at most %d", tokenworker.ErrTooLarge, len(sealed), tokenworker.MaxSealedBytes)
	}
	return nil
}

func writeRecord(ctx context.Context, st statements, r *tokenworker.Record) error {
	for _, set := range append(slices.Clip(r.Revoke), tokenworker.Listed{Sealed: r.Sealed}) {
		if err := checkSize(set.Sealed); err != nil {
			return err
		}
	}
	record, err := encodeRecord(r)
	if err != nil {
		return err
	}
	_, err = st[upsertRecord].ExecContext(ctx, tokenworker.EscapePart(r.Key.OrgID), connOf(r.Key),
		unixOrNull(r.Due()), sql.NullString{String: r.Subject, Valid: r.Subject != ""}, r.Sealed, record)
	return dbError("writing a connection", err)
}

// connOf is the column conn: the key's text form after the organization.
func connOf(k tokenworker.Key) string {
	return tokenworker.EscapePart(k.ProviderID) + ":" + tokenworker.EscapePart(k.CompanyID)
}

// unixOrNull is what a column holds of t: Unix seconds, or NULL for the zero time.
func unixOrNull(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.Unix(), Valid: !t.IsZero()}
}
