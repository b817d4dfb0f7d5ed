package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/micro"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/access"
	"github.com/tokenworker/tokenworker/streams"
)

// workerState is what a worker says of itself as it is.
type workerState struct {
	Process string `json:"process"`
	Epoch   uint64 `json:"epoch"` // whose events it handles; 0: of none
}

func (w *worker) state() any { return workerState{processName(), w.consumer.Epoch()} }

// examineEpoch compares the stream with the store, and with what the workers hold.
func examineEpoch(ctx context.Context, t *target) []finding {
	s, err := t.store(ctx)
	if err != nil {
		return []finding{{bad, "store: " + err.Error(), "nothing can be stored or read"}}
	}
	js, err := t.jetStream(ctx)
	if err != nil {
		return nil // said before
	}
	epoch, err := streams.Epoch(ctx, js, s)
	switch {
	case errors.Is(err, tokenworker.ErrRolledBack):
		return []finding{{bad, "epoch: " + err.Error(), "the order of events can no longer be told; no worker starts. Check the " +
			"clocks before anything is deleted"}}
	case err != nil:
		return []finding{{bad, "epoch: " + err.Error(), "no worker starts"}}
	}
	fs := []finding{{Level: ok, What: fmt.Sprintf("epoch: stream and store agree on %d", epoch)}}
	workers, err := askStates(ctx, t)
	switch {
	case err != nil:
		return append(fs, finding{warn, "epoch: what the workers hold cannot be seen: " + err.Error(), "one that holds another handles no event"})
	case len(workers) == 0:
		return append(fs, finding{Level: ok, What: "epoch: no worker says what it holds: none answers reads, or this user may not ask on " +
			access.StatsSubject})
	}
	for _, w := range workers {
		if w.Epoch != epoch {
			fs = append(fs, finding{bad, fmt.Sprintf("epoch: the worker %s handles events of %d", w.Process, w.Epoch),
				"it takes a new one within seconds; if it does not, its log says why"})
		}
	}
	if len(fs) == 1 {
		fs = append(fs, finding{Level: ok, What: "epoch: held by " + count(len(workers), "worker", "workers")})
	}
	return fs
}

// askStates asks the workers that answer reads.
func askStates(ctx context.Context, t *target) ([]workerState, error) {
	answers, err := askAll(ctx, t, access.StatsSubject)
	if err != nil {
		return nil, err
	}
	var states []workerState
	for _, answer := range answers {
		var stats micro.Stats
		var state workerState
		if err := json.Unmarshal(answer.Data, &stats); err != nil {
			return nil, fmt.Errorf("reading what a worker says: %w", err)
		}
		if len(stats.Endpoints) == 0 || json.Unmarshal(stats.Endpoints[0].Data, &state) != nil {
			continue // it is just starting
		}
		states = append(states, state)
	}
	return states, nil
}
