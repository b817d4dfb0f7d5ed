package rotator_test

import (
	"context"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/rotator"
)

// Each process, and not only the first within a tick: what the one before has promised to look at has died with it.
func TestEachProcessSweepsAtItsStart(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.acquire(conn)
	must(t, r.db.NoteProvider(t.Context(), "demo"))
	for n, process := range []string{"one", "two"} {
		r.advance(r.get(conn).DueAt.Sub(r.clock.Now()))
		ctx, cancel := context.WithCancel(t.Context())
		rot := r.rotator(process, func(c *rotator.Config) { c.Tick = 24 * 365 * time.Hour })
		ended := make(chan error)
		go func() { ended <- rot.Run(ctx) }()
		r.eventually("what is due is refreshed", func() bool { return r.server.Totals().Granted == n+1 })
		cancel()
		must(t, <-ended)
	}
}
