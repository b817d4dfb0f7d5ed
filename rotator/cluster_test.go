package rotator_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/internal/natstest"
	"github.com/tokenworker/tokenworker/rotator"
	"github.com/tokenworker/tokenworker/streams"
)

func TestReplicasThatTickAtOnceDoNotFail(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, "")
	r.js = natstest.ConnectTo(t, natstest.StartCluster(t).Servers[0])
	must(t, streams.Setup(t.Context(), r.js, natstest.ClusterSize, func(context.Context) (uint64, error) { return 1, nil }))
	r.acquire(conn)
	var replicas [8]*rotator.Rotator
	for i := range replicas {
		replicas[i] = r.rotator(string(rune('a' + i)))
	}
	for range 10 {
		var all sync.WaitGroup
		for _, rot := range replicas {
			all.Go(func() {
				if err := rot.Tick(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		r.advance(time.Minute)
	}
}
