package access

import (
	"context"
	"sync"
	"time"

	"github.com/tokenworker/tokenworker"
)

// looks shares looks at the store among reads of one record: who comes while a look at it is under way waits for the next
// one, with all others who do. So no look begins before a read that it serves, which therefore sees every disconnect that was
// announced before it; and a thousand readers of one connection ask the store for it one after the other, not a thousand
// times at once.
type looks struct {
	store Store
	limit time.Duration // of a look that is shared: no one reader's patience counts

	mu    sync.Mutex
	under map[tokenworker.Key]*line // a look is under way
}

// line is who waits for the next look at a record.
type line struct{ next *look }

// look is one look at a record, and what it brought, once it is done.
type look struct {
	done chan struct{}
	rec  tokenworker.Record
	err  error
}

// get reads the record. It is shared: it must not be changed.
func (l *looks) get(ctx context.Context, k tokenworker.Key) (tokenworker.Record, error) {
	l.mu.Lock()
	waiting, busy := l.under[k]
	if !busy {
		waiting = &line{}
		l.under[k] = waiting
		l.mu.Unlock()
		defer l.goOn(ctx, k, waiting)
		return l.store.Get(ctx, k)
	}
	if waiting.next == nil {
		waiting.next = &look{done: make(chan struct{})}
	}
	shared := waiting.next
	l.mu.Unlock()
	select {
	case <-ctx.Done():
		return tokenworker.Record{}, ctx.Err()
	case <-shared.done:
		return shared.rec, shared.err
	}
}

// goOn has those looked for who have come meanwhile, if any.
func (l *looks) goOn(ctx context.Context, k tokenworker.Key, waiting *line) {
	if next := l.take(k, waiting); next != nil {
		go l.work(context.WithoutCancel(ctx), k, waiting, next)
	}
}

// take ends the wait of all who have come so far, who are served by the look that it returns. With none, no look is under way
// any more.
func (l *looks) take(k tokenworker.Key, waiting *line) *look {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := waiting.next
	waiting.next = nil
	if next == nil {
		delete(l.under, k)
	}
	return next
}

// work looks until nobody waits.
func (l *looks) work(ctx context.Context, k tokenworker.Key, waiting *line, next *look) {
	for ; next != nil; next = l.take(k, waiting) {
		looking, cancel := context.WithTimeout(ctx, l.limit)
		next.rec, next.err = l.store.Get(looking, k)
		cancel()
		close(next.done)
	}
}
