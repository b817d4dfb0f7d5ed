package access_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/access"
	"github.com/tokenworker/tokenworker/events"
)

func TestAReaderGetsTheAccessTokenAndWhatBelongsToIt(t *testing.T) {
	r := newRig(t)
	r.start()
	fence := r.acquire()
	token := r.expect("canary-access-0")
	if token.Type != "Bearer" || token.Scope != "read" || token.Fence != fence || !token.ExpiresAt.Equal(r.clock.Now().Add(lifetime)) {
		t.Errorf("got %+v", token)
	}
	if n := r.refresher.times(); n != 0 {
		t.Errorf("a fresh token was refreshed %d times", n)
	}
	want := tokenworker.AuditEntry{
		Action: tokenworker.AuditRead, Key: conn, Actor: "payroll", Outcome: tokenworker.AuditDone, Fence: fence, Time: r.clock.Now(),
	}
	if len(r.trail.entries) != 1 || r.trail.entries[0] != want {
		t.Errorf("the audit trail says %+v", r.trail.entries)
	}
}

func TestEachStatusHasItsCode(t *testing.T) {
	r := newRig(t)
	r.start()
	r.expectCode(events.GetNotFound)
	fence := r.acquire()
	c := r.claim(fence, time.Minute)
	_, _, err := r.db.Update(t.Context(), tokenworker.Record{Key: conn}, tokenworker.GrantDead(tokenworker.Failure{Attempt: c.Attempt}))
	must(t, err)
	r.expectCode(events.GetReauthRequired)
	r.disconnect()
	r.expectCode(events.GetDisconnected)
	r.broken = tokenworker.ErrUnavailable
	r.expectCode(events.GetUnavailable)
	var got []string
	for _, e := range r.trail.entries {
		got = append(got, string(e.Outcome)+" "+e.Reason)
	}
	want := "refused not_found, refused reauth_required, refused disconnected, failed unavailable"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("the audit trail says %s", s)
	}
}

func TestATokenThatExpiresTooSoonIsRefreshedFirst(t *testing.T) {
	r := newRig(t)
	r.start()
	r.acquire()
	r.clock.advance(lifetime - 2*time.Minute)
	r.expect("canary-access-0", atLeast(2*time.Minute))
	r.expect("canary-access-1", atLeast(2*time.Minute+time.Second))
	r.expect("canary-access-1", atLeast(2*time.Minute+time.Second))
	if n := r.refresher.times(); n != 1 {
		t.Errorf("%d refreshes", n)
	}
}

func TestNobodyCanAskForMoreThanHalfOfALifetime(t *testing.T) {
	r := newRig(t)
	r.start()
	r.acquire()
	r.expect("canary-access-0", atLeast(events.MaxMinLifetime))
	r.clock.advance(lifetime/2 + time.Second)
	r.expect("canary-access-1", atLeast(events.MaxMinLifetime))
	r.expect("canary-access-1", atLeast(events.MaxMinLifetime))
}

func TestATokenThatTheAPIRefusesIsRefreshedUnlessItHasBeen(t *testing.T) {
	r := newRig(t)
	r.start()
	first := r.acquire()
	second := r.expect("canary-access-1", refused(first)).Fence
	r.expect("canary-access-1", refused(first)) // another reader that had the first one
	r.clock.advance(time.Minute)
	r.expect("canary-access-2", refused(second))
	if n := r.refresher.times(); n != 2 {
		t.Errorf("%d refreshes", n)
	}
	if e := r.trail.entries[0]; e.Reason != "token_refused" || e.Fence != second {
		t.Errorf("the audit trail says %+v", e)
	}
}

func TestConcurrentReadersShareOneRefresh(t *testing.T) {
	r := newRig(t)
	r.start()
	fence := r.acquire()
	r.clock.advance(lifetime)
	release := make(chan struct{})
	r.refresher.do = func(_ context.Context, k tokenworker.Key, from tokenworker.Fence) (tokenworker.Record, error) {
		<-release
		return r.refresh(k, from), nil
	}
	var readers sync.WaitGroup
	for range 100 {
		readers.Go(func() { r.expect("canary-access-1") })
	}
	r.eventually("all wait", func() bool { return r.service.UnderWay() == 100 })
	close(release)
	readers.Wait()
	// Between its look and the flight a reader may be overtaken by the end of the refresh, and asks for it again, in vain.
	if n := r.refresher.times(); n > 50 || r.refresher.asked[0] != fence {
		t.Errorf("asked for %d refreshes, of %v", n, r.refresher.asked[0])
	}
}

