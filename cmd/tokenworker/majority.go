package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tokenworker/tokenworker/streams"
)

// A NATS server that is cut off from the majority keeps its clients, and says of a stream what it last knew. What it takes from
// them is stored nowhere.
const (
	majorityEvery = 5 * time.Second  // how often the servers are asked
	moveAfter     = 15 * time.Second // without an answer; an election takes less
	moveAtMost    = 5 * time.Minute  // between moves, where no server has an answer
)

// majority moves a worker's connections to another server when theirs does not get through to a majority.
type majority struct {
	ask  func(context.Context) error // what takes a majority to answer
	move func()
	log  *slog.Logger
}

// watch asks until ctx ends.
func (m majority) watch(ctx context.Context) {
	every := time.NewTicker(majorityEvery)
	defer every.Stop()
	answered, wait := time.Now(), moveAfter
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		asking, cancel := context.WithTimeout(ctx, probeTimeout)
		err := m.ask(asking)
		cancel()
		switch now := time.Now(); {
		case !streams.Unanswered(err):
			answered, wait = now, moveAfter
		case now.Sub(answered) >= wait && ctx.Err() == nil:
			m.log.WarnContext(ctx, "no majority of the NATS servers answers; moving to another server", slog.Any("error", err))
			m.move()
			answered, wait = now, min(2*wait, moveAtMost)
		}
	}
}

// stayWithMajority watches the connection that handles events. Those that share its server move with it.
func (p parts) stayWithMajority(ctx context.Context, log *slog.Logger) {
	majority{ask: p.askMajority, log: log, move: func() {
		server := p.js.Conn().ConnectedServerId()
		_ = p.js.Conn().ForceReconnect() // fails when it is closed, which ends the worker
		for _, nc := range p.others() {
			if nc != p.js.Conn() && nc.ConnectedServerId() == server {
				_ = nc.ForceReconnect()
			}
		}
	}}.watch(ctx)
}

// others are the connections for reads and for erasures, of those that there are.
func (p parts) others() (ncs []*nats.Conn) {
	if p.reads != nil {
		ncs = append(ncs, p.reads)
	}
	if p.erasing != nil {
		ncs = append(ncs, p.erasing.Conn())
	}
	return ncs
}

// askMajority asks for a consumer, of which only its leader answers.
func (p parts) askMajority(ctx context.Context) error {
	last, err := streams.Last(ctx, p.js)
	if err == nil {
		_, err = p.js.Consumer(ctx, streams.In, streams.Durable(streams.Acquired, last.Epoch))
	}
	return err //nolint:wrapcheck // ready says what it means
}
