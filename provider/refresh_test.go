package provider_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/provider"
)

// plain is a set with its tokens in clear, to be compared.
type plain struct {
	access, refresh, id string
	rest                tokenworker.TokenSet
}

func reveal(set tokenworker.TokenSet) plain {
	p := plain{string(set.AccessToken.Reveal()), string(set.RefreshToken.Reveal()), string(set.IDToken.Reveal()), set}
	p.rest.AccessToken, p.rest.RefreshToken, p.rest.IDToken = tokenworker.Secret{}, tokenworker.Secret{}, tokenworker.Secret{}
	return p
}

func TestWhatARefreshMakesOfASet(t *testing.T) {
	jwt := "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp": 1795266000}`)) + ".c2ln" // 2026-11-21 13:00
	lives := func(d time.Duration) func(*plain) { return func(p *plain) { p.rest.ExpiresAt = noon.Add(d) } }
	never := func(p *plain) { p.rest.ExpiresAt = time.Time{} }
	for _, tc := range []struct {
		name    string
		answer  string
		fields  []string
		want    []func(*plain)
		kept    bool // the old refresh token
		expires time.Duration
	}{
		{name: "everything new", answer: `{"access_token": "new-access", "refresh_token": "new-refresh", "id_token": "new-id",
			"token_type": "Bearer", "scope": "read write", "expires_in": 3600}`,
			want: []func(*plain){lives(time.Hour), func(p *plain) { p.id, p.rest.TokenType, p.rest.Scope = "new-id", "Bearer", "read write" }}},
		{name: "what is left out stays", answer: `{"access_token": "new-access", "expires_in": 3600}`, kept: true, want: []func(*plain){lives(time.Hour)}},
		{name: "an empty refresh token is none", answer: `{"access_token": "new-access", "refresh_token": "", "expires_in": 60}`,
			kept: true, want: []func(*plain){lives(time.Minute)}},
		{name: "a null is none", answer: `{"access_token": "new-access", "refresh_token": null, "scope": null, "expires_in": 60}`,
			kept: true, want: []func(*plain){lives(time.Minute)}},

		{name: "a lifetime as text", answer: `{"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": "3600"}`,
			want: []func(*plain){lives(time.Hour)}},
		{name: "a lifetime as a fraction", answer: `{"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 1.5}`,
			want: []func(*plain){lives(1500 * time.Millisecond)}},
		{name: "no lifetime", answer: `{"access_token": "new-access", "refresh_token": "new-refresh"}`, want: []func(*plain){never}},
		{name: "a lifetime of zero is none", answer: `{"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 0}`,
			want: []func(*plain){never}},
		{name: "a negative lifetime is none", answer: `{"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": -1}`,
			want: []func(*plain){never}},
		{name: "a lifetime beyond centuries is none", answer: `{"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 1e300}`,
			want: []func(*plain){never}},
		{name: "a lifetime that is no number is none", answer: `{"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": "soon"}`,
			want: []func(*plain){never}},
		{name: "no lifetime, but the catalogue knows one", answer: `{"access_token": "new-access", "refresh_token": "new-refresh"}`,
			fields: []string{"assumed_lifetime: 30m"}, want: []func(*plain){lives(30 * time.Minute)}},
		{name: "the answer knows better than the catalogue", answer: `{"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 60}`,
			fields: []string{"assumed_lifetime: 30m"}, want: []func(*plain){lives(time.Minute)}},
		{name: "an expiry as RFC 3339", answer: `{"access_token": "new-access", "refresh_token": "new-refresh", "expires_at": "2026-11-21T13:00:00Z"}`,
			want: []func(*plain){lives(time.Hour)}},
		{name: "an expiry in Unix seconds", answer: `{"access_token": "new-access", "refresh_token": "new-refresh", "expires_at": 1795266000}`,
			want: []func(*plain){lives(time.Hour)}},
		{name: "an expiry in Unix milliseconds", answer: `{"access_token": "new-access", "refresh_token": "new-refresh", "expires_at": "1795266000000"}`,
			want: []func(*plain){lives(time.Hour)}},
		{name: "a lifetime goes before an expiry, which is by the provider's clock",
			answer: `{"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 60, "expires_at": 1795266000}`,
			want:   []func(*plain){lives(time.Minute)}},
		{name: "an expiry inside a JWT", answer: fmt.Sprintf(`{"access_token": %q, "refresh_token": "new-refresh"}`, jwt),
			fields: []string{"assumed_lifetime: 30m"}, want: []func(*plain){lives(time.Hour), func(p *plain) { p.access = jwt }}},
		{name: "three parts that are no JWT", answer: `{"access_token": "a.b.c", "refresh_token": "new-refresh"}`,
			want: []func(*plain){never, func(p *plain) { p.access = "a.b.c" }}},

		{name: "scopes as a list", answer: `{"access_token": "new-access", "refresh_token": "new-refresh", "scope": ["a", "b", 7]}`,
			want: []func(*plain){never, func(p *plain) { p.rest.Scope = "a b" }}},
		{name: "a scope that no record has room for", answer: fmt.Sprintf(`{"access_token": "new-access", "refresh_token": "new-refresh", "scope": "%5000d"}`, 1),
			want: []func(*plain){never}},
		{name: "a scope that repeats the token", answer: `{"access_token": "new-access", "refresh_token": "new-refresh", "scope": "x new-refresh"}`,
			want: []func(*plain){never}},
		{name: "nested", answer: `{"ok": true, "authed_user": {"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 60}}`,
			fields: []string{"answer_path: authed_user"}, want: []func(*plain){lives(time.Minute)}},
		{name: "nested, beside another", answer: `{"access_token": "bot", "authed_user": {"access_token": "new-access", "refresh_token": "new-refresh"}}`,
			fields: []string{"answer_path: authed_user"}, want: []func(*plain){never}},
		{name: "not nested where it could be", answer: `{"access_token": "new-access", "refresh_token": "new-refresh"}`,
			fields: []string{"answer_path: authed_user"}, want: []func(*plain){never}},
		{name: "something after the answer", answer: `{"access_token": "new-access", "refresh_token": "new-refresh"} trailing`,
			want: []func(*plain){never}},

		{name: "a refresh token's lifetime", answer: `{"access_token": "new-access", "refresh_token": "new-refresh", "refresh_token_expires_in": 86400}`,
			want: []func(*plain){never}, expires: 24 * time.Hour},
		{name: "a refresh token's lifetime by another name", answer: `{"access_token": "new-access", "refresh_token": "new-refresh", "refresh_expires_in": "60"}`,
			want: []func(*plain){never}, expires: time.Minute},
		{name: "a refresh token's lifetime by a third name",
			answer: `{"access_token": "new-access", "refresh_token": "new-refresh", "x_refresh_token_expires_in": 60}`,
			want:   []func(*plain){never}, expires: time.Minute},
		{name: "where only the grant ends, its end", answer: `{"access_token": "new-access", "refresh_token": "new-refresh", "refresh_token_expires_in": 60}`,
			fields: []string{"hard_expiry: 365d"}, expires: time.Minute,
			want: []func(*plain){never, func(p *plain) { p.rest.GrantExpiresAt = noon.Add(time.Minute) }}},
		{name: "where idle tokens end as well, not the grant's",
			answer: `{"access_token": "new-access", "refresh_token": "new-refresh", "refresh_token_expires_in": 60}`,
			fields: []string{"hard_expiry: 365d", "idle_expiry: 60d"}, expires: time.Minute, want: []func(*plain){never}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := serve(t, http.StatusOK, tc.answer)
			p := demo(t, append(tc.fields, tokenURL("%s", s.URL))...)
			a := client(t).Refresh(t.Context(), p, key, held())
			ends(t, a, provider.OK, "")
			want := reveal(held())
			want.access = "new-access"
			if !tc.kept {
				want.refresh = "new-refresh"
			}
			for _, edit := range tc.want {
				edit(&want)
			}
			got := reveal(a.Set)
			got.rest.ExpiresAt = got.rest.ExpiresAt.UTC()
			if !reflect.DeepEqual(got, want) {
				t.Errorf("set\n got %+v\nwant %+v", got, want)
			}
			if a.NewRefreshToken == tc.kept {
				t.Errorf("new refresh token: %t", a.NewRefreshToken)
			}
			var expires time.Time
			if tc.expires > 0 {
				expires = noon.Add(tc.expires)
			}
			if !a.RefreshExpires.Equal(expires) {
				t.Errorf("refresh token expires %s, want %s", a.RefreshExpires, expires)
			}
		})
	}
}

