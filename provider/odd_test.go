package provider_test

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker/provider"
)

const (
	pair    = `{"access_token": "new-access", "refresh_token": "new-refresh"}`
	form    = "access_token=new-access&refresh_token=new-refresh"
	another = `{"access_token": "other-access", "refresh_token": "other-refresh"}`
)

// reply writes an answer of a token endpoint.
type reply func(http.ResponseWriter)

// says answers 200 with a body and headers, given as "Name: value". None is added to them.
func says(body string, headers ...string) reply { return saysWith(http.StatusOK, body, headers...) }

func saysWith(status int, body string, headers ...string) reply {
	return func(w http.ResponseWriter) {
		w.Header()["Content-Type"] = nil // not guessed either
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// breaksOff answers with more promised than is sent, and closes the connection.
func breaksOff(body string, headers ...string) reply {
	return func(w http.ResponseWriter) {
		says(body, append(headers, "Content-Length: "+strconv.Itoa(len(body)+7))...)(w)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// lacksLastChunk answers in chunks, and closes the connection before the last.
func lacksLastChunk(body string, headers ...string) reply {
	return func(w http.ResponseWriter) {
		says(body, headers...)(w)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

func deflated(body string) string {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	_, _ = io.WriteString(w, body)
	_ = w.Close()
	return b.String()
}

func deflatedRaw(t *testing.T, body string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(w, body)
	_ = w.Close()
	return b.String()
}

// pairWith is the pair and more members.
func pairWith(members string) string { return strings.TrimSuffix(pair, "}") + ", " + members + "}" }

// What identifies a token set unambiguously is used, however it is packed or ends; what the protocol needs (a code, a
// lifetime, a scheme) is never taken from free text. Each answer was seen, or is one step from what was.
func TestOddAnswers(t *testing.T) {
	const (
		html   = "Content-Type: text/html"
		asJSON = "Content-Type: application/json"
		asForm = "Content-Type: application/x-www-form-urlencoded"
		zipped = "Content-Encoding: gzip"
	)
	jwt := func(exp time.Time) string {
		return "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp": %d}`, exp.Unix())) + ".c2ln"
	}
	for _, tc := range []struct {
		name    string
		answer  reply
		fields  []string
		outcome provider.Outcome // zero: OK
		code    provider.Code
		theirs  string
		doubted bool
		access  string        // if not new-access
		refresh string        // if not new-refresh
		lives   time.Duration // 0: unknown
	}{
		// How a set is packed.
		{name: "gzip, and said so", answer: says(packed(pair), asJSON, zipped)},
		{name: "gzip, and not said", answer: says(packed(pair), asJSON)},
		{name: "gzip twice, by server and gateway", answer: says(packed(packed(pair)), asJSON, zipped)},
		{name: "said to be gzip, and plain", answer: says(pair, asJSON, zipped)},
		{name: "gzip without its last bytes", answer: says(strings.TrimSuffix(packed(pair), packed(pair)[len(packed(pair))-8:]), asJSON, zipped)},
		{name: "a form in gzip", answer: says(packed(form), asForm, zipped)},
		{name: "deflate as RFC 9110 has it", answer: says(deflated(pair), asJSON, "Content-Encoding: deflate")},
		{name: "deflate as some servers have it", answer: says(deflatedRaw(t, pair), asJSON, "Content-Encoding: deflate")},
		{name: "packed by what nobody here unpacks", answer: says("\x8b\x03\x80\x00", asJSON, "Content-Encoding: br"),
			outcome: provider.Unknown, code: provider.CodeUnreadable},
		{name: "a gigabyte in a few bytes", answer: says(packed(strings.Repeat("\x00", 64<<20)), zipped),
			outcome: provider.Unknown, code: provider.CodeUnreadable},
		{name: "JSON inside a JSON text", answer: says(strconv.Quote(pair), asJSON)},
		{name: "an error in gzip", answer: saysWith(400, packed(`{"error": "invalid_grant"}`), asJSON, zipped),
			outcome: provider.Reauth, code: provider.CodeInvalidGrant, theirs: "invalid_grant"},

		// How it ends.
		{name: "a Content-Length beyond the end", answer: breaksOff(pair, asJSON)},
		{name: "no last chunk", answer: lacksLastChunk(pair, asJSON)},
		{name: "no last chunk, in gzip", answer: lacksLastChunk(packed(pair), asJSON, zipped)},
		{name: "no last chunk, and the object is open", answer: lacksLastChunk(pair[:len(pair)-1], asJSON),
			outcome: provider.Unknown, code: provider.CodeUnreadable},
		{name: "no last chunk, and only the object inside is closed", answer: lacksLastChunk(`{"data": `+pair, asJSON),
			outcome: provider.Unknown, code: provider.CodeUnreadable},
		{name: "a form that may go on", answer: lacksLastChunk(form, asForm), outcome: provider.Unknown, code: provider.CodeUnreadable},
		{name: "a form with a Content-Length beyond the end", answer: breaksOff(form, asForm),
			outcome: provider.Unknown, code: provider.CodeUnreadable},
		{name: "a megabyte behind it", answer: says(pair+strings.Repeat(" ", 1<<20), asJSON)},
		{name: "a megabyte inside it", answer: says(pairWith(`"padding": "`+strings.Repeat("x", 1<<20)+`"`), asJSON),
			outcome: provider.Unknown, code: provider.CodeUnreadable},

		// What it is said to be.
		{name: "JSON as a page", answer: says(pair, html)},
		{name: "JSON without a content type", answer: says(pair)},
		{name: "a form as a page", answer: says(form, html)},
		{name: "a form as JSON", answer: says(form, asJSON)},
		{name: "a form without a content type", answer: says(form)},
		{name: "a form under a content type that is none", answer: says(form, "Content-Type: ;;")},
		{name: "a form with the token twice", answer: says(form+"&access_token=x", asForm), outcome: provider.Unknown, code: provider.CodeUnreadable},
		{name: "a sentence that looks like a form", answer: says("see <a href='?x=1&access_token=new-access'>", html),
			outcome: provider.Unknown, code: provider.CodeUnreadable},

		// What stands around it.
		{name: "a warning before it", answer: says("<br />\n<b>Warning</b>: date() in {main} on line 3\n"+pair, html)},
		{name: "a guard before it", answer: says(")]}',\n"+pair, asJSON)},
		{name: "a function around it", answer: says("callback("+pair+");", "Content-Type: text/javascript")},
		{name: "a list around it", answer: says("["+pair+"]", asJSON)},
		{name: "a warning, and two of them", answer: says("Warning\n" + pair + another), outcome: provider.Unknown, code: provider.CodeUnreadable},
		{name: "two of them", answer: says(pair+another, asJSON), outcome: provider.Unknown, code: provider.CodeUnreadable},
		{name: "the same twice", answer: says(pair+pair, asJSON)},
		{name: "a list of two", answer: says("["+pair+","+another+"]", asJSON), outcome: provider.Unknown, code: provider.CodeUnreadable},
		{name: "a level down, where the entry does not say so", answer: says(`{"status": 0, "body": `+pair+`}`, asJSON)},
		{name: "two a level down", answer: says(`{"a": `+pair+`, "b": `+another+`}`, asJSON), outcome: provider.Unknown, code: provider.CodeUnreadable},
		{name: "an error that repeats a set", answer: says(`{"ok": false, "error": "x", "request": `+pair+`}`, asJSON),
			outcome: provider.Unknown, code: provider.CodeUnreadable, theirs: "other"},
		{name: "an error in a text", answer: saysWith(400, "Warning\n"+`{"error": "invalid_grant"}`),
			outcome: provider.NotSpent, code: provider.CodeRefused},

		// How it is spelled.
		{name: "tokens as numbers", answer: says(`{"access_token": 12345678901234567890, "refresh_token": 98765432109876543210}`, asJSON),
			access: "12345678901234567890", refresh: "98765432109876543210"},
		{name: "names in capitals", answer: says(`{"accessToken": "new-access", "refreshToken": "new-refresh", "expiresIn": 60}`, asJSON), lives: time.Minute},
		{name: "names of its own", answer: says(`{"jeton": "new-access", "renouveau": "new-refresh"}`, asJSON),
			fields: []string{"answer_names: {access_token: jeton, refresh_token: renouveau}"}},
		{name: "a line break after the token", answer: says(`{"access_token": "new-access\n", "refresh_token": "new-refresh\r\n"}`, asJSON)},
		{name: "an access token that no header can carry", answer: says(`{"access_token": "new\u0000access", "refresh_token": "x"}`, asJSON),
			outcome: provider.Unknown, code: provider.CodeUnreadable},
		{name: "a refresh token that nobody could post", answer: says(`{"access_token": "new-access", "refresh_token": "ü"}`, asJSON), refresh: "old-refresh"},
		{name: "an ID token of 70 KiB, which costs nothing else", answer: says(pairWith(`"id_token": "`+strings.Repeat("x", 70<<10)+`"`), asJSON)},
		{name: "a token type with a line break", answer: says(pairWith(`"token_type": "bot\r\nX: y"`), asJSON)},

		// What it says of lifetimes.
		{name: "milliseconds that nobody announced", answer: says(pairWith(`"expires_in": 3600000`), asJSON)},
		{name: "milliseconds, by the entry", answer: says(pairWith(`"expires_in": 3600000`), asJSON),
			fields: []string{"expires_in_unit: milliseconds"}, lives: time.Hour},
		{name: "a Unix time that nobody announced", answer: says(pairWith(`"expires_in": 1795266000`), asJSON)},
		{name: "a Unix time, by the entry", answer: says(pairWith(`"expires_in": 1795266000`), asJSON), fields: []string{"expires_in_unit: unix"}, lives: time.Hour},
		{name: "two months, by the entry", answer: says(pairWith(`"expires_in": 5184000`), asJSON),
			fields: []string{"longest_lifetime: 60d"}, lives: 60 * 24 * time.Hour},
		{name: "two months, which the entry assumes too", answer: says(pairWith(`"expires_in": 5184000`), asJSON),
			fields: []string{"assumed_lifetime: 60d"}, lives: 60 * 24 * time.Hour},
		{name: "an implausible lifetime beside a plausible time", answer: says(pairWith(`"expires_in": 3600000, "expires_at": "2026-11-21T13:00:00Z"`), asJSON),
			lives: time.Hour},
		{name: "an implausible lifetime where one is assumed", answer: says(pairWith(`"expires_in": 3600000`), asJSON),
			fields: []string{"assumed_lifetime: 30m"}, lives: 30 * time.Minute},
		{name: "a lifetime that the entry knows better", answer: says(pairWith(`"expires_in": 86400`), asJSON),
			fields: []string{"assumed_lifetime: 30m", "assumed_lifetime_overrides: true"}, lives: 30 * time.Minute},
		{name: "expires_on", answer: says(pairWith(`"expires_on": "1795266000"`), asJSON), lives: time.Hour},
		{name: "expires, in seconds", answer: says(pairWith(`"expires": 3600`), asJSON), lives: time.Hour},
		{name: "expires, a Unix time", answer: says(pairWith(`"expires": 1795266000`), asJSON), lives: time.Hour},
		{name: ".expires, as HTTP has dates", answer: says(pairWith(`".expires": "Sat, 21 Nov 2026 13:00:00 GMT"`), asJSON), lives: time.Hour},
		{name: "expires_in_sec", answer: says(pairWith(`"expires_in_sec": 3600`), asJSON), lives: time.Hour},
		{name: "a date under expires_in", answer: says(pairWith(`"expires_in": "2026-11-21T13:00:00Z"`), asJSON), lives: time.Hour},
		{name: "a date without a zone", answer: says(pairWith(`"expires_at": "2026-11-21T13:00:00"`), asJSON), lives: time.Hour},
		{name: "a date with a blank", answer: says(pairWith(`"expires_at": "2026-11-21 13:00:00"`), asJSON), lives: time.Hour},
		{name: "a zone without its colon", answer: says(pairWith(`"expires_at": "2026-11-21T14:00:00.000+0100"`), asJSON), lives: time.Hour},
		{name: "a Unix time with a fraction, as text", answer: says(pairWith(`"access_token_expires_at": "1795266000.25"`), asJSON), lives: time.Hour},
		{name: "a time that has passed", answer: says(pairWith(`"expires_at": "2026-11-21T11:00:00Z"`), asJSON)},
		{name: "a JWT of fifty years", answer: says(`{"access_token": "`+jwt(noon.AddDate(50, 0, 0))+`", "refresh_token": "new-refresh"}`, asJSON),
			access: jwt(noon.AddDate(50, 0, 0))},

		// What it says went wrong.
		{name: "GitHub's word for a wrong secret, behind 200", answer: says(`{"error": "incorrect_client_credentials"}`, asJSON),
			outcome: provider.Misconfigured, code: provider.CodeInvalidClient, theirs: "incorrect_client_credentials"},
		{name: "Slack's word for a wrong secret, behind 200", answer: says(`{"ok": false, "error": "bad_client_secret"}`, asJSON),
			outcome: provider.Misconfigured, code: provider.CodeInvalidClient, theirs: "bad_client_secret"},
		{name: "a word of the entry's own for a wrong secret", answer: saysWith(403, `{"code": "app_locked"}`, asJSON), fields: []string{"client_codes: [app_locked]"},
			outcome: provider.Misconfigured, code: provider.CodeInvalidClient, theirs: "app_locked"},
		{name: "a dead grant under errorType", answer: saysWith(400, `{"errors": [{"errorType": "invalid_grant"}]}`, asJSON),
			outcome: provider.Unknown, code: provider.CodeGrantDoubted, theirs: "invalid_grant", doubted: true},
		{name: "a dead grant in a fault's detail", answer: saysWith(401, `{"fault": {"detail": {"errorcode": "keymanagement.service.invalid_refresh_token"}}}`, asJSON),
			outcome: provider.Unknown, code: provider.CodeGrantDoubted, theirs: "keymanagement.service.invalid_refresh_token", doubted: true},
		{name: "a dead grant in words", answer: saysWith(400, `{"error": "invalid_request", "error_description": "invalid_grant: it was revoked"}`, asJSON),
			outcome: provider.Unknown, code: provider.CodeGrantDoubted, theirs: "invalid_grant", doubted: true},
		{name: "a dead grant somewhere in words", answer: saysWith(400, `{"error": "invalid_request", "error_description": "got invalid_grant"}`, asJSON),
			outcome: provider.NotSpent, code: provider.CodeRefused, theirs: "invalid_request"},
		{name: "a dead grant behind 500", answer: saysWith(500, `{"error": "invalid_grant"}`, asJSON),
			outcome: provider.Unknown, code: provider.CodeServerError, theirs: "invalid_grant", doubted: true},
		{name: "a wrong secret in words", answer: saysWith(400, `{"error": "oops", "message": "invalid_client"}`, asJSON),
			outcome: provider.NotSpent, code: provider.CodeRefused, theirs: "other"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := serveFunc(t, func(w http.ResponseWriter, _ *http.Request) { tc.answer(w) })
			p := demo(t, append(tc.fields, tokenURL("%s/token", s.URL))...)
			a := client(t).Refresh(t.Context(), p, key, held())
			s.only(t)
			if tc.outcome == 0 {
				tc.outcome = provider.OK
			}
			ends(t, a, tc.outcome, tc.code)
			if a.ProviderCode != tc.theirs || a.Doubted != tc.doubted {
				t.Errorf("provider's code %q, doubted %t, want %q, %t", a.ProviderCode, a.Doubted, tc.theirs, tc.doubted)
			}
			if tc.outcome != provider.OK {
				return
			}
			want := plain{access: "new-access", refresh: "new-refresh"}
			if tc.access != "" {
				want.access = tc.access
			}
			if tc.refresh != "" {
				want.refresh = tc.refresh
			}
			if got := reveal(a.Set); got.access != want.access || got.refresh != want.refresh || got.id != "old-id" || got.rest.TokenType != "bearer" {
				t.Errorf("access %q, refresh %q, ID %q, type %q", got.access, got.refresh, got.id, got.rest.TokenType)
			}
			if got := a.Set.ExpiresAt.Sub(noon).Truncate(time.Second); a.Set.ExpiresAt.IsZero() != (tc.lives == 0) || tc.lives > 0 && got != tc.lives {
				t.Errorf("expires at %s, want %s after %s", a.Set.ExpiresAt, tc.lives, noon)
			}
		})
	}
}
