package streams

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Elsewhere are the subjects of all streams but one. A message of such a subject in that one is misplaced: whoever pulls chooses
// where the server delivers, and what it delivers to the subject of a stream is stored there, under its old subject.
func Elsewhere(stream string) (subjects []string) {
	for _, s := range table(1) {
		for _, set := range s.settings {
			if patterns, ok := set.value.([]string); ok && s.name != stream {
				subjects = append(subjects, patterns...)
			}
		}
	}
	return subjects
}

// Misplaced counts the messages of other streams' subjects in a stream.
func Misplaced(ctx context.Context, s jetstream.Stream) (n uint64, err error) {
	for _, subject := range Elsewhere(s.CachedInfo().Config.Name) {
		info, err := s.Info(ctx, jetstream.WithSubjectFilter(subject))
		if err != nil {
			return 0, fmt.Errorf("counting messages of %s: %w", subject, err)
		}
		for _, count := range info.State.Subjects {
			n += count
		}
	}
	return n, nil
}
