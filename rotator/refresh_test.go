package rotator_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/provider"
	"github.com/tokenworker/tokenworker/rotator"
	"github.com/tokenworker/tokenworker/streams"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const strictSettings = "    rotation: strict\n    revocation_scope: family\n    margin: 2m\n"

func do(t *testing.T, rot *rotator.Rotator, k tokenworker.Key) {
	t.Helper()
	must(t, rot.Do(t.Context(), k, false))
}

func TestADueSetIsRefreshedOnceAndAnnounced(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	rot := r.rotator("p1")
	first := r.acquire(conn)
	do(t, rot, conn)
	if got := r.server.Totals().Posts; got != 0 {
		t.Fatalf("%d requests before the set is due", got)
	}
	r.advance(50 * time.Minute)
	for range 2 { // the second finds nothing due
		do(t, rot, conn)
	}
	rec, totals := r.get(conn), r.server.Totals()
	if totals.Posts != 1 || rec.Generation != 1 || rec.Claim != nil || rec.Status != tokenworker.Active {
		t.Fatalf("%d requests, generation %d, claim %v, status %s", totals.Posts, rec.Generation, rec.Claim, rec.Status)
	}
	if string(r.set(conn).RefreshToken.Reveal()) == first.RefreshToken {
		t.Error("the refresh token is still the old one")
	}
	if !rec.DueAt.After(r.clock.Now()) || !rec.ExpiresAt.After(rec.DueAt) {
		t.Errorf("due at %s, expires at %s, now %s", rec.DueAt, rec.ExpiresAt, r.clock.Now())
	}
	if got := r.notices(); got != "refreshed" {
		t.Errorf("announced %q", got)
	}
	if !r.refreshes(conn) {
		t.Error("the stored refresh token is not the live one")
	}
}

func TestASetIsReplacedOnceHoweverManyAsk(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.acquire(conn)
	from := r.get(conn).Fence
	for i := range 2 {
		rec, err := r.rotator(fmt.Sprint("p", i)).Replace(t.Context(), conn, from)
		must(t, err)
		if rec.Fence != from.Next() || rec.Status != tokenworker.Active {
			t.Errorf("the record is of %v and %s", rec.Fence, rec.Status)
		}
	}
	if got := r.server.Totals().Posts; got != 1 {
		t.Errorf("%d requests", got)
	}
}

func TestAReplacementDoesNotOvertakeTheWaitAfterAFailure(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	rot := r.rotator("p1")
	r.acquire(conn)
	must(t, r.server.Inject(demoprovider.Fault{Kind: demoprovider.RateLimited, Count: 1}))
	from := r.get(conn).Fence
	for range 3 {
		rec, err := rot.Replace(t.Context(), conn, from)
		must(t, err)
		if rec.Fence != from || rec.FailureCode != "rate_limited" {
			t.Errorf("the record is of %v, the last failure %q", rec.Fence, rec.FailureCode)
		}
	}
	if got := r.server.Totals().Posts; got != 1 {
		t.Errorf("%d requests", got)
	}
	r.advance(r.get(conn).DueAt.Sub(r.clock.Now()))
	if rec, err := rot.Replace(t.Context(), conn, from); err != nil || rec.Fence != from.Next() {
		t.Errorf("after the wait the record is of %v: %v", rec.Fence, err)
	}
}

