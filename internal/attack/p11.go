package main

// P11 Bad input is refused with a fixed error code, kept (sealed) in the dead-letter stream, and never blocks the good.
//
// Breaks that were tried, and what the attack said:
//
//   - consumer/handle.go does not look at an event's age: "an event with a time 25 hours ago is not in the dead letters" and
//     "has a record", for all of their kind.
//   - consumer/settle.go acknowledges what it refuses: "is not in the dead letters", for all 60.
//   - embedded/nats.go as it was, with a maximum payload of 256 KB: "an event with 200 KB is not in the dead letters", and
//     never settled, because its dead letter was larger than the server took.
//   - internal/wipe has no limits (as it was): "for each byte of a bad event
//     2215 bytes were written", and good events took 16 times as long.

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/streams"
)

var p11 = promise{
	name: "P11", unit: "bad events", usual: 60, full: 1000,
	attacks: []attack{
		{"bad events among 100 times as many good ones, on `tokenworker dev`", func(ctx context.Context, e *env, n int) error {
			r, err := newDev(ctx, e)
			if err != nil {
				return err
			}
			defer r.close()
			return e.mixBad(ctx, r, n, 100*n)
		}},
		{"bad events among 5 times as many good ones, on LocalStack", func(ctx context.Context, e *env, n int) error {
			r, err := newDeployment(ctx, e, nil)
			if err != nil {
				return err
			}
			defer r.close()
			return e.mixBad(ctx, r, n, 5*n)
		}},
		{"ten times as many with a token in clear at 10,000 a minute, beside good ones that are timed, on `tokenworker dev`",
			func(ctx context.Context, e *env, n int) error {
				r, err := newDev(ctx, e)
				if err != nil {
					return err
				}
				defer r.close()
				return e.flood(ctx, r, n)
			}},
	},
}

// mixBad publishes bad events at random places among good ones, and then looks for exactly the bad ones in the dead
// letters, each under its code, and for the good ones in the store.
func (e *env) mixBad(ctx context.Context, r *rig, bad, good int) error {
	p, admin, err := r.begin(ctx)
	if err != nil {
		return err
	}
	want, err := e.publishMixed(ctx, p, bad, good)
	if err != nil {
		return err
	}
	e.log.InfoContext(ctx, "published; waiting until all is settled")
	if err := r.awaitSettled(ctx, admin); err != nil {
		e.broke("%v", err)
	}
	if err := e.checkLetters(ctx, admin, want); err != nil {
		return err
	}
	v, err := r.end(ctx, e)
	if err != nil {
		return err
	}
	defer v.close()
	for _, b := range want {
		if _, err := v.store.Get(ctx, b.key); !errors.Is(err, tokenworker.ErrNotFound) {
			e.broke("%s, which only a bad event is about (%s), has a record: %v", b.key, b.kind.what, err)
		}
	}
	e.did("%d bad of %d kinds in %d good events", bad, len(badKinds()), good)
	return p.ledger.check(ctx, e, v)
}

// expectedLetter is what must become of a bad event.
type expectedLetter struct {
	kind    badKind
	key     tokenworker.Key
	found   int
	message events.Message
}

// publishMixed publishes all of them, many at once, and returns the bad ones by their original subject.
func (e *env) publishMixed(ctx context.Context, p *publisher, bad, good int) (map[string]*expectedLetter, error) {
	kinds := badKinds()
	want := map[string]*expectedLetter{}
	work := make([]func(context.Context) error, 0, bad+good)
	for i := range bad {
		l := &expectedLetter{kind: kinds[i%len(kinds)], key: tokenworker.Key{
			OrgID: fmt.Sprintf("org-%d", i%5), ProviderID: storedProvider, CompanyID: fmt.Sprint("bad-", i),
		}}
		var err error
		if l.message, err = newBad(l.kind, p.public, l.key, fmt.Sprint("bad-token-", i), false); err != nil {
			return nil, err
		}
		want[l.message.Subject] = l
		work = append(work, func(ctx context.Context) error {
			_, _, err := p.send(ctx, l.message)
			return err
		})
	}
	for i := range good {
		key := tokenworker.Key{
			OrgID: fmt.Sprintf("org-%d", i%5), ProviderID: storedProvider, CompanyID: fmt.Sprint("good-", i),
		}
		work = append(work, func(ctx context.Context) error { return p.acquire(ctx, key) })
	}
	e.rand.Shuffle(len(work), func(i, j int) { work[i], work[j] = work[j], work[i] })
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(64)
	for _, do := range work {
		g.Go(func() error { return do(ctx) })
	}
	return want, g.Wait() //nolint:wrapcheck // our own
}

// checkLetters reads every dead letter and compares them with the bad events.
func (e *env) checkLetters(ctx context.Context, js jetstream.JetStream, want map[string]*expectedLetter) error {
	s, err := js.Stream(ctx, streams.DLQ)
	if err != nil {
		return fmt.Errorf("looking at the dead letters: %w", err)
	}
	state := s.CachedInfo().State
	for sequence := state.FirstSeq; sequence <= state.LastSeq && state.Msgs > 0; sequence++ {
		m, err := s.GetMsg(ctx, sequence)
		if err != nil {
			return fmt.Errorf("reading dead letter %d: %w", sequence, err)
		}
		info, err := events.ReadDeadLetter(events.Message{Subject: m.Subject, Body: m.Data})
		if err != nil {
			e.broke("dead letter %d, on %s, cannot be read: %v", sequence, m.Subject, err)
			continue
		}
		l := want[info.Subject]
		if l == nil {
			e.broke("a good event is in the dead letters, on %s", m.Subject)
			continue
		}
		if l.found++; l.found > 1 {
			e.broke("an event with %s is %d times in the dead letters", l.kind.what, l.found)
		}
		if info.Code != l.kind.code {
			e.broke("an event with %s was refused as %s, want %s", l.kind.what, info.Code, l.kind.code)
		}
	}
	for _, l := range want {
		if l.found == 0 {
			e.broke("an event with %s is not in the dead letters", l.kind.what)
		}
	}
	return nil
}
