package main

// The audit trail (design section 9): a record that is altered, removed or put in another's place shows, and so does a tail
// that is cut off.
//
// Breaks that were tried, and what the attack said:
//
//   - audit/verify.go does not compare a record with the links of the checkpoint ahead (the call of against): "verify says
//     nothing of an altered record at …", and the same of swapped ones.
//   - audit/verify.go's end does not look for a checkpoint that is still ahead: "verify says nothing of a tail cut off at …".
//   - audit/chain.go leaves the body out of the hash: "verify says nothing of an altered record at …".

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/internal/attack/process"
	"github.com/tokenworker/tokenworker/internal/natstest"
	"github.com/tokenworker/tokenworker/streams"
)

var auditTrail = promise{
	name: "audit", unit: "changed trails", usual: 8, full: 100,
	attacks: []attack{
		{"records altered, removed, swapped and cut off in the files of the stream, on `tokenworker dev`",
			func(ctx context.Context, e *env, n int) error {
				r, err := newDev(ctx, e)
				if err != nil {
					return err
				}
				defer r.close()
				return e.changeTrail(ctx, r, n)
			}},
	},
}

// tampering is one way to change a trail at index i, which has the sequence i+1.
type tampering struct {
	what   string
	change func(ms []natstest.Stored, i int) []natstest.Stored
}

func tamperings() []tampering {
	return []tampering{
		{"an altered record", func(ms []natstest.Stored, i int) []natstest.Stored {
			ms[i].Body = bytes.Replace(ms[i].Body, []byte(`"done"`), []byte(`"gone"`), 1)
			return ms
		}},
		{"a removed record", func(ms []natstest.Stored, i int) []natstest.Stored { return slices.Delete(ms, i, i+1) }},
		{"swapped records", func(ms []natstest.Stored, i int) []natstest.Stored {
			ms[i].Subject, ms[i+1].Subject = ms[i+1].Subject, ms[i].Subject
			ms[i].Body, ms[i+1].Body = ms[i+1].Body, ms[i].Body
			return ms
		}},
		{"a tail cut off", func(ms []natstest.Stored, i int) []natstest.Stored { return ms[:i] }},
	}
}

// recordsEach is how many records are made for each that is tampered with.
const recordsEach = 5

// changeTrail makes a trail, and then changes it in one place at a time.
func (e *env) changeTrail(ctx context.Context, r *rig, n int) error {
	if err := e.makeTrail(ctx, r, n*recordsEach); err != nil {
		return err
	}
	files := embedded.NATSPath(e.inDir("data"))
	var pristine []natstest.Stored
	err := natstest.Tamper(files, streams.Audit, func(ms []natstest.Stored) []natstest.Stored { pristine = ms; return ms })
	if err != nil {
		return fmt.Errorf("reading the trail's files: %w", err)
	}
	if len(pristine) < n*recordsEach {
		return fmt.Errorf("the trail has %d records, want %d", len(pristine), n*recordsEach)
	}
	sound := func() error { return e.verifyTrail(ctx, r, "an untouched trail", 0) }
	if err := sound(); err != nil {
		return err
	}
	ways := tamperings()
	for i := range n {
		way, at := ways[i%len(ways)], e.rand.IntN(len(pristine)-1)
		copied := make([]natstest.Stored, len(pristine))
		for j, m := range pristine {
			copied[j] = m
			copied[j].Body = bytes.Clone(m.Body)
		}
		err := natstest.Tamper(files, streams.Audit, func([]natstest.Stored) []natstest.Stored { return way.change(copied, at) })
		if err != nil {
			return fmt.Errorf("changing the trail's files: %w", err)
		}
		if err := e.verifyTrail(ctx, r, way.what, at+1); err != nil {
			return err
		}
	}
	err = natstest.Tamper(files, streams.Audit, func([]natstest.Stored) []natstest.Stored { return pristine })
	if err != nil {
		return fmt.Errorf("mending the trail's files: %w", err)
	}
	e.did("%d changes of a trail of %d records", n, len(pristine))
	return sound()
}

// makeTrail leaves at least so many records, all under checkpoints: a worker that ends in order writes the last.
func (e *env) makeTrail(ctx context.Context, r *rig, records int) error {
	if err := r.start(ctx); err != nil {
		return err
	}
	p, err := newPublisher(ctx, r)
	if err != nil {
		return err
	}
	for i := range records {
		k := tokenworker.Key{OrgID: "acme", ProviderID: "gusto", CompanyID: fmt.Sprint(i)}
		if err := p.acquire(ctx, k); err != nil {
			return err
		}
	}
	js, err := r.connect(process.Worker)
	if err != nil {
		return err
	}
	if err := r.awaitSettled(ctx, js); err != nil {
		return err
	}
	err = process.Await(ctx, time.Minute, "all is on record", func() (bool, error) {
		left, err := unsettledOf(ctx, js, streams.Out, streams.Auditor)
		return left == 0, err
	})
	return errors.Join(err, r.stop())
}

// verifyTrail starts a worker on the files and has it verify the trail, which must break at the sequence, or not at all (0).
func (e *env) verifyTrail(ctx context.Context, r *rig, what string, at int) error {
	if err := r.start(ctx); err != nil {
		return err
	}
	out, err := r.cli(ctx, nil, "audit", "verify")
	if err = errors.Join(err, r.stop()); err != nil {
		return err
	}
	said := string(bytes.TrimSpace(out.Stderr))
	switch {
	case at == 0 && out.ExitCode != 0:
		e.broke("verify says of %s: %s", what, said)
	case at > 0 && out.ExitCode == 0:
		e.broke("verify says nothing of %s at %d", what, at)
	case at > 0 && !bytes.Contains(out.Stderr, fmt.Appendf(nil, "breaks at sequence %d:", at)):
		e.broke("verify says of %s at %d: %s", what, at, said)
	}
	return nil
}