func TestAnswersOtherThanASet(t *testing.T) {
	for _, c := range []struct {
		name    string
		fault   demoprovider.Fault
		status  tokenworker.Status
		code    string
		claimed bool
		notices string
	}{
		{"429 gives the claim back", demoprovider.Fault{Kind: demoprovider.RateLimited}, tokenworker.Active, "rate_limited", false, "refresh_failed"},
		{"another definite refusal gives the claim back", demoprovider.Fault{Kind: demoprovider.Refused, Error: "invalid_request"}, tokenworker.Active, "refused", false, "refresh_failed"},
		{"wrong client credentials give the claim back", demoprovider.Fault{Kind: demoprovider.Refused, Error: "invalid_client"}, tokenworker.Active, "invalid_client", false, "refresh_failed"},
		{"503 leaves it unresolved", demoprovider.Fault{Kind: demoprovider.Unavailable}, tokenworker.Active, "server_error", true, "refresh_failed"},
		{"504 after the rotation leaves it unresolved", demoprovider.Fault{Kind: demoprovider.GatewayTimeout}, tokenworker.Active, "server_error", true, "refresh_failed"},
		{"a lost answer leaves it unresolved", demoprovider.Fault{Kind: demoprovider.LostAnswer}, tokenworker.Active, "connection_lost", true, "refresh_failed"},
		{"a page in place of an answer leaves it unresolved", demoprovider.Fault{Kind: demoprovider.HTMLPage}, tokenworker.Active, "unreadable", true, "refresh_failed"},
		{"a redirect leaves it unresolved", demoprovider.Fault{Kind: demoprovider.Redirect}, tokenworker.Active, "redirected", true, "refresh_failed"},
		{"invalid_grant ends the grant", demoprovider.Fault{Kind: demoprovider.Refused}, tokenworker.ReauthRequired, "invalid_grant", false, "reauth_required"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, demoprovider.Policy{}, strictSettings)
			rot := r.rotator("p1")
			r.acquire(conn)
			c.fault.Count = 1
			must(t, r.server.Inject(c.fault))
			r.advance(50 * time.Minute)
			do(t, rot, conn)
			rec := r.get(conn)
			if rec.Status != c.status || rec.FailureCode != c.code || (rec.Claim != nil) != c.claimed || rec.Failures != 1 {
				t.Fatalf("status %s, code %s, claim %v, %d failures", rec.Status, rec.FailureCode, rec.Claim, rec.Failures)
			}
			if rec.Status == tokenworker.Active && !rec.DueAt.After(r.clock.Now()) {
				t.Errorf("still due at %s, now %s: it would be found again at every tick", rec.DueAt, r.clock.Now())
			}
			if rec.Status != tokenworker.Active && (!rec.DueAt.IsZero() || rec.Owed != nil) {
				t.Errorf("due at %s, owes %v after it was announced", rec.DueAt, rec.Owed)
			}
			if got := r.notices(); got != c.notices {
				t.Errorf("announced %q, want %q", got, c.notices)
			}
			do(t, rot, conn)
			if got := r.server.Totals().Posts; got != 1 {
				t.Errorf("%d requests; the failure was not waited out", got)
			}
		})
	}
}

// What calls the grant dead behind a 5xx is true or it is not. Introspection tells; where there is none the last resort does,
// which is due anyway. No request with the token is made to find out.
func TestADoubtedGrantIsConfirmedBeforeItEnds(t *testing.T) {
	doubted := demoprovider.Fault{Kind: demoprovider.Refused, Status: 500, Count: 1}
	silent := demoprovider.Fault{Kind: demoprovider.Unavailable, Endpoint: demoprovider.IntrospectEndpoint}
	begin := func(t *testing.T, faults ...demoprovider.Fault) (*rig, *rotator.Rotator, demoprovider.Tokens) {
		r := newRig(t, demoprovider.Policy{}, strictSettings)
		rot := r.rotator("p1")
		tokens := r.acquire(conn)
		must(t, r.server.Inject(append(faults, doubted)...))
		r.advance(50 * time.Minute)
		return r, rot, tokens
	}
	status := func(t *testing.T, r *rig, want tokenworker.Status, posts int) {
		t.Helper()
		if rec := r.get(conn); rec.Status != want {
			t.Errorf("status %s, want %s", rec.Status, want)
		}
		if got := r.server.Totals(); got.Posts != posts {
			t.Errorf("%d requests with the token, want %d", got.Posts, posts)
		}
	}
	t.Run("introspection says that it is dead", func(t *testing.T) {
		r, rot, tokens := begin(t)
		must(t, r.server.Withdraw(tokens.RefreshToken))
		do(t, rot, conn)
		status(t, r, tokenworker.ReauthRequired, 1)
	})
	t.Run("introspection says that it is not", func(t *testing.T) {
		r, rot, _ := begin(t)
		do(t, rot, conn)
		status(t, r, tokenworker.Active, 1)
		r.advance(20 * time.Minute)
		do(t, rot, conn) // the last resort
		status(t, r, tokenworker.Active, 2)
		if rec := r.get(conn); rec.Claim != nil {
			t.Error("not refreshed")
		}
	})
	t.Run("nobody can be asked, and the last resort says the same", func(t *testing.T) {
		r, rot, _ := begin(t, silent)
		do(t, rot, conn)
		status(t, r, tokenworker.Active, 1)
		must(t, r.server.Inject(doubted))
		r.advance(5 * time.Minute)
		must(t, rot.Do(t.Context(), conn, true)) // before the access token has expired
		status(t, r, tokenworker.Active, 1)
		r.advance(15 * time.Minute)
		do(t, rot, conn)
		status(t, r, tokenworker.ReauthRequired, 2)
	})
	t.Run("nobody can be asked, and the last resort works", func(t *testing.T) {
		r, rot, _ := begin(t, silent)
		do(t, rot, conn)
		r.advance(20 * time.Minute)
		do(t, rot, conn)
		status(t, r, tokenworker.Active, 2)
	})
}

