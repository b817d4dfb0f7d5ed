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

// TestHistories drives the real store, rotator and client through the actions of docs/model/Connection.tla, in random
// order, against an OAuth server that revokes the whole family when a spent token comes back, and checks the model's
// invariants against that server's ledger. Model and code cannot drift apart without it noticing.
func TestHistories(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	rots := []*rotator.Rotator{r.rotator("p1"), r.rotator("p2")}
	connections := 0
	rapid.Check(t, func(rt *rapid.T) {
		connections++
		h := &history{
			T: rt, rig: r, rots: rots,
			k: tokenworker.Key{OrgID: "acme", ProviderID: "demo", CompanyID: fmt.Sprintf("h%d", connections)},
		}
		rt.Repeat(map[string]func(*rapid.T){
			"acquire":        func(*rapid.T) { h.acquire() },
			"disconnect":     func(*rapid.T) { h.disconnect() },
			"refresh":        h.refresh,
			"refresh, fault": h.refreshWithFault,
			"overtaken":      h.overtaken,
			"time passes":    h.timePasses,
			"":               func(*rapid.T) { h.check() },
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

	subjects []string // of the grants so far, in order
	lost     int      // attempts of which nobody may know whether they spent the token
	live     bool     // the last event was an acquisition
}

func (h *history) acquire() {
	subject := fmt.Sprintf("%s/%d", h.k, len(h.subjects))
	tokens, err := h.server.Grant("worker", subject, "")
	must(h.t, err)
	if h.store(h.k, tokens) != tokenworker.Applied {
		return // no room for another event id today
	}
	h.subjects, h.live = append(h.subjects, subject), true
}

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

func (h *history) refresh(t *rapid.T) { h.do(t) }

func (h *history) refreshWithFault(t *rapid.T) {
	kind := rapid.SampledFrom([]demoprovider.FaultKind{
		demoprovider.RateLimited, demoprovider.Unavailable, demoprovider.Cut, demoprovider.GatewayTimeout,
		demoprovider.LostAnswer, demoprovider.HTMLPage,
	}).Draw(t, "fault")
	h.server.ClearFaults()
	must(h.t, h.server.Inject(demoprovider.Fault{Kind: kind, Count: 1}))
	before := h.server.Totals().Posts
	h.do(t)
	h.server.ClearFaults()
	if kind != demoprovider.RateLimited && h.server.Totals().Posts > before {
		h.lost++
	}
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
	for f := range h.server.Families() {
		for _, s := range h.subjects {
			if f.Subject == s {
				reuses += f.Reuses
			}
		}
	}
	if reuses > h.lost {
		h.Fatalf("OneUse: %d spent tokens were posted again, after %d attempts that nobody knows the outcome of", reuses, h.lost)
	}
	if rec.Status == tokenworker.ReauthRequired && h.lost == 0 {
		h.Fatalf("NoFalseReauth: the grant was declared dead (%s), and no answer was ever lost", rec.FailureCode)
	}
	if rec.Status == tokenworker.Active && rec.Claim == nil && h.lost == 0 {
		f, err := h.server.Family(string(h.set(h.k).RefreshToken.Reveal()))
		must(h.t, err)
		if len(f.Live) != 1 || f.Live[0] != string(h.set(h.k).RefreshToken.Reveal()) {
			h.Fatalf("NoLostRotation: the stored refresh token is not the live one (%s)", f.Fate)
		}
	}
}

// settle lets everything come to an end, and asks for what must hold then.
func (h *history) settle() {
	for range 12 {
		h.advance(2 * time.Hour)
		for _, rot := range h.rots {
			h.oneUse(func() { must(h.t, rot.Do(h.t.Context(), h.k, false)) })
		}
	}
	h.check()
	if rec, ok := h.record(); !ok || rec.Status != tokenworker.Disconnected {
		return
	}
	for f := range h.server.Families() {
		if len(h.subjects) > 0 && f.Subject == h.subjects[len(h.subjects)-1] && len(f.Live) > 0 {
			h.Fatalf("AllRevoked: the connection is disconnected, and its last grant lives")
		}
	}
}
