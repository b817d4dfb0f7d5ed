package embedded

import (
	"context"
	"database/sql"
	"errors"

	"github.com/tokenworker/tokenworker"
)

const (
	selectHighWater = `SELECT epoch, sequence FROM high_water`

	raiseHighWater = `UPDATE high_water SET sequence = ?2 WHERE epoch = ?1 AND sequence < ?2`

	takeEpoch = `INSERT INTO high_water (id, epoch, sequence) VALUES (1, 1, 0) ON CONFLICT (id) DO UPDATE SET epoch = epoch + 1, sequence = 0
		RETURNING epoch`
)

// HighWater returns the high-water mark of the stream of events: the highest epoch ever given, 0 when none was, and the highest
// sequence known of its stream.
func (s *Store) HighWater(ctx context.Context) (tokenworker.Stamp, error) {
	var mark tokenworker.Stamp
	err := s.read[selectHighWater].QueryRowContext(ctx).Scan(&mark.Epoch, &mark.Sequence)
	if errors.Is(err, sql.ErrNoRows) {
		return tokenworker.Stamp{}, nil
	}
	return mark, dbError("reading the mark", err)
}

// RaiseHighWater raises the sequence of the mark. A lower one, or one of another epoch, changes nothing.
func (s *Store) RaiseHighWater(ctx context.Context, to tokenworker.Stamp) error {
	return s.writer.write(ctx, func(ctx context.Context, st statements) error {
		_, err := st[raiseHighWater].ExecContext(ctx, int64(to.Epoch), int64(to.Sequence)) //nolint:gosec // both count from 1, one at a time
		return dbError("raising the mark", err)
	})
}

// TakeEpoch gives the next stream epoch, of whose stream no sequence is known yet; the first is 1.
func (s *Store) TakeEpoch(ctx context.Context) (uint64, error) {
	return write(ctx, s.writer, func(ctx context.Context, st statements) (uint64, error) {
		var epoch uint64
		err := st[takeEpoch].QueryRowContext(ctx).Scan(&epoch)
		return epoch, dbError("taking an epoch", err)
	})
}