// Access tokens that live for five minutes are not without a successor for fifteen because the provider refused the client
// once.
func TestAPassingRefusalOfTheClientIsNoOutage(t *testing.T) {
	r := newRig(t, demoprovider.Policy{AccessLifetime: 5 * time.Minute}, strictSettings)
	rot := r.rotator("p1")
	r.acquire(conn)
	must(t, r.server.Inject(demoprovider.Fault{Kind: demoprovider.Refused, Error: "invalid_client", Count: 1}))
	r.advance(r.get(conn).DueAt.Sub(r.clock.Now()))
	do(t, rot, conn)
	rec := r.get(conn)
	if left, wait := rec.ExpiresAt.Sub(r.clock.Now()), rec.DueAt.Sub(r.clock.Now()); rec.FailureCode != "invalid_client" || wait <= 0 || wait > left/4+time.Second {
		t.Fatalf("code %s; %s left, and it waits for %s", rec.FailureCode, left, wait)
	}
	r.advance(rec.DueAt.Sub(r.clock.Now()))
	do(t, rot, conn)
	if rec := r.get(conn); rec.Generation != 1 || rec.FailureCode != "" {
		t.Errorf("not refreshed before the token expired: generation %d, code %s", rec.Generation, rec.FailureCode)
	}
}

func TestAnUnresolvedAttemptOfAStrictProviderWaitsForTheLastResort(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.acquire(conn)
	must(t, r.server.Inject(demoprovider.Fault{Kind: demoprovider.GatewayTimeout, Count: 1}))
	r.advance(50 * time.Minute)
	do(t, r.rotator("p1"), conn)
	for range 9 { // until the access token expires: served, not refreshed
		r.advance(time.Minute)
		must(t, r.rotator("p2").Do(t.Context(), conn, true))
	}
	if got := r.server.Totals(); got.Posts != 1 || got.Reuses != 0 {
		t.Fatalf("%d requests, %d reuses before the access token expired", got.Posts, got.Reuses)
	}
	r.advance(2 * time.Minute)
	do(t, r.rotator("p2"), conn)
	if got := r.server.Totals(); got.Posts != 2 || got.Reuses != 1 {
		t.Fatalf("%d requests, %d reuses; the last resort posts the token once more", got.Posts, got.Reuses)
	}
	if rec := r.get(conn); rec.Status != tokenworker.ReauthRequired {
		t.Errorf("status %s: the provider refused the last resort", rec.Status)
	}
}

func TestALastResortThatIsOnlyRefusedForNowStaysUnresolved(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.acquire(conn)
	must(t, r.server.Inject(demoprovider.Fault{Kind: demoprovider.Cut, Count: 1}, demoprovider.Fault{Kind: demoprovider.RateLimited, Count: 1}))
	r.advance(50 * time.Minute)
	do(t, r.rotator("p1"), conn)
	r.advance(20 * time.Minute)
	do(t, r.rotator("p2"), conn)
	rec := r.get(conn)
	if rec.Claim == nil || !rec.Claim.LastResort || rec.Status != tokenworker.Active {
		t.Fatalf("claim %v, status %s after a 429 to the last resort", rec.Claim, rec.Status)
	}
	r.advance(20 * time.Minute)
	do(t, r.rotator("p3"), conn) // the first request was cut before it was processed: the token is good
	if rec = r.get(conn); rec.Generation != 1 || rec.Claim != nil {
		t.Errorf("generation %d, claim %v", rec.Generation, rec.Claim)
	}
}

const graceSettings = "    rotation: grace\n    grace: 10m\n    revocation_scope: family\n    margin: 2m\n"

func TestAGraceProviderIsAskedAgainInsideTheWindow(t *testing.T) {
	r := newRig(t, demoprovider.Policy{Rotation: demoprovider.Grace, Grace: 10 * time.Minute}, graceSettings)
	r.acquire(conn)
	must(t, r.server.Inject(demoprovider.Fault{Kind: demoprovider.GatewayTimeout, Count: 1}))
	r.advance(50 * time.Minute)
	do(t, r.rotator("p1"), conn)
	r.advance(3*time.Minute + 59*time.Second)
	must(t, r.rotator("p2").Do(t.Context(), conn, true))
	if got := r.server.Totals(); got.Posts != 1 {
		t.Fatalf("%d requests, the second while the first could still arrive", got.Posts)
	}
	r.advance(time.Second)
	do(t, r.rotator("p2"), conn)
	rec, totals := r.get(conn), r.server.Totals()
	if rec.Generation != 1 || totals.Graces != 1 || totals.Reuses != 0 {
		t.Fatalf("generation %d, %d graces, %d reuses", rec.Generation, totals.Graces, totals.Reuses)
	}
	if !r.refreshes(conn) {
		t.Error("the stored refresh token is not the live one")
	}
}

