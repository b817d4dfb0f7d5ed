package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/internal/natstest"
	"github.com/tokenworker/tokenworker/streams"
)

func TestMovesAreRarerWhereNoServerHasAMajority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var answer atomic.Pointer[error]
		var moves []time.Time
		m := majority{
			ask: func(context.Context) error { return *answer.Load() }, log: slog.New(slog.DiscardHandler),
			move: func() { moves = append(moves, time.Now()) },
		}
		// during lets time pass with an answer and returns after which seconds it moved.
		during := func(d time.Duration, err error) (after []int) {
			answer.Store(&err)
			start := time.Now()
			<-time.After(d + 1)
			synctest.Wait()
			for _, at := range moves {
				after = append(after, int(at.Sub(start).Round(time.Second)/time.Second))
			}
			moves = nil
			return after
		}
		none := error(nil)
		answer.Store(&none)
		go m.watch(ctx)
		for _, err := range []error{nil, jetstream.ErrConsumerNotFound, errors.New("anything else that was said")} {
			if got := during(time.Hour, err); got != nil {
				t.Fatalf("answered with %v it moved after %d s", err, got)
			}
		}
		want := []int{15, 45, 105, 225, 465, 765}
		if got := during(15*time.Minute, context.DeadlineExceeded); !slices.Equal(got, want) {
			t.Errorf("moved after %d s, want %d", got, want)
		}
		during(majorityEvery, nil)
		if got := during(moveAfter, context.DeadlineExceeded); !slices.Equal(got, []int{15}) {
			t.Errorf("after an answer it moved after %d s, want as at first", got)
		}
	})
}

// clustered is a worker's parts on three servers, connected to one that does not lead the stream of events.
func clustered(t *testing.T) (p parts, c *natstest.Cluster, server int) {
	t.Helper()
	ctx := t.Context()
	c = natstest.StartCluster(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	db, err := embedded.OpenStore(ctx, filepath.Join(t.TempDir(), "store.db"))
	must(err)
	t.Cleanup(func() { must(db.Close()) })
	p.store = db
	must(streams.Setup(ctx, natstest.ConnectTo(t, c.Servers[0]), natstest.ClusterSize, db.TakeEpoch))
	leader, err := c.Leader(streams.In)
	must(err)
	server = (leader + 1) % natstest.ClusterSize
	log := slog.New(slog.DiscardHandler)
	connect := func() *nats.Conn {
		nc, err := nats.Connect(c.URL(server), slices.Concat(natsOptions(log), foreverOptions(log), []nats.Option{nats.DontRandomize()})...)
		must(err)
		t.Cleanup(nc.Close)
		return nc
	}
	p.reads = connect()
	p.js, err = jetstream.New(connect())
	must(err)
	_, err = p.usable(ctx)
	must(err)
	return p, c, server
}

// until waits until done.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * patience); !done(); time.Sleep(50 * time.Millisecond) { //nolint:forbidigo // between looks
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func TestAWorkerLeavesAServerThatIsCutOff(t *testing.T) {
	p, c, server := clustered(t)
	isReady := func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), probeTimeout)
		defer cancel()
		_, err := p.usable(ctx)
		return err == nil
	}
	name := c.Servers[server].Name()
	c.Cut(server)
	known := func() bool {
		_, err := streams.Last(t.Context(), p.js)
		return err == nil
	}
	until(t, "the leader of the stream is out of reach", func() bool { return !known() })
	// One that led the consumer answers for it until it finds out, within 20 s.
	until(t, "the server tells what it last knew, and the worker is not ready", func() bool { return known() && !isReady() })
	if p.js.Conn().ConnectedServerName() != name {
		t.Fatal("it has moved before anything was to move it")
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { p.stayWithMajority(ctx, slog.New(slog.DiscardHandler)); close(ended) }()
	defer func() { stop(); <-ended }()
	until(t, "the worker is ready again", isReady)
	for what, nc := range map[string]*nats.Conn{"events": p.js.Conn(), "reads": p.reads} {
		until(t, "the connection for "+what+" has moved", func() bool { return nc.IsConnected() && nc.ConnectedServerName() != name })
	}
	if _, err := p.js.Publish(t.Context(), "tokens.v1.acquired.org.provider.company", nil); err != nil {
		t.Errorf("the server that it moved to stores nothing: %v", err)
	}
	for i := range c.Servers {
		c.Cut(i)
	}
	until(t, "the worker is not ready without a majority", func() bool { return !isReady() })
	var found majorityFound
	if fs := found.examine(t.Context(), &target{js: p.js}); !found.lost || len(fs) != 1 || fs[0].Level != bad || !strings.Contains(fs[0].What, "no majority") {
		t.Errorf("the doctor says %+v", fs)
	}
}
