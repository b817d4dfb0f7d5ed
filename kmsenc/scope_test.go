package kmsenc

import (
	"maps"
	"testing"
)

func TestAScopeParsesToItsOwnSpelling(t *testing.T) {
	for _, s := range []string{"org", "token", "pool:1", "pool:16", "pool:4096"} {
		scope, err := ParseScope(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
		}
		if got := scope.String(); got != s {
			t.Errorf("%s reads back as %s", s, got)
		}
	}
	if got := (Scope{}).String(); got != "org" {
		t.Errorf("the zero scope is %s, want org", got)
	}
}

func TestAMisspelledScopeIsRefused(t *testing.T) {
	for _, s := range []string{
		"", "Org", "org ", "pool", "pool:", "pool:0", "pool:-1", "pool:+1", "pool:01", "pool:1.5", "pool:0x10",
		"pool:4097", "pool:65537", "pool:99999999999999999999", "pool:1:2",
	} {
		if scope, err := ParseScope(s); err == nil {
			t.Errorf("%q was taken for %s", s, scope)
		}
	}
}

func TestAScopeDecidesContextAndName(t *testing.T) {
	org := map[string]string{"app": "tokenworker", "org": "a.b"}
	for _, c := range []struct {
		name, scope string
		wantContext map[string]string
		wantName    string
	}{
		{name: "an organization has its own key", scope: "org", wantContext: org, wantName: "org/a%2Eb"},
		{name: "a token's key names its organization", scope: "token", wantContext: org},
		{
			name: "a pool's key names the pool alone", scope: "pool:16",
			wantContext: map[string]string{"app": "tokenworker", "pool": "9"}, wantName: "pool/9",
		},
		{
			name: "one pool holds everybody", scope: "pool:1",
			wantContext: map[string]string{"app": "tokenworker", "pool": "0"}, wantName: "pool/0",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			of := mustScope(t, c.scope).of("a.b")
			if got := of.encryptionContext("a.b"); !maps.Equal(got, c.wantContext) {
				t.Errorf("context %v, want %v", got, c.wantContext)
			}
			if c.wantName == "" {
				return
			}
			if got := of.name("a.b"); got != c.wantName {
				t.Errorf("name %s, want %s", got, c.wantName)
			}
			named, orgID, ok := scopeNamed(c.wantName)
			if !ok || !maps.Equal(named.encryptionContext(orgID), c.wantContext) {
				t.Errorf("the name is read as %v of %q, %v", named, orgID, ok)
			}
		})
	}
}

func TestPoolsShareOrganizationsEvenly(t *testing.T) {
	const pools, orgs = 8, 8000
	scope := mustScope(t, "pool:8")
	var count [pools]int
	for i := range orgs {
		count[scope.of(string(rune('a'+i%26))+string(rune(0x100+i))).pool]++
	}
	for pool, n := range count {
		if n < orgs/pools*8/10 || n > orgs/pools*12/10 {
			t.Errorf("pool %d has %d of %d organizations", pool, n, orgs)
		}
	}
}

func mustScope(tb testing.TB, s string) Scope {
	tb.Helper()
	scope, err := ParseScope(s)
	if err != nil {
		tb.Fatal(err)
	}
	return scope
}
