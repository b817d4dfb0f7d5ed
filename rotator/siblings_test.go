package rotator_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/rotator"
)

// A provider where one revocation ends all that was granted for a company.
const ofCompany = "    revocation_scope: grant\n    disconnect_scope: company\n"

func newCompanyRig(t *testing.T) *rig {
	t.Helper()
	return newRig(t, demoprovider.Policy{Revocation: demoprovider.ReachGrant}, ofCompany)
}

func inOrg(org string) tokenworker.Key {
	return tokenworker.Key{OrgID: org, ProviderID: "demo", CompanyID: "1"}
}

// connect stores a grant of the company.
func (r *rig) connect(k tokenworker.Key) {
	r.t.Helper()
	tokens, err := r.server.Grant("worker", k.CompanyID, "")
	must(r.t, err)
	if v := r.store(k, tokens); v != tokenworker.Applied {
		r.t.Fatalf("the acquisition was %s", v)
	}
}

// disconnectCompany disconnects as the consumer does.
func (r *rig) disconnectCompany(rot *rotator.Rotator, k tokenworker.Key) tokenworker.Stamp {
	r.t.Helper()
	ev := r.event(k)
	_, err := r.db.Disconnect(r.t.Context(), &tokenworker.Disconnection{Event: ev, SiblingsUntil: rot.SiblingsUntil(k.ProviderID)})
	must(r.t, err)
	return ev.Stamp
}

func (r *rig) do(rot *rotator.Rotator, keys ...tokenworker.Key) {
	r.t.Helper()
	for _, k := range keys {
		must(r.t, rot.Do(r.t.Context(), k, false))
	}
}

func TestADisconnectEndsTheCompanyInEveryOrganization(t *testing.T) {
	r := newCompanyRig(t)
	rot, a, b, c := r.rotator("one"), inOrg("a"), inOrg("b"), inOrg("c")
	for _, k := range []tokenworker.Key{a, b, c} {
		r.connect(k)
	}
	at := r.disconnectCompany(rot, a)
	r.do(rot, a, b, c)
	for _, k := range []tokenworker.Key{a, b, c} {
		if rec := r.get(k); rec.Status != tokenworker.Disconnected || rec.Stamp != at || rec.Marks() {
			t.Errorf("%s is %s at %s, siblings %v", k, rec.Status, rec.Stamp, rec.Siblings)
		}
	}
	if got := strings.Count(r.notices(), "disconnected"); got != 2 {
		t.Errorf("%d siblings were announced: %s", got, r.notices())
	}
	for f := range r.server.Families() {
		if len(f.Live) > 0 {
			t.Errorf("grant %d lives on", f.Number)
		}
	}
}

func TestADisconnectWithoutAGrantEndsNobodyElses(t *testing.T) {
	r := newCompanyRig(t)
	rot, a, b, newer := r.rotator("one"), inOrg("a"), inOrg("b"), inOrg("newer")
	r.connect(a)
	early := r.event(b).Stamp.Sequence // the place of a grant whose event comes late
	at := r.disconnectCompany(rot, b)
	r.do(rot, b)
	r.connect(newer)
	due := r.get(newer).DueAt
	must(t, rot.LookBack(t.Context(), newer, r.get(newer).Stamp))
	if rec := r.get(newer); !rec.DueAt.Equal(due) {
		t.Errorf("a newer grant is to be checked by %s", rec.DueAt)
	}
	if rec, n := r.get(a), r.server.Totals().Revocations; rec.Status != tokenworker.Active || n != 0 {
		t.Fatalf("a sibling is %s, after %d revocations", rec.Status, n)
	}

	last := r.seq
	r.seq = early - 1
	tokens, err := r.server.Grant("worker", b.CompanyID, "")
	must(t, err)
	if v := r.store(b, tokens); v != tokenworker.Revoking {
		t.Fatalf("the late acquisition was %s", v)
	}
	r.seq = last
	r.do(rot, b)
	if rec := r.get(a); rec.Status != tokenworker.Disconnecting || rec.Stamp != at {
		t.Errorf("when there has been a grant, its older sibling is %s at %s", rec.Status, rec.Stamp)
	}
	if rec := r.get(newer); rec.Status != tokenworker.Active {
		t.Errorf("and the newer one %s", rec.Status)
	}
}

