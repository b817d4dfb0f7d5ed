package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/client"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/natstest"
)

func writeFile(t testing.TB, name, content string) {
	t.Helper()
	must(t, os.WriteFile(name, []byte(content), 0o600))
}

func TestAConnectionFromAcquiredToDisconnected(t *testing.T) {
	r := newRig(t, &clock{})
	ctx := t.Context()
	if _, err := r.reader.Token(ctx, conn); !errors.Is(err, events.GetNotFound) {
		t.Errorf("before it is acquired: %v", err)
	}
	set := r.grant(t)
	m, err := r.publisher.Acquired(conn, set, time.Now())
	must(t, err)
	if bytes.Contains(m.Body, set.AccessToken.Reveal()) {
		t.Fatal("the message for the outbox shows the token")
	}
	r.expect(t, m, client.Outcome(events.Stored))
	token, err := r.reader.Token(ctx, conn)
	must(t, err)
	if !token.Value.Equal(set.AccessToken) || !token.ExpiresAt.Equal(set.ExpiresAt) {
		t.Errorf("read a token that expires at %s, not the one handed in", token.ExpiresAt)
	}

	m, err = r.publisher.Refresh(conn, "test", time.Now())
	must(t, err)
	r.expect(t, m, client.Outcome(events.Refreshed))
	newer, err := r.reader.Token(ctx, conn)
	must(t, err)
	if newer.Value.Equal(token.Value) || newer.Fence != token.Fence.Next() {
		t.Errorf("after a refresh the set is %v", newer.Fence)
	}
	if again, err := r.reader.Replacement(ctx, conn, token.Fence); err != nil || again.Fence != newer.Fence {
		t.Errorf("in place of the one before: %v, %v", again.Fence, err)
	}

	m, err = r.publisher.Disconnect(conn, "", time.Now())
	must(t, err)
	r.expect(t, m, client.Outcome(events.Disconnected))
	if _, err := r.reader.Token(ctx, conn); !errors.Is(err, events.GetDisconnected) {
		t.Errorf("after the disconnect: %v", err)
	}
}

func TestADuplicateIsAnErrorOnTheFirstTryOnly(t *testing.T) {
	r := newRig(t, &clock{})
	m, err := r.publisher.Disconnect(conn, "", time.Now())
	must(t, err)
	first, err := r.publisher.Publish(t.Context(), m)
	must(t, err)
	if _, err := r.publisher.Publish(t.Context(), m); !errors.Is(err, client.ErrDuplicate) {
		t.Errorf("published once more as for the first time: %v", err)
	}
	if again, err := r.publisher.Republish(t.Context(), m); err != nil || again != first {
		t.Errorf("published again: sequence %d, %v; want %d", again, err, first)
	}
}

func TestWithoutStreamOrWorkerThereIsAnError(t *testing.T) {
	server := natstest.Start(t)
	js := natstest.ConnectTo(t, server)
	p := client.NewPublisher(js, client.PublisherConfig{Source: "//test"})
	m, err := p.Erase(tokenworker.Key{OrgID: "acme"}, "", time.Now())
	must(t, err)
	if _, err := p.Publish(t.Context(), m); !errors.Is(err, tokenworker.ErrMisconfigured) {
		t.Errorf("without a stream: %v", err)
	}
	if _, err := newReader(t, server, client.ReaderConfig{}).Token(t.Context(), conn); !errors.Is(err, events.GetUnavailable) {
		t.Errorf("without a worker: %v", err)
	}
	elsewhere := client.NewReader(js.Conn(), "payroll", client.ReaderConfig{})
	if _, err := elsewhere.Token(t.Context(), conn); !errors.Is(err, tokenworker.ErrMisconfigured) {
		t.Errorf("without inboxes of its own: %v", err)
	}
	if _, err := p.Acquired(conn, tokenworker.TokenSet{AccessToken: tokenworker.SecretString("x")}, time.Now()); err == nil {
		t.Error("a token set is sealed without a key")
	}
}

// call asks the provider's API, which answers 200 to a token that lives.
func call(t *testing.T, r *rig, c *http.Client) int {
	t.Helper()
	resp, err := c.Get(r.server.URL() + "/resource") //nolint:noctx // bounded by the test
	must(t, err)
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	must(t, err)
	return resp.StatusCode
}

func TestAnOAuthClientWorksThroughThreeExpiries(t *testing.T) {
	c := &clock{}
	r := newRig(t, c)
	r.acquire(t)
	base := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for i := range 4 {
		// A client of each period: oauth2's own idea of the time cannot be advanced.
		httpClient := oauth2.NewClient(context.WithValue(t.Context(), oauth2.HTTPClient, base), r.reader.TokenSource(t.Context(), conn))
		for range 3 {
			if code := call(t, r, httpClient); code != http.StatusOK {
				t.Fatalf("after %d expiries: %d", i, code)
			}
		}
		c.advance(lifetime)
	}
	if got := r.server.Totals().Posts; got != 3 {
		t.Errorf("%d refreshes, want 3", got)
	}
}

func TestATokenSourceIsAskedAgainWithinAMinute(t *testing.T) {
	r := newRig(t, &clock{})
	r.acquire(t)
	token, err := r.reader.TokenSource(t.Context(), conn).Token()
	must(t, err)
	if left := time.Until(token.Expiry); left > 71*time.Second || left < time.Second {
		t.Errorf("the token is said to live %s", left)
	}
}

