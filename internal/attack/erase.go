package main

// Erase: after an erasure, table, streams and dead letters hold no message or row of whom it was about, but a tombstone and the
// receipt; and nothing late brings anything back.
//
// Breaks that were tried, and what the attack said:
//
//	dead letters are not looked through for keys        replays bring connections back: "org-0:provider:15 is active"
//	a tombstone forgets the ids of events               repeats bring connections back: "org-0:provider:0 is active"
//	a tombstone is left whatever was tried              3 of 20: "was erased, and a token of 2 lives": the refresh's own

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/erase"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/kmsenc"
	"github.com/tokenworker/tokenworker/streams"
)

var erasure = promise{
	name: "erase", unit: "connections", usual: 60, full: 1000,
	attacks: []attack{
		{"two of five organizations erased, with kill -9 meanwhile; then repeats, replays of copied dead letters, a retired key", eraseOrganizations},
		{"erasures during a refresh, at random offsets", eraseRefreshing},
	},
}

// erasedOrgs are two of the five that victims are spread over.
func erasedOrgs() []string { return []string{"org-0", "org-1"} }

// eraseOrganizations fills five organizations, erases two, and looks for what is left, in the streams and the table.
func eraseOrganizations(ctx context.Context, e *env, n int) error {
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
	for _, v := range victims { // nobody disconnects
		for _, m := range v.before {
			if _, _, err := p.send(ctx, m.message); err != nil {
				return err
			}
		}
	}
	if err := r.awaitSettled(ctx, admin); err != nil {
		return err
	}
	letters, err := e.copyBefore(ctx, admin)
	if err != nil {
		return err
	}
	for _, org := range erasedOrgs() {
		if _, err := r.mustCLI(ctx, "erase", "--org", org, "--reason", "attack", "--yes"); err != nil {
			return err
		}
	}
	r.process.Kill() // wherever it is
	if err := r.start(ctx); err != nil {
		return err
	}
	if err := awaitNone(ctx, admin, streams.Erase, settledWithin); err != nil {
		return err
	}
	deleted, err := e.checkErased(ctx, r, admin)
	if err != nil {
		return err
	}
	late, err := e.bringBack(ctx, r, admin, p, victims, letters)
	if err != nil {
		return err
	}
	if _, err := e.checkErased(ctx, r, admin); err != nil {
		return err
	}
	if err := e.checkKeys(ctx, r, letters); err != nil {
		return err
	}
	e.did("%d connections, 2 of 5 organizations erased with %d messages, 1 kill, %d late events and replays", n, deleted, late)
	return nil
}

// isErased reports whether a key is one of an organization that was erased.
func isErased(k tokenworker.Key) bool { return slices.Contains(erasedOrgs(), k.OrgID) }

// copyBefore keeps the dead letters of the organizations to be erased.
func (e *env) copyBefore(ctx context.Context, js jetstream.JetStream) (letters []events.Message, err error) {
	for m, err := range allOf(ctx, js, streams.DLQ) {
		if err != nil {
			return letters, err
		}
		if k, ok := events.KeyOf(m.Subject); ok && isErased(k) {
			letters = append(letters, events.Message{Subject: m.Subject, Body: m.Data})
		}
	}
	return letters, nil
}

// allOf yields the messages of a stream.
func allOf(ctx context.Context, js jetstream.JetStream, name string) func(func(*jetstream.RawStreamMsg, error) bool) {
	return func(yield func(*jetstream.RawStreamMsg, error) bool) {
		s, err := js.Stream(ctx, name)
		if err != nil {
			yield(nil, fmt.Errorf("looking at stream %s: %w", name, err))
			return
		}
		for from := uint64(1); ; {
			m, err := s.GetMsg(ctx, from, jetstream.WithGetMsgSubject("tokens.v1.>"))
			if errors.Is(err, jetstream.ErrMsgNotFound) || !yield(m, err) || err != nil {
				return
			}
			from = m.Sequence + 1
		}
	}
}

// checkErased looks into every stream, the table and NATS' files, and returns how many messages the receipts name.
func (e *env) checkErased(ctx context.Context, r *rig, js jetstream.JetStream) (deleted int, err error) {
	receipts := 0
	for _, name := range erase.Streams() {
		for m, err := range allOf(ctx, js, name) {
			if err != nil {
				return 0, err
			}
			k, ok := events.KeyOf(m.Subject)
			kind, _, _ := events.ParseSubject(m.Subject)
			switch {
			case !ok || !isErased(k):
			case kind == events.Erased:
				var data events.ErasedData
				n, err := events.ParseNotice(events.Message{Subject: m.Subject, Body: m.Data})
				if err == nil {
					err = json.Unmarshal(n.Data, &data)
				}
				if err != nil || data.BackupsUntil.IsZero() || len(data.EventKeys) == 0 {
					e.broke("the receipt of %s does not say until when something is left: %v", k.OrgID, err)
				}
				receipts++
				deleted += data.Messages
			case strings.Contains(m.Subject, ".revoke"): // of what came late: the token that it carried
			default:
				e.broke("%s holds %s", name, m.Subject)
			}
		}
	}
	if receipts != len(erasedOrgs()) {
		e.broke("%d receipts, want %d", receipts, len(erasedOrgs()))
	}
	if err := e.checkTombstones(ctx, r); err != nil {
		return 0, err
	}
	return deleted, nil
}