func TestAGraceProviderThatIsBusyAtTheSecondPostStaysUnresolved(t *testing.T) {
	r := newRig(t, demoprovider.Policy{Rotation: demoprovider.Grace, Grace: 10 * time.Minute}, graceSettings)
	r.acquire(conn)
	must(t, r.server.Inject(demoprovider.Fault{Kind: demoprovider.GatewayTimeout, Count: 1}, demoprovider.Fault{Kind: demoprovider.RateLimited, Count: 1}))
	r.advance(50 * time.Minute)
	do(t, r.rotator("p1"), conn)
	first := r.get(conn).Claim
	r.advance(4 * time.Minute)
	do(t, r.rotator("p2"), conn)
	if rec := r.get(conn); rec.Claim == nil || !rec.Claim.At.Equal(first.At) || rec.Claim.Attempt == first.Attempt {
		t.Fatalf("claim %+v after %+v: the first attempt may have spent the token, and the window is counted from it", rec.Claim, first)
	}
}

func TestASecondPostWithinTheWindowLooksIntoTheRescueStreamFirst(t *testing.T) {
	r := newRig(t, demoprovider.Policy{Rotation: demoprovider.Grace, Grace: 10 * time.Minute}, graceSettings)
	r.acquire(conn)
	r.advance(50 * time.Minute)
	r.storeDownAfterTheClaim()
	do(t, r.rotator("p1"), conn)
	r.before = nil
	r.advance(4 * time.Minute)
	do(t, r.rotator("p2"), conn)
	if got := r.server.Totals(); got.Posts != 1 {
		t.Fatalf("%d requests: the answer to the first waits in the rescue stream", got.Posts)
	}
}

func TestACommitWhoseReplyWasLostIsAnnounced(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.acquire(conn)
	r.advance(50 * time.Minute)
	writes := 0
	r.after = func() error {
		if writes++; writes == 2 {
			return fmt.Errorf("test: the reply was lost: %w", tokenworker.ErrUnavailable)
		}
		return nil
	}
	rot := r.rotator("p1")
	do(t, rot, conn)
	r.after = nil
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- rot.Run(ctx) }()
	r.eventually("the rescue stream is empty", func() bool { return r.count(streams.Rescue) == 0 })
	cancel()
	must(t, <-ended)
	if got := r.notices(); got != "refreshed" {
		t.Errorf("announced %q", got)
	}
}

func TestAStaticProviderIsAskedAgain(t *testing.T) {
	r := newRig(t, demoprovider.Policy{Rotation: demoprovider.Static}, "    rotation: static\n")
	r.acquire(conn)
	must(t, r.server.Inject(demoprovider.Fault{Kind: demoprovider.GatewayTimeout, Count: 1}))
	r.advance(50 * time.Minute)
	do(t, r.rotator("p1"), conn)
	r.advance(2 * time.Minute)
	do(t, r.rotator("p2"), conn)
	if rec := r.get(conn); rec.Generation != 1 {
		t.Errorf("generation %d", rec.Generation)
	}
}

func TestAnAnswerThatCannotBeStoredIsRescued(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.acquire(conn)
	r.advance(50 * time.Minute)
	r.storeDownAfterTheClaim()
	do(t, r.rotator("p1"), conn)
	if rec := r.get(conn); rec.Generation != 0 || rec.Claim == nil {
		t.Fatalf("generation %d, claim %v", rec.Generation, rec.Claim)
	}
	r.before = nil
	r.advance(time.Hour)
	do(t, r.rotator("p2"), conn) // LookInRescue: its successor waits there
	if got := r.server.Totals(); got.Posts != 1 {
		t.Fatalf("%d requests: the last resort did not look into the rescue stream", got.Posts)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.rotator("p3").Run(ctx) }()
	r.eventually("the rescue stream is empty", func() bool { return r.count(streams.Rescue) == 0 })
	cancel()
	must(t, <-ended)
	if rec := r.get(conn); rec.Generation != 1 || rec.Claim != nil {
		t.Fatalf("generation %d, claim %v after the replay", rec.Generation, rec.Claim)
	}
	if !r.refreshes(conn) {
		t.Error("the stored refresh token is not the live one")
	}
	if got := r.notices(); got != "refreshed" {
		t.Errorf("announced %q", got)
	}
}

