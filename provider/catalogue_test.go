package provider_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/provider"
)

func TestTheBuiltInCatalogue(t *testing.T) {
	c, err := provider.Load(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	all := c.All()
	if len(all) < 100 {
		t.Errorf("%d providers", len(all))
	}
	if !slices.IsSortedFunc(all, func(a, b *provider.Provider) int { return strings.Compare(a.ID, b.ID) }) {
		t.Error("not sorted by id")
	}
	for _, p := range all {
		if p.Enabled() {
			t.Errorf("%s is enabled", p.ID)
		}
		if len(p.Sources) == 0 {
			t.Errorf("%s has no source", p.ID)
		}
		claimsNothingWithoutASource(t, p)
		if got, ok := c.Get(p.ID); !ok || got != p {
			t.Errorf("%s is not found by its id", p.ID)
		}
	}
	if _, ok := c.Get("nobody"); ok {
		t.Error("a provider that nobody knows was found")
	}
}

// claimsNothingWithoutASource checks an entry: what is verified names a day and pages, what is not is read in the careful way.
func claimsNothingWithoutASource(t *testing.T, p *provider.Provider) {
	t.Helper()
	unverified := p.Unverified()
	careful := provider.Policy{Rotation: provider.Strict, RevocationScope: provider.RevokesGrant}
	if p.Rotation != careful.Rotation && slices.Contains(unverified, "rotation") {
		t.Errorf("%s: an unverified rotation is read as %s", p.ID, p.Rotation)
	}
	if p.RevocationScope != careful.RevocationScope && slices.Contains(unverified, "revocation_scope") {
		t.Errorf("%s: an unverified revocation is read as one of %s", p.ID, p.RevocationScope)
	}
	if p.GracePeriod > 0 && slices.Contains(unverified, "grace") {
		t.Errorf("%s: an unverified grace is relied on", p.ID)
	}
	for _, source := range p.Sources {
		if u, err := url.Parse(source); err != nil || u.Scheme != "https" || u.Host == "" {
			t.Errorf("%s: %q is no page", p.ID, source)
		}
	}
	for _, f := range p.Facts() {
		if on, err := time.Parse(time.DateOnly, f.On); f.On != "" && (err != nil || on.After(time.Now()) || len(f.Sources) == 0) {
			t.Errorf("%s: %s is verified on %q by %v", p.ID, f.Field, f.On, f.Sources)
		}
	}
	if p.Rotation != careful.Rotation && !slices.ContainsFunc(p.Facts(), func(f provider.Fact) bool { return f.Field == "rotation" }) {
		t.Errorf("%s: no fact says that its rotation is %s", p.ID, p.Rotation)
	}
}

// An operator's file changes what an entry says. What was checked of the old words says nothing of the new.
func TestAnOverrideIsNotVerified(t *testing.T) {
	before, _ := mustLoad(t).Get("xero")
	after, _ := load(t, "providers: {xero: {rotation: strict, grace: null}}").Get("xero")
	on := func(p *provider.Provider, field string) string {
		for _, f := range p.Facts() {
			if f.Field == field {
				return f.On
			}
		}
		return "no such fact"
	}
	if on(before, "rotation") == "" || on(after, "rotation") != "" || on(after, "idle_expiry") == "" {
		t.Errorf("rotation is verified on %q, then on %q; idle_expiry on %q", on(before, "rotation"), on(after, "rotation"), on(after, "idle_expiry"))
	}
}

// What the rotator would do wrong if it were otherwise.
func TestPoliciesOfTheCatalogue(t *testing.T) {
	const day = 24 * time.Hour
	careful := provider.Policy{Rotation: provider.Strict, Margin: 2 * time.Minute,
		RevocationScope: provider.RevokesGrant, DisconnectScope: provider.DisconnectsConnection}
	policy := func(edit func(*provider.Policy)) provider.Policy {
		p := careful
		edit(&p)
		return p
	}
	c, err := provider.Load(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]provider.Policy{
		"airtable":  careful,
		"microsoft": policy(func(p *provider.Policy) { p.Rotation, p.IdleExpiry = provider.Static, 90*day }),
		"xero": policy(func(p *provider.Policy) {
			p.Rotation, p.GracePeriod, p.AssumedLifetime, p.IdleExpiry = provider.Grace, 30*time.Minute, 30*time.Minute, 60*day
		}),
		"atlassian": policy(func(p *provider.Policy) {
			p.Rotation, p.GracePeriod, p.AssumedLifetime = provider.Grace, 10*time.Minute, time.Hour
			p.IdleExpiry, p.HardExpiry = 90*day, 365*day
		}),
		"spotify": policy(func(p *provider.Policy) {
			p.AssumedLifetime, p.HardExpiry, p.FalseInvalidGrant = time.Hour, 180*day, true
		}),
		"salesforce": policy(func(p *provider.Policy) { p.RevocationScope = provider.RevokesFamily }),
		"finch": policy(func(p *provider.Policy) {
			p.Rotation, p.DisconnectScope = provider.Static, provider.DisconnectsCompany
		}),
	} {
		p, ok := c.Get(id)
		if !ok || p.Policy != want {
			t.Errorf("%s\n got %+v\nwant %+v", id, p.Policy, want)
		}
	}
}

func TestWhatThePolicySays(t *testing.T) {
	for rotation, want := range map[provider.Rotation]bool{provider.Strict: true, provider.Grace: true, provider.Static: false, "": true} {
		if got := (provider.Policy{Rotation: rotation}).Rotates(); got != want {
			t.Errorf("rotation %q rotates: %t", rotation, got)
		}
	}
	for scope, want := range map[provider.RevocationScope]bool{
		provider.RevokesToken: true, provider.RevokesFamily: true, provider.RevokesGrant: false, "": false,
	} {
		if got := (provider.Policy{RevocationScope: scope}).RevokesNarrowly(); got != want {
			t.Errorf("scope %q is narrow: %t", scope, got)
		}
	}
}

func TestAnOverrideReplacesWhatItNames(t *testing.T) {
	t.Setenv("XERO_ID", "app")
	t.Setenv("XERO_SECRET", "s3cret")
	c := load(t, `
providers:
  xero:
    rotation: strict
    grace: null
    lead_cap: 10m
    rate_limit: 2.5
    revoke: {token: both, allow_token_in_url: true}
    client: {id: env:XERO_ID, secret: env:XERO_SECRET}
  mine:
    token_url: https://login.example.com/token
`)
	xero, _ := c.Get("xero")
	if xero.Name != "Xero" || xero.IdleExpiry != 60*24*time.Hour || !xero.Revokes() || !xero.Refreshes() || xero.Introspects() {
		t.Errorf("what was not named has changed: %+v", xero)
	}
	if xero.Rotation != provider.Strict || xero.GracePeriod != 0 || xero.LeadCap != 10*time.Minute || xero.RateLimit != 2.5 || !xero.Enabled() {
		t.Errorf("what was named has not: %+v", xero)
	}
	mine, _ := c.Get("mine")
	if mine.Name != "mine" || mine.Rotation != provider.Strict || mine.Enabled() || mine.Revokes() {
		t.Errorf("a provider of one's own: %+v", mine)
	}
	if again, _ := mustLoad(t).Get("xero"); again.Rotation != provider.Grace || again.Enabled() {
		t.Error("an override reached the built-in catalogue")
	}
}

func mustLoad(t *testing.T) *provider.Catalogue {
	t.Helper()
	c, err := provider.Load(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLaterOverridesWin(t *testing.T) {
	c, err := provider.Load(t.Context(), nil,
		provider.Source{Name: "a", YAML: []byte("providers: {xero: {lead_cap: 1m, margin: 3m}}")},
		provider.Source{Name: "b", YAML: []byte("# nothing\n")},
		provider.Source{Name: "c", YAML: []byte("providers: {xero: {lead_cap: 2m}}")})
	if err != nil {
		t.Fatal(err)
	}
	if p, _ := c.Get("xero"); p.LeadCap != 2*time.Minute || p.Margin != 3*time.Minute {
		t.Errorf("lead cap %s, margin %s", p.LeadCap, p.Margin)
	}
}

func TestMistakesAreNamedByTheirLine(t *testing.T) {
	t.Setenv("SET", "x")
	t.Setenv("SLASH", "a/b")
	t.Setenv("EMPTY", "")
	t.Setenv("RSA", newRSA(t))
	key := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(key, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, yaml, want string }{
		{"no YAML", "providers:\n  a: [\n", "test.yaml:2: not valid YAML, or a key that is there twice"},
		{"a key twice", "providers:\n  a:\n    name: x\n    name: y\n", "test.yaml:4: not valid YAML, or a key that is there twice"},
		{"two documents", "providers: {}\n---\nproviders: {}\n", "test.yaml: more than one document"},
		{"a list", "- a\n", "test.yaml:1: not a mapping"},
		{"another section", "providers: {}\nprovider: {}\n", "test.yaml:2: unknown section; the only one is providers"},
		{"a provider that is no mapping", "providers:\n  a: x\n", "test.yaml:2: not a mapping"},
		{"an id that is none", "providers:\n  \"a\\nb\": {name: x}\n", "test.yaml:2: provider id: invalid connection key: control character"},
		{"an anchor", "providers:\n  a: &x {name: x}\n  b: *x\n", "test.yaml:2: not a mapping"},
		{"an unknown field", "providers:\n  a:\n    tokenurl: x\n", "test.yaml:3: unknown field; known are allow_networks, "},
		{"an unknown field of a section", "providers:\n  a:\n    client: {token: x}\n",
			"test.yaml:3: unknown field; known are algorithm, audience, certificate, id, key_id, private_key, secret"},
		{"a rotation that is none", "providers:\n  a:\n    rotation: sometimes\n",
			`test.yaml:3: provider "a": rotation: not one of strict, grace, static`},
		{"a duration that is none", "providers:\n  a:\n    lead_cap: 5\n", `test.yaml:3: provider "a": lead_cap: not a duration like 90s, 30m or 60d`},
		{"a negative duration", "providers:\n  a:\n    margin: -1m\n", `test.yaml:3: provider "a": margin: not a duration like 90s, 30m or 60d`},
		{"a duration in years", "providers:\n  a:\n    idle_expiry: 999999d\n", `test.yaml:3: provider "a": idle_expiry: not a duration like 90s, 30m or 60d`},
		{"a rate that is none", "providers:\n  a:\n    rate_limit: 0\n", `test.yaml:3: provider "a": rate_limit: not a number of requests a second`},
		{"a switch that is none", "providers:\n  a:\n    false_invalid_grant: 1\n", `test.yaml:3: provider "a": false_invalid_grant: neither true nor false`},
		{"a list that is none", "providers:\n  a:\n    reauth_codes: x\n", `test.yaml:3: provider "a": reauth_codes: not a list`},
		{"a list of lists", "providers:\n  a:\n    reauth_codes: [[x]]\n", `test.yaml:3: provider "a": reauth_codes: not text`},
		{"text that is none", "providers:\n  a:\n    name: [x]\n", `test.yaml:3: provider "a": name: not text`},
		{"parameters that are none", "providers:\n  a:\n    params: {a: {b: c}}\n", `test.yaml:3: provider "a": params: not a mapping of text`},
		{"a network that is none", "providers:\n  a:\n    allow_networks: [10.0.0.1/8]\n",
			`test.yaml:3: provider "a": allow_networks: not a list of networks like 10.1.0.0/16`},
		{"a network in disguise", "providers:\n  a:\n    allow_networks: ['::ffff:10.0.0.0/104']\n",
			`test.yaml:3: provider "a": allow_networks: not a list of networks like 10.1.0.0/16`},
		{"a URL that is none", "providers:\n  a:\n    token_url: example.com\n",
			`test.yaml:3: provider "a": token_url: not a URL of the form https://host/path`},
		{"a host that ids choose", "providers:\n  a:\n    token_url: https://{company}.com/\n",
			`test.yaml:3: provider "a": token_url: after a variable in the host, at least two labels must follow literally`},
		{"a host that ids choose, by a value", "providers:\n  a:\n    token_url: https://{domain}/\n    values: {domain: '{company}'}\n",
			`test.yaml:3: provider "a": token_url: after a variable in the host, at least two labels must follow literally`},
		{"a host whose end ids choose", "providers:\n  a:\n    token_url: https://api.example.{company}/\n",
			`test.yaml:3: provider "a": token_url: after a variable in the host, at least two labels must follow literally`},
		{"a host with a client id in it", "providers:\n  a:\n    token_url: https://{client_id}.api.example.com/\n",
			`test.yaml:3: provider "a": token_url: after a variable in the host, at least two labels must follow literally`},
		{"a variable that is none", "providers:\n  a:\n    token_url: https://example.com/{A}\n",
			`test.yaml:3: provider "a": token_url: a variable is a lower-case name between braces`},
		{"a brace too many", "providers:\n  a:\n    token_url: https://example.com/a}\n",
			`test.yaml:3: provider "a": token_url: a variable is a lower-case name between braces`},
		{"a value that leaves its place", "providers:\n  a:\n    token_url: https://example.com/{tenant}/\n    values: {tenant: a/b}\n",
			`test.yaml:3: provider "a": token_url: a value does not fit its place in the URL`},
		{"a value that leaves the host", "providers:\n  a:\n    token_url: https://{domain}/\n    values: {domain: a.com/x}\n",
			`test.yaml:3: provider "a": token_url: a value does not fit its place in the URL`},
		{"a value that is missing when it counts", "providers:\n  okta:\n    client: {id: env:SET, secret: env:SET}\n",
			`provider "okta": token_url: a variable has no value`},
		{"plain HTTP", "providers:\n  a:\n    token_url: http://example.com/\n",
			`test.yaml:2: provider "a": plain HTTP is for networks that allow_networks lists`},
		{"plain HTTP of an issuer", "providers:\n  a:\n    issuer: http://example.com/\n",
			`test.yaml:2: provider "a": plain HTTP is for networks that allow_networks lists`},
		{"a token in the token URL", "providers:\n  a:\n    token_url: https://example.com/{token}\n", `test.yaml:3: provider "a": token_url: a token in the URL`},
		{"a token in the introspection URL", "providers:\n  a:\n    introspect: {url: 'https://example.com/{token}'}\n",
			`test.yaml:3: provider "a": introspect.url: a token in the URL`},
		{"an issuer with an id", "providers:\n  a:\n    issuer: https://{company}.idp.example.com\n",
			`test.yaml:3: provider "a": issuer: not a URL without a query and without ids in it`},
		{"an issuer with a query", "providers:\n  a:\n    issuer: https://example.com/?x=1\n",
			`test.yaml:3: provider "a": issuer: not a URL without a query and without ids in it`},
		{"a host that is none", "providers:\n  a:\n    hosts: [a/b]\n", `test.yaml:3: provider "a": hosts: not a list of host names, or of hosts with their ports`},
		{"a grace without its length", "providers:\n  a:\n    rotation: grace\n",
			`test.yaml:2: provider "a": grace: rotation: grace and a grace period need each other`},
		{"a grace without its rotation", "providers:\n  a:\n    grace: 1m\n",
			`test.yaml:3: provider "a": grace: rotation: grace and a grace period need each other`},
		{"an idle expiry that never comes", "providers:\n  a:\n    idle_expiry: 2d\n    hard_expiry: 1d\n",
			`test.yaml:3: provider "a": idle_expiry: longer than the hard expiry`},
		{"a header of the client's own", "providers:\n  a:\n    headers: {authorization: x}\n",
			`test.yaml:3: provider "a": headers: a header is malformed, or one that the client sets itself`},
		{"a header that makes requests repeatable", "providers:\n  a:\n    headers: {Idempotency-Key: x}\n",
			`test.yaml:3: provider "a": headers: a header is malformed, or one that the client sets itself`},
		{"a header with a line break", "providers:\n  a:\n    headers: {X-A: \"a\\r\\nB: c\"}\n",
			`test.yaml:3: provider "a": headers: a header is malformed, or one that the client sets itself`},
		{"a parameter that requests do not have", "providers:\n  a:\n    request_names: {scope: x}\n",
			`test.yaml:3: provider "a": request_names: a name is not one of grant_type, refresh_token, client_id, client_secret`},
		{"a member that answers do not have", "providers:\n  a:\n    answer_names: {token: x}\n",
			`test.yaml:3: provider "a": answer_names: a name is not one of access_token, `},
		{"a region that ids choose", "providers:\n  a:\n    token_url: https://{company}.{region}/\n    regions: {eu: com}\n",
			`test.yaml:3: provider "a": token_url: after a variable in the host, at least two labels must follow literally`},
		{"a lifetime that overrides and is not there", "providers:\n  a:\n    assumed_lifetime_overrides: true\n",
			`test.yaml:3: provider "a": assumed_lifetime_overrides: there is no assumed_lifetime`},
		{"a scheme that is none", "providers:\n  a:\n    scheme: a b\n", `test.yaml:3: provider "a": scheme: not the name of a scheme`},
		{"a parameter of the client's own", "providers:\n  a:\n    params: {refresh_token: x}\n",
			`test.yaml:3: provider "a": params: a parameter is one that the client sets itself`},
		{"a revocation by GET", "providers:\n  a:\n    revoke: {url: 'https://example.com/', method: GET}\n",
			`test.yaml:3: provider "a": revoke.method: a revocation is no GET`},
		{"an introspection by GET with a body", "providers:\n  a:\n    introspect: {url: 'https://example.com/', method: GET}\n",
			`test.yaml:3: provider "a": introspect.method: a GET has no body to send a token in, only send: bearer`},
		{"an introspection of both", "providers:\n  a:\n    introspect: {url: 'https://example.com/', token: both}\n",
			`test.yaml:3: provider "a": introspect.token: an introspection is about one token`},
		{"a status that kills nobody", "providers:\n  a:\n    introspect: {status: x}\n",
			`test.yaml:3: provider "a": introspect: status and dead need each other`},
		{"a verified field that is none", "providers:\n  a:\n    sources: [x]\n    verified: {weather: 2026-11-30 1}\n",
			`test.yaml:4: provider "a": verified: a name is not that of a field that can be`},
		{"a verification by nothing", "providers:\n  a:\n    verified: {rotation: 2026-11-30 1}\n", `test.yaml:3: provider "a": verified: there are 0 sources`},
		{"a verification on no day", "providers:\n  a:\n    verified: {rotation: today 1}\n",
			`test.yaml:3: provider "a": verified: not fields with a date and numbers of sources each, like 2026-11-30 1`},

		{"a client without an id", "providers:\n  xero:\n    client: {secret: env:SET}\n", `test.yaml:3: provider "xero": client: id is missing`},
		{"a client without a secret", "providers:\n  xero:\n    client: {id: env:SET}\n", `test.yaml:3: provider "xero": client: secret is missing`},
		{"a client without a key", "providers:\n  xero:\n    auth: private_key_jwt\n    client: {id: env:SET}\n",
			`test.yaml:4: provider "xero": client: private_key is missing`},
		{"a secret in the file itself", "providers:\n  xero:\n    client:\n      id: env:SET\n      secret: s3cret-value\n",
			`test.yaml:5: provider "xero": client.secret: not of the form env:NAME, file:PATH or secretsmanager:NAME`},
		{"a secret with a colon in the file itself", "providers:\n  xero:\n    client:\n      id: env:SET\n      secret: s3cret:value\n",
			`test.yaml:5: provider "xero": client.secret: not of the form env:NAME, file:PATH or secretsmanager:NAME`},
		{"a variable that is not set", "providers:\n  xero:\n    client:\n      id: env:SET\n      secret: env:UNSET\n",
			`test.yaml:5: provider "xero": client.secret: the environment variable is not set`},
		{"a variable that is empty", "providers:\n  xero:\n    client:\n      id: env:SET\n      secret: env:EMPTY\n",
			`test.yaml:5: provider "xero": client.secret: the secret is empty, or too large`},
		{"a file that is missing", "providers:\n  xero:\n    client:\n      id: env:SET\n      secret: file:/nowhere/secret\n",
			`test.yaml:5: provider "xero": client.secret: the file cannot be read`},
		{"a manager that is missing", "providers:\n  xero:\n    client:\n      id: env:SET\n      secret: secretsmanager:xero\n",
			`test.yaml:5: provider "xero": client.secret: no secrets manager is configured`},
		{"a key that is none", "providers:\n  xero:\n    auth: private_key_jwt\n    client:\n      id: env:SET\n      private_key: file:" + key + "\n",
			`test.yaml:6: provider "xero": client.private_key: not a PEM private key: RSA of at least 2048 bits, or ECDSA on P-256`},
		{"an algorithm that the key does not have",
			"providers:\n  xero:\n    auth: private_key_jwt\n    client:\n      id: env:SET\n      algorithm: ES256\n      private_key: env:RSA\n",
			`test.yaml:7: provider "xero": client.private_key: not a PEM private key: RSA of at least 2048 bits, or ECDSA on P-256`},
		{"a certificate that is none",
			"providers:\n  xero:\n    auth: private_key_jwt\n    client:\n      id: env:SET\n      private_key: env:RSA\n      certificate: env:RSA\n",
			`test.yaml:7: provider "xero": client.certificate: not a PEM certificate`},
		{"a client id that leaves its place in a URL",
			"providers:\n  github_app_user:\n    client:\n      id: env:SLASH\n      secret: env:SET\n",
			`test.yaml:4: provider "github_app_user": client.id: a value does not fit its place in the URL`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := provider.Load(t.Context(), nil, provider.Source{Name: "test.yaml", YAML: []byte(tc.yaml)})
			if err == nil {
				t.Fatal("no error")
			}
			if got := err.Error(); !strings.Contains(got, tc.want) || !strings.HasPrefix(tc.want, "provider") && !strings.HasPrefix(got, tc.want) {
				t.Errorf("error\n got %s\nwant %s", got, tc.want)
			}
			for _, value := range []string{"s3cret", "UNSET", "/nowhere", "sometimes", "weather"} {
				if strings.Contains(err.Error(), value) {
					t.Errorf("the error repeats a value: %s", err)
				}
			}
		})
	}
}

func TestAllMistakesShowAtOnce(t *testing.T) {
	_, err := provider.Load(t.Context(), nil, provider.Source{Name: "test.yaml", YAML: []byte("providers:\n" +
		"  a:\n    grace: 1m\n    hosts: [/]\n  b:\n    token_url: http://example.com\n")})
	if err == nil {
		t.Fatal("no error")
	}
	for _, line := range []string{"test.yaml:3: ", "test.yaml:4: ", "test.yaml:5: "} {
		if !strings.Contains(err.Error(), line) {
			t.Errorf("%s is missing from\n%s", line, err)
		}
	}
}

// manager answers for one secret.
type manager struct{ name, value string }

func (m manager) Secret(_ context.Context, name string) (tokenworker.Secret, error) {
	if name != m.name {
		return tokenworker.Secret{}, tokenworker.ErrUnavailable
	}
	return tokenworker.SecretString(m.value), nil
}

func TestWhereSecretsComeFrom(t *testing.T) {
	t.Setenv("APP_ID", "app")
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("s3cret\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, reference string }{
		{"the environment", "env:APP_SECRET"},
		{"a file, without the line break at its end", "file:" + file},
		{"a secrets manager, whose names may hold colons", "secretsmanager:arn:aws:x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("APP_SECRET", "s3cret")
			s := serve(t, 200, token)
			c, err := provider.Load(t.Context(), manager{"arn:aws:x", "s3cret"}, provider.Source{Name: "test.yaml", YAML: []byte(
				"providers: {xero: {token_url: '" + s.URL + "', allow_networks: [127.0.0.0/8], client: {id: env:APP_ID, secret: '" + tc.reference + "'}}}")})
			if err != nil {
				t.Fatal(err)
			}
			p, _ := c.Get("xero")
			ends(t, client(t).Refresh(t.Context(), p, key, held()), provider.OK, "")
			if got := s.only(t).header.Get("Authorization"); got != "Basic YXBwOnMzY3JldA==" {
				t.Errorf("Authorization %q", got)
			}
		})
	}
	t.Run("a secrets manager that does not answer", func(t *testing.T) {
		_, err := provider.Load(t.Context(), manager{}, provider.Source{Name: "test.yaml", YAML: []byte(
			"providers: {xero: {client: {id: env:APP_ID, secret: 'secretsmanager:x'}}}")})
		if !errors.Is(err, tokenworker.ErrUnavailable) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("nowhere, where the id is the secret", func(t *testing.T) {
		s := serve(t, 200, token)
		p, _ := load(t, "providers: {stripe_app: {token_url: '"+s.URL+"', allow_networks: [127.0.0.0/8], client: {id: env:APP_ID, secret: none}}}").
			Get("stripe_app")
		ends(t, client(t).Refresh(t.Context(), p, key, held()), provider.OK, "")
		if got := s.only(t).header.Get("Authorization"); got != "Basic YXBwOg==" {
			t.Errorf("Authorization %q", got)
		}
	})
}

func TestConfig(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  provider.Config
		ok   bool
	}{
		{"the zero value", provider.Config{}, true},
		{"a negative limit", provider.Config{Timeout: -1}, false},
		{"a limit beyond the margin of the last resort", provider.Config{Timeout: provider.DefaultMargin + 1}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.cfg.Validate(); (err == nil) != tc.ok {
				t.Errorf("error %v", err)
			}
		})
	}
}
