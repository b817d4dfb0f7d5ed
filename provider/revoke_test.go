package provider_test

import (
	"net/http"
	"testing"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/provider"
)

func TestWhatIsAskedToRevoke(t *testing.T) {
	type asked struct{ method, target, authorization, body string }
	const basic = "Basic YXBwOnMzY3JldA=="
	refreshOnly := asked{"POST", "/revoke", basic, "token=old-refresh&token_type_hint=refresh_token"}
	accessOnly := asked{"POST", "/revoke", basic, "token=old-access&token_type_hint=access_token"}
	noRefresh := func(set *tokenworker.TokenSet) { set.RefreshToken = tokenworker.Secret{} }
	for _, tc := range []struct {
		name   string
		fields []string
		edit   func(*tokenworker.TokenSet)
		asked  []asked
	}{
		{name: "the refresh token, which the rest hangs on", fields: []string{"revoke: {url: URL/revoke}"}, asked: []asked{refreshOnly}},
		{name: "the access token if there is no other", fields: []string{"revoke: {url: URL/revoke}"}, edit: noRefresh, asked: []asked{accessOnly}},
		{name: "the access token where that is what the provider takes", fields: []string{"revoke: {url: URL/revoke, token: access}"},
			asked: []asked{accessOnly}},
		{name: "both", fields: []string{"revoke: {url: URL/revoke, token: both}"}, asked: []asked{refreshOnly, accessOnly}},
		{name: "both, of a set with one", fields: []string{"revoke: {url: URL/revoke, token: both}"}, edit: noRefresh, asked: []asked{accessOnly}},
		{name: "with the client in the body", fields: []string{"revoke: {url: URL/revoke}", "auth: client_secret_post"},
			asked: []asked{{"POST", "/revoke", "", "client_id=app&client_secret=s3cret&token=old-refresh&token_type_hint=refresh_token"}}},
		{name: "as JSON, with DELETE and an authentication of its own",
			fields: []string{"auth: client_secret_post", "revoke: {url: 'URL/apps/{client_id}/token', method: DELETE, send: json, " +
				"auth: client_secret_basic, token: access, param: access_token}"},
			asked: []asked{{"DELETE", "/apps/app/token", basic, `{"access_token":"old-access"}`}}},
		{name: "by the access token's own right", fields: []string{"revoke: {url: URL/disconnect, send: bearer}"},
			asked: []asked{{"POST", "/disconnect", "Bearer old-access", ""}}},
		{name: "in the URL, because the operator allows it",
			fields: []string{"revoke: {url: 'URL/tokens/{token}', method: DELETE, token: refresh, allow_token_in_url: true}"},
			edit:   func(set *tokenworker.TokenSet) { set.RefreshToken = tokenworker.SecretString("a/b?c=d&e+f g") },
			asked:  []asked{{"DELETE", "/tokens/a%2Fb%3Fc%3Dd%26e%2Bf%20g", basic, ""}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := serve(t, http.StatusOK, "")
			p, set := demo(t, at(s.URL, tc.fields)...), held()
			if tc.edit != nil {
				tc.edit(&set)
			}
			ends(t, client(t).Revoke(t.Context(), p, key, set), provider.OK, "")
			seen := s.seen()
			if len(seen) != len(tc.asked) {
				t.Fatalf("%d requests, want %d", len(seen), len(tc.asked))
			}
			for i, r := range seen {
				if got := (asked{r.method, r.target, r.header.Get("Authorization"), r.body}); got != tc.asked[i] {
					t.Errorf("request %d\n got %q\nwant %q", i+1, got, tc.asked[i])
				}
			}
		})
	}
}