// A publisher may have acknowledgements put into the stream, and another version may have put answers there.
func TestWhatIsNoRescuedSetHoldsNoneUp(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	for i := range 200 {
		m := &nats.Msg{Subject: fmt.Sprint("tokens.v1.event.stored.a.b.", i), Reply: events.RescueSubject(conn)}
		must(t, r.js.Conn().PublishMsg(m))
	}
	other := tokenworker.Key{OrgID: "acme", ProviderID: conn.ProviderID, CompanyID: "other"}
	unknown := nats.NewMsg(events.RescueSubject(other))
	unknown.Data = []byte(`{"version": 2}`)
	unknown.Header.Set(events.StampHeader, "1/1")
	_, err := r.js.PublishMsg(t.Context(), unknown)
	must(t, err)
	r.acquire(conn)
	r.advance(50 * time.Minute)
	r.storeDownAfterTheClaim()
	do(t, r.rotator("p1"), conn)
	r.before = nil
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.rotator("p2").Run(ctx) }()
	r.eventually("what another version has put there is left alone", func() bool { return r.count(streams.Rescue) == 1 })
	cancel()
	must(t, <-ended)
	if rec := r.get(conn); rec.Generation != 1 {
		t.Errorf("generation %d after the replay", rec.Generation)
	}
}

// With the store and NATS down, an answer stays in memory and both are tried until one takes it.
func TestAnAnswerThatNothingTakesIsTriedAgain(t *testing.T) {
	down := fmt.Errorf("test: %w", tokenworker.ErrUnavailable)
	noRescue := func(r *rig) {
		r.acquire(conn)
		r.advance(50 * time.Minute)
		must(t, r.js.DeleteStream(t.Context(), streams.Rescue))
	}
	const tries = 3
	t.Run("the store comes back first", func(t *testing.T) {
		r := newRig(t, demoprovider.Policy{}, strictSettings)
		noRescue(r)
		writes := 0
		r.before = func(context.Context, tokenworker.Key) error {
			if writes++; writes > 1 && writes <= 1+tries {
				return down
			}
			return nil
		}
		do(t, r.rotator("p1"), conn)
		if rec := r.get(conn); rec.Generation != 1 || r.server.Totals().Posts != 1 || writes != 2+tries {
			t.Fatalf("generation %d, %d requests, %d writes", rec.Generation, r.server.Totals().Posts, writes)
		}
		if !r.refreshes(conn) {
			t.Error("the stored refresh token is not the live one")
		}
	})
	t.Run("NATS comes back first", func(t *testing.T) {
		r := newRig(t, demoprovider.Policy{}, strictSettings)
		noRescue(r)
		writes := 0
		r.before = func(context.Context, tokenworker.Key) error {
			if writes++; writes == 1 {
				return nil
			} else if writes == 1+tries {
				must(t, streams.Setup(t.Context(), r.js, 1, func(context.Context) (uint64, error) { return 1, nil }))
			}
			return down
		}
		do(t, r.rotator("p1"), conn)
		if got := r.count(streams.Rescue); got != 1 || writes != 1+tries {
			t.Fatalf("%d answers in the rescue stream after %d writes", got, writes)
		}
	})
	t.Run("neither, until the shutdown limit", func(t *testing.T) {
		r := newRig(t, demoprovider.Policy{}, strictSettings)
		noRescue(r)
		rot := r.rotator("p1", func(c *rotator.Config) { c.Grace = time.Millisecond })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- rot.Run(ctx) }()
		writes := 0
		r.before = func(context.Context, tokenworker.Key) error {
			if writes++; writes == 1 {
				return nil
			} else if writes == 1+tries {
				cancel()
			}
			return down
		}
		if err := rot.Do(ctx, conn, false); !errors.Is(err, tokenworker.ErrUnavailable) {
			t.Errorf("error %v, want ErrUnavailable", err)
		}
		must(t, <-ended)
		if rec := r.get(conn); rec.Claim == nil || writes < 1+tries {
			t.Errorf("claim %v after %d writes: the attempt is unresolved", rec.Claim, writes)
		}
	})
}

func TestADisconnectIsRevokedAndLeavesATombstone(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.acquire(conn)
	r.disconnect(conn)
	do(t, r.rotator("p1"), conn)
	rec, totals := r.get(conn), r.server.Totals()
	if rec.Status != tokenworker.Disconnected || rec.Sealed != nil || rec.Revoke != nil || rec.RemoveAt.IsZero() || !rec.DueAt.IsZero() {
		t.Fatalf("status %s, %d to revoke, removed at %s, due at %s", rec.Status, len(rec.Revoke), rec.RemoveAt, rec.DueAt)
	}
	if totals.RevokedByClient != 1 {
		t.Errorf("%d families revoked", totals.RevokedByClient)
	}
	if got := r.notices(); got != "revoked" {
		t.Errorf("announced %q", got)
	}
}