// What a record has no room for is not a reason to lose the refresh token: JSON writes some letters in six.
func TestASetThatNoRecordTakesLosesWhatIsOptional(t *testing.T) {
	wide := strings.Repeat("<", 8<<10) // 48 KiB in JSON
	for _, tc := range []struct {
		name, id, scope string
		wide            int // letters of the refresh token that JSON writes in six
		wantID, scoped  bool
	}{
		{name: "one that fits keeps all", id: "new-id", scope: "a b", wantID: true, scoped: true},
		{name: "its ID token goes first", id: wide, scope: "a b", scoped: true},
		{name: "then its scope", id: wide, scope: strings.Repeat("<", 4<<10), wide: 2 << 10},
	} {
		t.Run(tc.name, func(t *testing.T) {
			body, err := json.Marshal(map[string]string{
				"access_token": strings.Repeat("a", 16<<10), "refresh_token": strings.Repeat("r", 16<<10-tc.wide) + strings.Repeat("<", tc.wide),
				"id_token": tc.id, "scope": tc.scope,
			})
			if err != nil {
				t.Fatal(err)
			}
			s := serve(t, http.StatusOK, string(body))
			set := held()
			set.Scope = ""
			a := client(t).Refresh(t.Context(), demo(t, tokenURL("%s", s.URL)), key, set)
			ends(t, a, provider.OK, "")
			text, err := tokenworker.EncodeTokenSet(a.Set)
			if err != nil || len(text) > tokenworker.MaxSealedBytes-4<<10 {
				t.Fatalf("a set of %d bytes: %v", len(text), err)
			}
			if len(a.Set.RefreshToken.Reveal()) != 16<<10 || a.Set.IDToken.IsEmpty() == tc.wantID || (a.Set.Scope != "") != tc.scoped {
				t.Errorf("refresh token of %d bytes, an ID token: %t, a scope: %t", len(a.Set.RefreshToken.Reveal()), !a.Set.IDToken.IsEmpty(), a.Set.Scope != "")
			}
		})
	}
}