func TestReadersOfOneRecordShareLooksButNoneThatBeganBeforeThem(t *testing.T) {
	r := newRig(t)
	r.start()
	r.acquire()
	held, release := make(chan struct{}), make(chan struct{})
	r.looked = func() {
		if r.looks.Load() == 1 {
			close(held)
			<-release
		}
	}
	var readers sync.WaitGroup
	readers.Go(func() { r.expect("canary-access-0") })
	<-held // the first look has seen a record that may be served
	r.disconnect()
	for range 50 {
		readers.Go(func() { r.expectCode(events.GetDisconnected) })
	}
	r.eventually("all wait", func() bool { return r.service.UnderWay() == 51 })
	close(release)
	readers.Wait()
	if n := r.looks.Load(); n > 25 {
		t.Errorf("%d looks at one record", n)
	}
	r.expectCode(events.GetDisconnected)
}

func TestAReaderWaitsForTheRefreshOfAnotherProcess(t *testing.T) {
	r := newRig(t)
	r.start()
	fence := r.acquire()
	r.clock.advance(lifetime)
	r.claim(fence, time.Minute)
	r.refresher.do = func(ctx context.Context, k tokenworker.Key, _ tokenworker.Fence) (tokenworker.Record, error) {
		return r.db.Get(ctx, k) // it is left to whoever holds the claim
	}
	got := make(chan error, 1)
	go func() {
		token, err := r.get()
		if err == nil && string(token.Value.Reveal()) != "canary-access-1" {
			err = errors.New("another token")
		}
		got <- err
	}()
	r.eventually("the reader waits", func() bool { return r.refresher.times() > 0 })
	r.refresh(conn, fence)
	must(t, <-got)
}

func TestWithoutARefreshTheTokenThatStillWorksIsServed(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*rig, tokenworker.Fence) (tokenworker.Record, error)
	}{
		{"the refresh fails", func(*rig, tokenworker.Fence) (tokenworker.Record, error) {
			return tokenworker.Record{}, tokenworker.ErrUnavailable
		}},
		{"the provider refuses for now", func(r *rig, _ tokenworker.Fence) (tokenworker.Record, error) {
			return r.db.Get(context.Background(), conn)
		}},
		{"the attempt is unresolved", func(r *rig, from tokenworker.Fence) (tokenworker.Record, error) {
			ctx := context.Background()
			rec, err := r.db.Get(ctx, conn)
			if rec.Claim == nil && err == nil {
				a := r.claim(from, time.Hour).Attempt
				rec, _, err = r.db.Update(ctx, rec, tokenworker.Unresolved(tokenworker.Failure{
					Attempt: a, Owed: &tokenworker.Owed{Attempt: a, Kinds: []string{"refresh_failed"}},
				}))
			}
			return rec, err
		}},
		{"another process is long at it", func(r *rig, from tokenworker.Fence) (tokenworker.Record, error) {
			rec, err := r.db.Get(context.Background(), conn)
			if rec.Claim == nil && err == nil {
				r.claim(from, time.Hour)
			}
			return rec, err
		}},
		{"the provider hangs", func(r *rig, _ tokenworker.Fence) (tokenworker.Record, error) {
			<-r.t.Context().Done()
			return tokenworker.Record{}, tokenworker.ErrUnavailable
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.start(func(cfg *access.Config) { cfg.Wait = time.Second })
			fence := r.acquire()
			r.refresher.do = func(_ context.Context, _ tokenworker.Key, from tokenworker.Fence) (tokenworker.Record, error) {
				return c.do(r, from)
			}
			r.clock.advance(lifetime - time.Minute)
			r.expect("canary-access-0", atLeast(2*time.Minute))
			r.expectCode(events.GetUnavailable, refused(fence)) // which does not work, as the reader says
			r.clock.advance(time.Minute)
			r.expectCode(events.GetUnavailable)
		})
	}
}

