package consumer

import (
	"context"
	"sync"

	"github.com/tokenworker/tokenworker"
)

// turns has the events of one connection change its record one after the other, in this process. At once each would find the
// record changed by another, and try again: a hundred events of one connection would cost the store ten thousand tries, and
// hold the handlers that all connections share for as long.
type turns struct {
	mu    sync.Mutex
	taken map[tokenworker.Key]*turn
}

type turn struct {
	waiting int           // for it, whoever has it included
	free    chan struct{} // holds one while nobody has it
}

// take waits for the connection's turn, which the returned function ends.
func (t *turns) take(ctx context.Context, k tokenworker.Key) (end func(), err error) {
	t.mu.Lock()
	if t.taken == nil {
		t.taken = make(map[tokenworker.Key]*turn)
	}
	own := t.taken[k]
	if own == nil {
		own = &turn{free: make(chan struct{}, 1)}
		own.free <- struct{}{}
		t.taken[k] = own
	}
	own.waiting++
	t.mu.Unlock()
	select {
	case <-own.free:
		return func() { own.free <- struct{}{}; t.leave(k, own) }, nil
	case <-ctx.Done():
		t.leave(k, own)
		return nil, ctx.Err()
	}
}

func (t *turns) leave(k tokenworker.Key, own *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if own.waiting--; own.waiting == 0 {
		delete(t.taken, k)
	}
}
