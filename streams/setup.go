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

// Setup creates the streams and consumers that are missing and brings the settings of the others in line. It is
// idempotent. Replicas is the number of copies of each stream: 1 on a single server, 3 in production. TakeEpoch is
// called only when [In] has to be created.
//
// What NATS does not let one change (a stream's retention, say) is an error that names it. [Audit] is created and never changed:
// a limit on it removes records, so nobody has the right. [Check] says what differs there.
func Setup(ctx context.Context, js jetstream.JetStream, replicas int, takeEpoch func(context.Context) (uint64, error)) error {
	for _, s := range table(replicas) {
		if err := setupStream(ctx, js, s, takeEpoch); err != nil {
			return fmt.Errorf("setting up stream %s: %w", s.name, explained(err))
		}
		for _, c := range s.consumers {
			if _, err := js.CreateOrUpdateConsumer(ctx, s.name, c.config()); err != nil {
				return fmt.Errorf("setting up consumer %s of stream %s: %w", c.name, s.name, explained(err))
			}
		}
	}
	return nil
}

func setupStream(ctx context.Context, js jetstream.JetStream, s stream, takeEpoch func(context.Context) (uint64, error)) error {
	want := s.config()
	have, err := js.Stream(ctx, s.name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		if s.name == In {
			epoch, err := takeEpoch(ctx)
			if err != nil {
				return fmt.Errorf("taking an epoch: %w", err)
			}
			want.Metadata = map[string]string{epochKey: strconv.FormatUint(epoch, 10)}
		}
		_, err := js.CreateStream(ctx, want)
		return err
	case err != nil:
		return err
	case s.name == Audit, len(compare(s.name, have.CachedInfo().Config, s.settings)) == 0:
		return nil
	}
	merged := have.CachedInfo().Config // keeps the epoch, placement and whatever else an operator has set
	fill(&merged, s.settings)
	_, err = js.UpdateStream(ctx, merged)
	return err
}

// Check reports what is missing or differs from the table, and changes nothing.
func Check(ctx context.Context, js jetstream.JetStream, replicas int) ([]tokenworker.Difference, error) {
	var ds []tokenworker.Difference
	missing := func(what, why string) {
		ds = append(ds, tokenworker.Difference{What: what, Have: "missing", Want: "present", Why: why})
	}
	for _, s := range table(replicas) {
		have, err := js.Stream(ctx, s.name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			missing("stream "+s.name, s.purpose)
			continue
		} else if err != nil {
			return nil, fmt.Errorf("looking up stream %s: %w", s.name, explained(err))
		}
		ds = append(ds, compare("stream "+s.name, have.CachedInfo().Config, s.settings)...)
		for _, c := range s.consumers {
			cons, err := have.Consumer(ctx, c.name)
			if errors.Is(err, jetstream.ErrConsumerNotFound) {
				missing("consumer "+s.name+" "+c.name, c.purpose)
				continue
			} else if err != nil {
				return nil, fmt.Errorf("looking up consumer %s of stream %s: %w", c.name, s.name, explained(err))
			}
			ds = append(ds, compare("consumer "+s.name+" "+c.name, cons.CachedInfo().Config, c.settings)...)
		}
	}
	return ds, nil
}

// EpochOf returns the epoch of [In]. The error matches [tokenworker.ErrMisconfigured] when the stream is missing or not of
// the worker's making.
func EpochOf(ctx context.Context, js jetstream.JetStream) (uint64, error) {
	s, err := js.Stream(ctx, In)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, fmt.Errorf("%w: stream %s does not exist; run `tokenworker setup`", tokenworker.ErrMisconfigured, In)
	} else if err != nil {
		return 0, fmt.Errorf("%w: looking up stream %s: %w", tokenworker.ErrUnavailable, In, err)
	}
	epoch, err := strconv.ParseUint(s.CachedInfo().Config.Metadata[epochKey], 10, 64)
	if err != nil || epoch == 0 {
		return 0, fmt.Errorf("%w: stream %s carries no epoch; it was not created by `tokenworker setup`",
			tokenworker.ErrMisconfigured, In)
	}
	return epoch, nil
}

// Epoch returns the epoch of [In] and compares it with the highest that the store has given. Errors are those of
// [EpochOf], and the error matches [tokenworker.ErrRolledBack] when the stream is not of the highest epoch.
func Epoch(ctx context.Context, js jetstream.JetStream, highest uint64) (uint64, error) {
	epoch, err := EpochOf(ctx, js)
	if err != nil {
		return 0, err
	}
	if epoch != highest {
		return 0, fmt.Errorf("%w: stream %s is of epoch %d, the store has given epoch %d", tokenworker.ErrRolledBack, In,
			epoch, highest)
	}
	return epoch, nil
}
