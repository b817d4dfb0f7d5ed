package main

// P3 Gone is gone: after a disconnect, no late event, redelivery, replay or in-flight refresh brings a token back. A token
// that the disconnect reached is kept, sealed, to be revoked at the provider.
//
// Breaks that were tried, and what the attack said:
//
//   - rules.go forgets which acquisitions it has seen: "org-0:provider:0: is active after its disconnect and holds a set of
//     393 bytes", 36 tokens readable of 60 connections.
//   - rules.go drops a late acquisition instead of listing it (RevokeLate): "its last token before the disconnect is not
//     among the 1 to be revoked", for half of the connections.
//   - consumer/park.go holds nothing back: 12 of 12 tokens readable after repeats had overtaken their parked originals.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/internal/attack/proxy"
	"github.com/tokenworker/tokenworker/streams"
)

var p3 = promise{
	name: "P3", unit: "connections", usual: 60, full: 1000,
	attacks: []attack{
		{"repeats, redeliveries and replayed dead letters after a disconnect, with kill -9, on `tokenworker dev`", comeBack},
		{"disconnects that overtake acquisitions held up by the key service, on LocalStack (a fifth)", overtake},
		{"disconnects during a refresh, at random offsets", disconnectRefreshing},
		{"new acquisitions during a refresh, at random offsets", acquireRefreshing},
		{"reads all the time, on two workers on LocalStack", readDisconnecting},
		{"repeats that overtake their own originals, parked for a refused key, on LocalStack (a fifth)", overtakeParked},
	},
}

// victim is a connection that is disconnected, and for some acquired again after that.
type victim struct {
	key    tokenworker.Key
	before []made // acquisitions before the disconnect, in the order of the stream; some of them plain
	gone   made   // the disconnect
	after  made   // the acquisition after it; none for most

	afterSeq uint64
}

func (v *victim) returns() bool { return v.after.event != nil }

// newVictims makes n, with one to three acquisitions each. Those of mostly plain ones are refused at first.
func newVictims(p *publisher, n int, plain bool) ([]*victim, error) {
	victims := make([]*victim, n)
	for i := range victims {
		v := &victim{key: tokenworker.Key{
			OrgID: fmt.Sprintf("org-%d", i%5), ProviderID: storedProvider, CompanyID: fmt.Sprint(i),
		}}
		for _, isPlain := range [][]bool{{false}, {false, false, true}, {true, false}, {true}}[i%4] {
			m, err := p.newAcquired(v.key, time.Now(), isPlain && plain)
			if err != nil {
				return nil, err
			}
			v.before = append(v.before, m)
		}
		var err error
		if v.gone, err = p.newDisconnect(v.key); err != nil {
			return nil, err
		}
		if i%5 == 4 {
			if v.after, err = p.newAcquired(v.key, time.Now(), false); err != nil {
				return nil, err
			}
		}
		victims[i] = v
	}
	return victims, nil
}

// forAll does something for every victim, many at once.
func forAll(ctx context.Context, victims []*victim, do func(ctx context.Context, v *victim) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	for _, v := range victims {
		g.Go(func() error { return do(ctx, v) })
	}
	return g.Wait() //nolint:wrapcheck // our own
}

// comeBack disconnects every victim and then tries to bring its tokens back by all that an outbox, a crash and an operator
// may do.
func comeBack(ctx context.Context, e *env, n int) error {
	r, err := newDev(ctx, e)
	if err != nil {
		return err
	}
	defer r.close()
	p, admin, err := r.begin(ctx)
	if err != nil {
		return err
	}
	victims, err := newVictims(p, n, true)
	if err != nil {
		return err
	}
	if err := forAll(ctx, victims, func(ctx context.Context, v *victim) error { return v.publish(ctx, p) }); err != nil {
		return err
	}
	if err := r.awaitSettled(ctx, admin); err != nil {
		return err
	}
	letters, err := deadLetters(ctx, admin)
	if err != nil {
		return err
	}

	// The restart makes NATS forget the message ids, and the worker accept what it has refused.
	r.program.Args = append(r.program.Args, "--allow-plain")
	r.process.Kill()
	if err := r.start(ctx); err != nil {
		return err
	}
	var repeats int
	if repeats, err = e.repeatAll(ctx, admin, p, victims); err != nil {
		return err
	}
	for range 2 {
		if _, err := r.mustCLI(ctx, "dlq", "replay", "--code", "plain_refused"); err != nil {
			return err
		}
		r.process.Kill()
		if err := r.start(ctx); err != nil {
			return err
		}
	}
	if err := r.awaitSettled(ctx, admin); err != nil {
		return err
	}
	e.did("%d connections, %d repeats, %d dead letters replayed twice, 3 kills", n, repeats, letters)
	return e.checkGone(ctx, r, victims)
}

