package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
)

// load publishes events of many connections until it is stopped.
type load struct {
	publishers int           // at once
	pause      time.Duration // of each, after each event, on average
	orgs       int
	org        func(publisher, connection int) string // default: one of orgs in turn
	most       int                                    // events of one connection: fewer than a record remembers
	late       time.Duration                          // how long ago the token sets of some connections were acquired
}

func defaultLoad() load { return load{publishers: 32, pause: 80 * time.Millisecond, orgs: 5, most: 40} }

// run publishes until stop is closed. What was begun then is published to its acknowledgement.
func (l load) run(ctx context.Context, stop <-chan struct{}, p *publisher, seed uint64) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range l.publishers {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		g.Go(func() error { return l.publish(ctx, stop, p, i, rng) })
	}
	return g.Wait() //nolint:wrapcheck // our own
}

// publish is one publisher: now a new connection, now one more event for a connection of its own.
func (l load) publish(ctx context.Context, stop <-chan struct{}, p *publisher, number int, rng *rand.Rand) error {
	var keys []tokenworker.Key
	counts, acquired := map[tokenworker.Key]int{}, map[tokenworker.Key]int{}
	for {
		select {
		case <-stop:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(rng.Int64N(int64(2 * l.pause)))):
		}
		if len(keys) == 0 || rng.IntN(10) < 3 {
			keys = append(keys, tokenworker.Key{
				OrgID: l.orgOf(number, len(keys)), ProviderID: storedProvider, CompanyID: fmt.Sprintf("%d-%d", number, len(keys)),
			})
		}
		key := keys[rng.IntN(len(keys))]
		if counts[key]++; counts[key] > l.most {
			continue
		}
		// As in a history: no more acquisitions before the last disconnect than the revoke list holds, should a crash
		// have them all come late.
		var err error
		if n := acquired[key]; n > 0 && n <= maxLate && rng.IntN(3) == 0 {
			err = p.disconnect(ctx, key)
		} else {
			acquired[key]++
			at := time.Now()
			if len(key.CompanyID)%2 == 0 {
				at = at.Add(-l.late)
			}
			err = p.acquireAt(ctx, key, at)
		}
		if err != nil {
			return err
		}
	}
}

func (l load) orgOf(publisher, connection int) string {
	if l.org != nil {
		return l.org(publisher, connection)
	}
	return fmt.Sprintf("org-%d", (publisher+connection)%l.orgs)
}
