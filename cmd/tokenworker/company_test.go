package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// finch is a provider shaped like Finch: access tokens alone, asked about as themselves, and a disconnect that ends every token
// of the company.
type finch struct {
	mu      sync.Mutex
	ended   bool
	revoked int
}

func (f *finch) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended || !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer canary-") {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/introspect":
		_, _ = w.Write([]byte(`{"company_id": "company-9", "connection_id": "conn-9", "connection_status": {"status": "connected"}}`))
	case "/disconnect":
		f.ended = true
		f.revoked++
		_, _ = w.Write([]byte(`{"status": "success"}`))
	}
}

func TestACompanyThatIsDisconnectedOnceIsDisconnectedEverywhere(t *testing.T) {
	t.Parallel()
	f := &finch{}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	file := filepath.Join(t.TempDir(), "providers.yaml")
	clientID := filepath.Join(t.TempDir(), "client-id")
	for name, content := range map[string]string{clientID: "app\n", file: `providers:
  finch:
    client: {id: "file:` + clientID + `"}
    introspect: {url: ` + s.URL + `/introspect}
    revoke: {url: ` + s.URL + `/disconnect}
    allow_networks: [127.0.0.0/8]
`} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := newDev(t)
	p.startDev("--providers", file)
	status := func(key string) string {
		o := p.run("", "inspect", key, "--json")
		if o.code != 0 {
			return "missing"
		}
		return object(t, o.stdout)["status"].(string)
	}

	// Raw tokens come in, and are stored under the company that the provider names.
	for _, org := range []string{"acme", "other"} {
		p.must("canary-"+org, "publish", "acquired", org+":finch")
		eventually(t, org+"'s token is stored under the full key", func() bool { return status(org+":finch:company-9") == "active" })
	}
	p.must("", "disconnect", "acme:finch:company-9", "--yes")
	eventually(t, "the disconnect is applied", func() bool { return status("acme:finch:company-9") != "active" })
	p.must("", "refresh", "--due", "--providers", file)
	if got := status("other:finch:company-9"); got == "active" {
		t.Error("the other organization's connection is served on")
	}
	p.must("", "refresh", "--due", "--providers", file)
	for _, org := range []string{"acme", "other"} {
		if got := status(org + ":finch:company-9"); got != "disconnected" {
			t.Errorf("%s's connection is %s", org, got)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.revoked != 1 {
		t.Errorf("the provider has disconnected %d times", f.revoked)
	}
}