// publish publishes a victim's events in order.
func (v *victim) publish(ctx context.Context, p *publisher) error {
	for _, m := range append(slices.Clone(v.before), v.gone) {
		if _, _, err := p.send(ctx, m.message); err != nil {
			return err
		}
	}
	if !v.returns() {
		return nil
	}
	var err error
	v.afterSeq, _, err = p.send(ctx, v.after.message)
	return err
}

// repeatAll publishes every sealed event of the victims once more, in any order, and returns how many entered the stream
// again.
func (e *env) repeatAll(
	ctx context.Context, admin jetstream.JetStream, p *publisher, victims []*victim,
) (int, error) {
	s, err := admin.Stream(ctx, streams.In)
	if err != nil {
		return 0, fmt.Errorf("looking at the stream: %w", err)
	}
	last := s.CachedInfo().State.LastSeq
	var all []made
	for _, v := range victims {
		for _, m := range append(slices.Clone(v.before), v.gone, v.after) {
			if m.event != nil && m.event.Plain == nil {
				all = append(all, m)
			}
		}
	}
	e.rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	entered := 0
	for _, m := range all {
		seq, _, err := p.send(ctx, m.message)
		if err != nil {
			return 0, err
		}
		if seq > last {
			entered++
		}
	}
	return entered, nil
}

// overtake holds acquisitions up until their disconnects have been dealt with.
func overtake(ctx context.Context, e *env, n int) error {
	n = max(1, n/5)
	r, err := newDeployment(ctx, e, nil, "--scope", "token") // each seal needs the key service
	if err != nil {
		return err
	}
	defer r.close()
	p, admin, err := r.begin(ctx)
	if err != nil {
		return err
	}
	victims, err := newVictims(p, n, false)
	if err != nil {
		return err
	}
	r.cloud.kms.SetFault(func(c proxy.Call) proxy.Fault {
		if c.Operation == "GenerateDataKey" {
			return proxy.Reset
		}
		return proxy.None
	})
	if err := forAll(ctx, victims, func(ctx context.Context, v *victim) error { return v.publish(ctx, p) }); err != nil {
		return err
	}
	if err := awaitNone(ctx, admin, streams.Disconnect, settledWithin); err != nil {
		return err
	}
	late, err := unsettledOf(ctx, admin, streams.In, streams.Acquired)
	if err != nil {
		return err
	}
	r.cloud.kms.SetFault(nil)
	if err := r.awaitSettled(ctx, admin); err != nil {
		return err
	}
	e.did("%d connections, %d acquisitions overtaken", n, late)
	return e.checkGone(ctx, r, victims)
}