func TestANewerGrantOfASiblingIsNeitherMarkedNorRevoked(t *testing.T) {
	r := newCompanyRig(t)
	rot, a, b, c := r.rotator("one"), inOrg("a"), inOrg("b"), inOrg("c")
	r.connect(a)
	r.connect(b)
	r.disconnectCompany(rot, a)
	r.connect(c)
	r.do(rot, a, b)
	if rec := r.get(c); rec.Status != tokenworker.Active || !r.refreshes(c) {
		t.Errorf("the newer grant is %s, or does not work", rec.Status)
	}
	for _, k := range []tokenworker.Key{a, b} {
		if rec := r.get(k); rec.Status != tokenworker.Disconnected || rec.FailureCode != "newer_grant" {
			t.Errorf("%s is %s because of %q", k, rec.Status, rec.FailureCode)
		}
	}
}

func TestTheCompanyThatComesBackDoesNotForgetItsSiblings(t *testing.T) {
	r := newCompanyRig(t)
	rot, a, b := r.rotator("one"), inOrg("a"), inOrg("b")
	r.connect(a)
	r.connect(b)
	r.disconnectCompany(rot, a)
	r.connect(a)
	r.do(rot, a)
	if rec := r.get(b); rec.Status == tokenworker.Active {
		t.Error("the sibling is served on")
	}
	if rec := r.get(a); rec.Status != tokenworker.Active || rec.Marks() {
		t.Errorf("the connection that came back is %s, siblings %v", rec.Status, rec.Siblings)
	}
}

func TestMarkingThatBreaksOffIsTakenUpAgain(t *testing.T) {
	r := newCompanyRig(t)
	a, b, c := inOrg("a"), inOrg("b"), inOrg("c")
	for _, k := range []tokenworker.Key{a, b, c} {
		r.connect(k)
	}
	lost := errors.New("lost")
	r.before = func(_ context.Context, k tokenworker.Key) error {
		if k == c {
			return lost
		}
		return nil
	}
	rot := r.rotator("one")
	r.disconnectCompany(rot, a)
	if err := rot.Do(t.Context(), a, false); !errors.Is(err, lost) {
		t.Fatalf("error %v", err)
	}
	if rec := r.get(a); !rec.Marks() || rec.Status != tokenworker.Disconnecting {
		t.Errorf("the work is forgotten: %s", rec.Status)
	}
	r.before = nil
	r.do(r.rotator("another"), a)
	if rec := r.get(c); rec.Status == tokenworker.Active {
		t.Error("the sibling is served on")
	}
}

// unreadable is a store that does not read one record.
type unreadable struct {
	faulty
	bad tokenworker.Key
}

var errUnreadable = errors.New("does not decode")

func (u unreadable) Get(ctx context.Context, k tokenworker.Key) (tokenworker.Record, error) {
	if k == u.bad {
		return tokenworker.Record{}, errUnreadable
	}
	return u.faulty.Get(ctx, k)
}

func TestASiblingThatCannotBeReadHoldsUpNoOtherAndNoRevocationForEver(t *testing.T) {
	r := newCompanyRig(t)
	a, bad, c := inOrg("a"), inOrg("b"), inOrg("c")
	for _, k := range []tokenworker.Key{a, bad, c} {
		r.connect(k)
	}
	rot, err := rotator.New(rotator.Config{Process: "one", Now: r.clock.Now, AttemptTimeout: time.Second}, r.js,
		unreadable{faulty{r.db, r}, bad}, r.sealer, r.gate)
	must(t, err)
	r.disconnectCompany(rot, a)
	if err := rot.Do(t.Context(), a, false); !errors.Is(err, errUnreadable) {
		t.Fatalf("error %v", err)
	}
	if rec, n := r.get(c), r.server.Totals().Revocations; rec.Status != tokenworker.Disconnecting || n != 0 {
		t.Errorf("the other sibling is %s, after %d revocations", rec.Status, n)
	}
	r.advance(2 * time.Hour)
	if err := rot.Do(t.Context(), a, false); !errors.Is(err, errUnreadable) {
		t.Fatalf("error %v", err)
	}
	if rec := r.get(a); rec.Status != tokenworker.Disconnected || !rec.Marks() {
		t.Errorf("after two hours it is %s, and its work left: %t", rec.Status, rec.Marks())
	}
}

