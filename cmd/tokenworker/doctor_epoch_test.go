package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/tokenworker/tokenworker/access"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/internal/natstest"
	"github.com/tokenworker/tokenworker/streams"
)

func TestAWorkerThatHoldsAnotherEpochIsTold(t *testing.T) {
	js := natstest.Connect(t)
	db, err := embedded.OpenStore(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := streams.Setup(t.Context(), js, 1, db.TakeEpoch); err != nil {
		t.Fatal(err)
	}
	epoch, err := streams.Epoch(t.Context(), js, db)
	if err != nil {
		t.Fatal(err)
	}
	examine := func() []finding { return examineEpoch(t.Context(), &target{js: js, opened: db}) }
	// work has a worker answer reads that says which epoch it holds.
	work := func(state workerState) {
		t.Helper()
		s, err := access.New(access.Config{State: func() any { return state }}, nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		nc, err := nats.Connect(js.Conn().ConnectedUrl())
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx, nc) }()
		t.Cleanup(func() {
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			nc.Close()
		})
		until(t, state.Process+" says what it holds", func() bool {
			answer, err := js.Conn().Request(access.StatsSubject, nil, patience)
			return err == nil && strings.Contains(string(answer.Data), state.Process)
		})
	}
	work(workerState{"the-first", epoch})
	if fs := examine(); len(fs) != 2 || fs[0].Level != ok || fs[1].Level != ok || !strings.Contains(fs[1].What, "held by 1 worker") {
		t.Errorf("of a worker that holds the stream's epoch it says %+v", fs)
	}
	work(workerState{"the-second", epoch + 1})
	if fs := examine(); len(fs) != 2 || fs[1].Level != bad || !strings.Contains(fs[1].What, "the-second handles events of 2") {
		t.Errorf("of one that holds another it says %+v", fs)
	}
}
