package rotator

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
	"golang.org/x/time/rate"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/provider"
)

// errPaused: the provider's circuit is open; nothing is sent to it for now.
var errPaused = errors.New("provider is paused after failures")

const (
	// concurrency is how many requests one replica has under way at one provider.
	concurrency = 8

	// defaultRate is how many requests a second one replica sends to a provider whose limit is not known.
	defaultRate = 50

	// tripAfter is for how many connections in a row requests must end without an answer before a provider is paused, for
	// circuitOpen. One connection alone, however often it is tried, says nothing about its provider; nor does one event whose
	// connection is not known yet.
	tripAfter   = 10
	circuitOpen = 30 * time.Second
)

// limits keeps one replica's requests to each provider within bounds.
type limits struct {
	mu   sync.Mutex
	byID map[string]*limit
}

// cause is what a request is sent for: a connection, or an event that lacks its company.
type cause struct {
	key   tokenworker.Key
	event tokenworker.EventID // zero for a connection
}

type limit struct {
	slots   chan struct{}
	asked   chan struct{} // one for each refresh on request
	sweeps  chan struct{} // one for each sweep of a shard
	rate    *rate.Limiter
	circuit *gobreaker.TwoStepCircuitBreaker[struct{}]

	mu      sync.Mutex
	failing map[cause]struct{} // since the last answer
}

func (l *limits) of(id string, p provider.Policy) *limit {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byID == nil {
		l.byID = make(map[string]*limit)
	}
	if have, ok := l.byID[id]; ok {
		return have
	}
	perSecond := p.RateLimit
	if perSecond == 0 {
		perSecond = defaultRate
	}
	made := &limit{
		slots:   make(chan struct{}, concurrency),
		asked:   make(chan struct{}, askedAtOnce),
		sweeps:  make(chan struct{}, sweepsOfOne),
		rate:    rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond))),
		failing: make(map[cause]struct{}),
	}
	made.circuit = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name: id, MaxRequests: 1, Timeout: circuitOpen, ReadyToTrip: func(gobreaker.Counts) bool { return made.mustTrip() },
		IsExcluded: func(err error) bool { return errors.Is(err, errNotSent) },
	})
	l.byID[id] = made
	return made
}

// note keeps count of what requests were sent for that ended without an answer since the last one that did not. More than
// trip the circuit need not be known.
func (l *limit) note(what cause, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		clear(l.failing)
	case errors.Is(err, errNoAnswer) && len(l.failing) < tripAfter:
		l.failing[what] = struct{}{}
	}
}

func (l *limit) mustTrip() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.failing) >= tripAfter
}

// isBusy reports whether a request would have to wait now.
func (l *limit) isBusy() bool {
	return len(l.slots) == cap(l.slots) || l.circuit.State() == gobreaker.StateOpen
}

// enter waits for a turn at the provider. The caller says how the request ended by done; the zero Answer says that none was
// sent. It fails with errPaused, or with ctx's error when that ends, or would before the turn comes.
func (l *limits) enter(ctx context.Context, what cause, p provider.Policy) (done func(provider.Answer), err error) {
	li := l.of(what.key.ProviderID, p)
	select {
	case li.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	leave := func() { <-li.slots }
	if li.rate.Wait(ctx) != nil {
		leave()
		return nil, cmp.Or(ctx.Err(), context.DeadlineExceeded)
	}
	report, err := li.circuit.Allow()
	if err != nil {
		leave()
		return nil, errPaused
	}
	return func(a provider.Answer) {
		err := health(a)
		li.note(what, err)
		report(err)
		leave()
	}, nil
}

// What an answer says of the provider's health, if not that it answers.
var (
	errNoAnswer = errors.New("no answer")
	errNotSent  = errors.New("nothing was sent") // so it says nothing, and the circuit's next try is still to come
)

// health tells whether the provider answered (nil), did not, or was not asked. What doubts a grant is an answer about that grant:
// dead grants of some do not pause the provider for others.
func health(a provider.Answer) error {
	switch {
	case a.Outcome == provider.Unknown && !a.Doubted, a.Code == provider.CodeUnreachable, a.Code == provider.CodeTLSFailed:
		return errNoAnswer
	case a.Outcome != provider.OK && a.Status == 0:
		return errNotSent
	}
	return nil
}

// paused reports whether nothing may be sent to the provider for now.
func (l *limits) paused(id string, p provider.Policy) bool {
	return l.of(id, p).circuit.State() == gobreaker.StateOpen
}
