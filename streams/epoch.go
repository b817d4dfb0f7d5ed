package streams

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
)

// epochKey is the name of the epoch in the metadata of [In].
const epochKey = "tokenworker-epoch"

// HighWaterMark is the store's part that remembers how far the stream of events came.
type HighWaterMark interface {
	// HighWater returns the high-water mark: the highest epoch ever given, and the highest sequence known of its stream.
	HighWater(ctx context.Context) (tokenworker.Stamp, error)

	// RaiseHighWater raises the sequence of the mark. A lower one, or one of another epoch, changes nothing.
	RaiseHighWater(ctx context.Context, to tokenworker.Stamp) error
}

// Last returns the last stamp that [In] has given. The error matches [tokenworker.ErrMisconfigured] when the stream is
// missing or not of the worker's making.
func Last(ctx context.Context, js jetstream.JetStream) (tokenworker.Stamp, error) {
	s, err := js.Stream(ctx, In)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return tokenworker.Stamp{}, fmt.Errorf("%w: stream %s does not exist; run `tokenworker setup`", tokenworker.ErrMisconfigured, In)
	} else if err != nil {
		return tokenworker.Stamp{}, fmt.Errorf("%w: looking up stream %s: %w", tokenworker.ErrUnavailable, In, err)
	}
	epoch, err := EpochIn(s.CachedInfo())
	return tokenworker.Stamp{Epoch: epoch, Sequence: s.CachedInfo().State.LastSeq}, err
}

// EpochIn returns the epoch in what the server says of [In]. Errors are those of [Last].
func EpochIn(info *jetstream.StreamInfo) (uint64, error) {
	epoch, err := strconv.ParseUint(info.Config.Metadata[epochKey], 10, 64)
	if err != nil || epoch == 0 {
		return 0, fmt.Errorf("%w: stream %s carries no epoch; it was not created by `tokenworker setup`",
			tokenworker.ErrMisconfigured, In)
	}
	return epoch, nil
}

// Epoch returns the epoch of [In] and compares the stream with the store's mark, by [tokenworker.CheckHighWater]. Errors are those
// of [Last], and [tokenworker.ErrRolledBack].
func Epoch(ctx context.Context, js jetstream.JetStream, store HighWaterMark) (uint64, error) {
	last, _, err := look(ctx, js, store, tokenworker.Stamp{})
	return last.Epoch, err
}

// Follow is [Epoch], and raises the mark. Seen is the highest stamp that the caller was given by the stream; it counts like
// the mark.
func Follow(ctx context.Context, js jetstream.JetStream, store HighWaterMark, seen tokenworker.Stamp) (uint64, error) {
	last, mark, err := look(ctx, js, store, seen)
	if err == nil && last.Sequence > mark.Sequence {
		err = store.RaiseHighWater(ctx, last)
	}
	return last.Epoch, err
}

// look reads the mark first: others may raise it meanwhile.
func look(
	ctx context.Context, js jetstream.JetStream, store HighWaterMark, seen tokenworker.Stamp,
) (last, mark tokenworker.Stamp, err error) {
	if mark, err = store.HighWater(ctx); err != nil {
		return last, mark, fmt.Errorf("asking the store for the mark: %w", err)
	}
	if last, err = Last(ctx, js); err != nil {
		return last, mark, err
	}
	highest := mark
	if seen.Epoch == mark.Epoch && seen.Sequence > mark.Sequence {
		highest = seen
	}
	return last, mark, tokenworker.CheckHighWater(last, highest)
}