func TestHowARevocationEnds(t *testing.T) {
	for _, tc := range []struct {
		name    string
		how     string // of the revocation, after its URL
		status  int
		body    string
		outcome provider.Outcome
		code    provider.Code
	}{
		{"200", "", 200, "", provider.OK, ""},
		{"204", "", 204, "", provider.OK, ""},
		{"200 with a page: only the status counts", "", 200, "<html>", provider.OK, ""},
		{"200 with a word", "", 200, `{"success": "ok"}`, provider.OK, ""},
		{"200 that says no", "", 200, `{"ok": false, "error": "internal"}`, provider.Unknown, provider.CodeUnreadable},
		{"200 that says no, and no more", "", 200, `{"ok": false}`, provider.Unknown, provider.CodeUnreadable},
		{"200 that says no in another way", "", 200, `{"success": false}`, provider.Unknown, provider.CodeUnreadable},
		{"200 that says it is dead", "", 200, `{"ok": false, "error": "token_revoked"}`, provider.Reauth, provider.CodeInvalidToken},
		{"400 invalid_token", "", 400, `{"error": "invalid_token"}`, provider.Reauth, provider.CodeInvalidToken},
		{"400 invalid_grant", "", 400, `{"error": "invalid_grant"}`, provider.Reauth, provider.CodeInvalidToken},
		{"400 unsupported_token_type", "", 400, `{"error": "unsupported_token_type"}`, provider.Unsupported, provider.CodeUnsupported},
		{"401 of the client", "", 401, `{"error": "invalid_client"}`, provider.Misconfigured, provider.CodeInvalidClient},
		{"401 of the token itself", ", send: bearer", 401, "", provider.Reauth, provider.CodeInvalidToken},
		{"404 of a POST", "", 404, "", provider.NotSpent, provider.CodeRefused},
		{"404 of a DELETE: it is gone", ", method: DELETE", 404, "", provider.Reauth, provider.CodeInvalidToken},
		{"410 of a DELETE: it is gone", ", method: DELETE", 410, "", provider.Reauth, provider.CodeInvalidToken},
		{"429", "", 429, "", provider.NotSpent, provider.CodeRateLimited},
		{"503", "", 503, "", provider.Unknown, provider.CodeServerError},
		{"503 that speaks of the token", "", 503, `{"error": "invalid_token"}`, provider.Unknown, provider.CodeServerError},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := serve(t, tc.status, tc.body)
			p := demo(t, "revoke: {url: "+s.URL+tc.how+"}", "reauth_codes: [token_revoked]")
			ends(t, client(t).Revoke(t.Context(), p, key, held()), tc.outcome, tc.code)
			s.only(t)
		})
	}
}

func TestTheFirstTokenThatIsNotRevokedEndsTheCall(t *testing.T) {
	s := serve(t, http.StatusServiceUnavailable, "")
	p := demo(t, "revoke: {url: "+s.URL+", token: both}")
	ends(t, client(t).Revoke(t.Context(), p, key, held()), provider.Unknown, provider.CodeServerError)
	s.only(t)
}

func TestWhatIsNeverAskedToRevoke(t *testing.T) {
	for _, tc := range []struct {
		name    string
		fields  []string
		enabled bool
		set     tokenworker.TokenSet
		outcome provider.Outcome
		code    provider.Code
	}{
		{"by a provider without a client", []string{"revoke: {url: URL}"}, false, held(), provider.Misconfigured, provider.CodeNotEnabled},
		{"by a provider that has no way", nil, true, held(), provider.Unsupported, provider.CodeUnsupported},
		{"in a URL, which logs keep", []string{"revoke: {url: 'URL/{token}', method: DELETE}"}, true, held(),
			provider.Unsupported, provider.CodeUnsupported},
		{"a set without the token that the provider takes", []string{"revoke: {url: URL, token: refresh}"}, true,
			tokenworker.TokenSet{AccessToken: tokenworker.SecretString("a")}, provider.Unsupported, provider.CodeUnsupported},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := serve(t, http.StatusOK, "")
			provide := disabled
			if tc.enabled {
				provide = demo
			}
			p := provide(t, at(s.URL, tc.fields)...)
			ends(t, client(t).Revoke(t.Context(), p, key, tc.set), tc.outcome, tc.code)
			if n := len(s.seen()); n != 0 {
				t.Errorf("%d requests", n)
			}
		})
	}
}