// checkTombstones looks at the rows of the erased organizations.
func (e *env) checkTombstones(ctx context.Context, r *rig) error {
	v, err := r.open(ctx)
	if err != nil {
		return err
	}
	defer v.close()
	rows := 0
	for _, org := range erasedOrgs() {
		for rec, err := range v.store.Records(ctx, org) {
			if err != nil {
				return fmt.Errorf("reading the table: %w", err)
			}
			rows++
			if rec.Sealed != nil || rec.Details != (tokenworker.Details{}) || rec.Status != tokenworker.Disconnected && rec.Status != tokenworker.Disconnecting {
				e.broke("%s is %s, holds a set of %d bytes and details %+v", rec.Key, rec.Status, len(rec.Sealed), rec.Details)
			}
		}
	}
	if rows == 0 {
		e.broke("no tombstone is left")
	}
	return nil
}

// bringBack publishes the erased events once more, as an outbox does, and the copied dead letters as replays. The worker
// accepts by now what it has refused.
func (e *env) bringBack(
	ctx context.Context, r *rig, admin jetstream.JetStream, p *publisher, victims []*victim, letters []events.Message,
) (late int, err error) {
	r.program.Args = append(r.program.Args, "--allow-plain")
	r.process.Kill() // NATS forgets the message ids
	if err := r.start(ctx); err != nil {
		return 0, err
	}
	gone := slices.DeleteFunc(slices.Clone(victims), func(v *victim) bool { return !isErased(v.key) })
	for _, v := range gone {
		for _, m := range v.before {
			if m.event.Plain != nil {
				continue // refused the first time, so that nothing knows it
			}
			if _, _, err := p.send(ctx, m.message); err != nil {
				return late, err
			}
			late++
		}
	}
	for _, letter := range letters {
		replay, err := events.Replay(letter)
		if err != nil {
			return late, fmt.Errorf("making a replay: %w", err)
		}
		if _, _, err := p.send(ctx, replay); err != nil {
			return late, err
		}
		late++
	}
	return late, r.awaitSettled(ctx, admin)
}

// checkKeys retires the key that what was copied is sealed to, and names it with the day on which it was destroyed.
func (e *env) checkKeys(ctx context.Context, r *rig, letters []events.Message) error {
	if len(letters) == 0 {
		return errors.New("no dead letter was copied")
	}
	info, err := events.ReadDeadLetter(letters[0])
	if err != nil {
		return fmt.Errorf("reading a copied dead letter: %w", err)
	}
	v, err := r.open(ctx)
	if err != nil {
		return err
	}
	defer v.close()
	if _, err := v.keys.OpenDeadLetter(ctx, letters[0]); err != nil {
		return fmt.Errorf("opening a copied dead letter while its key lives: %w", err)
	}
	if err := v.store.DeleteWrappedKey(ctx, "event/"+info.KeyID); err != nil { // `keys retire` waits 20 minutes after a rotation
		return fmt.Errorf("destroying the event key: %w", err)
	}
	again, err := r.open(ctx)
	if err != nil {
		return err
	}
	defer again.close()
	if _, err := again.keys.OpenDeadLetter(ctx, letters[0]); !errors.Is(err, events.CodeUnknownKey) {
		e.broke("a copy opens after its key %s was destroyed: %v", info.KeyID, err)
	}
	e.did("copies opened with event key %s until it was destroyed at %s", info.KeyID, time.Now().UTC().Format(time.RFC3339))
	return nil
}

// noKeys stands in for the event keys, of which a site has none.
type noKeys struct{}

func (noKeys) Public(context.Context) ([]events.PublicKey, error) { return nil, nil }

func (noKeys) HoldsNothingInClear(context.Context, events.Message) bool { return false }

// eraseRefreshing erases n connections while they are refreshed. Revocation reaches the one token: whichever set is forgotten
// stays alive at the provider.
func eraseRefreshing(ctx context.Context, e *env, n int) error {
	s, r, err := openOvertaken(ctx, e, demoprovider.ReachToken)
	if err != nil {
		return err
	}
	defer s.close()
	eraser, err := erase.New(erase.Config{FenceOf: kmsenc.FenceOf, RevokeFor: time.Second}, s.js, s.store, r, noKeys{})
	if err != nil {
		return fmt.Errorf("making an eraser: %w", err)
	}
	if err := s.overtake(ctx, r, n, func(ctx context.Context, k tokenworker.Key) error {
		request := s.event(k)
		return eraser.Erase(ctx, request, events.Cause{
			Epoch: request.Stamp.Epoch, Sequence: request.Stamp.Sequence, EventSource: "attack", EventID: k.String(),
		}, "attack")
	}); err != nil {
		return err
	}
	records, err := s.records(ctx, n)
	if err != nil {
		return err
	}
	for _, rec := range records {
		if rec.Status != tokenworker.Disconnected || rec.Sealed != nil || len(rec.Revoke) > 0 || rec.Details != (tokenworker.Details{}) {
			e.broke("%s: was erased, and is %s with %d sets to revoke", rec.Key, rec.Status, len(rec.Revoke))
		}
	}
	inFlight := 0
	for f := range s.server.Families() {
		if f.RefreshMinted > 1 {
			inFlight++
		}
		if len(f.Live) > 0 {
			e.broke("%s: was erased, and a token of %d lives", f.Subject, f.RefreshMinted)
		}
	}
	e.did("%d erasures, %d of them with a refresh that rotated, %d revocations", n, inFlight, s.server.Totals().Revocations)
	return nil
}
