package provider_test

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker/provider"
)

// Every answer that a token endpoint was seen, or is feared, to give.
func TestHowAnAnswerIsRead(t *testing.T) {
	const good = `{"access_token": "new-access", "token_type": "Bearer"}`
	for _, tc := range []struct {
		name    string
		status  int
		body    string
		headers []string
		outcome provider.Outcome
		code    provider.Code
		theirs  string // the provider's own code
		wait    time.Duration
	}{
		{name: "a token", status: 200, body: good, outcome: provider.OK},
		{name: "a token, created", status: 201, body: good, outcome: provider.OK},
		{name: "a token as HTML, by its header", status: 200, body: good, headers: []string{"Content-Type: text/html"}, outcome: provider.OK},
		{name: "a token after a byte order mark", status: 200, body: "\xef\xbb\xbf" + good, outcome: provider.OK},
		{name: "a token and an empty error", status: 200, body: `{"access_token": "a", "error": ""}`, outcome: provider.OK},
		{name: "a token as a form", status: 200, body: "access_token=new-access&token_type=bearer",
			headers: []string{"Content-Type: application/x-www-form-urlencoded; charset=utf-8"}, outcome: provider.OK},

		{name: "429", status: 429, outcome: provider.NotSpent, code: provider.CodeRateLimited},
		{name: "429 for a minute", status: 429, headers: []string{"Retry-After: 60"},
			outcome: provider.NotSpent, code: provider.CodeRateLimited, wait: time.Minute},
		{name: "429 until a date", status: 429, headers: []string{"Retry-After: Sat, 21 Nov 2026 12:00:30 GMT"},
			outcome: provider.NotSpent, code: provider.CodeRateLimited, wait: 30 * time.Second},
		{name: "429 until a date that has passed", status: 429, headers: []string{"Retry-After: Sat, 21 Nov 2026 11:00:00 GMT"},
			outcome: provider.NotSpent, code: provider.CodeRateLimited},
		{name: "429 for a year is taken for a day", status: 429, headers: []string{"Retry-After: 31536000"},
			outcome: provider.NotSpent, code: provider.CodeRateLimited, wait: 24 * time.Hour},
		{name: "429 for a second and a half", status: 429, headers: []string{"Retry-After: 1.5"},
			outcome: provider.NotSpent, code: provider.CodeRateLimited, wait: 1500 * time.Millisecond},
		{name: "429 with a limit that is lifted in a minute", status: 429, headers: []string{"X-RateLimit-Reset: 60"},
			outcome: provider.NotSpent, code: provider.CodeRateLimited, wait: time.Minute},
		{name: "429 with a limit that is lifted at a Unix time", status: 429, headers: []string{"X-Rate-Limit-Reset: 1795262460"},
			outcome: provider.NotSpent, code: provider.CodeRateLimited, wait: time.Minute},
		{name: "429 with a limit that is lifted at a Unix time in milliseconds", status: 429, headers: []string{"RateLimit-Reset: 1795262460000"},
			outcome: provider.NotSpent, code: provider.CodeRateLimited, wait: time.Minute},
		{name: "429 that says both", status: 429, headers: []string{"Retry-After: 5", "X-RateLimit-Reset: 60"},
			outcome: provider.NotSpent, code: provider.CodeRateLimited, wait: 5 * time.Second},
		{name: "400 beside a limit that was not reached", status: 400, headers: []string{"X-RateLimit-Reset: 60"},
			outcome: provider.NotSpent, code: provider.CodeRefused},
		{name: "429 for nobody knows how long", status: 429, headers: []string{"Retry-After: soon"},
			outcome: provider.NotSpent, code: provider.CodeRateLimited},
		{name: "429 whatever it says", status: 429, body: `{"error": "invalid_grant"}`,
			outcome: provider.NotSpent, code: provider.CodeRateLimited, theirs: "invalid_grant"},
		{name: "400 invalid_request", status: 400, body: `{"error": "invalid_request"}`,
			outcome: provider.NotSpent, code: provider.CodeRefused, theirs: "invalid_request"},
		{name: "400 of an unknown kind", status: 400, body: `{"error": "moon_phase"}`,
			outcome: provider.NotSpent, code: provider.CodeRefused, theirs: "other"},
		{name: "403 from a firewall", status: 403, body: "<html>no</html>", headers: []string{"Content-Type: text/html"},
			outcome: provider.NotSpent, code: provider.CodeRefused},
		{name: "404", status: 404, outcome: provider.NotSpent, code: provider.CodeRefused},
		{name: "400 that is too large to read", status: 400, body: strings.Repeat("x", 2<<20),
			outcome: provider.NotSpent, code: provider.CodeRefused},

		{name: "301", status: 301, headers: []string{"Location: /elsewhere"}, outcome: provider.Unknown, code: provider.CodeRedirected},
		{name: "307", status: 307, headers: []string{"Location: /elsewhere"}, outcome: provider.Unknown, code: provider.CodeRedirected},
		{name: "304", status: 304, outcome: provider.Unknown, code: provider.CodeRedirected},
		{name: "408", status: 408, outcome: provider.Unknown, code: provider.CodeServerError},
		{name: "500", status: 500, outcome: provider.Unknown, code: provider.CodeServerError},
		{name: "500 invalid_grant", status: 500, body: `{"error": "invalid_grant"}`,
			outcome: provider.Unknown, code: provider.CodeServerError, theirs: "invalid_grant"},
		{name: "503 for a minute", status: 503, headers: []string{"Retry-After: 60"},
			outcome: provider.Unknown, code: provider.CodeServerError, wait: time.Minute},
		{name: "504 from a gateway", status: 504, body: "<html>", outcome: provider.Unknown, code: provider.CodeServerError},
		{name: "600", status: 600, outcome: provider.Unknown, code: provider.CodeServerError},
		{name: "400 server_error", status: 400, body: `{"error": "server_error"}`,
			outcome: provider.Unknown, code: provider.CodeServerError, theirs: "server_error"},
		{name: "200 temporarily_unavailable", status: 200, body: `{"error": "temporarily_unavailable"}`,
			outcome: provider.Unknown, code: provider.CodeServerError, theirs: "temporarily_unavailable"},
		{name: "200 with an unknown error", status: 200, body: `{"ok": false, "error": "fatal_error"}`,
			outcome: provider.Unknown, code: provider.CodeUnreadable, theirs: "other"},
		{name: "200 with nothing", status: 200, outcome: provider.Unknown, code: provider.CodeUnreadable},
		{name: "204", status: 204, outcome: provider.Unknown, code: provider.CodeUnreadable},
		{name: "200 with a page", status: 200, body: "<html>hello</html>", headers: []string{"Content-Type: text/html"},
			outcome: provider.Unknown, code: provider.CodeUnreadable},
		{name: "200 with half an object", status: 200, body: `{"access_token": "new`, outcome: provider.Unknown, code: provider.CodeUnreadable},
		{name: "200 without a token", status: 200, body: `{"token_type": "Bearer"}`, outcome: provider.Unknown, code: provider.CodeUnreadable},
		{name: "200 with a form of something else", status: 200, body: "a=b", headers: []string{"Content-Type: text/plain"},
			outcome: provider.Unknown, code: provider.CodeUnreadable},

		{name: "400 invalid_grant", status: 400, body: `{"error": "invalid_grant", "error_description": "expired"}`,
			outcome: provider.Reauth, code: provider.CodeInvalidGrant, theirs: "invalid_grant"},
		{name: "401 invalid_grant", status: 401, body: `{"error": "invalid_grant"}`,
			outcome: provider.Reauth, code: provider.CodeInvalidGrant, theirs: "invalid_grant"},
		{name: "200 with the provider's own code", status: 200, body: `{"ok": false, "error": "token_revoked"}`,
			outcome: provider.Reauth, code: provider.CodeInvalidGrant, theirs: "token_revoked"},
		{name: "200 with an error as a form", status: 200, body: "error=token_revoked&error_description=x",
			headers: []string{"Content-Type: application/x-www-form-urlencoded"},
			outcome: provider.Reauth, code: provider.CodeInvalidGrant, theirs: "token_revoked"},
		{name: "400 with the code in an object", status: 400, body: `{"error": {"message": "dead token", "code": 190}}`,
			outcome: provider.Reauth, code: provider.CodeInvalidGrant, theirs: "190"},
		{name: "400 with the code before a colon", status: 400,
			body:    `{"error": "interaction_needed", "error_description": "AADSTS70008: The token has expired."}`,
			outcome: provider.Reauth, code: provider.CodeInvalidGrant, theirs: "AADSTS70008"},
		{name: "400 with the code in a list of objects", status: 400, body: `{"errors": [{"detail": "Invalid refresh token"}]}`,
			outcome: provider.Reauth, code: provider.CodeInvalidGrant, theirs: "Invalid refresh token"},
		{name: "403 with a code that elsewhere is the operator's fault", status: 403, body: `{"error": "insufficient_scope"}`,
			outcome: provider.Reauth, code: provider.CodeInvalidGrant, theirs: "insufficient_scope"},

		{name: "401 invalid_client", status: 401, body: `{"error": "invalid_client"}`,
			outcome: provider.Misconfigured, code: provider.CodeInvalidClient, theirs: "invalid_client"},
		{name: "400 unauthorized_client", status: 400, body: `{"error": "unauthorized_client"}`,
			outcome: provider.Misconfigured, code: provider.CodeUnauthorizedClient, theirs: "unauthorized_client"},
		{name: "200 invalid_client", status: 200, body: `{"error": "invalid_client"}`,
			outcome: provider.Misconfigured, code: provider.CodeInvalidClient, theirs: "invalid_client"},
		{name: "401 and no more", status: 401, outcome: provider.Misconfigured, code: provider.CodeUnauthorized},
		{name: "401 invalid_request", status: 401, body: `{"error": "invalid_request"}`,
			outcome: provider.Misconfigured, code: provider.CodeUnauthorized, theirs: "invalid_request"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := serve(t, tc.status, tc.body, tc.headers...)
			p := demo(t, tokenURL("%s/token", s.URL),
				`reauth_codes: [token_revoked, "190", AADSTS70008, Invalid refresh token, insufficient_scope]`)
			a := client(t).Refresh(t.Context(), p, key, held())
			ends(t, a, tc.outcome, tc.code)
			if a.ProviderCode != tc.theirs {
				t.Errorf("provider's code %q, want %q", a.ProviderCode, tc.theirs)
			}
			if a.RetryAfter != tc.wait {
				t.Errorf("retry after %s, want %s", a.RetryAfter, tc.wait)
			}
			if a.Status != tc.status {
				t.Errorf("status %d, want %d", a.Status, tc.status)
			}
			s.only(t) // one POST, whatever it led to
		})
	}
}

func packed(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.String()
}

func TestAnErrorBodyIsNoTokenInDisguise(t *testing.T) {
	s := serve(t, http.StatusBadRequest, `{"access_token": "a", "error": "invalid_grant"}`)
	a := client(t).Refresh(t.Context(), demo(t, tokenURL("%s", s.URL)), key, held())
	ends(t, a, provider.Reauth, provider.CodeInvalidGrant)
	if !a.Set.AccessToken.IsEmpty() {
		t.Error("a token was taken from a refusal")
	}
}
