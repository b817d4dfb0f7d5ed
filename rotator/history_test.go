package rotator_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/rotator"
)

// TestHistories drives the real store, rotator and client through the actions of docs/model/Connection.tla and
// Revocation.tla, in random order, against an OAuth server that revokes the whole family when a spent token comes back, and
// checks the models' invariants against that server's ledger. Model and code cannot drift apart without it noticing.
func TestHistories(t *testing.T) {
	for _, reach := range []demoprovider.Reach{demoprovider.ReachFamily, demoprovider.ReachGrant} {
		t.Run("revocation reaches the "+string(reach), func(t *testing.T) { testHistories(t, reach) })
	}
}

func testHistories(t *testing.T, reach demoprovider.Reach) {
	r := newRig(t, demoprovider.Policy{Revocation: reach}, "    rotation: strict\n    margin: 2m\n    revocation_scope: "+string(reach)+"\n")
	rots := []*rotator.Rotator{r.rotator("p1"), r.rotator("p2")}
	connections := 0
	rapid.Check(t, func(rt *rapid.T) {
		connections++
		h := &history{
			T: rt, rig: r, rots: rots,
			k: tokenworker.Key{OrgID: "acme", ProviderID: "demo", CompanyID: fmt.Sprintf("h%d", connections)}, reach: reach,
		}
		rt.Repeat(map[string]func(*rapid.T){
			"consent":           func(*rapid.T) { h.consent() },
			"acquire":           func(*rapid.T) { h.acquire() },
			"disconnect":        func(*rapid.T) { h.disconnect() },
			"refresh":           h.refresh,
			"refresh, fault":    h.refreshWithFault,
			"revocation, fault": h.revocationWithFault,
			"overtaken":         h.overtaken,
			"time passes":       h.timePasses,
			"":                  func(*rapid.T) { h.check() },
		})
		h.settle()
	})
}

// history is one connection and what is known of it.
type history struct {
	*rapid.T
	*rig
	rots []*rotator.Rotator
	k    tokenworker.Key

	reach     demoprovider.Reach
	consented *demoprovider.Tokens // that the user has given, and the worker has not seen yet
	grants    []string             // the first refresh token of each grant so far, in order
	lost      int                  // attempts of which nobody may know whether they spent the token
	live      bool                 // the last event was an acquisition
}

func (h *history) consent() {
	tokens, err := h.server.Grant("worker", h.k.String(), "")
	must(h.t, err)
	h.consented = &tokens
}

func (h *history) acquire() {
	if h.consented == nil {
		h.consent()
	}
	tokens := *h.consented
	h.consented = nil
	if h.store(h.k, tokens) != tokenworker.Applied {
		return // no room for another event id today
	}
	h.grants, h.live = append(h.grants, tokens.RefreshToken), true
}

// spared reports that no revocation reaches a grant other than the one that it was begun for.
func (h *history) spared() bool { return h.reach != demoprovider.ReachGrant }

func (h *history) disconnect() {
	h.rig.disconnect(h.k)
	if rec, ok := h.record(); ok && rec.Stamp.Sequence == h.seq {
		h.live = false
	}
}

func (h *history) do(t *rapid.T) {
	rot := rapid.SampledFrom(h.rots).Draw(t, "process")
	h.oneUse(func() { must(h.t, rot.Do(h.t.Context(), h.k, rapid.Bool().Draw(t, "forced"))) })
}

// doneFor fails if a record that was just looked at is due again at once, ahead of those that can be helped.
func (h *history) doneFor() {
	if rec, ok := h.record(); ok && !rec.Due().IsZero() && !rec.Due().After(h.clock.Now()) {
		h.Fatalf("looked at, and still due: set %s, revocation %s, now %s", rec.DueAt, rec.RevokeAt, h.clock.Now())
	}
}

// oneUse fails if a token that may be spent is posted again, unless as the last resort: the attempt before it is
// unresolved, and the access token has expired.
func (h *history) oneUse(do func()) {
	before, _ := h.record()
	doubtful := h.server.Totals().Doubtful
	do()
	last := before.Claim != nil && !h.clock.Now().Before(before.ExpiresAt)
	if h.server.Totals().Doubtful > doubtful && !last {
		h.Fatalf("OneUse: a token that may be spent was posted again; claim %v, expires %s, now %s", before.Claim, before.ExpiresAt,
			h.clock.Now())
	}
}

func (h *history) refresh(t *rapid.T) {
	h.do(t)
	h.doneFor()
}