func TestWhatCannotBeRefreshedIsServedUntilItExpires(t *testing.T) {
	r := newRig(t)
	r.start()
	fence := r.acquire(func(s *tokenworker.TokenSet) { s.RefreshToken = tokenworker.Secret{} })
	r.refresher.do = func(ctx context.Context, k tokenworker.Key, _ tokenworker.Fence) (tokenworker.Record, error) {
		return r.db.Get(ctx, k) // the provider cannot be asked about it
	}
	r.clock.advance(lifetime - time.Minute)
	r.expect("canary-access-0", atLeast(2*time.Minute))
	r.expectCode(events.GetReauthRequired, refused(fence))
	r.clock.advance(time.Minute)
	r.expectCode(events.GetReauthRequired)
	if n := r.refresher.times(); n != 1 {
		t.Errorf("%d refreshes, want 1: of what a reader says is refused", n)
	}
}

func TestADisconnectDuringARefreshIsSeen(t *testing.T) {
	r := newRig(t)
	r.start()
	r.acquire()
	r.clock.advance(lifetime)
	r.refresher.do = func(ctx context.Context, k tokenworker.Key, _ tokenworker.Fence) (tokenworker.Record, error) {
		r.disconnect()
		return r.db.Get(ctx, k)
	}
	r.expectCode(events.GetDisconnected)
}

func TestWithoutTheAuditTrailNoTokenIsHandedOut(t *testing.T) {
	r := newRig(t)
	r.start()
	r.acquire()
	r.trail.err = errors.New("the trail is full")
	r.expectCode(events.GetUnavailable)
}

func TestACallerIsHeldToItsRateAndAnotherIsNot(t *testing.T) {
	r := newRig(t)
	r.start(func(c *access.Config) { c.Rate = 3 })
	r.acquire()
	for range 3 {
		r.expect("canary-access-0")
	}
	r.expectCode(events.GetRateLimited)
	r.expect("canary-access-0", func(q *events.GetRequest) { q.Caller = "billing" })
	r.clock.advance(time.Second)
	r.expect("canary-access-0")
}

func TestWhatIsNoRequestCountsAgainstTheRate(t *testing.T) {
	r := newRig(t)
	r.start(func(c *access.Config) { c.Rate = 3 })
	subject, nc := events.GetSubject("payroll", conn), r.as("payroll")
	for _, want := range []string{"bad_request", "bad_request", "bad_request", "rate_limited"} {
		reply, err := nc.Request(subject, []byte("no request"), 10*time.Second)
		must(t, err)
		if got := reply.Header.Get(micro.ErrorHeader); got != want {
			t.Errorf("answered %q, want %q", got, want)
		}
	}
}

func TestACallerWhoseProviderHangsLeavesRoomForOthers(t *testing.T) {
	r := newRig(t)
	r.start(func(c *access.Config) { c.AtOnce = 20 })
	fence := r.acquire()
	release := make(chan struct{})
	r.refresher.do = func(_ context.Context, k tokenworker.Key, from tokenworker.Fence) (tokenworker.Record, error) {
		<-release
		return r.refresh(k, from), nil
	}
	var hanging sync.WaitGroup
	for range 2 { // a tenth
		hanging.Go(func() { r.expect("canary-access-1", refused(fence)) })
	}
	r.eventually("both wait", func() bool { return r.service.UnderWay() == 2 })
	r.expectCode(events.GetRateLimited)
	billing := func(q *events.GetRequest) { q.Caller = "billing" }
	r.expect("canary-access-0", billing)
	r.expectCode(events.GetUnavailable, refused(fence), billing) // no third waits for that provider
	close(release)
	hanging.Wait()
	r.expect("canary-access-1")
}

