package rotator_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/rotator"
	"github.com/tokenworker/tokenworker/streams"
)

// loseReply loses the reply of the nth write from now.
func (r *rig) loseReply(n int) {
	r.after = func() error {
		if n--; n == 0 {
			return fmt.Errorf("test: the reply was lost: %w", tokenworker.ErrUnavailable)
		}
		return nil
	}
}

func TestAClaimWhoseReplyWasLostIsGivenBackAtOnce(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.acquire(conn)
	r.advance(50 * time.Minute)
	var logs bytes.Buffer
	rot := r.rotator("p1", func(c *rotator.Config) { c.Logger = slog.New(slog.NewTextHandler(&logs, nil)) })
	r.loseReply(1)
	if err := rot.Do(t.Context(), conn, false); !errors.Is(err, tokenworker.ErrUnavailable) {
		t.Fatalf("error %v, want the store's", err)
	}
	rec := r.get(conn)
	if rec.Claim != nil || len(rec.Acquired) != 0 || rec.FailureCode != "claim_unanswered" || r.server.Totals().Posts != 0 {
		t.Fatalf("claim %v, %d tokens spent, code %q after %d requests", rec.Claim, len(rec.Acquired), rec.FailureCode, r.server.Totals().Posts)
	}
	if got := logs.String(); !strings.Contains(got, conn.String()) || !strings.Contains(got, "level=WARN") {
		t.Errorf("the log does not name the connection: %s", got)
	}
	r.advance(time.Minute)
	do(t, rot, conn)
	if rec = r.get(conn); rec.Generation != 1 || r.server.Totals().Posts != 1 {
		t.Errorf("generation %d after %d requests", rec.Generation, r.server.Totals().Posts)
	}
}

// The reply to a claim was lost, and a disconnect came before the store's client tried again. Nothing was posted, so a later login may
// bring the same token.
func TestAClaimThatAnEventEndedUnseenLeavesNoTokenSpent(t *testing.T) {
	r := newRig(t, demoprovider.Policy{Rotation: demoprovider.Static}, "")
	tokens := r.acquire(conn)
	r.advance(50 * time.Minute)
	r.after = func() error {
		r.after = nil
		r.disconnect(conn)
		return tokenworker.ErrFenced
	}
	do(t, r.rotator("p1"), conn)
	if rec := r.get(conn); len(rec.Acquired) != 0 || len(rec.Attempts) != 0 || r.server.Totals().Posts != 0 {
		t.Fatalf("%d tokens spent, %d attempts after %d requests", len(rec.Acquired), len(rec.Attempts), r.server.Totals().Posts)
	}
	if v := r.store(conn, tokens); v != tokenworker.Applied {
		t.Errorf("a new login with the same token is %s", v)
	}
}

// A claim that has not arrived may still do so: then the record is written, so that it cannot.
func TestAClaimThatMayStillArriveIsKeptOut(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.acquire(conn)
	r.advance(50 * time.Minute)
	calls := 0
	r.before = func(context.Context, tokenworker.Key) error { // the claim is on its way, and then the store is away for a moment
		if calls++; calls <= 3 {
			return fmt.Errorf("test: no answer: %w", tokenworker.ErrUnavailable)
		}
		return nil
	}
	if err := r.rotator("p1").Do(t.Context(), conn, false); !errors.Is(err, tokenworker.ErrUnavailable) {
		t.Fatalf("error %v, want the store's", err)
	}
	if rec := r.get(conn); rec.Claim != nil || rec.Failures != 1 || rec.FailureCode != "claim_unanswered" || calls != 4 {
		t.Errorf("claim %v, %d failures, code %q after %d calls", rec.Claim, rec.Failures, rec.FailureCode, calls)
	}
}

func TestTheClaimThatALastResortHasTakenOverStandsAgain(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.acquire(conn)
	must(t, r.server.Inject(demoprovider.Fault{Kind: demoprovider.Cut, Count: 1}))
	r.advance(50 * time.Minute)
	do(t, r.rotator("p1"), conn)
	first := *r.get(conn).Claim
	r.advance(20 * time.Minute)
	r.loseReply(1)
	if err := r.rotator("p2").Do(t.Context(), conn, false); !errors.Is(err, tokenworker.ErrUnavailable) {
		t.Fatalf("error %v, want the store's", err)
	}
	r.after = nil
	rec := r.get(conn)
	if rec.Claim == nil || *rec.Claim != first || len(rec.Acquired) != 1 || rec.Attempts[0].ID != first.Attempt || rec.Attempts[0].Sole {
		t.Fatalf("claim %+v, want %+v; attempts %+v", rec.Claim, first, rec.Attempts)
	}
	if got := r.server.Totals().Posts; got != 1 {
		t.Errorf("%d requests", got)
	}
}