// overtakeParked has acquisitions parked, because KMS refuses their key; then come their disconnects, and then, when KMS
// refuses nothing any more, an outbox's repeats of the acquisitions. The stream of events holds the originals no more, so
// that only the hold-back keeps the repeats from being taken for news.
func overtakeParked(ctx context.Context, e *env, n int) error {
	n = max(1, n/5)
	r, err := newDeployment(ctx, e, nil, "--scope", "token")
	if err != nil {
		return err
	}
	defer r.close()
	p, admin, err := r.begin(ctx)
	if err != nil {
		return err
	}
	victims := make([]*victim, n)
	for i := range victims {
		v := &victim{key: tokenworker.Key{OrgID: "org", ProviderID: storedProvider, CompanyID: fmt.Sprint(i)}}
		m, err := p.newAcquired(v.key, time.Now().Add(-30*time.Minute), false) // old enough to be held back
		if err != nil {
			return err
		}
		v.before = []made{m}
		if v.gone, err = p.newDisconnect(v.key); err != nil {
			return err
		}
		victims[i] = v
	}
	r.cloud.kms.SetFault(func(c proxy.Call) proxy.Fault {
		if c.Operation == "GenerateDataKey" {
			return proxy.Deny
		}
		return proxy.None
	})
	for _, events := range []struct {
		of       func(v *victim) made
		consumer string
	}{
		{func(v *victim) made { return v.before[0] }, streams.Acquired},
		{func(v *victim) made { return v.gone }, streams.Disconnect},
	} {
		if err := forAll(ctx, victims, func(ctx context.Context, v *victim) error {
			_, _, err := p.send(ctx, events.of(v).message)
			return err
		}); err != nil {
			return err
		}
		if err := awaitNone(ctx, admin, events.consumer, settledWithin); err != nil {
			return err
		}
	}
	parked, err := unsettledOf(ctx, admin, streams.Parked, streams.ParkedRetry)
	if err != nil {
		return err
	}
	r.nats.Kill() // which forgets the message ids
	if err := r.nats.Start(ctx); err != nil {
		return err //nolint:wrapcheck // our own
	}
	r.cloud.kms.SetFault(nil)
	repeats, err := e.repeatAll(ctx, admin, p, victims)
	if err != nil {
		return err
	}
	if err := r.awaitSettled(ctx, admin); err != nil {
		e.broke("%v", err)
	}
	e.did("%d connections, %d acquisitions parked, %d repeats", n, parked, repeats)
	return e.checkGone(ctx, r, victims)
}

// checkGone stops the worker and reads what is stored: no victim has a token set that could be read, except the one
// acquired after its disconnect; and the token set that the disconnect was about waits for its revocation.
func (e *env) checkGone(ctx context.Context, r *rig, victims []*victim) error {
	v, err := r.end(ctx, e)
	if err != nil {
		return err
	}
	defer v.close()
	readable, returned := 0, 0
	for _, victim := range victims {
		record, err := v.store.Get(ctx, victim.key)
		if err != nil {
			e.broke("%s: %v", victim.key, err)
			continue
		}
		if victim.returns() {
			returned++
			err = checkLast(ctx, e, v, &record, []entry{{
				kind: victim.after.event.Kind, token: victim.after.token, seq: victim.afterSeq, tries: 1,
			}})
		} else {
			if record.Sealed != nil || record.Status != tokenworker.Disconnecting {
				readable++
				e.broke("%s: is %s after its disconnect and holds a set of %d bytes", victim.key, record.Status, len(record.Sealed))
			}
			err = e.checkRevokes(ctx, v, victim, &record)
		}
		if err != nil {
			return err
		}
	}
	e.did("%d tokens readable, %d acquired anew and kept", readable, returned)
	return nil
}

// checkRevokes looks for the last token set before the disconnect on the revoke list.
func (e *env) checkRevokes(ctx context.Context, v *view, victim *victim, r *tokenworker.Record) error {
	var tokens []string
	for _, sealed := range r.Waiting() {
		fence, err := fenceOf(sealed)
		if err != nil {
			return err
		}
		set, err := v.openSet(ctx, r.Key, fence, sealed)
		if errors.Is(err, tokenworker.ErrSealBroken) {
			e.broke("%v", err)
			continue
		} else if err != nil {
			return err
		}
		tokens = append(tokens, string(set.AccessToken.Reveal()))
	}
	if last := victim.before[len(victim.before)-1].token; !slices.Contains(tokens, last) {
		e.broke("%s: its last token before the disconnect is not among the %d to be revoked", r.Key, len(tokens))
	}
	return nil
}
