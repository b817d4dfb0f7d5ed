package provider

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

var fuzzNow = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// Whatever a token endpoint says: no panic, a definite outcome, times within reason, no token in what is printed.
func FuzzTokenAnswer(f *testing.F) {
	for _, body := range []string{
		`{"access_token": "a", "refresh_token": "b", "expires_in": 3600, "scope": "x y"}`,
		`{"access_token": "a.eyJleHAiOjE3OTUyNjYwMDB9.c", "expires_at": "2026-11-21T13:00:00Z", "scope": ["x"]}`,
		`{"ok": false, "error": "token_revoked", "authed_user": {"access_token": "a", "expires_in": "1e9"}}`,
		`{"error": {"code": 190, "errors": [{"message": "AADSTS70008: dead"}]}, "refresh_expires_in": -1.5}`,
		"access_token=a&expires_in=60", "error=invalid_grant", "", "[]", "null", `{"access_token"`, `{"expires_in":1e999}`,
	} {
		f.Add(200, "application/json", []byte(body))
		f.Add(400, "application/x-www-form-urlencoded", []byte(body))
	}
	p := &Provider{ID: "fuzz", answerPath: "authed_user", reauthCodes: []string{"token_revoked", "190", "AADSTS70008"}}
	const secret = "canary-refresh-9c1e"
	old := tokenworker.TokenSet{AccessToken: tokenworker.SecretString("old"), RefreshToken: tokenworker.SecretString(secret)}
	f.Fuzz(func(t *testing.T, status int, mediaType string, body []byte) {
		r := reply{status: status, mediaType: mediaType, body: body, wrote: true}
		a := p.refreshed(r, old, fuzzNow)
		good := 200 <= status && status <= 299
		switch {
		case a.Outcome < OK || a.Outcome > Unsupported:
			t.Fatalf("ended as %s", a.Outcome)
		case a.Outcome == OK && !good:
			t.Fatalf("status %d is OK", status)
		case a.Outcome == OK && (a.Code != "" || a.Set.AccessToken.IsEmpty() || a.Set.RefreshToken.IsEmpty()):
			t.Fatalf("OK without a set: %+v", a)
		case a.Outcome != OK && (a.Code == "" || !a.Set.AccessToken.IsEmpty()):
			t.Fatalf("not OK, and no reason or a set: %+v", a)
		case a.Doubted && a.Outcome != Unknown:
			t.Fatalf("doubted, and %s", a.Outcome)
		case a.Outcome == NotSpent && (status < 400 || status > 499) && a.ProviderCode == "":
			t.Fatalf("not spent by status %d", status)
		}
		for _, at := range []time.Time{a.Set.ExpiresAt, a.RefreshExpires} {
			if !at.IsZero() && (at.Unix() < 0 || at.Unix() > 1e11) {
				t.Fatalf("time %s", at)
			}
		}
		if known := slices.Concat([]string{"", OtherCode}, errorCodes, clientCodes, deadCodes, p.reauthCodes); !slices.Contains(known, a.ProviderCode) {
			t.Fatalf("provider's code %q", a.ProviderCode)
		}
		if strings.Contains(fmt.Sprintf("%+v %#v", a, a), secret) {
			t.Fatal("the answer shows the token")
		}
		if again := p.revoked(r); again.Outcome < OK || again.Outcome > Unsupported {
			t.Fatalf("revocation ended as %s", again.Outcome)
		}
		if again := p.introspected(r, old); again.Outcome < OK || again.Outcome > Unsupported {
			t.Fatalf("introspection ended as %s", again.Outcome)
		}
	})
}

// Whatever a file of providers says: no panic, every error says where, and what is accepted names hosts that ids cannot
// choose.
func FuzzCatalogue(f *testing.F) {
	f.Add(builtIn)
	f.Add([]byte("providers:\n  a:\n    token_url: https://{company}.example.com:8443/{connection}?x={client_id}\n"))
	f.Add([]byte("providers: {a: {revoke: {url: 'http://[::1]:80/{token}'}, allow_networks: ['::1/128'], values: {x: y}}}"))
	f.Add([]byte("providers:\n  a: &x {grace: 1h, rotation: grace}\n  b: *x\n"))
	f.Add([]byte("providers: {a: {client: {id: 'env:A', secret: none}, headers: {X-A: b}, notes: >-\n  folded\n  text\n}}"))
	f.Fuzz(func(t *testing.T, yaml []byte) {
		drafts := map[string]*draft{}
		if err := merge(drafts, Source{"fuzz.yaml", yaml}); err != nil {
			said(t, err)
			return
		}
		for _, d := range drafts {
			d.defaults()
			if err := d.validate(); err != nil {
				said(t, err)
				continue
			}
			for _, tpl := range []template{d.urls.token, d.urls.revoke, d.urls.introspect} {
				if !tpl.isZero() {
					sameHost(t, tpl, "c-1", "conn")
				}
			}
		}
	})
}

func said(t *testing.T, err error) {
	t.Helper()
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if !strings.HasPrefix(line, "fuzz.yaml") {
			t.Fatalf("an error that does not say where: %q", line)
		}
	}
}

// Whatever the ids are: the URL stays below the host that the template ends in, on its port, in its path.
func FuzzTemplate(f *testing.F) {
	for _, id := range []string{"acme", "a.b", "a/b", "..", "a@b", "a:80", "a#b", "a?b", "%2f", "", "a\\b", "ä", strings.Repeat("a", 200)} {
		f.Add(id, id, "token/"+id)
	}
	tpl, err := parseTemplate("https://{company}.api.example.com:8443/v1/{connection}/revoke?token={token}")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, company, connection, token string) {
		u, err := tpl.expand(fillers{company: company, connection: connection, token: tokenworker.SecretString(token)})
		if err != nil {
			return
		}
		if u.Host != company+".api.example.com:8443" || strings.Contains(company, ".") || u.Port() != "8443" || u.User != nil || u.Fragment != "" {
			t.Fatalf("host %q", u.Host)
		}
		if u.Path != "/v1/"+connection+"/revoke" || strings.Count(u.Path, "/") != 3 {
			t.Fatalf("path %q", u.Path)
		}
		if query, err := url.ParseQuery(u.RawQuery); err != nil || len(query) != 1 || query.Get("token") != token {
			t.Fatalf("query %q", u.RawQuery)
		}
	})
}

// sameHost checks that other ids lead to hosts with the same last two labels.
func sameHost(t *testing.T, tpl template, company, connection string) {
	t.Helper()
	f := fillers{company: company, connection: connection, clientID: tokenworker.SecretString("id"), token: tokenworker.SecretString("t")}
	u, err := tpl.expand(f)
	if err != nil {
		t.Fatalf("a template that cannot be filled: %v", err)
	}
	f.company, f.connection = "other", "other"
	v, err := tpl.expand(f)
	if err != nil || lastLabels(u.Hostname()) != lastLabels(v.Hostname()) || u.Port() != v.Port() {
		t.Fatalf("hosts %q and %q: %v", u.Host, v.Host, err)
	}
}

func lastLabels(host string) string {
	labels := strings.Split(host, ".")
	return strings.Join(labels[max(0, len(labels)-2):], ".")
}
