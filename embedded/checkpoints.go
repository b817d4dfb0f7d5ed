package embedded

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/tokenworker/tokenworker"
)

const (
	selectCheckpoint = `SELECT chain, sequence, hash, recorded, links, signature FROM audit_checkpoints
		WHERE chain = ? AND sequence = ?`

	selectLastCheckpoint = `SELECT chain, sequence, hash, recorded, links, signature FROM audit_checkpoints
		ORDER BY chain DESC, sequence DESC LIMIT 1`

	selectCheckpoints = `SELECT chain, sequence, hash, recorded, links, signature FROM audit_checkpoints
		WHERE chain = ? AND sequence > ? ORDER BY sequence LIMIT ?`

	insertCheckpoint = `INSERT INTO audit_checkpoints (chain, sequence, hash, recorded, links, signature)
		VALUES (?, ?, ?, ?, ?, ?)`

	// checkpointPage is how many checkpoints are read at once, of 16 KiB at most.
	checkpointPage = 100
)

// PutCheckpoint stores c unless there is one of its chain and sequence, and returns the one that is there afterwards.
func (s *Store) PutCheckpoint(ctx context.Context, c tokenworker.AuditCheckpoint) (tokenworker.AuditCheckpoint, error) {
	return write(ctx, s.writer, func(ctx context.Context, st statements) (tokenworker.AuditCheckpoint, error) {
		stored, err := scanCheckpoint(st[selectCheckpoint].QueryRowContext(ctx, c.Chain, c.Sequence))
		if !errors.Is(err, tokenworker.ErrNotFound) {
			return stored, err
		}
		_, err = st[insertCheckpoint].ExecContext(ctx, c.Chain, c.Sequence, c.Hash[:], c.Recorded.UnixNano(), c.Links, c.Signature)
		return c, dbError("writing a checkpoint", err)
	})
}

// LastCheckpoint returns the newest checkpoint. Errors also match [tokenworker.ErrNotFound].
func (s *Store) LastCheckpoint(ctx context.Context) (tokenworker.AuditCheckpoint, error) {
	return scanCheckpoint(s.read[selectLastCheckpoint].QueryRowContext(ctx))
}

// Checkpoints yields the checkpoints of a chain by sequence. It stops after the first error. No transaction stays open
// between two: what is put meanwhile may or may not be seen.
func (s *Store) Checkpoints(ctx context.Context, chain uint64) iter.Seq2[tokenworker.AuditCheckpoint, error] {
	return func(yield func(tokenworker.AuditCheckpoint, error) bool) {
		for after := int64(-1); ; {
			page, err := s.checkpointPage(ctx, chain, after)
			for _, c := range page {
				if !yield(c, nil) {
					return
				}
				after = int64(c.Sequence) //nolint:gosec // SQLite's own integer
			}
			if err != nil {
				yield(tokenworker.AuditCheckpoint{}, err)
				return
			}
			if len(page) < checkpointPage {
				return
			}
		}
	}
}

// checkpointPage returns up to checkpointPage checkpoints after a sequence, and those before an error with it.
func (s *Store) checkpointPage(ctx context.Context, chain uint64, after int64) ([]tokenworker.AuditCheckpoint, error) {
	const doing = "listing checkpoints"
	rows, err := s.read[selectCheckpoints].QueryContext(ctx, chain, after, checkpointPage)
	if err != nil {
		return nil, dbError(doing, err)
	}
	defer rows.Close() //nolint:errcheck // reading: rows.Err has said it
	var page []tokenworker.AuditCheckpoint
	for rows.Next() {
		c, err := scanCheckpoint(rows)
		if err != nil {
			return page, err
		}
		page = append(page, c)
	}
	return page, dbError(doing, rows.Err())
}

func scanCheckpoint(row interface{ Scan(dest ...any) error }) (tokenworker.AuditCheckpoint, error) {
	var c tokenworker.AuditCheckpoint
	var hash []byte
	var recorded int64
	err := row.Scan(&c.Chain, &c.Sequence, &hash, &recorded, &c.Links, &c.Signature)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return c, tokenworker.ErrNotFound
	case err != nil:
		return c, dbError("reading a checkpoint", err)
	case copy(c.Hash[:], hash) != len(c.Hash):
		return c, fmt.Errorf("%w: the store holds a checkpoint without a hash", tokenworker.ErrMisconfigured)
	}
	c.Recorded = time.Unix(0, recorded).UTC()
	return c, nil
}
