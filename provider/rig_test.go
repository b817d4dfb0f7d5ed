package provider_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/provider"
)

var (
	noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	key  = tokenworker.Key{OrgID: "acme", ProviderID: "demo", CompanyID: "c-1"}
)

// held is the set that the tests refresh.
func held() tokenworker.TokenSet {
	return tokenworker.TokenSet{
		AccessToken:  tokenworker.SecretString("old-access"),
		RefreshToken: tokenworker.SecretString("old-refresh"),
		IDToken:      tokenworker.SecretString("old-id"),
		TokenType:    "bearer", Scope: "read", ExpiresAt: noon, GrantExpiresAt: noon.Add(24 * time.Hour),
		Subject: "u-1", Issuer: "https://issuer.example.com", ProviderConnectionID: "conn-1", ConsentRef: "consent-1",
	}
}

// load loads the catalogue with a file of providers over it.
func load(t *testing.T, yaml string) *provider.Catalogue {
	t.Helper()
	c, err := provider.Load(t.Context(), nil, provider.Source{Name: "test.yaml", YAML: []byte(yaml)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What an entry of the catalogue can have.
const (
	withClient = "client: {id: env:DEMO_ID, secret: env:DEMO_SECRET}"
	onLoopback = "allow_networks: [127.0.0.0/8]"
)

// entry is a provider with the given fields and no others.
func entry(t *testing.T, fields ...string) *provider.Provider {
	t.Helper()
	p, ok := load(t, "providers:\n  demo:\n    "+strings.Join(fields, "\n    ")+"\n").Get("demo")
	if !ok {
		t.Fatal("no such provider")
	}
	return p
}

// demo is a provider on this machine. Its client's id is "app", its secret "s3cret".
func demo(t *testing.T, fields ...string) *provider.Provider {
	t.Helper()
	return demoFor(t, "app", "s3cret", fields...)
}

func demoFor(t *testing.T, id, secret string, fields ...string) *provider.Provider {
	t.Helper()
	t.Setenv("DEMO_ID", id)
	t.Setenv("DEMO_SECRET", secret)
	return entry(t, append([]string{withClient, onLoopback}, fields...)...)
}

// public is a provider anywhere but on this machine.
func public(t *testing.T, fields ...string) *provider.Provider {
	t.Helper()
	t.Setenv("DEMO_ID", "app")
	t.Setenv("DEMO_SECRET", "s3cret")
	return entry(t, append([]string{withClient}, fields...)...)
}

// disabled is a provider on this machine that no client is configured for.
func disabled(t *testing.T, fields ...string) *provider.Provider {
	t.Helper()
	return entry(t, append([]string{onLoopback}, fields...)...)
}

// client makes a client whose clock stands still at noon.
func client(t *testing.T, edits ...func(*provider.Config)) *provider.Client {
	t.Helper()
	cfg := provider.Config{Now: func() time.Time { return noon }}
	for _, edit := range edits {
		edit(&cfg)
	}
	c := provider.NewClient(cfg)
	t.Cleanup(c.Close)
	return c
}

// recorder is a server that keeps what it is asked.
type recorder struct {
	*httptest.Server
	mu       sync.Mutex
	requests []recorded
}

type recorded struct {
	method, target string
	header         http.Header
	body           string
}

// serve starts a server that answers with a status and a body. Headers are given as "Name: value".
func serve(t *testing.T, status int, body string, headers ...string) *recorder {
	t.Helper()
	return serveFunc(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

func serveFunc(t *testing.T, handle http.HandlerFunc) *recorder {
	t.Helper()
	rec := &recorder{}
	rec.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		rec.mu.Lock()
		rec.requests = append(rec.requests, recorded{r.Method, r.RequestURI, r.Header.Clone(), string(body)})
		rec.mu.Unlock()
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		handle(w, r)
	}))
	t.Cleanup(rec.Close)
	return rec
}

// seen is what the server was asked so far.
func (r *recorder) seen() []recorded {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]recorded(nil), r.requests...)
}

// only is the one request that the server was asked.
func (r *recorder) only(t *testing.T) recorded {
	t.Helper()
	seen := r.seen()
	if len(seen) != 1 {
		t.Fatalf("%d requests, want 1", len(seen))
	}
	return seen[0]
}

// ends checks how a call ended.
func ends(t *testing.T, a provider.Answer, outcome provider.Outcome, code provider.Code) {
	t.Helper()
	if a.Outcome != outcome || a.Code != code {
		t.Errorf("ended as %s %q, want %s %q (%+v)", a.Outcome, a.Code, outcome, code, a)
	}
}

// listen opens a port of this machine.
func listen(t *testing.T, address string) (net.Listener, error) {
	t.Helper()
	return new(net.ListenConfig).Listen(t.Context(), "tcp", address)
}

func tokenURL(format string, args ...any) string { return "token_url: " + fmt.Sprintf(format, args...) }

// at puts the server's address in the place of URL.
func at(url string, fields []string) []string {
	placed := make([]string, len(fields))
	for i, f := range fields {
		placed[i] = strings.ReplaceAll(f, "URL", url)
	}
	return placed
}
