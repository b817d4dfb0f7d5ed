package demoprovider_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tokenworker/tokenworker/demoprovider"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a running provider with a clock that only moves by hand, and one client of it.
type rig struct {
	*demoprovider.Server
	t    testing.TB
	http *http.Client
}

const (
	clientID = "app"
	secret   = "a secret"
)

func start(t testing.TB, policy demoprovider.Policy, more ...demoprovider.Client) *rig {
	t.Helper()
	return startConfig(t, demoprovider.Config{Clients: append([]demoprovider.Client{
		{ID: clientID, Auth: demoprovider.AuthPost, Secret: secret, Policy: policy},
	}, more...)})
}

func startConfig(t testing.TB, cfg demoprovider.Config) *rig {
	t.Helper()
	begin := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	if cfg.Now == nil {
		cfg.Now = func() time.Time { return begin }
	}
	s, err := demoprovider.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(context.Background(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Errorf("closing the provider: %v", err)
		}
	})
	return &rig{s, t, &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// reply is what came back; err is set when the connection broke first.
type reply struct {
	status int
	header http.Header
	body   string
	demoprovider.Tokens
	Error string `json:"error"`
	err   error
}

// send sends a request and reads the whole answer.
func (r *rig) send(request *http.Request) reply {
	answer, err := r.http.Do(request)
	if err != nil {
		return reply{err: err}
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return reply{err: err}
	}
	got := reply{status: answer.StatusCode, header: answer.Header, body: string(body)}
	_ = json.Unmarshal(body, &got) // what is no JSON leaves the fields empty
	return got
}

// request is a form for an endpoint, without any authentication.
func (r *rig) request(path string, form url.Values) *http.Request {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, r.URL()+path, strings.NewReader(form.Encode()))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return request
}

// post sends a form as the rig's client.
func (r *rig) post(path string, form url.Values) reply {
	form.Set("client_id", clientID)
	form.Set("client_secret", secret)
	return r.send(r.request(path, form))
}

func (r *rig) refresh(token string) reply {
	return r.post("/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}

// mustRefresh refreshes and fails the test unless tokens came back.
func (r *rig) mustRefresh(token string) demoprovider.Tokens {
	r.t.Helper()
	got := r.refresh(token)
	if got.err != nil || got.status != http.StatusOK || got.AccessToken == "" {
		r.t.Fatalf("refreshing: status %d, error %q, %v", got.status, got.Error, got.err)
	}
	return got.Tokens
}

func (r *rig) mustGrant(subject string) demoprovider.Tokens {
	r.t.Helper()
	tokens, err := r.Grant(clientID, subject, "read write")
	if err != nil {
		r.t.Fatal(err)
	}
	return tokens
}

// get asks with an access token, or without one if it is empty.
func (r *rig) get(path, access string) reply {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, r.URL()+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if access != "" {
		request.Header.Set("Authorization", "Bearer "+access)
	}
	return r.send(request)
}

// works reports whether the protected resource accepts an access token.
func (r *rig) works(access string) bool {
	r.t.Helper()
	got := r.get("/resource", access)
	if got.err != nil {
		r.t.Fatal(got.err)
	}
	return got.status == http.StatusOK
}

func (r *rig) mustFamily(token string) demoprovider.Family {
	r.t.Helper()
	family, err := r.Family(token)
	if err != nil {
		r.t.Fatal(err)
	}
	return family
}
