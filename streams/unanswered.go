package streams

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
)

// DuplicateInProcess is the server's error code for a message whose id it is still storing (nats-server errors.json,
// JSStreamDuplicateMessageConflict). Published again it is stored or a duplicate.
const DuplicateInProcess jetstream.ErrorCode = 10158

// Unanswered reports whether an error of JetStream says only that nobody answers now: no majority of the servers, an election,
// a lost connection. Publishing gets "no response from stream" then, as it does where there is no stream at all.
func Unanswered(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.Code == http.StatusServiceUnavailable
	}
	for _, none := range []error{
		context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, jetstream.ErrNoStreamResponse, nats.ErrDisconnected,
	} {
		if errors.Is(err, none) {
			return true
		}
	}
	return false
}

// noCluster is the server's error code for more copies of a stream than it can keep alone (JSStreamReplicasNotSupportedErr).
const noCluster jetstream.ErrorCode = 10074

// explained says what to look at when nobody answers, and what to do when there is one server alone. The error then matches
// [tokenworker.ErrUnavailable] or [tokenworker.ErrMisconfigured].
func explained(err error) error {
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api) && api.ErrorCode == noCluster:
		return fmt.Errorf("%w: this NATS server is in no cluster and keeps one copy: set it up with --replicas 1: %w",
			tokenworker.ErrMisconfigured, err)
	case !Unanswered(err):
		return err
	}
	return fmt.Errorf("%w: JetStream does not answer, which takes a majority of its servers: see in their logs whether they run and "+
		"reach each other, and whether they deny this user something: %w", tokenworker.ErrUnavailable, err)
}
