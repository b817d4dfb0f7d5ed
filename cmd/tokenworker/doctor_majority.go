package main

import (
	"context"

	"github.com/tokenworker/tokenworker/streams"
)

// majorityFound is whether a majority of the NATS servers answers. Without one, of a stream one hears what its server last knew,
// or nothing, after some seconds for each question.
type majorityFound struct{ lost bool }

// examine asks what only a majority answers.
func (m *majorityFound) examine(ctx context.Context, t *target) []finding {
	js, err := t.jetStream(ctx)
	if err != nil {
		return nil // said before
	}
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := (parts{js: js}).askMajority(asking); streams.Unanswered(err) {
		m.lost = true
		return []finding{{
			bad, "NATS: no majority of the servers answers for " + streams.In + ": " + err.Error(),
			"no event is stored or handled; see in the servers' logs whether they run and reach each other. Streams and backlog are not looked at",
		}}
	}
	return nil
}

// then makes an examination that is left out without a majority.
func (m *majorityFound) then(examine examination) examination {
	return func(ctx context.Context, t *target) []finding {
		if m.lost {
			return nil
		}
		return examine(ctx, t)
	}
}
