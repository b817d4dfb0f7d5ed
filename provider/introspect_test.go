package provider_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/provider"
)

// finch is the catalogue's Finch at the server's address.
func finch(t *testing.T, url string) *provider.Provider {
	t.Helper()
	t.Setenv("FINCH_ID", "app")
	c := load(t, `
providers:
  finch:
    client: {id: env:FINCH_ID}
    introspect: {url: `+url+`/introspect}
    revoke: {url: `+url+`/disconnect}
    allow_networks: [127.0.0.0/8]
`)
	p, _ := c.Get("finch")
	return p
}

func TestFinch(t *testing.T) {
	const about = `{"id": "t-1", "connection_id": "conn-9", "company_id": "company-9", "client_id": "app", "products": ["company"],
		"connection_status": {"status": "STATUS", "message": "words"}, "provider_id": "gusto"}`
	for _, tc := range []struct {
		name    string
		status  int
		body    string
		outcome provider.Outcome
		code    provider.Code
	}{
		{"connected", 200, "connected", provider.OK, ""},
		{"processing", 200, "processing", provider.OK, ""},
		{"must sign in again", 200, "reauth", provider.Reauth, provider.CodeInvalidToken},
		{"disconnected", 200, "disconnected", provider.Reauth, provider.CodeDisconnected},
		{"the token is dead", 401, `{"code": 401, "name": "reauthenticate_user", "finch_code": "reauthenticate_user", "message": "words"}`,
			provider.Reauth, provider.CodeInvalidToken},
		{"the token is dead for no stated reason", 401, ``, provider.Reauth, provider.CodeInvalidToken},
		{"too often", 429, ``, provider.NotSpent, provider.CodeRateLimited},
		{"down", 500, ``, provider.Unknown, provider.CodeServerError},
	} {
		t.Run("introspection: "+tc.name, func(t *testing.T) {
			body := tc.body
			if tc.status == http.StatusOK {
				body = strings.ReplaceAll(about, "STATUS", tc.body)
			}
			s := serve(t, tc.status, body)
			a := client(t).Introspect(t.Context(), finch(t, s.URL), tokenworker.Key{OrgID: "acme", ProviderID: "finch"}, held())
			ends(t, a, tc.outcome, tc.code)
			want := provider.Identity{}
			if tc.outcome == provider.OK {
				want = provider.Identity{CompanyID: "company-9", ConnectionID: "conn-9"}
			}
			if a.Identity != want {
				t.Errorf("identity %+v, want %+v", a.Identity, want)
			}
			got := s.only(t)
			if got.method != http.MethodGet || got.target != "/introspect" || got.body != "" {
				t.Errorf("asked %s %s %q", got.method, got.target, got.body)
			}
			if got.header.Get("Authorization") != "Bearer old-access" || got.header.Get("Finch-API-Version") != "2020-09-17" {
				t.Errorf("headers %v", got.header)
			}
		})
	}
	t.Run("a disconnect is by the access token and ends the company", func(t *testing.T) {
		s := serve(t, http.StatusOK, `{"status": "success"}`)
		p := finch(t, s.URL)
		ends(t, client(t).Revoke(t.Context(), p, key, held()), provider.OK, "")
		if got := s.only(t); got.method != http.MethodPost || got.header.Get("Authorization") != "Bearer old-access" || got.body != "" {
			t.Errorf("asked %s %v %q", got.method, got.header, got.body)
		}
		if p.DisconnectScope != provider.DisconnectsCompany {
			t.Errorf("disconnects %s", p.DisconnectScope)
		}
	})
	t.Run("there is nothing to refresh", func(t *testing.T) {
		s := serve(t, http.StatusOK, token)
		ends(t, client(t).Refresh(t.Context(), finch(t, s.URL), key, held()), provider.Unsupported, provider.CodeUnsupported)
		if n := len(s.seen()); n != 0 {
			t.Errorf("%d requests", n)
		}
	})
}