func TestWhatIsNeverPosted(t *testing.T) {
	for _, tc := range []struct {
		name    string
		fields  []string
		enabled bool
		edit    func(*tokenworker.Key, *tokenworker.TokenSet)
		outcome provider.Outcome
		code    provider.Code
	}{
		{name: "to a provider without a client", fields: []string{"token_url: URL"}, outcome: provider.Misconfigured, code: provider.CodeNotEnabled},
		{name: "to a provider that has nothing to refresh", enabled: true, outcome: provider.Unsupported, code: provider.CodeUnsupported},
		{name: "a set without a refresh token", fields: []string{"token_url: URL"}, enabled: true,
			edit:    func(_ *tokenworker.Key, set *tokenworker.TokenSet) { set.RefreshToken = tokenworker.Secret{} },
			outcome: provider.Unsupported, code: provider.CodeNoRefreshToken},
		{name: "for a company that would leave its place in the path", fields: []string{"token_url: 'URL/{company}/token'"}, enabled: true,
			edit:    func(k *tokenworker.Key, _ *tokenworker.TokenSet) { k.CompanyID = "../admin" },
			outcome: provider.Misconfigured, code: provider.CodeBadTarget},
		{name: "for a connection that is not known", fields: []string{"token_url: 'URL/{connection}/token'"}, enabled: true,
			edit:    func(_ *tokenworker.Key, set *tokenworker.TokenSet) { set.ProviderConnectionID = "" },
			outcome: provider.Misconfigured, code: provider.CodeBadTarget},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := serve(t, http.StatusOK, token)
			provide := disabled
			if tc.enabled {
				provide = demo
			}
			p := provide(t, at(s.URL, tc.fields)...)
			k, set := key, held()
			if tc.edit != nil {
				tc.edit(&k, &set)
			}
			ends(t, client(t).Refresh(t.Context(), p, k, set), tc.outcome, tc.code)
			if n := len(s.seen()); n != 0 {
				t.Errorf("%d requests", n)
			}
		})
	}
}
