package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
)

// Setup creates the streams and consumers that are missing and brings the settings of the others in line. It is
// idempotent. Replicas is the number of copies of each stream: 1 on a single server, 3 in production. TakeEpoch is
// called only when [In] has to be created.
//
// Consumers of [In] whose names are not those of its epoch are deleted, since those of a work queue must not overlap. What they
// had under way is delivered again, and acknowledgements that come late settle nothing.
//
// What NATS does not let one change (a stream's retention, say) is an error that names it. [Audit] is created and never changed:
// a limit on it removes records, so nobody has the right. [Check] says what differs there.
func Setup(ctx context.Context, js jetstream.JetStream, replicas int, takeEpoch func(context.Context) (uint64, error)) error {
	for _, s := range table(replicas) {
		have, err := setupStream(ctx, js, s, takeEpoch)
		if err == nil {
			err = setupConsumers(ctx, have, s)
		}
		if err != nil {
			return fmt.Errorf("setting up stream %s: %w", s.name, explained(err))
		}
	}
	return nil
}

func setupConsumers(ctx context.Context, have jetstream.Stream, s stream) error {
	var epoch uint64
	if s.name == In {
		var err error
		if epoch, err = EpochIn(have.CachedInfo()); err != nil {
			return err
		}
		if err := deleteOthers(ctx, have, s, epoch); err != nil {
			return err
		}
	}
	for _, c := range s.consumers {
		if _, err := have.CreateOrUpdateConsumer(ctx, c.config(s.durable(c, epoch))); err != nil {
			return fmt.Errorf("setting up consumer %s: %w", s.durable(c, epoch), err)
		}
	}
	return nil
}

// deleteOthers deletes the consumers of a stream that are not among those of the epoch.
func deleteOthers(ctx context.Context, have jetstream.Stream, s stream, epoch uint64) error {
	list := have.ConsumerNames(ctx)
	var others []string
	for name := range list.Name() {
		if !slices.ContainsFunc(s.consumers, func(c consumer) bool { return s.durable(c, epoch) == name }) {
			others = append(others, name)
		}
	}
	if err := list.Err(); err != nil {
		return fmt.Errorf("listing the consumers: %w", err)
	}
	for _, name := range others {
		if err := have.DeleteConsumer(ctx, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return fmt.Errorf("deleting consumer %s: %w", name, err)
		}
	}
	return nil
}

func setupStream(
	ctx context.Context, js jetstream.JetStream, s stream, takeEpoch func(context.Context) (uint64, error),
) (jetstream.Stream, error) {
	want := s.config()
	have, err := js.Stream(ctx, s.name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		if s.name == In {
			epoch, err := takeEpoch(ctx)
			if err != nil {
				return nil, fmt.Errorf("taking an epoch: %w", err)
			}
			want.Metadata = map[string]string{epochKey: strconv.FormatUint(epoch, 10)}
		}
		return js.CreateStream(ctx, want)
	case err != nil:
		return nil, err
	case s.name == Audit, len(compare(s.name, have.CachedInfo().Config, s.settings)) == 0:
		return have, nil
	}
	merged := have.CachedInfo().Config // keeps the epoch, placement and whatever else an operator has set
	fill(&merged, s.settings)
	return js.UpdateStream(ctx, merged)
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
		epoch, err := EpochIn(have.CachedInfo())
		if s.name == In && err != nil {
			missing("epoch of stream "+s.name, "without it the order of events cannot be told, and its consumers have no names")
			continue
		}
		for _, c := range s.consumers {
			name := s.durable(c, epoch)
			cons, err := have.Consumer(ctx, name)
			if errors.Is(err, jetstream.ErrConsumerNotFound) {
				missing("consumer "+s.name+" "+name, c.purpose)
				continue
			} else if err != nil {
				return nil, fmt.Errorf("looking up consumer %s of stream %s: %w", name, s.name, explained(err))
			}
			ds = append(ds, compare("consumer "+s.name+" "+name, cons.CachedInfo().Config, c.settings)...)
		}
	}
	return ds, nil
}