func TestWhatIsNoRequestIsRefused(t *testing.T) {
	r := newRig(t)
	r.start()
	r.acquire()
	g, err := events.NewGet(events.GetRequest{Caller: "payroll", Key: conn}, events.SuiteX25519)
	must(t, err)
	good, err := g.Body()
	must(t, err)
	var request struct {
		PublicKey string `json:"public_key"`
	}
	must(t, json.Unmarshal(good, &request))
	for name, body := range map[string]string{
		"a key that nothing can be sealed to, 32 bytes of zero": strings.Replace(string(good), request.PublicKey, strings.Repeat("A", 43), 1),

		"nothing": "", "no object": "[]", "no key": `{"id":"0123456789abcdefghij"}`,
		"an unknown field":   strings.Replace(string(good), `{`, `{"more":1,`, 1),
		"too long an answer": strings.Replace(string(good), `{`, `{"min_lifetime":86401,`, 1),
		"too large":          string(good) + strings.Repeat(" ", events.MaxGetBytes),
	} {
		reply, err := r.as("payroll").Request(g.Subject(), []byte(body), 10*time.Second)
		must(t, err)
		if got := reply.Header.Get(micro.ErrorHeader); got != "bad_request" || len(reply.Data) > 0 {
			t.Errorf("%s: answered %q and %d bytes", name, got, len(reply.Data))
		}
		if got := reply.Header.Get(micro.ErrorCodeHeader); got != "400" {
			t.Errorf("%s: the number is %s", name, got)
		}
	}
	r.trail.mu.Lock()
	defer r.trail.mu.Unlock()
	if n := len(r.trail.entries); n != 1 || r.trail.entries[0].Outcome != tokenworker.AuditRefused {
		t.Errorf("on record are %+v, want the one that was looked up, refused", r.trail.entries)
	}
}

func TestTheNumberBesideACodeIsThatOfTheContract(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "docs", "events", "schemas", "get-error.json"))
	must(t, err)
	for _, code := range events.GetCodes() {
		err := schema.Validate(map[string]any{
			micro.ErrorHeader: string(code), micro.ErrorCodeHeader: strconv.Itoa(access.Status(code)),
		})
		if err != nil {
			t.Errorf("%s: %v", code, err)
		}
	}
}

func TestNothingIsSentButToInboxesOfTheCaller(t *testing.T) {
	r := newRig(t)
	r.start()
	r.acquire()
	listening, err := nats.Connect(r.nc.ConnectedUrl())
	must(t, err)
	t.Cleanup(listening.Close)
	elsewhere := []string{
		"elsewhere.x", "_INBOX.billing.x", "_INBOX.x", "_INBOX.payroll", "_INBOX.payrolls.x", "_INBOX.%70ayroll.x", "_inbox.payroll.x",
	}
	var heard []*nats.Subscription
	for _, where := range elsewhere {
		sub, err := listening.SubscribeSync(where)
		must(t, err)
		heard = append(heard, sub)
	}
	must(t, listening.Flush())
	g, err := events.NewGet(events.GetRequest{Caller: "payroll", Key: conn}, events.SuiteHybrid)
	must(t, err)
	body, err := g.Body()
	must(t, err)
	for _, where := range append(elsewhere, "") {
		must(t, r.as("payroll").PublishMsg(&nats.Msg{Subject: g.Subject(), Reply: where, Data: body}))
		must(t, r.as("payroll").PublishMsg(&nats.Msg{Subject: g.Subject(), Reply: where, Data: []byte("no request")}))
	}
	r.expect("canary-access-0") // by when the others are dealt with
	must(t, listening.Flush())
	for _, sub := range heard {
		if n, _, err := sub.Pending(); n != 0 || err != nil {
			t.Errorf("%d messages went to %s, %v", n, sub.Subject, err)
		}
	}
	if len(r.trail.entries) != 1 {
		t.Errorf("%d reads", len(r.trail.entries))
	}
}

func TestWhoeverNamesNoConnectionIsTold(t *testing.T) {
	r := newRig(t)
	r.start()
	reply, err := r.as("payroll").Request("tokens.v1.get.payroll.acme.google.%2", nil, 10*time.Second)
	must(t, err)
	if got := reply.Header.Get(micro.ErrorHeader); got != "bad_request" {
		t.Errorf("answered %q", got)
	}
}