func TestARevocationThatFailsIsTriedAgain(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.acquire(conn)
	r.disconnect(conn)
	must(t, r.server.Inject(demoprovider.Fault{Kind: demoprovider.Unavailable, Endpoint: demoprovider.RevokeEndpoint, Count: 1}))
	do(t, r.rotator("p1"), conn)
	if rec := r.get(conn); rec.Status != tokenworker.Disconnecting || len(rec.Revoke) != 1 || !rec.Due().After(r.clock.Now()) {
		t.Fatalf("status %s, %d to revoke, due at %s", rec.Status, len(rec.Revoke), rec.Due())
	}
	r.advance(2 * time.Minute)
	do(t, r.rotator("p2"), conn)
	if rec := r.get(conn); rec.Status != tokenworker.Disconnected {
		t.Fatalf("status %s", rec.Status)
	}
}

func TestARevocationThatKeepsFailingHoldsUpNoRefresh(t *testing.T) {
	r := newRig(t, demoprovider.Policy{AccessLifetime: 5 * time.Minute}, strictSettings)
	rot := r.rotator("p1")
	r.acquire(conn)
	r.disconnect(conn)
	r.acquire(conn)
	must(t, r.server.Inject(demoprovider.Fault{Kind: demoprovider.Unavailable, Endpoint: demoprovider.RevokeEndpoint, Count: 1000}))
	const hours = 3
	due, refreshes := 0, 0
	for range hours * 60 * 2 {
		r.advance(30 * time.Second)
		if rec := r.get(conn); !rec.Due().After(r.clock.Now()) {
			due++
		}
		do(t, rot, conn)
		rec := r.get(conn)
		if !rec.Due().After(r.clock.Now()) {
			t.Fatalf("still due at %s, now %s", rec.Due(), r.clock.Now())
		}
		if !rec.ExpiresAt.After(r.clock.Now()) {
			t.Fatalf("the access token expired at %s, now %s", rec.ExpiresAt, r.clock.Now())
		}
		refreshes = int(rec.Generation)
	}
	rec, revocations := r.get(conn), due-refreshes
	if len(rec.Revoke) != 1 || revocations < 4*hours || revocations > 10*hours {
		t.Errorf("%d looks, %d refreshes, %d to revoke: want tries that become half as frequent, down to one in a quarter of an hour",
			due, refreshes, len(rec.Revoke))
	}
	r.server.ClearFaults()
	before := rec.DueAt
	r.advance(rec.RevokeAt.Sub(r.clock.Now()))
	posts := r.server.Totals().Posts
	if r.clock.Now().Before(before) {
		do(t, rot, conn)
		if got := r.server.Totals().Posts; got != posts {
			t.Error("the end of the revocation brought a refresh before its time")
		}
	} else {
		do(t, rot, conn)
	}
	if rec = r.get(conn); len(rec.Revoke) != 0 || !rec.RevokeAt.IsZero() || rec.Status != tokenworker.Active {
		t.Errorf("%d to revoke at %s, status %s", len(rec.Revoke), rec.RevokeAt, rec.Status)
	}
}

func TestAGrantThatAnOlderRevocationReachesIsFoundDead(t *testing.T) {
	r := newRig(t, demoprovider.Policy{Revocation: demoprovider.ReachGrant},
		"    rotation: strict\n    revocation_scope: grant\n    margin: 2m\n")
	rot := r.rotator("p1")
	r.acquire(conn)
	r.disconnect(conn)
	granted, err := r.server.Grant("worker", conn.String(), "") // the user is quicker than the worker
	must(t, err)
	do(t, rot, conn)
	if rec := r.get(conn); rec.Status != tokenworker.Disconnected {
		t.Fatalf("status %s", rec.Status)
	}
	r.store(conn, granted)
	do(t, rot, conn)
	if rec := r.get(conn); rec.Status != tokenworker.Active || r.server.Totals().Posts != 0 {
		t.Fatalf("status %s; a request of the revocation could still be on its way", rec.Status)
	}
	r.advance(3 * time.Minute)
	do(t, rot, conn)
	if rec := r.get(conn); rec.Status != tokenworker.ReauthRequired {
		t.Errorf("status %s: the revocation has ended this grant too", rec.Status)
	}
}

func TestASetThatCannotBeRefreshedIsAskedAbout(t *testing.T) {
	r := newRig(t, demoprovider.Policy{Revocation: demoprovider.ReachGrant}, strictSettings)
	tokens, err := r.server.Grant("worker", conn.String(), "")
	must(t, err)
	r.store(conn, demoprovider.Tokens{AccessToken: tokens.AccessToken}) // it never expires, as far as anybody knows
	rot := r.rotator("p1")
	for range 2 {
		must(t, rot.Do(t.Context(), conn, true))
		if rec := r.get(conn); rec.Status != tokenworker.Active || !rec.DueAt.IsZero() || rec.Owed != nil {
			t.Fatalf("status %s, due at %s, owes %v: it is good", rec.Status, rec.DueAt, rec.Owed)
		}
	}
	revoked := r.gate.Revoke(t.Context(), conn, r.set(conn))
	if revoked.Outcome != provider.OK {
		t.Fatalf("revoking: %s", revoked.Code)
	}
	must(t, rot.Do(t.Context(), conn, true))
	if rec := r.get(conn); rec.Status != tokenworker.ReauthRequired || r.notices() != "reauth_required" {
		t.Errorf("status %s, announced %q", rec.Status, r.notices())
	}
}

