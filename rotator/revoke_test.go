package rotator_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/provider"
	"github.com/tokenworker/tokenworker/rotator"
	"github.com/tokenworker/tokenworker/streams"
)

// revoking is the providers, and calls before each revocation.
type revoking struct {
	rotator.Providers
	before func(ctx context.Context)
}

func (p revoking) Revoke(ctx context.Context, k tokenworker.Key, set tokenworker.TokenSet) provider.Answer {
	p.before(ctx)
	return p.Providers.Revoke(ctx, k, set)
}

// twoToRevoke leaves two sets of the connection to revoke.
func (r *rig) twoToRevoke() {
	r.t.Helper()
	for range 2 {
		r.acquire(conn)
		r.disconnect(conn)
	}
	if n := len(r.get(conn).Revoke); n != 2 {
		r.t.Fatalf("%d to revoke", n)
	}
}

func TestNoRevocationIsBegunLateInItsClaim(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.twoToRevoke()
	claimed := r.clock.Now()
	var sent []time.Duration
	providers := revoking{r.gate, func(ctx context.Context) {
		sent = append(sent, r.clock.Now().Sub(claimed))
		if by, ok := ctx.Deadline(); !ok || by.After(time.Now().Add(20*time.Second)) {
			t.Errorf("the request may take until %s", by)
		}
		r.advance(45 * time.Second) // of the claim's 60
	}}
	rot, err := rotator.New(rotator.Config{Process: "one", Now: r.clock.Now, AttemptTimeout: time.Second}, r.js, faulty{r.db, r},
		r.sealer, providers)
	must(t, err)
	do(t, rot, conn)
	if rec := r.get(conn); len(sent) != 1 || len(rec.Revoke) != 1 || rec.FailureCode != "too_late" || rec.Revoking != nil {
		t.Errorf("sent after %s; %d left because of %q, claim %v", sent, len(rec.Revoke), rec.FailureCode, rec.Revoking)
	}
	r.advance(2 * time.Minute)
	claimed = r.clock.Now()
	do(t, rot, conn)
	if rec := r.get(conn); rec.Status != tokenworker.Disconnected {
		t.Errorf("the rest is %s", rec.Status)
	}
}

// told is what the last event of a kind says.
func (r *rig) told(kind string) (n struct {
	Sequence uint64 `json:"sequence"`
	Code     string `json:"code"`
},
) {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), streams.Out)
	must(r.t, err)
	m, err := s.GetLastMsgForSubject(r.t.Context(), "tokens.v1.event."+kind+".>")
	must(r.t, err)
	var event struct{ Data json.RawMessage }
	must(r.t, json.Unmarshal(m.Data, &event))
	must(r.t, json.Unmarshal(event.Data, &n))
	return n
}

func TestARevocationIsAnnouncedUnderItsDisconnect(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.acquire(conn)
	r.disconnect(conn)
	at := r.seq
	r.acquire(conn)
	do(t, r.rotator("one"), conn)
	if n := r.told("revoked"); n.Sequence != at {
		t.Errorf("announced for %d, disconnected at %d", n.Sequence, at)
	}
}

func TestWhatWasGivenUpIsNotAnnouncedAsRevoked(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.twoToRevoke()
	broken := func(rec *tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error) {
		next := *rec
		next.Revoke = []tokenworker.Listed{{Sealed: []byte("does not open")}, rec.Revoke[1]}
		return next, tokenworker.Applied, nil
	}
	_, _, err := r.db.Update(t.Context(), r.get(conn), broken)
	must(t, err)
	must(t, r.server.Inject(demoprovider.Fault{Kind: demoprovider.Unavailable, Endpoint: demoprovider.RevokeEndpoint, Count: 1}))
	rot := r.rotator("one")
	do(t, rot, conn)
	if got := r.notices(); got != "" {
		t.Fatalf("announced %s before the end", got)
	}
	r.advance(2 * time.Minute)
	do(t, rot, conn)
	if got, rec := r.notices(), r.get(conn); got != "revoke_failed" || rec.Status != tokenworker.Disconnected {
		t.Fatalf("announced %s, and the connection is %s", got, rec.Status)
	}
	if n := r.told("revoke_failed"); n.Code != "seal_broken" {
		t.Errorf("because of %q", n.Code)
	}
}