func TestIntrospection(t *testing.T) {
	for _, tc := range []struct {
		name    string
		status  int
		body    string
		outcome provider.Outcome
		code    provider.Code
		want    provider.Identity
	}{
		{name: "active", status: 200, body: `{"active": true, "sub": "u-1", "scope": "read write", "exp": 1795266000}`, outcome: provider.OK,
			want: provider.Identity{Subject: "u-1", Scope: "read write", ExpiresAt: noon.Add(time.Hour)}},
		{name: "inactive", status: 200, body: `{"active": false}`, outcome: provider.Reauth, code: provider.CodeInvalidToken},
		{name: "neither", status: 200, body: `{"sub": "u-1"}`, outcome: provider.Unknown, code: provider.CodeUnreadable},
		{name: "active in a word", status: 200, body: `{"active": "true"}`, outcome: provider.Unknown, code: provider.CodeUnreadable},
		{name: "a page", status: 200, body: `<html>`, outcome: provider.Unknown, code: provider.CodeUnreadable},
		{name: "active beside an error", status: 200, body: `{"active": true, "error": "strange"}`,
			outcome: provider.Unknown, code: provider.CodeUnreadable},
		{name: "the client is refused", status: 401, outcome: provider.Misconfigured, code: provider.CodeUnauthorized},
		{name: "something that repeats the token", status: 200, body: `{"active": true, "sub": "old-refresh", "scope": "old-access"}`,
			outcome: provider.OK},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := serve(t, tc.status, tc.body)
			a := client(t).Introspect(t.Context(), demo(t, "introspect: {url: "+s.URL+"}"), key, held())
			ends(t, a, tc.outcome, tc.code)
			a.Identity.ExpiresAt = a.Identity.ExpiresAt.UTC()
			if a.Identity != tc.want {
				t.Errorf("identity %+v, want %+v", a.Identity, tc.want)
			}
			if got := s.only(t); got.method != http.MethodPost || got.body != "token=old-refresh&token_type_hint=refresh_token" {
				t.Errorf("asked %s %q", got.method, got.body)
			}
		})
	}
}

func TestACompanyThatIsNoKeyIsNotPassedOn(t *testing.T) {
	s := serve(t, http.StatusOK, `{"active": true, "company": "line\nbreak"}`)
	p := demo(t, "introspect: {url: "+s.URL+", company: company}")
	a := client(t).Introspect(t.Context(), p, key, held())
	ends(t, a, provider.OK, "")
	if a.Identity.CompanyID != "" {
		t.Errorf("company %q", a.Identity.CompanyID)
	}
}

func TestWhoIsNeverAskedToIntrospect(t *testing.T) {
	s := serve(t, http.StatusOK, `{"active": true}`)
	c := client(t)
	ends(t, c.Introspect(t.Context(), disabled(t, "introspect: {url: "+s.URL+"}"), key, held()), provider.Misconfigured, provider.CodeNotEnabled)
	ends(t, c.Introspect(t.Context(), demo(t), key, held()), provider.Unsupported, provider.CodeUnsupported)
	ends(t, c.Introspect(t.Context(), demo(t, "introspect: {url: "+s.URL+", token: refresh}"), key, tokenworker.TokenSet{}),
		provider.Unsupported, provider.CodeUnsupported)
	if n := len(s.seen()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestRollup(t *testing.T) {
	t.Setenv("ROLLUP_ID", "app")
	t.Setenv("ROLLUP_SECRET", "s3cret")
	provide := func(url string) *provider.Provider {
		p, _ := load(t, `
providers:
  rollup:
    client: {id: env:ROLLUP_ID, secret: env:ROLLUP_SECRET}
    token_url: `+url+`
    allow_networks: [127.0.0.0/8]
`).Get("rollup")
		return p
	}
	t.Run("an access token and nothing else", func(t *testing.T) {
		// {"alg":"ES256"} and {"exp":1795266000}, with some signature
		const jwt = "eyJhbGciOiJFUzI1NiJ9.eyJleHAiOjE3OTUyNjYwMDB9.c2ln"
		s := serve(t, http.StatusOK, `{"token_type": "Bearer", "access_token": "`+jwt+`"}`)
		a := client(t).Refresh(t.Context(), provide(s.URL), key, held())
		ends(t, a, provider.OK, "")
		if got := reveal(a.Set); got.access != jwt || got.refresh != "old-refresh" || a.NewRefreshToken || !a.Set.ExpiresAt.Equal(noon.Add(time.Hour)) {
			t.Errorf("set %+v", got)
		}
	})
	t.Run("a dead token, in words", func(t *testing.T) {
		s := serve(t, http.StatusUnauthorized, `{"message": "expired token"}`)
		a := client(t).Refresh(t.Context(), provide(s.URL), key, held())
		ends(t, a, provider.Reauth, provider.CodeInvalidGrant)
		if a.ProviderCode != "expired token" {
			t.Errorf("provider's code %q", a.ProviderCode)
		}
	})
}