func TestOneBadConnectionDoesNotPauseItsProvider(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, "    rotation: static\n    revocation_scope: family\n")
	rot, keys := r.rotator("p1"), []tokenworker.Key{conn}
	for i := range 10 {
		keys = append(keys, tokenworker.Key{OrgID: "acme", ProviderID: "demo", CompanyID: fmt.Sprint("other", i)})
	}
	for _, k := range keys {
		r.acquire(k)
	}
	must(t, r.server.Inject(demoprovider.Fault{Kind: demoprovider.Unavailable, Count: 1000}))
	for range 30 {
		r.advance(time.Hour)
		do(t, rot, conn)
	}
	for n, k := range keys[1:10] {
		if err := rot.Do(t.Context(), k, false); err != nil {
			t.Fatalf("after failures of %d connections: %v", n+1, err)
		}
	}
	if err := rot.Do(t.Context(), keys[10], false); err == nil {
		t.Error("ten connections in a row had no answer, and the provider is not paused")
	}
}

func TestEventsWithoutACompanyThatGetNoAnswerPauseTheirProvider(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, "    rotation: static\n")
	rot := r.rotator("p1")
	set := tokenworker.TokenSet{AccessToken: tokenworker.SecretString("of an unknown company")}
	introspect := func(event string) error {
		_, err := rot.Introspect(t.Context(), tokenworker.Key{OrgID: "acme", ProviderID: "demo"},
			tokenworker.NewEventID("shop", event, r.clock.Now()), set)
		return err
	}
	must(t, r.server.Inject(demoprovider.Fault{Kind: demoprovider.Unavailable, Endpoint: demoprovider.IntrospectEndpoint}))
	for range 30 {
		if err := introspect("the same"); err != nil {
			t.Fatalf("after failures of one event: %v", err)
		}
	}
	for n := range 9 {
		if err := introspect(fmt.Sprint("another ", n)); err != nil {
			t.Fatalf("after failures of %d events: %v", n+1, err)
		}
	}
	if err := introspect("the last"); err == nil {
		t.Error("ten events in a row had no answer, and the provider is not paused")
	}
}

func TestAnAnswerThatADisconnectOvertookIsRevoked(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.acquire(conn)
	r.advance(50 * time.Minute)
	writes := 0
	r.before = func(context.Context, tokenworker.Key) error {
		if writes++; writes == 2 { // between claim and commit
			r.disconnect(conn)
		}
		return nil
	}
	do(t, r.rotator("p1"), conn)
	r.before = nil
	if rec := r.get(conn); rec.Status != tokenworker.Disconnecting || len(rec.Revoke) != 2 {
		t.Fatalf("status %s, %d to revoke: want the set and its successor", rec.Status, len(rec.Revoke))
	}
	do(t, r.rotator("p2"), conn)
	if rec := r.get(conn); rec.Status != tokenworker.Disconnected {
		t.Errorf("status %s", rec.Status)
	}
	if got := r.server.Totals(); got.RevokedByClient != 1 || got.RevokedByReuse != 0 {
		t.Errorf("%d families revoked, %d by reuse", got.RevokedByClient, got.RevokedByReuse)
	}
}

func TestAnAnswerThatANewGrantOvertookIsDropped(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.acquire(conn)
	r.advance(50 * time.Minute)
	writes := 0
	r.before = func(context.Context, tokenworker.Key) error {
		if writes++; writes == 2 {
			r.acquire(conn)
		}
		return nil
	}
	do(t, r.rotator("p1"), conn)
	r.before = nil
	if rec := r.get(conn); rec.Generation != 0 || rec.Status != tokenworker.Active {
		t.Fatalf("generation %d, status %s", rec.Generation, rec.Status)
	}
	if !r.refreshes(conn) {
		t.Error("the new grant is not usable")
	}
}