// lagging is a store whose index of siblings lags.
type lagging struct {
	faulty
	hidden map[tokenworker.Key]bool
}

const lag = 10 * time.Second

func (l lagging) IndexLag() time.Duration { return lag }

func (l lagging) Siblings(ctx context.Context, k tokenworker.Key) iter.Seq2[tokenworker.Key, error] {
	var found []tokenworker.Key
	for s, err := range l.faulty.Siblings(ctx, k) {
		if err == nil && !l.hidden[s] {
			found = append(found, s)
		}
	}
	return func(yield func(tokenworker.Key, error) bool) {
		for _, s := range found {
			if !yield(s, nil) {
				return
			}
		}
	}
}

func TestAnIndexThatLagsIsOutwaited(t *testing.T) {
	r := newCompanyRig(t)
	a, b, c := inOrg("a"), inOrg("b"), inOrg("c")
	for _, k := range []tokenworker.Key{a, b, c} {
		r.connect(k)
	}
	store := lagging{faulty{r.db, r}, map[tokenworker.Key]bool{c: true}}
	rot, err := rotator.New(rotator.Config{Process: "one", Now: r.clock.Now, AttemptTimeout: time.Second}, r.js, store, r.sealer, r.gate)
	must(t, err)
	r.disconnectCompany(rot, a)
	r.do(rot, a, b)
	if rec := r.get(b); rec.Status != tokenworker.Disconnecting {
		t.Errorf("the sibling that shows is %s", rec.Status)
	}
	if n := r.server.Totals().Revocations; n != 0 {
		t.Errorf("%d revocations were sent while a newer grant might not show", n)
	}
	delete(store.hidden, c)
	r.advance(2 * lag)
	r.do(rot, a)
	if rec := r.get(c); rec.Status == tokenworker.Active {
		t.Error("the sibling that did not show is served on")
	}
	r.do(rot, b)
	r.advance(2 * lag)
	r.do(rot, b, c)
	for _, k := range []tokenworker.Key{a, b, c} {
		if rec := r.get(k); rec.Status != tokenworker.Disconnected {
			t.Errorf("%s is %s", k, rec.Status)
		}
	}
}

func TestAnAcquisitionLooksBackAtItsSiblings(t *testing.T) {
	r := newCompanyRig(t)
	rot, a, late, newer := r.rotator("one"), inOrg("a"), inOrg("late"), inOrg("newer")
	r.connect(a)
	before := r.event(late).Stamp // its place in the stream
	at := r.disconnectCompany(rot, a)
	r.do(rot, a)

	// Older than the disconnect, and delivered after all the work was done.
	r.seq = before.Sequence - 1
	r.connect(late)
	r.seq = at.Sequence
	must(t, rot.LookBack(t.Context(), late, before))
	if rec := r.get(late); rec.Status != tokenworker.Disconnecting || rec.Stamp != at {
		t.Errorf("the older grant is %s at %s", rec.Status, rec.Stamp)
	}

	r.connect(newer)
	due := r.get(newer).DueAt
	must(t, rot.LookBack(t.Context(), newer, r.get(newer).Stamp))
	if rec := r.get(newer); rec.Status != tokenworker.Active || !rec.DueAt.Before(due) {
		t.Errorf("the newer grant is %s, due at %s as before", rec.Status, rec.DueAt)
	}
	kinds := strings.Fields(r.notices())
	if !slices.Contains(kinds, "disconnected") {
		t.Errorf("announced: %v", kinds)
	}
}
