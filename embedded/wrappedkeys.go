package embedded

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"iter"
	"strings"
	"time"

	"github.com/tokenworker/tokenworker"
)

const (
	selectWrappedKey = `SELECT name, key_id, wrapped, suite, public, created_at FROM wrapped_keys WHERE name = ?`

	selectWrappedKeys = `SELECT name, key_id, wrapped, suite, public, created_at FROM wrapped_keys WHERE name >= ?
		ORDER BY name`

	upsertWrappedKey = `INSERT OR REPLACE INTO wrapped_keys (name, key_id, wrapped, suite, public, created_at)
		VALUES (?, ?, ?, ?, ?, ?)`

	deleteWrappedKey = `DELETE FROM wrapped_keys WHERE name = ?`
)

// WrappedKey returns the key of that name. Errors also match [tokenworker.ErrNotFound].
func (s *Store) WrappedKey(ctx context.Context, name string) (tokenworker.WrappedKey, error) {
	return readWrappedKey(ctx, s.read, name)
}

// PutWrappedKey writes k if the stored key of its name has the wrapped bytes replaces, or, for an empty replaces, if
// there is none. It returns the key that is stored afterwards, k or the one that was there first: losing that race is no
// error. When the key to replace is gone, the error matches [tokenworker.ErrNotFound].
func (s *Store) PutWrappedKey(ctx context.Context, k tokenworker.WrappedKey, replaces []byte) (tokenworker.WrappedKey, error) {
	return write(ctx, s.writer, func(ctx context.Context, st statements) (tokenworker.WrappedKey, error) {
		stored, err := readWrappedKey(ctx, st, k.Name)
		if errors.Is(err, tokenworker.ErrNotFound) && len(replaces) == 0 {
			err = nil
		}
		if err != nil || !bytes.Equal(stored.Wrapped, replaces) {
			return stored, err
		}
		_, err = st[upsertWrappedKey].ExecContext(ctx, k.Name, k.KeyID, k.Wrapped, k.Suite, k.Public, unixOrNull(k.CreatedAt))
		return k, dbError("writing a wrapped key", err)
	})
}

// WrappedKeys returns the keys whose names begin with prefix, ordered by name.
func (s *Store) WrappedKeys(ctx context.Context, prefix string) ([]tokenworker.WrappedKey, error) {
	const doing = "listing wrapped keys"
	rows, err := s.read[selectWrappedKeys].QueryContext(ctx, prefix)
	if err != nil {
		return nil, dbError(doing, err)
	}
	defer rows.Close() //nolint:errcheck // reading: rows.Err has said it
	var keys []tokenworker.WrappedKey
	for rows.Next() {
		k, err := scanWrappedKey(rows)
		if err != nil {
			return nil, dbError(doing, err)
		}
		if !strings.HasPrefix(k.Name, prefix) {
			break // names with the prefix stand together
		}
		keys = append(keys, k)
	}
	return keys, dbError(doing, rows.Err())
}

// AllWrappedKeys yields every wrapped key, ordered by name.
func (s *Store) AllWrappedKeys(ctx context.Context) iter.Seq2[tokenworker.WrappedKey, error] {
	return func(yield func(tokenworker.WrappedKey, error) bool) {
		keys, err := s.WrappedKeys(ctx, "")
		for _, k := range keys {
			if !yield(k, nil) {
				return
			}
		}
		if err != nil {
			yield(tokenworker.WrappedKey{}, err)
		}
	}
}

// DeleteWrappedKey removes the key of that name, and overwrites its bytes in the file. Deleting what is not there is no
// error.
func (s *Store) DeleteWrappedKey(ctx context.Context, name string) error {
	return s.writer.write(ctx, func(ctx context.Context, st statements) error {
		_, err := st[deleteWrappedKey].ExecContext(ctx, name)
		return dbError("deleting a wrapped key", err)
	})
}

func readWrappedKey(ctx context.Context, st statements, name string) (tokenworker.WrappedKey, error) {
	k, err := scanWrappedKey(st[selectWrappedKey].QueryRowContext(ctx, name))
	if errors.Is(err, sql.ErrNoRows) {
		return tokenworker.WrappedKey{}, tokenworker.ErrNotFound
	}
	return k, dbError("reading a wrapped key", err)
}

func scanWrappedKey(row interface{ Scan(dest ...any) error }) (tokenworker.WrappedKey, error) {
	var k tokenworker.WrappedKey
	var created sql.NullInt64
	if err := row.Scan(&k.Name, &k.KeyID, &k.Wrapped, &k.Suite, &k.Public, &created); err != nil {
		return tokenworker.WrappedKey{}, err
	}
	if created.Valid {
		k.CreatedAt = time.Unix(created.Int64, 0).UTC()
	}
	return k, nil
}
