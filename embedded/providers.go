package embedded

import (
	"context"
	"slices"

	"github.com/tokenworker/tokenworker"
)

// selectProviders hops through the index of due rows from one provider to the next, so it costs nothing per row.
const selectProviders = `WITH RECURSIVE found(id) AS (
		SELECT min(provider) FROM connections WHERE due_at IS NOT NULL
		UNION ALL
		SELECT (SELECT min(provider) FROM connections WHERE due_at IS NOT NULL AND provider > found.id)
		FROM found WHERE found.id IS NOT NULL
	) SELECT id FROM found WHERE id IS NOT NULL`

// NoteProvider has nothing to remember: the index of due rows knows the providers.
func (s *Store) NoteProvider(context.Context, string) error { return nil }

// Providers lists the providers that have connections which are, or will be, due; sorted.
func (s *Store) Providers(ctx context.Context) ([]string, error) {
	const doing = "listing providers"
	rows, err := s.read[selectProviders].QueryContext(ctx)
	if err != nil {
		return nil, dbError(doing, err)
	}
	defer rows.Close() //nolint:errcheck // reading: rows.Err has said it
	var ids []string
	for rows.Next() {
		var escaped string
		if err := rows.Scan(&escaped); err != nil {
			return nil, dbError(doing, err)
		}
		id, err := tokenworker.UnescapePart(escaped)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	slices.Sort(ids) // the index is ordered by their escaped form
	return ids, dbError(doing, rows.Err())
}
