package embedded

import (
	"context"
	"slices"
)

const (
	selectProviders = `SELECT id FROM providers`

	insertProvider = `INSERT INTO providers (id) VALUES (?) ON CONFLICT (id) DO NOTHING`
)

// NoteProvider remembers that there are connections of a provider. Repeating it is harmless.
func (s *Store) NoteProvider(ctx context.Context, id string) error {
	return s.writer.write(ctx, func(ctx context.Context, st statements) error {
		_, err := st[insertProvider].ExecContext(ctx, id)
		return dbError("noting a provider", err)
	})
}

// Providers lists the providers that were noted, sorted.
func (s *Store) Providers(ctx context.Context) ([]string, error) {
	const doing = "listing providers"
	rows, err := s.read[selectProviders].QueryContext(ctx)
	if err != nil {
		return nil, dbError(doing, err)
	}
	defer rows.Close() //nolint:errcheck // reading: rows.Err has said it
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, dbError(doing, err)
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, dbError(doing, rows.Err())
}
