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

// explained says what to look at when nobody answers. The error then matches [tokenworker.ErrUnavailable].
func explained(err error) error {
	if !Unanswered(err) {
		return err
	}
	return fmt.Errorf("%w: JetStream does not answer, which takes a majority of its servers: see in their logs whether they run and "+
		"reach each other: %w", tokenworker.ErrUnavailable, err)
}