func (h *history) refreshWithFault(t *rapid.T) {
	kind := rapid.SampledFrom([]demoprovider.FaultKind{
		demoprovider.RateLimited, demoprovider.Unavailable, demoprovider.Cut, demoprovider.GatewayTimeout,
		demoprovider.LostAnswer, demoprovider.HTMLPage,
	}).Draw(t, "fault")
	h.server.ClearFaults()
	must(h.t, h.server.Inject(demoprovider.Fault{Kind: kind, Count: 1}))
	before := h.server.Totals().Posts
	h.do(t)
	h.doneFor()
	h.server.ClearFaults()
	if kind != demoprovider.RateLimited && h.server.Totals().Posts > before {
		h.lost++
	}
}

// revocationWithFault lets a revocation fail, or its answer be lost after it took place.
func (h *history) revocationWithFault(t *rapid.T) {
	kind := rapid.SampledFrom([]demoprovider.FaultKind{
		demoprovider.RateLimited, demoprovider.Unavailable, demoprovider.LostAnswer,
	}).Draw(t, "fault")
	h.server.ClearFaults()
	must(h.t, h.server.Inject(demoprovider.Fault{Kind: kind, Endpoint: demoprovider.RevokeEndpoint, Count: 4}))
	h.refresh(t)
	h.server.ClearFaults()
}

// overtaken lets an event in between claim and commit.
func (h *history) overtaken(t *rapid.T) {
	event := rapid.SampledFrom([]func(){h.acquire, h.disconnect}).Draw(t, "event")
	writes := 0
	h.before = func(context.Context, tokenworker.Key) error {
		if writes++; writes == 2 {
			event()
		}
		return nil
	}
	h.do(t)
	h.before = nil
}

func (h *history) timePasses(t *rapid.T) {
	h.advance(rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 20 * time.Minute, time.Hour}).Draw(t, "time"))
}

func (h *history) record() (tokenworker.Record, bool) {
	rec, err := h.db.Get(h.t.Context(), h.k)
	return rec, err == nil
}

// check asks for what must hold at all times.
func (h *history) check() {
	rec, ok := h.record()
	if !ok {
		return
	}
	if down := rec.Status == tokenworker.Disconnecting || rec.Status == tokenworker.Disconnected; down && rec.Sealed != nil {
		h.Fatalf("Gone: %s, and holds a set", rec.Status)
	}
	if h.live != (rec.Status == tokenworker.Active || rec.Status == tokenworker.ReauthRequired) {
		h.Fatalf("InOrder: the last event was an acquisition: %t; the record is %s", h.live, rec.Status)
	}
	reuses := 0
	for _, token := range h.grants {
		reuses += h.family(token).Reuses
	}
	if reuses > h.lost {
		h.Fatalf("OneUse: %d spent tokens were posted again, after %d attempts that nobody knows the outcome of", reuses, h.lost)
	}
	if rec.Status == tokenworker.ReauthRequired && h.lost == 0 && h.spared() {
		h.Fatalf("NoFalseReauth: the grant was declared dead (%s), and no answer was ever lost", rec.FailureCode)
	}
	if rec.Status == tokenworker.Active && rec.Claim == nil && h.lost == 0 && h.spared() {
		h.mustBeLive("NoLostRotation")
	}
}

func (h *history) family(refreshToken string) demoprovider.Family {
	f, err := h.server.Family(refreshToken)
	must(h.t, err)
	return f
}

// mustBeLive fails unless the provider takes the stored refresh token.
func (h *history) mustBeLive(invariant string) {
	token := string(h.set(h.k).RefreshToken.Reveal())
	if f := h.family(token); len(f.Live) != 1 || f.Live[0] != token {
		h.Fatalf("%s: the stored refresh token is not the live one (%s)", invariant, f.Fate)
	}
}

// settle lets everything come to an end, and asks for what must hold then.
func (h *history) settle() {
	pass := func(d time.Duration) {
		h.advance(d)
		for _, rot := range h.rots {
			h.oneUse(func() { must(h.t, rot.Do(h.t.Context(), h.k, false)) })
			h.doneFor()
		}
	}
	pass(3 * time.Minute) // a claim and the margin
	if rec, _ := h.record(); rec.Status == tokenworker.Active && rec.Claim == nil && h.lost == 0 {
		h.mustBeLive("KnownDead")
	}
	for range 12 {
		pass(2 * time.Hour)
	}
	h.check()
	rec, ok := h.record()
	switch {
	case !ok:
	case len(rec.Revoke) > 0:
		h.Fatalf("NothingLeft: %d sets still wait for revocation", len(rec.Revoke))
	case rec.Status == tokenworker.Disconnected && len(h.grants) > 0:
		if len(h.family(h.grants[len(h.grants)-1]).Live) > 0 {
			h.Fatalf("AllRevoked: the connection is disconnected, and its last grant lives")
		}
	}
}
