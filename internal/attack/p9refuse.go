package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/attack/proxy"
	"github.com/tokenworker/tokenworker/streams"
)

// refusedOrg is the organization whose encryption context KMS refuses.
const refusedOrg = "refused"

// refuseOne measures how many events of other organizations are stored, as fast as they can be, before and while KMS
// refuses one organization that publishes as well. Afterwards that one's events have to be stored, too.
func refuseOne(ctx context.Context, e *env, n int) error {
	r, err := newDeployment(ctx, e, nil, "--scope", "token")
	if err != nil {
		return err
	}
	defer r.close()
	p, admin, err := r.begin(ctx)
	if err != nil {
		return err
	}
	loop, err := newClosedLoop(admin, p)
	if err != nil {
		return err
	}
	length := time.Duration(n) * time.Second
	before, err := loop.run(ctx, length, "before")
	if err != nil {
		return err
	}
	r.cloud.kms.SetFault(func(c proxy.Call) proxy.Fault {
		if c.EncryptionContext()["org"] == refusedOrg {
			return proxy.Deny
		}
		return proxy.None
	})
	if err := loop.publishRefused(ctx); err != nil {
		return err
	}
	if err := awaitNone(ctx, admin, streams.Acquired, time.Minute); err != nil {
		e.broke("the refused events stay in the way of the others: %v", err)
	}
	during, err := loop.runBeside(ctx, length)
	if err != nil {
		return err
	}
	r.cloud.kms.SetFault(nil)
	e.did("%d s: %d events of others stored before, %d during, beside %d and more refused", n, before, during, refusedEvents)
	if during < before/2 { // generous: the machine may have other work
		e.broke("the others' events stored in %d s fell from %d to %d", n, before, during)
	}
	healed := time.Now()
	if err := r.awaitSettled(ctx, admin); err != nil {
		e.broke("%v", err)
	}
	e.did("all settled %s after", time.Since(healed).Round(time.Second))
	return e.finish(ctx, r, admin, p)
}

// closedLoop publishes as fast as events are stored: each of its publishers waits for the announcement of the last.
type closedLoop struct {
	publisher *publisher

	mu      sync.Mutex
	waiting map[string]chan struct{} // by subject of the announcement
}

func newClosedLoop(admin jetstream.JetStream, p *publisher) (*closedLoop, error) {
	l := &closedLoop{publisher: p, waiting: map[string]chan struct{}{}}
	_, err := admin.Conn().Subscribe("tokens.v1.event.stored.>", func(m *nats.Msg) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if stored := l.waiting[m.Subject]; stored != nil {
			close(stored)
			delete(l.waiting, m.Subject)
		}
	})
	if err == nil {
		err = admin.Conn().Flush()
	}
	if err != nil {
		return nil, fmt.Errorf("listening to announcements: %w", err)
	}
	return l, nil
}

// run publishes for the length of time and returns how many events were stored.
func (l *closedLoop) run(ctx context.Context, length time.Duration, prefix string) (int, error) {
	const publishers = 32
	end := time.Now().Add(length)
	counts := make([]int, publishers)
	g, ctx := errgroup.WithContext(ctx)
	for i := range publishers {
		g.Go(func() error {
			for time.Now().Before(end) {
				key := tokenworker.Key{
					OrgID: fmt.Sprint("org-", i%5), ProviderID: storedProvider, CompanyID: fmt.Sprintf("%s-%d-%d", prefix, i, counts[i]),
				}
				stored, err := l.one(ctx, key, end)
				if err != nil {
					return err
				}
				if stored {
					counts[i]++
				}
			}
			return nil
		})
	}
	err := g.Wait()
	total := 0
	for _, n := range counts {
		total += n
	}
	return total, err //nolint:wrapcheck // our own
}

// one publishes an event and reports whether it is stored before the context ends, which is not an error.
func (l *closedLoop) one(ctx context.Context, key tokenworker.Key, end time.Time) (bool, error) {
	stored := make(chan struct{})
	l.mu.Lock()
	l.waiting[events.Stored.Subject(key)] = stored
	l.mu.Unlock()
	if err := l.publisher.acquire(ctx, key); err != nil {
		return false, err
	}
	select {
	case <-stored:
		return true, nil
	case <-time.After(time.Until(end)):
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// refusedEvents is how many events of the refused organization come first: more than the stream's consumer may have
// unsettled at a time (1,024), so that they would block everybody's if they stayed there.
const refusedEvents = 1500

// publishRefused publishes them.
func (l *closedLoop) publishRefused(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	const publishers = 16
	for i := range publishers {
		g.Go(func() error {
			for n := i; n < refusedEvents; n += publishers {
				if err := l.publisher.acquire(ctx, refusedKey("first", n)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait() //nolint:wrapcheck // our own
}

func refusedKey(prefix string, n int) tokenworker.Key {
	return tokenworker.Key{OrgID: refusedOrg, ProviderID: storedProvider, CompanyID: fmt.Sprintf("%s-%d", prefix, n)}
}

// runBeside does what run does while 40 more a second are published for the refused organization.
func (l *closedLoop) runBeside(ctx context.Context, length time.Duration) (others int, err error) {
	end := time.Now().Add(length)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		for n := 0; time.Now().Before(end); n++ {
			if err := l.publisher.acquire(ctx, refusedKey("more", n)); err != nil {
				return err
			}
			if err := sleep(ctx, 25*time.Millisecond); err != nil {
				return err
			}
		}
		return nil
	})
	g.Go(func() error {
		var err error
		others, err = l.run(ctx, length, "during")
		return err
	})
	return others, g.Wait() //nolint:wrapcheck // our own
}
