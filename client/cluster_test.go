package client_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/client"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/natstest"
	"github.com/tokenworker/tokenworker/streams"
)

// clustered is three servers with the stream of events, and a publisher connected to one that does not lead it.
func clustered(t *testing.T) (*natstest.Cluster, *client.Publisher) {
	t.Helper()
	c := natstest.StartCluster(t)
	must(t, streams.Setup(t.Context(), natstest.ConnectTo(t, c.Servers[0]), natstest.ClusterSize, func(context.Context) (uint64, error) { return 1, nil }))
	leader, err := c.Leader(streams.In)
	must(t, err)
	js := natstest.ConnectTo(t, c.Servers[(leader+1)%natstest.ClusterSize])
	return c, client.NewPublisher(js, client.PublisherConfig{Source: "//test"})
}

func disconnect(t *testing.T, p *client.Publisher) events.Message {
	t.Helper()
	m, err := p.Disconnect(conn, "", time.Now())
	must(t, err)
	return m
}

func TestServersWithoutALeaderAreNoMissingStream(t *testing.T) {
	c, p := clustered(t)
	leader, err := c.Leader(streams.In)
	must(t, err)
	m := disconnect(t, p)
	publish := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := p.Republish(ctx, m)
		if err != nil && (!errors.Is(err, tokenworker.ErrUnavailable) || errors.Is(err, tokenworker.ErrMisconfigured)) {
			t.Fatal(err)
		}
		return err
	}
	c.Cut(leader) // the publisher's server elects another with the third
	until(t, "a leader is elected", func() bool { return publish() == nil })
	c.Cut((leader + 2) % natstest.ClusterSize)
	until(t, "the publisher's server knows that it is alone", func() bool { return errors.Is(publish(), jetstream.ErrNoStreamResponse) })
	c.Mend(leader)
	until(t, "there is a majority again", func() bool { return publish() == nil })
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute in vain: %s", what)
		}
	}
}

func TestAMessageThatIsBeingStoredIsPublishedAgain(t *testing.T) {
	_, p := clustered(t)
	const rounds, atOnce = 200, 8
	inProcess := 0
	for range rounds {
		m := disconnect(t, p)
		errs := make([]error, atOnce)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() { _, errs[i] = p.Publish(t.Context(), m) })
		}
		all.Wait()
		for _, err := range errs {
			var refused *jetstream.APIError
			switch {
			case err == nil, errors.Is(err, client.ErrDuplicate):
			case errors.Is(err, tokenworker.ErrUnavailable) && errors.As(err, &refused) && refused.ErrorCode == streams.DuplicateInProcess:
				inProcess++
			default:
				t.Fatal(err)
			}
		}
		if _, err := p.Republish(t.Context(), m); err != nil {
			t.Fatalf("published again: %v", err)
		}
		if inProcess > 0 {
			return
		}
	}
	t.Error("the server stored each message before it saw the next of its id")
}
