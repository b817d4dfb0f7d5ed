package demoprovider_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker/demoprovider"
)

func TestAFaultDoesWhatItsKindSays(t *testing.T) {
	for _, c := range []struct {
		fault  demoprovider.Fault
		status int    // 0: the connection breaks
		error  string // OAuth error code
		has    string // of the body or the headers; TOKEN stands for the one that was posted
		// What becomes of the posted token, and whether the client gets to know.
		granted, lost, rotated bool
		doubt                  bool
	}{
		{fault: demoprovider.Fault{Kind: demoprovider.RateLimited, RetryAfter: 1500 * time.Millisecond}, status: 429, has: "Retry-After: 2\r\n"},
		{fault: demoprovider.Fault{Kind: demoprovider.Unavailable}, status: 503, has: "<html>", doubt: true},
		{fault: demoprovider.Fault{Kind: demoprovider.Unavailable, Status: 500}, status: 500, has: "<html>", doubt: true},
		{fault: demoprovider.Fault{Kind: demoprovider.Unavailable, Status: 408}, status: 408, has: "<html>", doubt: true},
		{fault: demoprovider.Fault{Kind: demoprovider.Refused}, status: 400, error: "invalid_grant"},
		{
			fault:  demoprovider.Fault{Kind: demoprovider.Refused, Status: 200, Error: "bad_refresh_token"},
			status: 200, error: "bad_refresh_token",
		},
		{fault: demoprovider.Fault{Kind: demoprovider.Cut}, doubt: true},
		{fault: demoprovider.Fault{Kind: demoprovider.Echo}, status: 400, error: "invalid_request", has: "X-Request-Token: TOKEN\r\n"},
		{fault: demoprovider.Fault{Kind: demoprovider.Echo}, status: 400, error: "invalid_request", has: "Set-Cookie: token=TOKEN\r\n"},
		{
			fault:  demoprovider.Fault{Kind: demoprovider.Echo, Error: "temporarily_unavailable"},
			status: 400, error: "temporarily_unavailable", has: `"error_description":"the token TOKEN was not welcome"`,
		},
		{fault: demoprovider.Fault{Kind: demoprovider.Echo}, status: 400, error: "invalid_request", has: `"refresh_token":["TOKEN"]`},
		{fault: demoprovider.Fault{Kind: demoprovider.Redirect}, status: 307, has: "/elsewhere?token=TOKEN\r\n", doubt: true},
		{
			fault:  demoprovider.Fault{Kind: demoprovider.Redirect, Status: 302, Location: "http://169.254.169.254/latest"},
			status: 302, has: "Location: http://169.254.169.254/latest?token=TOKEN\r\n", doubt: true,
		},

		{fault: demoprovider.Fault{Kind: demoprovider.Slow, Delay: 1, AnswerDelay: 1}, status: 200, granted: true, rotated: true},
		{fault: demoprovider.Fault{Kind: demoprovider.GatewayTimeout}, status: 504, has: "<html>", granted: true, lost: true, rotated: true},
		{fault: demoprovider.Fault{Kind: demoprovider.LostAnswer}, granted: true, lost: true, rotated: true},
		{fault: demoprovider.Fault{Kind: demoprovider.TornAnswer}, granted: true, lost: true, rotated: true},
		{
			fault:  demoprovider.Fault{Kind: demoprovider.HTMLPage},
			status: 200, has: "Content-Type: text/html", granted: true, lost: true, rotated: true,
		},
		{fault: demoprovider.Fault{Kind: demoprovider.Drip, Interval: 1}, status: 200, granted: true, rotated: true},
		{fault: demoprovider.Fault{Kind: demoprovider.Huge, Size: 100_000}, status: 200, has: strings.Repeat("x", 100_000), granted: true, rotated: true},
		{fault: demoprovider.Fault{Kind: demoprovider.KeepRefresh}, status: 200, granted: true},
		{fault: demoprovider.Fault{Kind: demoprovider.NoExpiry}, status: 200, granted: true, rotated: true},
		{fault: demoprovider.Fault{Kind: demoprovider.TextExpiry}, status: 200, has: `"expires_in":"3600"`, granted: true, rotated: true},
		{fault: demoprovider.Fault{Kind: demoprovider.ZeroExpiry}, status: 200, has: `"expires_in":0`, granted: true, rotated: true},
	} {
		t.Run(string(c.fault.Kind)+" "+c.has, func(t *testing.T) {
			r := start(t, demoprovider.Policy{})
			token := r.mustGrant("s").RefreshToken
			c.fault.Count = 1
			if err := r.Inject(c.fault); err != nil {
				t.Fatal(err)
			}
			got := r.refresh(token)
			if (got.err != nil) != (c.status == 0) || got.err == nil && got.status != c.status || got.Error != c.error {
				t.Fatalf("status %d, error %q, %v", got.status, got.Error, got.err)
			}
			if whole := got.head() + got.body; !strings.Contains(whole, strings.ReplaceAll(c.has, "TOKEN", token)) {
				t.Errorf("no %q in %q", c.has, whole)
			}
			if has := strings.Contains(got.body, `"expires_in"`); has != (c.granted && !c.lost && c.fault.Kind != demoprovider.NoExpiry) {
				t.Errorf("expires_in: %v", has)
			}
			if (got.RefreshToken != "") != (c.rotated && !c.lost) {
				t.Errorf("refresh token %q", got.RefreshToken)
			}
			want := demoprovider.Attempt{
				At: r.Now(), Try: 1, Fault: c.fault.Kind, Status: c.status, Error: c.error, Granted: c.granted, Lost: c.lost,
			}
			if family := r.mustFamily(token); len(family.Attempts) != 1 || family.Attempts[0] != want {
				t.Errorf("the ledger has %+v, want %+v", family.Attempts, want)
			}
			totals := r.Totals()
			if totals.Granted != number(c.granted) || totals.Lost != number(c.lost) || totals.Faults[c.fault.Kind] != 1 || totals.InFlight != 0 {
				t.Errorf("%+v", totals)
			}

			// The fault is over. Does the posted token still work, and was it right to try?
			if again := r.refresh(token); (again.status == http.StatusOK) == c.rotated {
				t.Errorf("posted again: %d %s", again.status, again.body)
			}
			totals = r.Totals()
			if doubtful := c.doubt || c.lost; totals.Doubtful != number(doubtful) || totals.Reuses != number(c.rotated) {
				t.Errorf("posted again: %+v", totals)
			}
		})
	}
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// head is the header as text, a line each.
func (r reply) head() string {
	var b strings.Builder
	_ = r.header.Write(&b) // a Builder takes everything
	return b.String()
}

func TestEveryKindOfFaultAnswersEveryEndpoint(t *testing.T) {
	r := start(t, demoprovider.Policy{})
	for _, kind := range demoprovider.FaultKinds() {
		for _, endpoint := range []demoprovider.Endpoint{
			demoprovider.RevokeEndpoint, demoprovider.IntrospectEndpoint, demoprovider.ResourceEndpoint, demoprovider.MetadataEndpoint,
		} {
			r.ClearFaults()
			if err := r.Inject(demoprovider.Fault{Kind: kind, Endpoint: endpoint, Size: 1}); err != nil {
				t.Fatal(err)
			}
			tokens := r.mustGrant("s")
			var got reply
			switch endpoint {
			case demoprovider.ResourceEndpoint:
				got = r.get("/resource", tokens.AccessToken)
			case demoprovider.MetadataEndpoint:
				got = r.get("/.well-known/openid-configuration", "")
			default:
				got = r.post("/"+string(endpoint), map[string][]string{"token": {tokens.RefreshToken}})
			}
			broken := slices.Contains([]demoprovider.FaultKind{demoprovider.Cut, demoprovider.LostAnswer, demoprovider.TornAnswer}, kind)
			if (got.err != nil) != broken {
				t.Errorf("%s at %s: %v", kind, endpoint, got.err)
			}
		}
	}
	if posts := r.Totals().Posts; posts != 0 {
		t.Errorf("%d posts of refresh tokens", posts)
	}
}

// hits is which of n refreshes of different families a plan refused.
func hits(r *rig, n int, subject func(int) string) []int {
	r.t.Helper()
	var hit []int
	for i := range n {
		if got := r.refresh(r.mustGrant(subject(i)).RefreshToken); got.status != http.StatusOK {
			hit = append(hit, i)
		}
	}
	return hit
}

func TestAFaultHitsTheRequestsItIsMeantFor(t *testing.T) {
	even := func(i int) string { return []string{"even", "odd"}[i%2] }
	refused := func(f demoprovider.Fault) demoprovider.Fault { f.Kind = demoprovider.Refused; return f }
	for _, c := range []struct {
		name   string
		faults []demoprovider.Fault
		want   []int
	}{
		{"none without one", nil, nil},
		{"all without an end", []demoprovider.Fault{refused(demoprovider.Fault{})}, []int{0, 1, 2, 3, 4, 5}},
		{"so many after so many", []demoprovider.Fault{refused(demoprovider.Fault{Skip: 1, Count: 2})}, []int{1, 2}},
		{"one subject", []demoprovider.Fault{refused(demoprovider.Fault{Subject: "odd", Skip: 1})}, []int{3, 5}},
		{"one client", []demoprovider.Fault{refused(demoprovider.Fault{Client: clientID, Count: 1})}, []int{0}},
		{"another client", []demoprovider.Fault{refused(demoprovider.Fault{Client: "other"})}, nil},
		{"another endpoint", []demoprovider.Fault{refused(demoprovider.Fault{Endpoint: demoprovider.RevokeEndpoint})}, nil},
		{"the first that fits is the only one", []demoprovider.Fault{
			{Kind: demoprovider.Slow, Count: 3}, refused(demoprovider.Fault{Count: 2}),
		}, []int{3, 4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := start(t, demoprovider.Policy{})
			if err := r.Inject(c.faults...); err != nil {
				t.Fatal(err)
			}
			if got := hits(r, 6, even); !slices.Equal(got, c.want) {
				t.Errorf("hit %v, want %v", got, c.want)
			}
		})
	}
}

func TestAFaultByProbabilityFollowsTheSeed(t *testing.T) {
	run := func(seed uint64) []int {
		r := startConfig(t, demoprovider.Config{
			Seed:    seed,
			Clients: []demoprovider.Client{{ID: clientID, Auth: demoprovider.AuthPost, Secret: secret}},
		})
		if err := r.Inject(demoprovider.Fault{Kind: demoprovider.Refused, Probability: 0.2}); err != nil {
			t.Fatal(err)
		}
		return hits(r, 200, func(int) string { return "s" })
	}
	first := run(1)
	if len(first) < 20 || len(first) > 60 {
		t.Errorf("%d of 200 were hit, want about 40", len(first))
	}
	if again := run(1); !slices.Equal(again, first) {
		t.Error("the same seed hits others")
	}
	if other := run(2); slices.Equal(other, first) {
		t.Error("another seed hits the same")
	}
}

func TestAFaultThatMakesNoSenseIsRefused(t *testing.T) {
	r := start(t, demoprovider.Policy{})
	for name, fault := range map[string]demoprovider.Fault{
		"no kind":               {},
		"an unknown kind":       {Kind: "flood"},
		"an unknown endpoint":   {Kind: demoprovider.Slow, Endpoint: "login"},
		"a probability above 1": {Kind: demoprovider.Slow, Probability: 20},
		"an impossible status":  {Kind: demoprovider.Unavailable, Status: 42},
	} {
		if err := r.Inject(demoprovider.Fault{Kind: demoprovider.Refused}, fault); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	r.mustRefresh(r.mustGrant("s").RefreshToken) // none of a refused list is injected
}

func TestAFollowedRedirectIsCounted(t *testing.T) {
	r := start(t, demoprovider.Policy{})
	if err := r.Inject(demoprovider.Fault{Kind: demoprovider.Redirect}); err != nil {
		t.Fatal(err)
	}
	r.http.CheckRedirect = nil
	r.refresh(r.mustGrant("s").RefreshToken)
	if totals := r.Totals(); totals.Followed != 1 {
		t.Errorf("%+v", totals)
	}
}

func TestARequestIsProcessedEvenIfItsClientGoesAway(t *testing.T) {
	r := start(t, demoprovider.Policy{})
	token := r.mustGrant("s").RefreshToken
	if err := r.Inject(demoprovider.Fault{Kind: demoprovider.Slow, Delay: 50 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	request := r.request("/token", map[string][]string{
		"grant_type": {"refresh_token"}, "refresh_token": {token}, "client_id": {clientID}, "client_secret": {secret},
	}).WithContext(ctx)
	go func() {
		for r.Totals().InFlight == 0 {
			<-time.After(time.Millisecond)
		}
		cancel()
	}()
	if got := r.send(request); got.err == nil {
		t.Fatalf("status %d for a client that went away", got.status)
	}
	await(t, func() bool { return r.Totals().InFlight == 0 })
	if totals := r.Totals(); totals.Granted != 1 || totals.Lost != 1 {
		t.Errorf("%+v", totals)
	}
	if family := r.mustFamily(token); len(family.Live) != 1 || family.Live[0] == token {
		t.Error("the token was not rotated")
	}
}

func TestClosingEndsWhatAFaultHoldsUp(t *testing.T) {
	for _, fault := range []demoprovider.Fault{
		{Kind: demoprovider.Slow, Delay: time.Hour},
		{Kind: demoprovider.Slow, AnswerDelay: time.Hour},
		{Kind: demoprovider.Drip, Interval: time.Hour},
	} {
		r := start(t, demoprovider.Policy{})
		token := r.mustGrant("s").RefreshToken
		if err := r.Inject(fault); err != nil {
			t.Fatal(err)
		}
		answered := make(chan reply)
		go func() { answered <- r.refresh(token) }()
		await(t, func() bool { return r.Totals().InFlight == 1 })
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if got := <-answered; got.err == nil {
			t.Errorf("%+v: status %d", fault, got.status)
		}
		if !aborts(r.Server, httptest.NewRecorder(), r.request("/token", nil)) {
			t.Error("a closed server answers")
		}
		totals := r.Totals()
		if rotated := fault.Delay == 0; totals.InFlight != 0 || totals.Granted != number(rotated) || totals.Lost != number(rotated) {
			t.Errorf("%+v: %+v", fault, totals)
		}
	}
}

// await waits for a condition that needs no more than the scheduler to come true.
func await(t testing.TB, done func() bool) {
	t.Helper()
	for deadline := time.After(20 * time.Second); !done(); {
		select {
		case <-deadline:
			t.Fatal("it does not come true")
		case <-time.After(time.Millisecond):
		}
	}
}
