package access

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxCallers bounds the callers that are remembered. Their names are pinned by NATS's permissions; where they are not, made-up
// names must not fill the memory.
const maxCallers = 10_000

// limits keeps each caller, or whatever has the name, to a rate.
type limits struct {
	rate  rate.Limit
	burst int

	mu       sync.Mutex
	byCaller map[string]*rate.Limiter
}

func newLimits(r rate.Limit, burst int) *limits {
	return &limits{rate: r, burst: burst, byCaller: make(map[string]*rate.Limiter)}
}

// allow reports whether the caller may make one request more.
func (l *limits) allow(caller string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter, ok := l.byCaller[caller]
	if !ok {
		if len(l.byCaller) >= maxCallers && !l.forget(now) {
			return false
		}
		limiter = rate.NewLimiter(l.rate, l.burst)
		l.byCaller[caller] = limiter
	}
	return limiter.AllowN(now, 1)
}

// forget drops the callers that have asked for nothing lately: whose limit is as a new one would be. It is false when there
// are none.
func (l *limits) forget(now time.Time) (some bool) {
	for caller, limiter := range l.byCaller {
		if limiter.TokensAt(now) >= float64(limiter.Burst()) {
			delete(l.byCaller, caller)
			some = true
		}
	}
	return some
}

// shares keeps each caller, or provider, to its share of what may be under way, so that one whose reads all hang leaves room for
// others.
type shares struct {
	limit int

	mu sync.Mutex
	of map[string]int
}

func newShares(limit int) *shares { return &shares{limit: limit, of: make(map[string]int)} }

// enter reports whether whoever has the name may have one request more under way, which leave ends.
func (s *shares) enter(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[name] >= s.limit {
		return false
	}
	s.of[name]++
	return true
}

func (s *shares) leave(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[name]--; s.of[name] == 0 {
		delete(s.of, name)
	}
}
