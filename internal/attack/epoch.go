package main

// Epoch: the stream of events is deleted and set up anew under workers at work, again and again. A disconnect that is acknowledged
// after that must be applied, a newer acquisition must be stored, and no worker may have to be started anew.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/internal/attack/process"
	"github.com/tokenworker/tokenworker/streams"
)

var epochs = promise{
	name: "epoch", unit: "connections", usual: 60, full: 600,
	attacks: []attack{
		{"the stream of events deleted and set up anew under two workers, with `disconnect --wait` and newer acquisitions after it, on LocalStack", madeAnew},
	},
}

const (
	renewals = 3 // of the stream

	noticedWithin = time.Minute // a new epoch; a worker looks every few seconds
)

// madeAnew acquires n connections, and of those that are left disconnects some and acquires the others anew after each renewal.
func madeAnew(ctx context.Context, e *env, n int) error {
	r, err := newDeployment(ctx, e, nil)
	if err != nil {
		return err
	}
	defer r.close()
	p, admin, err := r.begin(ctx)
	if err != nil {
		return err
	}
	second, err := r.another(ctx, e)
	if err != nil {
		return err
	}
	defer second.process.Kill()
	key := func(i int) tokenworker.Key {
		return tokenworker.Key{OrgID: fmt.Sprintf("org-%d", i%5), ProviderID: storedProvider, CompanyID: fmt.Sprint(i)}
	}
	for range 3 { // so that the sequences of the next stream are lower than what is stored
		for i := range n {
			if err := p.acquire(ctx, key(i)); err != nil {
				return err
			}
		}
	}
	if err := r.awaitSettled(ctx, admin); err != nil {
		return err
	}
	gone := 0
	for round := range renewals {
		if err := r.renew(ctx, admin); err != nil {
			return err
		}
		if round == 0 { // at once, while the workers still hold the former epoch
			out, err := r.mustCLI(ctx, "publish", "disconnect", key(gone).String(), "--wait", "--json")
			if err != nil {
				return err
			}
			if !strings.Contains(string(out), `"disconnected"`) {
				e.broke("a disconnect right after the stream was made anew: %s", strings.TrimSpace(string(out)))
			}
			gone++
		}
		for range n / 10 {
			if err := p.disconnect(ctx, key(gone)); err != nil {
				return err
			}
			gone++
		}
		for i := gone; i < n; i++ {
			if err := p.acquire(ctx, key(i)); err != nil {
				return err
			}
		}
		if err := r.awaitSettled(ctx, admin); err != nil {
			e.broke("round %d: %v", round, err)
		}
		for name, worker := range map[string]*rig{"first": r, "second": second} {
			if err := worker.awaitNoticed(ctx); err != nil {
				e.broke("round %d, the %s worker: %v", round, name, err)
			}
		}
	}
	e.did("%d renewals of the stream, %d disconnects, %d connections acquired anew each time", renewals, gone, n-gone)
	if err := second.process.Stop(40 * time.Second); err != nil {
		e.broke("at the end the second worker %v", err)
	}
	return e.checkEpoch(ctx, r, key, gone, n)
}

// renew does what the guide says of a stream that was lost.
func (r *rig) renew(ctx context.Context, admin jetstream.JetStream) error {
	if err := admin.DeleteStream(ctx, streams.In); err != nil {
		return fmt.Errorf("deleting the stream: %w", err)
	}
	_, err := r.mustCLI(ctx, "setup", "--replicas", "1")
	return err
}

// another starts one more worker like the rig's.
func (r *rig) another(ctx context.Context, e *env) (*rig, error) {
	addr, err := process.FreeAddr(ctx)
	if err != nil {
		return nil, fmt.Errorf("choosing a port: %w", err)
	}
	other := *r
	other.program.Log, other.http = e.inDir("run-2.log"), "http://"+addr
	other.program.Args = append([]string{"run", "--http-addr", addr}, other.program.Args[3:]...)
	return &other, other.start(ctx)
}

// awaitNoticed waits until a worker, which must not have ended, is ready: it handles events of the stream's epoch.
func (r *rig) awaitNoticed(ctx context.Context) error {
	return process.Await(ctx, noticedWithin, "the worker takes the new epoch", func() (bool, error) { //nolint:wrapcheck // our own
		if r.ended() {
			return false, errEndedByItself
		}
		status, _, err := r.get(ctx, "/readyz")
		return err == nil && status == http.StatusOK, nil
	})
}

// checkEpoch looks at what is stored: nothing of what was disconnected is served, and of the rest the newest is.
func (e *env) checkEpoch(ctx context.Context, r *rig, key func(int) tokenworker.Key, gone, n int) error {
	v, err := r.end(ctx, e)
	if err != nil {
		return err
	}
	defer v.close()
	for i := range n {
		rec, err := v.store.Get(ctx, key(i))
		switch {
		case errors.Is(err, tokenworker.ErrNotFound):
			e.broke("%s is not stored", key(i))
		case err != nil:
			return err //nolint:wrapcheck // our own
		case i < gone && rec.Status == tokenworker.Active:
			e.broke("%s was disconnected, and is %s at stamp %s", key(i), rec.Status, rec.Stamp)
		case i >= gone && (rec.Status != tokenworker.Active || rec.Stamp.Epoch != renewals+1):
			e.broke("%s was acquired anew, and is %s at stamp %s", key(i), rec.Status, rec.Stamp)
		}
	}
	return nil
}