func TestWhatADeadProcessOwedIsAnnouncedByTheNext(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.acquire(conn)
	r.advance(50 * time.Minute)
	do(t, r.rotator("p1"), conn)
	s, err := r.js.Stream(t.Context(), streams.Out)
	must(t, err)
	must(t, s.DeleteMsg(t.Context(), 1)) // as if the process had died before it announced
	if got := r.notices(); got != "" {
		t.Fatalf("announced %q", got)
	}
	// Within the window of message ids the stream would take it for a repeat of what was deleted.
	r.forgetMessageIDs()
	do(t, r.rotator("p2"), conn)
	do(t, r.rotator("p2"), conn)
	if got := r.notices(); got != "refreshed" {
		t.Errorf("announced %q, want what the first process owed, once", got)
	}
}

func TestWhatAnotherProcessHasLeftMeanwhileIsAnnouncedToo(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.acquire(conn)
	r.advance(50 * time.Minute)
	other := tokenworker.Owed{
		Attempt: tokenworker.NewAttemptID(), By: "dead", Kinds: []string{"revoked"}, Fence: r.get(conn).Fence, At: r.clock.Now(),
	}
	writes := 0
	r.before = func(ctx context.Context, _ tokenworker.Key) error {
		if writes++; writes == 2 { // between claim and commit
			_, _, err := r.db.Update(ctx, r.get(conn), tokenworker.Revoked(tokenworker.Revocation{Owed: &other}))
			return err
		}
		return nil
	}
	do(t, r.rotator("p1"), conn)
	r.before = nil
	if got := r.notices(); got != "refreshed" {
		t.Fatalf("announced %q", got)
	}
	r.advance(50 * time.Minute)
	do(t, r.rotator("p1"), conn)
	if got := r.notices(); got != "refreshed revoked refreshed" {
		t.Errorf("announced %q, want what the dead process owed too", got)
	}
	s, err := r.js.Stream(t.Context(), streams.Out)
	must(t, err)
	m, err := s.GetLastMsgForSubject(t.Context(), "tokens.v1.event.revoked.>")
	must(t, err)
	if strings.Contains(string(m.Data), "expires_at") {
		t.Errorf("it says when another set expires than the one that it is about: %s", m.Data)
	}
	if rec := r.get(conn); len(rec.Owed) != 1 {
		t.Errorf("owes %v: what is announced was not crossed off", rec.Owed)
	}
}

func TestWhatAProcessCouldNotAnnounceItDoesNotCrossOff(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.acquire(conn)
	r.advance(50 * time.Minute)
	stream, err := r.js.Stream(t.Context(), streams.Out)
	must(t, err)
	must(t, r.js.DeleteStream(t.Context(), streams.Out))
	rot := r.rotator("p1") // not run: nothing tries again beside
	do(t, rot, conn)
	r.advance(50 * time.Minute)
	if err := rot.Do(t.Context(), conn, false); err == nil {
		t.Fatal("an attempt was made although what the one before owes is not announced")
	}
	_, err = r.js.CreateStream(t.Context(), stream.CachedInfo().Config)
	must(t, err)
	do(t, rot, conn)
	if got := r.notices(); strings.Count(got, "refreshed") != 2 {
		t.Errorf("announced %q, want both refreshes", got)
	}
}

func TestWhatCannotBeRefreshedExpires(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	r.store(conn, demoprovider.Tokens{AccessToken: "only-access", ExpiresIn: 3600})
	r.advance(time.Hour)
	do(t, r.rotator("p1"), conn)
	if rec := r.get(conn); rec.Status != tokenworker.ReauthRequired || rec.FailureCode != "expired" {
		t.Errorf("status %s, code %s", rec.Status, rec.FailureCode)
	}
	if got := r.notices(); got != "reauth_required" {
		t.Errorf("announced %q", got)
	}
}

func TestSweepsFindWhatIsDueOnce(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, strictSettings)
	const n = 30
	for i := range n {
		r.acquire(tokenworker.Key{OrgID: "acme", ProviderID: "demo", CompanyID: fmt.Sprint(i)})
	}
	must(t, r.db.NoteProvider(t.Context(), "demo"))
	r.advance(50 * time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	const replicas = 3
	rots := make([]*rotator.Rotator, replicas)
	for i := range rots {
		rots[i] = r.rotator(fmt.Sprintf("p%d", i), func(c *rotator.Config) { c.Tick = time.Hour })
		go func() { ended <- rots[i].Run(ctx) }()
	}
	for _, rot := range rots {
		must(t, rot.Tick(t.Context()))
	}
	r.eventually("all refreshed", func() bool { return r.server.Totals().Granted == n })
	r.eventually("the jobs are done", func() bool { return r.count(streams.Sweep) == 0 })
	cancel()
	for range rots {
		must(t, <-ended)
	}
	if got := r.server.Totals(); got.Posts != n || got.Reuses != 0 {
		t.Errorf("%d requests for %d connections, %d reuses", got.Posts, n, got.Reuses)
	}
}