func TestATransportTriesOnceMoreAfterA401(t *testing.T) {
	c := &clock{}
	r := newRig(t, c)
	r.acquire(t)
	base := &http.Transport{DisableKeepAlives: true}
	httpClient := &http.Client{Transport: r.reader.Transport(conn, base)}
	if code := call(t, r, httpClient); code != http.StatusOK {
		t.Fatalf("at first: %d", code)
	}
	r.server.Advance(lifetime + time.Minute) // the provider's clock is ahead, so the worker takes the token for good
	if code := call(t, r, httpClient); code != http.StatusOK {
		t.Errorf("after the API has refused the token: %d", code)
	}
	if got := r.server.Totals().Posts; got != 1 {
		t.Errorf("%d refreshes, want 1", got)
	}
	m, err := r.publisher.Disconnect(conn, "", time.Now())
	must(t, err)
	r.expect(t, m, client.Outcome(events.Disconnected))
	c.advance(2 * time.Minute)                                                                           // beyond which no token is kept
	if _, err := httpClient.Get(r.server.URL() + "/resource"); !errors.Is(err, events.GetDisconnected) { //nolint:noctx,bodyclose // it fails
		t.Errorf("after the disconnect: %v", err)
	}
}

// api is a server that refuses the first token that it sees, and notes what it is sent.
type api struct {
	*httptest.Server
	tokens, bodies []string
}

func newAPI(t *testing.T, then http.HandlerFunc) *api {
	t.Helper()
	a := &api{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		token := r.Header.Get("Authorization")
		a.tokens, a.bodies = append(a.tokens, token), append(a.bodies, string(body))
		if token == a.tokens[0] && then == nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if then != nil {
			then(w, r)
		}
	}))
	t.Cleanup(a.Close)
	return a
}

// Slack calls the type of its tokens bot, others BearerToken: APIs take them as Bearer, unless the catalogue says otherwise.
func TestTheSchemeIsTheCataloguesAndNotTheTokensType(t *testing.T) {
	for scheme, want := range map[string]string{"": "Bearer ", "Zoho-oauthtoken": "Zoho-oauthtoken "} {
		r := newRig(t, &clock{})
		r.scheme.Store(scheme)
		r.acquire(t)
		for name, httpClient := range map[string]*http.Client{
			"Transport":   {Transport: r.reader.Transport(conn, &http.Transport{DisableKeepAlives: true})},
			"TokenSource": oauth2.NewClient(t.Context(), r.reader.TokenSource(t.Context(), conn)),
		} {
			a := newAPI(t, func(http.ResponseWriter, *http.Request) {})
			resp, err := httpClient.Get(a.URL) //nolint:noctx // bounded by the test
			must(t, err)
			_ = resp.Body.Close()
			if len(a.tokens) != 1 || !strings.HasPrefix(a.tokens[0], want+demoprovider.AccessPrefix) {
				t.Errorf("%s, of an API that takes %q: Authorization does not begin with %q", name, scheme, want)
			}
		}
	}
}

func TestAnAPIThatRefusesEveryTokenCostsOneRefresh(t *testing.T) {
	r := newRig(t, &clock{})
	r.acquire(t)
	a := newAPI(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	httpClient := &http.Client{Transport: r.reader.Transport(conn, &http.Transport{DisableKeepAlives: true})}
	for range 3 {
		resp, err := httpClient.Get(a.URL) //nolint:noctx // bounded by the test
		must(t, err)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("status %d", resp.StatusCode)
		}
	}
	if got := r.server.Totals().Posts; got != 1 {
		t.Errorf("%d refreshes, want 1", got)
	}
}

func TestABodyIsSentAgainOnlyIfItCanBeHadAgain(t *testing.T) {
	c := &clock{}
	r := newRig(t, c)
	r.acquire(t)
	httpClient := &http.Client{Transport: r.reader.Transport(conn, &http.Transport{DisableKeepAlives: true})}
	for _, test := range []struct {
		name   string
		body   io.Reader
		status int
		bodies string
	}{
		{"a reader that net/http knows", strings.NewReader("the body"), http.StatusOK, "the body,the body"},
		{"a stream", io.MultiReader(strings.NewReader("the body")), http.StatusUnauthorized, "the body"},
		{"none", nil, http.StatusOK, ","},
	} {
		t.Run(test.name, func(t *testing.T) {
			c.advance(time.Minute) // after which the set may be refreshed again
			a := newAPI(t, nil)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.URL, test.body)
			must(t, err)
			resp, err := httpClient.Do(req)
			must(t, err)
			defer resp.Body.Close()
			if got := strings.Join(a.bodies, ","); resp.StatusCode != test.status || got != test.bodies {
				t.Errorf("status %d, bodies %q", resp.StatusCode, got)
			}
			if req.Header.Get("Authorization") != "" {
				t.Error("the caller's request was changed")
			}
		})
	}
}

func TestARedirectToAnotherHostGetsNoToken(t *testing.T) {
	r := newRig(t, &clock{})
	r.acquire(t)
	elsewhere := newAPI(t, func(http.ResponseWriter, *http.Request) {})
	home := newAPI(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/" {
			http.Redirect(w, req, "/here", http.StatusFound)
			return
		}
		other, _ := url.Parse(elsewhere.URL)
		other.Host = strings.Replace(other.Host, "127.0.0.1", "localhost", 1)
		http.Redirect(w, req, other.String(), http.StatusFound)
	})
	httpClient := &http.Client{Transport: r.reader.Transport(conn, &http.Transport{DisableKeepAlives: true})}
	resp, err := httpClient.Get(home.URL + "/") //nolint:noctx // bounded by the test
	must(t, err)
	_ = resp.Body.Close()
	if len(home.tokens) != 2 || home.tokens[0] == "" || home.tokens[1] != home.tokens[0] {
		t.Errorf("the API itself was sent %d tokens", len(home.tokens))
	}
	if len(elsewhere.tokens) != 1 || elsewhere.tokens[0] != "" {
		t.Error("another host was sent the token")
	}
}
