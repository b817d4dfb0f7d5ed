package main

// Readers: what P3 and P4 promise them, on two workers.
//
// Breaks that were tried, and what the attack said:
//
//   - access/looks.go serves a record that it has seen once without another look: "a read that began after the disconnected
//     event returned a token", 102 of 483 reads of 60 connections.
//   - access/read.go does not wait for the refresh of the other worker (underWay is false): "a reader gets the token of
//     generation 0".

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/oauth2"
	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/client"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/attack/process"
)

// acmeKey is a connection that the shipped configuration's reader may read.
func acmeKey(i int) tokenworker.Key {
	return tokenworker.Key{OrgID: "acme", ProviderID: siteProvider(0), CompanyID: fmt.Sprint(i)}
}

// readDisconnecting disconnects n connections while all are read all the time: no read that starts after the disconnected
// event returns a token.
func readDisconnecting(ctx context.Context, e *env, n int) error {
	f, err := startReplicas(ctx, e, 2, demoprovider.Policy{})
	if err != nil {
		return err
	}
	defer f.close()
	var g errgroup.Group
	g.SetLimit(16)
	for i := range n {
		g.Go(func() error { return f.acquire(ctx, acmeKey(i), 0, time.Hour) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("acquiring: %w", err)
	}
	announced, fresh, err := f.listen(n)
	if err != nil {
		return err
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	var readers sync.WaitGroup
	var served, refused, late atomic.Int64
	for range 32 {
		r, err := f.reader(payrollUser, client.ReaderConfig{})
		if err != nil {
			return err
		}
		readers.Go(func() {
			for reading.Err() == nil {
				i := rand.IntN(n)
				select {
				case i = <-fresh: // each is read as soon as it is announced
				default:
				}
				gone := announced[i].Load()
				_, err := r.Token(reading, acmeKey(i))
				switch {
				case err == nil && gone:
					late.Add(1)
					e.broke("%s: a read that began after the disconnected event returned a token", acmeKey(i))
				case err == nil:
					served.Add(1)
				case errors.Is(err, events.GetDisconnected):
					refused.Add(1)
				case reading.Err() == nil:
					e.broke("%s: a read fails: %v", acmeKey(i), err)
				}
			}
		})
	}
	err = f.disconnectAll(ctx, n)
	if err == nil {
		limit := readyWithin + time.Duration(n)*300*time.Millisecond // beside reads as fast as they go
		err = process.Await(ctx, limit, "every disconnect is announced", func() (bool, error) {
			for i := range announced {
				if !announced[i].Load() {
					return false, nil
				}
			}
			return true, nil
		})
	}
	if err == nil {
		err = sleep(ctx, time.Second) // of reads that all come late
	}
	stop()
	readers.Wait()
	if err != nil {
		return err //nolint:wrapcheck // our own
	}
	if served.Load() == 0 || refused.Load() == 0 {
		e.broke("%d reads were served and %d refused: the attack reads nothing, or disconnects nothing", served.Load(), refused.Load())
	}
	e.did("%d disconnects during %d reads, %d of them refused", n, served.Load()+refused.Load()+late.Load(), refused.Load())
	return nil
}

// listen notes which connections have been announced as disconnected, and hands each on.
func (f *replicas) listen(n int) (announced []atomic.Bool, fresh chan int, _ error) {
	nc, err := f.connect(process.Publisher)
	if err != nil {
		return nil, nil, err
	}
	announced, fresh = make([]atomic.Bool, n), make(chan int, n)
	_, err = nc.Subscribe("tokens.v1.event.disconnected.>", func(m *nats.Msg) {
		_, key, err := events.ParseSubject(m.Subject)
		var i int
		if err == nil {
			_, err = fmt.Sscan(key.CompanyID, &i)
		}
		if err == nil && i < n && !announced[i].Swap(true) {
			fresh <- i
		}
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("listening to announcements: %w", err)
	}
	return announced, fresh, nil
}

func (f *replicas) disconnectAll(ctx context.Context, n int) error {
	var g errgroup.Group
	g.SetLimit(4)
	for i := range n {
		g.Go(func() error {
			m, err := f.publisher.Disconnect(acmeKey(i), "attack", time.Now())
			if err == nil {
				_, err = f.publisher.Publish(ctx, m)
			}
			return err //nolint:wrapcheck // our own
		})
	}
	return g.Wait() //nolint:wrapcheck // our own
}

// readExpiring has n readers at once ask for a token that expires soon, over two workers: the provider is asked once, and all
// get the new token. Then a client of package oauth2 calls the provider's API through three expiries.
func readExpiring(ctx context.Context, e *env, n int) error {
	const lives = 4 * time.Second
	f, err := startReplicas(ctx, e, 2, demoprovider.Policy{AccessLifetime: lives})
	if err != nil {
		return err
	}
	defer f.close()
	if err := f.readAtOnce(ctx, e, n); err != nil {
		return err
	}
	return f.callThroughExpiries(ctx, e, lives)
}

func (f *replicas) readAtOnce(ctx context.Context, e *env, n int) error {
	// An hour old, with a minute left: less than the readers ask for, and due, so that a sweep may come first.
	k := acmeKey(0)
	if err := f.acquire(ctx, k, time.Hour, time.Minute); err != nil {
		return err
	}
	var readers []*client.Reader
	for range 20 {
		r, err := f.reader(payrollUser, client.ReaderConfig{MinLifetime: 5 * time.Minute})
		if err != nil {
			return err
		}
		readers = append(readers, r)
	}
	if err := f.server.Inject(demoprovider.Fault{Kind: demoprovider.Slow, AnswerDelay: 200 * time.Millisecond}); err != nil {
		return fmt.Errorf("slowing the provider down: %w", err)
	}
	defer f.server.ClearFaults()
	var g errgroup.Group
	begin := make(chan struct{})
	values := make([]string, n)
	for i := range n {
		g.Go(func() error {
			<-begin
			t, err := readers[i%len(readers)].Token(ctx, k)
			if err != nil {
				e.broke("a reader of an expiring token gets none: %v", err)
				return nil
			}
			if t.Fence.Generation != 1 {
				e.broke("a reader gets the token of generation %d", t.Fence.Generation)
			}
			values[i] = string(t.Value.Reveal())
			return nil
		})
	}
	close(begin)
	_ = g.Wait() // no error is returned
	posts := f.server.Totals().Posts
	if posts != 1 {
		e.broke("the provider was asked %d times", posts)
	}
	for _, v := range values {
		if v != values[0] {
			e.broke("readers get different tokens")
			break
		}
	}
	e.did("%d readers at once, %d request to the provider", n, posts)
	return nil
}

// callThroughExpiries calls the API until three tokens have expired.
func (f *replicas) callThroughExpiries(ctx context.Context, e *env, lives time.Duration) error {
	k := acmeKey(1)
	if err := f.acquire(ctx, k, 0, lives); err != nil {
		return err
	}
	reader, err := f.reader(payrollUser, client.ReaderConfig{})
	if err != nil {
		return err
	}
	httpClient := oauth2.NewClient(ctx, reader.TokenSource(ctx, k))
	calls := 0
	for end := time.Now().Add(3*lives + lives/2); time.Now().Before(end); calls++ {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.server.URL()+"/resource", nil)
		if err != nil {
			return fmt.Errorf("calling the API: %w", err)
		}
		resp, err := httpClient.Do(req)
		if err != nil {
			e.broke("call %d fails: %v", calls, err)
			continue
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			e.broke("call %d: the API answers %d", calls, resp.StatusCode)
		}
	}
	httpClient.CloseIdleConnections()
	e.did("%d calls through three expiries of %s", calls, lives)
	return nil
}
