package main

// Readers: what P3 and P4 promise them, on two workers.
//
// Breaks that were tried, and what the attack said:
//
//   - access/looks.go serves a record that it has seen once without another look: "a read that began after the disconnected
//     event returned a token", all 425 that began after it, of 8 connections.
//   - access/looks.go lets a read join a look that is under way, instead of waiting for the next: the same, 5 of 991 reads of 16
//     connections.
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

	"golang.org/x/oauth2"
	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/client"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/attack/proxy"
)

// acmeKey is a connection that the shipped configuration's reader may read.
func acmeKey(i int) tokenworker.Key {
	return tokenworker.Key{OrgID: "acme", ProviderID: siteProvider(0), CompanyID: fmt.Sprint(i)}
}

// How densely a connection is read while it is disconnected.
const (
	disconnectedAtOnce = 8
	readersAround      = 6 // that read nothing else, from before a disconnect is asked for until after its event
	readsEach          = 4 // of each of them, at least, before that and after
	readersAnywhere    = 16
	lookOneIn          = 4 // looks at the table is held back
)

// moment is how far the disconnect of a connection is.
type moment int32

const (
	untouched moment = iota
	asked            // it is being published, or done
	announced        // its event was received
	moments
)

// disconnecting is what readers of connections that are being disconnected see.
type disconnecting struct {
	*env
	*replicas
	readers         []*client.Reader
	moments         []atomic.Int32 // by connection
	served, refused [moments]atomic.Int64
	unanswered      atomic.Int64
}

// readDisconnecting disconnects n connections while all are read all the time, and each by readers of its own: no read that
// starts after the disconnected event returns a token.
func readDisconnecting(ctx context.Context, e *env, n int) error {
	f, err := startReplicas(ctx, e, 2, siteConfig{settings: strictly})
	if err != nil {
		return err
	}
	defer f.close()
	if err := f.acquireAll(ctx, n, acmeKey, time.Hour); err != nil {
		return err
	}
	d := &disconnecting{env: e, replicas: f, moments: make([]atomic.Int32, n)}
	for range readersAnywhere + disconnectedAtOnce {
		r, err := f.reader(payrollUser, client.ReaderConfig{})
		if err != nil {
			return err
		}
		d.readers = append(d.readers, r)
	}
	if err := f.onNotice("tokens.v1.event.disconnected.>", func(notice events.Notice) {
		var i int
		if _, err := fmt.Sscan(notice.Key.CompanyID, &i); err == nil && i < n {
			d.moments[i].Store(int32(announced))
		}
	}); err != nil {
		return err
	}
	// A look at the table that began before a disconnect may end long after its event.
	late := newFaultPlan(e.rand.Uint64(), lookOneIn, proxy.Late)
	f.cloud.dynamoDB.SetFault(func(c proxy.Call) proxy.Fault {
		if c.Operation != "GetItem" {
			return proxy.None
		}
		return late.next(c)
	})
	if err := d.run(ctx, n); err != nil {
		return err
	}
	e.did("%d disconnects, each read by %d readers of its own and all by %d", n, readersAround, readersAnywhere)
	e.did("%d reads before", d.reads(untouched))
	e.did("%d between request and event, %d of them refused", d.reads(asked), d.refused[asked].Load())
	e.did("%d after the event, %d of them refused", d.reads(announced), d.refused[announced].Load())
	e.did("%d unanswered", d.unanswered.Load())
	e.did("%d looks at the table answered %s late", late.count(), proxy.LateBy)
	if d.served[untouched].Load() == 0 || d.refused[announced].Load() == 0 {
		return errors.New("no read was served before a disconnect, or none refused after one: nothing was shown")
	}
	return nil
}

// reads is how many there were that started at a moment, and were answered.
func (d *disconnecting) reads(m moment) int64 { return d.served[m].Load() + d.refused[m].Load() }

// run disconnects all, and reads meanwhile.
func (d *disconnecting) run(ctx context.Context, n int) error {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	var anywhere sync.WaitGroup
	for _, r := range d.readers[:readersAnywhere] {
		anywhere.Go(func() {
			for reading.Err() == nil {
				d.read(reading, r, rand.IntN(n))
			}
		})
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(disconnectedAtOnce)
	for i := range n {
		g.Go(func() error { return d.disconnect(gctx, i, d.readers[readersAnywhere+i%disconnectedAtOnce]) })
	}
	err := g.Wait()
	stop()
	anywhere.Wait()
	return err //nolint:wrapcheck // our own
}

// disconnect disconnects one connection among readers of its own.
func (d *disconnecting) disconnect(ctx context.Context, i int, r *client.Reader) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var ready, around sync.WaitGroup
	ready.Add(readersAround)
	for range readersAround {
		around.Go(func() {
			for range readsEach {
				d.read(ctx, r, i)
			}
			ready.Done()
			for after := 0; after < readsEach && ctx.Err() == nil; {
				if d.read(ctx, r, i) {
					after++
				}
			}
		})
	}
	ready.Wait()
	m, err := d.publisher.Disconnect(acmeKey(i), "attack", time.Now())
	if err == nil {
		d.moments[i].CompareAndSwap(int32(untouched), int32(asked))
		_, err = d.publisher.Publish(ctx, m)
	}
	if err != nil {
		cancel()
	}
	around.Wait()
	if err == nil && ctx.Err() != nil {
		err = fmt.Errorf("%s was not announced as disconnected: %w", acmeKey(i), ctx.Err())
	}
	return err //nolint:wrapcheck // our own
}

// read reads a connection once and reports whether that started after its event, and was answered.
func (d *disconnecting) read(ctx context.Context, r *client.Reader, i int) bool {
	start := moment(d.moments[i].Load())
	_, err := r.Token(ctx, acmeKey(i))
	end := moment(d.moments[i].Load())
	switch {
	case err == nil && start == announced:
		d.broke("%s: a read that began after the disconnected event returned a token", acmeKey(i))
	case err == nil:
	case errors.Is(err, events.GetDisconnected) && end == untouched:
		d.broke("%s: a read is refused before the disconnect", acmeKey(i))
	case errors.Is(err, events.GetDisconnected):
	case ctx.Err() != nil:
		return false
	case errors.Is(err, events.GetUnavailable): // nothing was returned, and it may be read again
		d.unanswered.Add(1)
		return false
	default:
		d.broke("%s: a read fails: %v", acmeKey(i), err)
		return false
	}
	if err == nil {
		d.served[start].Add(1)
	} else {
		d.refused[start].Add(1)
	}
	return start == announced
}

// readExpiring has n readers at once ask for a token that expires soon, over two workers: the provider is asked once, and all
// get the new token. Then a client of package oauth2 calls the provider's API through three expiries.
func readExpiring(ctx context.Context, e *env, n int) error {
	const lives = 4 * time.Second
	f, err := startReplicas(ctx, e, 2, siteConfig{policy: demoprovider.Policy{AccessLifetime: lives}, settings: strictly})
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