func TestACallerOfAnyNameIsAnswered(t *testing.T) {
	r := newRig(t)
	r.start()
	r.acquire()
	r.expect("canary-access-0", func(q *events.GetRequest) { q.Caller = "pay.roll >*%" })
}

func TestWhatIsUnderWayIsAnsweredBeforeTheEnd(t *testing.T) {
	r := newRig(t)
	stop := r.start()
	r.acquire()
	r.clock.advance(lifetime)
	release := make(chan struct{})
	r.refresher.do = func(_ context.Context, k tokenworker.Key, from tokenworker.Fence) (tokenworker.Record, error) {
		<-release
		return r.refresh(k, from), nil
	}
	var readers, stopping sync.WaitGroup
	sent := r.as("payroll").Stats().OutMsgs
	for range 20 {
		readers.Go(func() { r.expect("canary-access-1") })
	}
	r.eventually("all have asked", func() bool { return r.as("payroll").Stats().OutMsgs == sent+20 })
	must(t, r.as("payroll").Flush())
	stopping.Go(stop)
	r.eventually("no more is taken", func() bool {
		_, err := r.nc.Request("$SRV.PING.tokenworker", nil, time.Second)
		return errors.Is(err, nats.ErrNoResponders)
	})
	close(release)
	readers.Wait()
	stopping.Wait()
}

func TestMoreAtOnceThanAllowedIsRefused(t *testing.T) {
	r := newRig(t)
	r.start(func(c *access.Config) { c.AtOnce = 1 })
	r.acquire()
	r.clock.advance(lifetime)
	release := make(chan struct{})
	r.refresher.do = func(_ context.Context, k tokenworker.Key, from tokenworker.Fence) (tokenworker.Record, error) {
		<-release
		return r.refresh(k, from), nil
	}
	var first sync.WaitGroup
	first.Go(func() { r.expect("canary-access-1") })
	r.eventually("a refresh has begun", func() bool { return r.refresher.times() > 0 })
	r.expectCode(events.GetUnavailable, func(q *events.GetRequest) { q.Caller = "billing" })
	close(release)
	first.Wait()
}

func TestToolsSeeTheService(t *testing.T) {
	r := newRig(t)
	r.start()
	reply, err := r.nc.Request("$SRV.INFO.tokenworker", nil, 10*time.Second)
	must(t, err)
	var info micro.Info
	must(t, json.Unmarshal(reply.Data, &info))
	if len(info.Endpoints) != 1 || info.Endpoints[0].Subject != events.GetSubjects {
		t.Errorf("the service shows %+v", info.Endpoints)
	}
}

func TestNoTokenShowsInLogsOrMetrics(t *testing.T) {
	r := newRig(t)
	r.start()
	fence := r.acquire()
	wiretap, err := r.nc.SubscribeSync(">")
	must(t, err)
	r.expect("canary-access-0")
	r.refresher.do = func(context.Context, tokenworker.Key, tokenworker.Fence) (tokenworker.Record, error) {
		return tokenworker.Record{}, fmt.Errorf("%w: for a reason", tokenworker.ErrUnavailable)
	}
	r.expectCode(events.GetUnavailable, refused(fence))
	r.broken = tokenworker.ErrUnavailable
	r.expectCode(events.GetUnavailable)
	must(t, r.nc.Flush())
	n, _, err := wiretap.Pending()
	must(t, err)
	for range n {
		msg, err := wiretap.NextMsg(time.Second)
		must(t, err)
		if strings.Contains(string(msg.Data)+fmt.Sprint(msg.Header), "canary") {
			t.Errorf("a token shows on %s", msg.Subject)
		}
	}
	if log := r.logs.String(); strings.Contains(log, "canary") || !strings.Contains(log, "refresh for a reader failed") {
		t.Errorf("the log says %s", log)
	}
	if n < 6 {
		t.Errorf("only %d messages were seen", n)
	}
	counted, err := r.metrics.Gather()
	must(t, err)
	if strings.Contains(fmt.Sprint(counted), "canary") || !strings.Contains(fmt.Sprint(counted), "served") {
		t.Errorf("the metrics are %v", counted)
	}
}
