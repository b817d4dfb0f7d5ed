package provider_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/provider"
)

// vault is a secrets manager whose one secret changes.
type vault struct {
	value atomic.Pointer[string] // nil: it does not answer
	looks atomic.Int64
}

func (v *vault) Secret(context.Context, string) (tokenworker.Secret, error) {
	v.looks.Add(1)
	value := v.value.Load()
	if value == nil {
		return tokenworker.Secret{}, tokenworker.ErrUnavailable
	}
	return tokenworker.SecretString(*value), nil
}

// rotation is a provider that takes one secret, and a client whose clock can be set forward.
type rotation struct {
	server   *recorder
	accepted atomic.Pointer[string]
	provider *provider.Provider
	client   *provider.Client
	ahead    atomic.Int64
}

func newRotation(t *testing.T, m provider.SecretsManager, reference string) *rotation {
	t.Helper()
	r := &rotation{}
	r.server = serveFunc(t, func(w http.ResponseWriter, q *http.Request) {
		if q.FormValue("client_secret") != *r.accepted.Load() {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"error": "invalid_client"}`))
			return
		}
		_, _ = w.Write([]byte(token))
	})
	t.Setenv("APP_ID", "app")
	c, err := provider.Load(t.Context(), m, provider.Source{Name: "test.yaml", YAML: []byte("providers: {demo: {token_url: '" + r.server.URL +
		"', auth: client_secret_post, allow_networks: [127.0.0.0/8], client: {id: env:APP_ID, secret: '" + reference + "'}}}")})
	if err != nil {
		t.Fatal(err)
	}
	r.provider, _ = c.Get("demo")
	r.client = client(t, func(c *provider.Config) { c.Now = func() time.Time { return noon.Add(time.Duration(r.ahead.Load())) } })
	return r
}

// refresh refreshes as the rotator does.
func (r *rotation) refresh(t *testing.T) provider.Answer {
	t.Helper()
	ends(t, r.client.Prepare(t.Context(), r.provider), provider.OK, "")
	return r.client.Refresh(t.Context(), r.provider, key, held())
}

func (r *rotation) later(d time.Duration) { r.ahead.Add(int64(d)) }

func (r *rotation) accept(secret string) { r.accepted.Store(&secret) }

func TestASecretInAFileMayChange(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	write := func(secret string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	r := newRotation(t, nil, "file:"+file)
	r.accept("first")
	ends(t, r.refresh(t), provider.OK, "")
	write("second")
	r.accept("second")
	r.later(10 * time.Second)
	ends(t, r.refresh(t), provider.OK, "")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	r.later(10 * time.Second)
	ends(t, r.refresh(t), provider.OK, "") // by what was read before
}

func TestASecretsManagerIsAskedAtAnIntervalAndAfterARefusal(t *testing.T) {
	v := &vault{}
	keep := func(secret string) { v.value.Store(&secret) }
	keep("first")
	r := newRotation(t, v, "secretsmanager:demo")
	looks := func(want int64) {
		t.Helper()
		if got := v.looks.Load(); got != want {
			t.Errorf("%d looks at the secrets manager, want %d", got, want)
		}
	}
	r.accept("first")
	ends(t, r.refresh(t), provider.OK, "")
	r.later(10*time.Minute - time.Second)
	ends(t, r.refresh(t), provider.OK, "")
	looks(1)
	r.later(time.Second)
	ends(t, r.refresh(t), provider.OK, "")
	looks(2)

	keep("second")
	r.accept("second")
	r.later(time.Minute)
	ends(t, r.refresh(t), provider.Misconfigured, provider.CodeInvalidClient)
	looks(2)
	ends(t, r.refresh(t), provider.OK, "") // the refusal has it asked
	looks(3)

	r.accept("third")
	v.value.Store(nil)
	r.later(time.Minute)
	ends(t, r.refresh(t), provider.Misconfigured, provider.CodeInvalidClient)
	ends(t, r.refresh(t), provider.Misconfigured, provider.CodeInvalidClient)
	ends(t, r.refresh(t), provider.Misconfigured, provider.CodeInvalidClient)
	looks(4) // it does not answer, and is not pestered
}

func TestWhereAConnectionsTokensAreRefreshed(t *testing.T) {
	for _, tc := range []struct {
		name, company, connection string
		fields                    []string
		target                    string // empty: nowhere
	}{
		{"by the data centre that its id names", "c-1", "eu", []string{"token_url: 'URL/{region}/token'", "regions: {com: zoho.com, eu: zoho.eu}"}, "/zoho.eu/token"},
		{"by the data centre that its id begins with", "c-1", "com:4711", []string{"token_url: 'URL/{region}/token'", "regions: {com: zoho.com, eu: zoho.eu}"}, "/zoho.com/token"},
		{"nowhere, if its id names none", "c-1", "4711", []string{"token_url: 'URL/{region}/token'", "regions: {com: zoho.com}"}, ""},
		{"nowhere, if it has no id", "c-1", "", []string{"token_url: 'URL/{region}/token'", "regions: {com: zoho.com}"}, ""},
		{"by the company as a label", "1234567_SB1", "", []string{"token_url: 'URL/{account}/token'", `values: {account: "{company_label}"}`}, "/1234567-sb1/token"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := serve(t, http.StatusOK, token)
			p, set := demo(t, at(s.URL, tc.fields)...), held()
			set.ProviderConnectionID = tc.connection
			a := client(t).Refresh(t.Context(), p, tokenworker.Key{OrgID: "acme", ProviderID: "demo", CompanyID: tc.company}, set)
			if tc.target == "" {
				ends(t, a, provider.Misconfigured, provider.CodeBadTarget)
				return
			}
			ends(t, a, provider.OK, "")
			if got := s.only(t).target; got != tc.target {
				t.Errorf("posted to %s, want %s", got, tc.target)
			}
		})
	}
}
