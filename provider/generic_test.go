package provider_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/provider"
)

// idp is a server that nobody here wrote: it rotates, and ends a family whose spent token comes back.
type idp struct {
	mu       sync.Mutex
	minted   int
	families map[string]string // refresh token, spent or not, to family
	current  map[string]string // family to its one good refresh token; none: the family is over
}

func (s *idp) mint(family string) string {
	s.minted++
	refresh := fmt.Sprintf("r-%d", s.minted)
	s.families[refresh], s.current[family] = family, refresh
	return refresh
}

func (s *idp) handle(url string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		id, secret, ok := r.BasicAuth()
		say := func(status int, format string, args ...any) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, format, args...)
		}
		token := r.FormValue("token") + r.FormValue("refresh_token")
		family := s.families[token]
		good := family != "" && s.current[family] == token
		switch {
		case r.URL.Path == "/realms/main"+openID:
			say(200, `{"issuer": %q, "token_endpoint": %q, "revocation_endpoint": %q, "introspection_endpoint": %q,
				"token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"]}`, url, url+"/t", url+"/r", url+"/i")
		case !ok || id != "app" || secret != "s3cret":
			say(401, `{"error": "invalid_client"}`)
		case strings.HasSuffix(r.URL.Path, "/i"):
			say(200, `{"active": %t, "sub": "u-1"}`, good)
		case strings.HasSuffix(r.URL.Path, "/r"):
			delete(s.current, family)
			say(200, "")
		case r.FormValue("grant_type") == "refresh_token" && good:
			say(200, `{"access_token": "a", "refresh_token": %q, "expires_in": 300, "token_type": "Bearer"}`, s.mint(family))
		default:
			delete(s.current, family) // reuse
			say(400, `{"error": "invalid_grant"}`)
		}
	}
}

func TestAProviderThatNobodyHereWrote(t *testing.T) {
	s := &idp{families: map[string]string{}, current: map[string]string{}}
	var url string
	server := serveFunc(t, func(w http.ResponseWriter, r *http.Request) { s.handle(url)(w, r) })
	url = server.URL + "/realms/main"
	t.Setenv("IDP_CLIENT_ID", "app")
	t.Setenv("IDP_CLIENT_SECRET", "s3cret")
	text, err := os.ReadFile("../docs/examples/provider-generic.yaml")
	if err != nil {
		t.Fatal(err)
	}
	yaml := strings.NewReplacer("https://login.example.com/realms/main", url, "# allow_networks: [10.20.0.0/16]", "allow_networks: [127.0.0.0/8]").
		Replace(string(text))
	p, _ := load(t, yaml).Get("idp")
	c, set := client(t), held()
	s.mu.Lock()
	set.RefreshToken = tokenworker.SecretString(s.mint("family"))
	s.mu.Unlock()

	if p.Rotation != provider.Strict || p.RevokesNarrowly() {
		t.Errorf("policy %+v", p.Policy)
	}
	ends(t, c.Prepare(t.Context(), p), provider.OK, "")
	ends(t, c.Introspect(t.Context(), p, key, set), provider.OK, "")
	first := set
	for range 3 {
		a := c.Refresh(t.Context(), p, key, set)
		ends(t, a, provider.OK, "")
		if !a.NewRefreshToken {
			t.Fatal("not rotated")
		}
		set = a.Set
	}
	ends(t, c.Introspect(t.Context(), p, key, first), provider.Reauth, provider.CodeInvalidToken)
	ends(t, c.Introspect(t.Context(), p, key, set), provider.OK, "")
	ends(t, c.Refresh(t.Context(), p, key, first), provider.Reauth, provider.CodeInvalidGrant) // reuse
	ends(t, c.Refresh(t.Context(), p, key, set), provider.Reauth, provider.CodeInvalidGrant)   // ends the family

	s.mu.Lock()
	set.RefreshToken = tokenworker.SecretString(s.mint("another"))
	s.mu.Unlock()
	ends(t, c.Revoke(t.Context(), p, key, set), provider.OK, "")
	ends(t, c.Introspect(t.Context(), p, key, set), provider.Reauth, provider.CodeInvalidToken)
	ends(t, c.Refresh(t.Context(), p, key, set), provider.Reauth, provider.CodeInvalidGrant)
}