// A store that is away for some seconds after the answer is no reason to count what was refused as unresolved.
func TestARefusedRequestIsGivenBackWhenTheStoreIsThereAgain(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.acquire(conn)
	must(t, r.server.Inject(demoprovider.Fault{Kind: demoprovider.RateLimited, Count: 1}))
	r.advance(50 * time.Minute)
	calls := 0
	r.before = func(context.Context, tokenworker.Key) error {
		if calls++; calls > 1 && calls <= 6 {
			return fmt.Errorf("test: no answer: %w", tokenworker.ErrUnavailable)
		}
		return nil
	}
	do(t, r.rotator("p1"), conn)
	if rec := r.get(conn); rec.Claim != nil || rec.FailureCode != "rate_limited" || len(rec.Acquired) != 0 {
		t.Errorf("claim %v, code %q, %d tokens spent", rec.Claim, rec.FailureCode, len(rec.Acquired))
	}
}

// Where nobody knows the policy it is taken for strict. The provider keeps its refresh tokens all the same, and hands the same one
// out at a new login.
func TestATokenThatTheProviderKeepsIsNotTakenForSpent(t *testing.T) {
	r := newRig(t, demoprovider.Policy{Rotation: demoprovider.Static}, "")
	tokens := r.acquire(conn)
	r.advance(50 * time.Minute)
	do(t, r.rotator("p1"), conn)
	rec := r.get(conn)
	if rec.Generation != 1 || len(rec.Acquired) != 0 || rec.Rotated {
		t.Fatalf("generation %d, %d tokens spent, rotated %t", rec.Generation, len(rec.Acquired), rec.Rotated)
	}
	if v := r.store(conn, tokens); v != tokenworker.Applied {
		t.Errorf("a new login with the same refresh token is %s", v)
	}
}

func TestARefusedGrantComesBackWithANewLogin(t *testing.T) {
	r := newRig(t, demoprovider.Policy{Rotation: demoprovider.Static}, "")
	tokens := r.acquire(conn)
	must(t, r.server.Inject(demoprovider.Fault{Kind: demoprovider.Refused, Count: 1}))
	r.advance(50 * time.Minute)
	do(t, r.rotator("p1"), conn)
	if rec := r.get(conn); rec.Status != tokenworker.ReauthRequired {
		t.Fatalf("status %s", rec.Status)
	}
	if v := r.store(conn, tokens); v != tokenworker.Applied || r.get(conn).Status != tokenworker.Active {
		t.Errorf("a new login with the same refresh token is %s, the connection %s", v, r.get(conn).Status)
	}
}

func TestAnAttemptIsOverWhenNobodyHoldsItAndNothingWaits(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.acquire(conn)
	r.advance(50 * time.Minute)
	r.storeDownAfterTheClaim()
	rot := r.rotator("p1")
	do(t, rot, conn) // its answer waits in the rescue stream
	r.before = nil
	at := r.get(conn).Attempts[0]
	over := func(a tokenworker.Attempt) bool {
		t.Helper()
		ok, err := rot.Over(t.Context(), conn, a)
		must(t, err)
		return ok
	}
	another := tokenworker.Attempt{ID: tokenworker.NewAttemptID(), Until: at.Until}
	if over(at) || over(another) {
		t.Error("an attempt is over while its process may hold it")
	}
	r.advance(time.Hour)
	if over(at) {
		t.Error("an attempt is over whose answer waits in the rescue stream")
	}
	r.off = 31 * time.Second
	if over(another) {
		t.Error("a worker whose clock is off takes another's attempt for over")
	}
	r.off = 30 * time.Second
	if !over(another) {
		t.Error("an attempt is not over that nobody holds and whose answer does not wait")
	}
	if r.count(streams.Rescue) != 1 {
		t.Error("no answer waits in the rescue stream")
	}
}
