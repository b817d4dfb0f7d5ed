// Package pull handles the messages of durable JetStream consumers: bounded concurrency, heartbeats, recovery, drain.
package pull

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// Subscription pulls the messages of one durable consumer and handles them. All fields are required but the last two.
type Subscription struct {
	JS      jetstream.JetStream
	Log     *slog.Logger
	Stream  string
	Durable string
	Limit   int           // messages handled at once
	Grace   time.Duration // how long messages under way may take after Run's context has ended

	// Handle handles and settles one message. Its context outlives Run's by the grace. An error ends Run.
	Handle func(ctx context.Context, msg jetstream.Msg) error

	// Mark is a header that every message of the worker's own has in the stream. One without it is terminated and counted in
	// Foreign. Default: all are handled.
	Mark    string
	Foreign *prometheus.CounterVec // see [NewForeign]

	inFlight inFlight
}

// Run pulls until ctx ends, then handles what was already pulled. Lost connections and consumers are waited for. The
// error is the first that Handle returned.
func (s *Subscription) Run(ctx context.Context) error {
	work, cancelWork := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelWork()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(s.Grace, cancelWork) })()

	for delay := firstRetry; ctx.Err() == nil; delay = min(2*delay, lastRetry) {
		pulled, err := s.pull(ctx, work)
		if err == nil {
			return nil
		}
		var fatal *fatalError
		if errors.As(err, &fatal) {
			return fatal.err
		}
		if ctx.Err() != nil {
			return nil
		}
		if pulled {
			delay = firstRetry
		}
		s.Log.WarnContext(ctx, "pulling messages failed; trying again", slog.String("consumer", s.Durable),
			slog.Any("error", err))
		sleep(ctx, delay)
	}
	return nil
}

// heartbeat is how often the server says that it knows of a pull. After two without one the pull is made anew: the consumer's
// leader has changed, or was cut off.
const heartbeat = 3 * time.Second

// requests is how many requests for a message are under way at once.
const requests = 8

// Delays after pulling has failed, doubling.
const (
	firstRetry = time.Second
	lastRetry  = 5 * time.Second
)

// fatalError marks an error of Handle, which ends the worker, apart from those of pulling.
type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }
func (e *fatalError) Unwrap() error { return e.err }

// pull handles messages until ctx ends (nil), pulling fails, or Handle does. It returns when all it started is done.
//
// Each request asks for one message. Where the worker reaches the streams through an account import, nats-server 2.15 takes an
// answer without headers and body for the last one of its request and drops the rest (client.go, processServiceImport). A
// publisher that sends empty events would so withhold others' from the worker until their AckWait is over. And it asks only when
// there is a place to handle the message: what waited here, behind requests to erase that take hours, no other replica could take.
func (s *Subscription) pull(ctx, work context.Context) (pulled bool, err error) {
	cons, err := s.JS.Consumer(ctx, s.Stream, s.Durable)
	if err != nil {
		return false, fmt.Errorf("looking up the consumer: %w", err)
	}
	its := make([]jetstream.MessagesContext, min(requests, s.Limit))
	stop := func() {
		for _, it := range its {
			if it != nil {
				it.Stop()
			}
		}
	}
	defer stop()
	for i := range its {
		if its[i], err = cons.Messages(jetstream.PullMaxMessages(1), jetstream.PullHeartbeat(heartbeat)); err != nil {
			return false, fmt.Errorf("opening the pull: %w", err)
		}
	}
	defer context.AfterFunc(ctx, func() {
		if !s.JS.Conn().IsConnected() {
			stop() // what was pulled could not be acknowledged
			return
		}
		for _, it := range its {
			it.Drain()
		}
	})()

	beats, endBeats := context.WithCancel(context.WithoutCancel(ctx))
	var beating sync.WaitGroup
	beating.Go(func() { s.inFlight.beat(beats, cons.CachedInfo().Config.AckWait/3) })
	defer beating.Wait()
	defer endBeats()

	p := pool{limit: s.Limit, pulls: make(chan jetstream.Msg)}
	places := make(chan struct{}, s.Limit)
	p.work = func(msg jetstream.Msg) {
		s.handle(work, msg, p.pulls, places, func(err error) { p.fail(&fatalError{err}); stop() })
	}
	var pulling sync.WaitGroup
	for _, it := range its {
		pulling.Go(func() {
			for {
				places <- struct{}{}
				msg, err := it.Next()
				if err != nil {
					p.fail(err)
					if ctx.Err() == nil {
						stop()
					}
					<-places
					return
				}
				s.inFlight.add(msg)
				p.give(msg)
			}
		})
	}
	pulling.Wait()
	close(p.pulls)
	p.handling.Wait()
	var fatal *fatalError
	if ctx.Err() != nil && !errors.As(p.failed, &fatal) {
		return p.started > 0, nil
	}
	return p.started > 0, p.failed
}

// pool is the goroutines that handle what is pulled: as many as were ever busy at once, up to the limit.
type pool struct {
	limit int
	work  func(jetstream.Msg) // handles the message, and then what comes by pulls until that is closed
	pulls chan jetstream.Msg

	handling sync.WaitGroup
	mu       sync.Mutex
	started  int
	failed   error // what ended pulling first, or what Handle returned first, which counts more
}

// give hands a message to a goroutine that has nothing to do, or to a new one, and waits when there may be no more.
func (p *pool) give(msg jetstream.Msg) {
	select {
	case p.pulls <- msg:
		return
	default:
	}
	p.mu.Lock()
	more := p.started < p.limit
	if more {
		p.started++
	}
	p.mu.Unlock()
	if more {
		p.handling.Go(func() { p.work(msg) })
		return
	}
	p.pulls <- msg
}

// fail notes why pulling ends.
func (p *pool) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var fatal *fatalError
	if p.failed == nil || errors.As(err, &fatal) && !errors.As(p.failed, &fatal) {
		p.failed = err
	}
}

// handle handles a message and then, one after the other, others of those pulled. The goroutine stays for them, because its stack
// has grown already. Once Handle has failed it leaves what it takes to be delivered again.
func (s *Subscription) handle(
	ctx context.Context, msg jetstream.Msg, pulls <-chan jetstream.Msg, places <-chan struct{}, fail func(error),
) {
	failed := false
	for more := true; more; msg, more = <-pulls {
		if !failed {
			if err := s.handleOwn(ctx, msg); err != nil {
				failed = true
				fail(err)
			}
		}
		s.inFlight.remove(msg)
		<-places
	}
}

// inFlight knows the messages under way, to tell the server that they are.
type inFlight struct {
	mu   sync.Mutex
	msgs map[jetstream.Msg]struct{}
}

func (f *inFlight) add(msg jetstream.Msg) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.msgs == nil {
		f.msgs = make(map[jetstream.Msg]struct{})
	}
	f.msgs[msg] = struct{}{}
}

func (f *inFlight) remove(msg jetstream.Msg) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.msgs, msg)
}

// beat sends a heartbeat for each message under way, at each interval, until ctx ends.
func (f *inFlight) beat(ctx context.Context, interval time.Duration) {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			f.mu.Lock()
			msgs := slices.Collect(maps.Keys(f.msgs))
			f.mu.Unlock()
			for _, msg := range msgs {
				_ = msg.InProgress() // failing, or settled meanwhile: delivered again at worst, which is safe
			}
		}
	}
}

// sleep waits, or less when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
