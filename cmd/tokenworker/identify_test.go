package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// startFinch answers introspection as Finch does (https://developer.tryfinch.com/api-reference/management/introspect): for
// the token "raw-canary-N" with company N. It returns a file that points the catalogue's Finch to it.
func startFinch(t *testing.T, down *atomic.Bool) (file string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		company, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer raw-canary-")
		switch {
		case down.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.Method != http.MethodGet || r.URL.Path != "/introspect" || !ok:
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"code":401,"name":"unauthorized_error","finch_code":"invalid_token_error","message":"words"}`)
		default:
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"id":"t-%[1]s","account_id":"account-%[1]s","connection_id":"conn-%[1]s","company_id":"company-%[1]s",
				"client_id":"app","products":["company","directory"],"connection_status":{"status":"connected"},"provider_id":"gusto"}`, company)
		}
	}))
	t.Cleanup(server.Close)
	file = filepath.Join(t.TempDir(), "providers.yaml")
	yaml := fmt.Sprintf("providers:\n  finch:\n    client: {id: env:FINCH_ID}\n    introspect: {url: %[1]s/introspect}\n"+
		"    revoke: {url: %[1]s/disconnect}\n    allow_networks: [127.0.0.0/8]\n", server.URL)
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestARawTokenOfFinchIsStoredUnderTheFullKey(t *testing.T) {
	var down atomic.Bool
	p := newDev(t)
	p.env = append(p.env, "TOKENWORKER_PROVIDERS="+startFinch(t, &down), "FINCH_ID=app")
	proc := p.startDev("--log-level", "debug")

	p.must("raw-canary-9\n", "publish", "acquired", "acme:finch")
	stored := func(company string) func() bool {
		return func() bool { return p.run("", "inspect", "acme:finch:"+company).code == 0 }
	}
	eventually(t, "it is stored", stored("company-9"))
	expectFields(t, object(t, p.must("", "inspect", "acme:finch:company-9", "--json")), map[string]any{
		"status": "active", "sequence": 1, "provider_connection_id": "conn-9",
	})

	p.must("another-canary", "publish", "acquired", "acme:finch")
	eventually(t, "a token that Finch refuses is a dead letter", func() bool {
		return strings.Contains(p.must("", "dlq", "list", "--json"), `"code":"token_refused"`)
	})

	down.Store(true)
	p.must("raw-canary-10", "publish", "acquired", "acme:finch")
	proc.await("event parked")
	down.Store(false)
	eventually(t, "it is stored once Finch is back", stored("company-10"))

	if o := p.run("raw-canary-9", "publish", "acquired", "acme:finch", "--wait"); o.code != 2 {
		t.Errorf("--wait without a company: exit code %d", o.code)
	}
	if o := p.run("", "publish", "disconnect", "acme:finch"); o.code == 0 {
		t.Error("a disconnect without a company is published")
	}
	if strings.Contains(proc.output(), "canary") {
		t.Error("the log shows a token")
	}
}
