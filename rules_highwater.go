package tokenworker

import "fmt"

// CheckHighWater tells whether the stream of events is still the one that it was. Last is the last stamp that it has given, mark the
// highest one that is known. A stream of another epoch, and one that has given less than is known, was restored or rolled
// back, and the error matches [ErrRolledBack]. Clocks do not count: a server whose clock is wrong rolls nothing back.
//
// It cannot see a rollback to a point that is not below the mark, which lags behind by what was given since the last look;
// one after which as much was published again before anybody looked; and one of a consumer alone, after which
// events come again, without effect.
func CheckHighWater(last, mark Stamp) error {
	switch {
	case last.Epoch != mark.Epoch:
		return fmt.Errorf("%w: the stream is of epoch %d, the store has given epoch %d", ErrRolledBack, last.Epoch, mark.Epoch)
	case last.Sequence < mark.Sequence:
		return fmt.Errorf("%w: the last sequence of the stream is %d, and %d was given before", ErrRolledBack, last.Sequence, mark.Sequence)
	}
	return nil
}
