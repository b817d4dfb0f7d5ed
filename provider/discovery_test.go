package provider_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker/provider"
)

// issuer serves metadata at a path and answers everything else like a token, revocation and introspection endpoint in
// one. The text URL in the metadata stands for its address, AUTH for the same with a user in it.
func issuer(t *testing.T, path, metadata string) *recorder {
	t.Helper()
	var s *recorder
	s = serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == path:
			_, _ = strings.NewReplacer("URL", s.URL, "AUTH", "http://user@"+s.Listener.Addr().String()).WriteString(w, metadata)
		case r.Method == http.MethodGet:
			w.WriteHeader(http.StatusNotFound)
		default:
			_, _ = w.Write([]byte(`{"active": true, "access_token": "new-access"}`))
		}
	})
	return s
}

const (
	openID   = "/.well-known/openid-configuration"
	metadata = `{"issuer": "URL", "token_endpoint": "URL/t", "revocation_endpoint": "URL/r", "introspection_endpoint": "URL/i"}`
)

func TestAnIssuerNamesItsEndpoints(t *testing.T) {
	s := issuer(t, openID, metadata)
	p, c := demo(t, "issuer: "+s.URL), client(t)
	ends(t, c.Prepare(t.Context(), p), provider.OK, "")
	ends(t, c.Refresh(t.Context(), p, key, held()), provider.OK, "")
	ends(t, c.Revoke(t.Context(), p, key, held()), provider.OK, "")
	ends(t, c.Introspect(t.Context(), p, key, held()), provider.OK, "")
	var targets []string
	for _, r := range s.seen() {
		targets = append(targets, r.method+" "+r.target)
	}
	if got, want := strings.Join(targets, ", "), "GET "+openID+", POST /t, POST /r, POST /i"; got != want {
		t.Errorf("asked %s\nwant  %s", got, want)
	}
}

func TestWhereMetadataAre(t *testing.T) {
	for _, tc := range []struct{ name, issuer, path string }{
		{"OpenID", "", openID},
		{"OpenID, below the issuer's path", "/realms/a", "/realms/a" + openID},
		{"OpenID, below a path with a slash at its end", "/realms/a/", "/realms/a" + openID},
		{"RFC 8414", "", "/.well-known/oauth-authorization-server"},
		{"RFC 8414, before the issuer's path", "/realms/a", "/.well-known/oauth-authorization-server/realms/a"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := issuer(t, tc.path, strings.Replace(metadata, `"issuer": "URL"`, `"issuer": "URL`+tc.issuer+`"`, 1))
			ends(t, client(t).Prepare(t.Context(), demo(t, "issuer: "+s.URL+tc.issuer)), provider.OK, "")
		})
	}
}

func TestOddMetadata(t *testing.T) {
	good := func(s *recorder) string { return strings.ReplaceAll(metadata, "URL", s.URL) }
	for _, tc := range []struct {
		name   string
		answer func(s *recorder, path string) (status int, body string)
	}{
		{"a page at the first place", func(s *recorder, path string) (int, string) {
			if path == openID {
				return 200, "<html>welcome</html>"
			}
			return 200, good(s)
		}},
		{"somebody else's at the first place", func(s *recorder, path string) (int, string) {
			if path == openID {
				return 200, `{"issuer": "https://other.example.com", "token_endpoint": "https://other.example.com/t"}`
			}
			return 200, good(s)
		}},
		{"an odd member", func(s *recorder, _ string) (int, string) {
			return 200, strings.TrimSuffix(good(s), "}") + `, "jwks_uri": 7, "id_token_signing_alg_values_supported": {"a": 1}}`
		}},
		{"a word in the place of a list", func(s *recorder, _ string) (int, string) {
			return 200, strings.TrimSuffix(good(s), "}") + `, "token_endpoint_auth_methods_supported": "client_secret_post"}`
		}},
		{"gzip", func(s *recorder, _ string) (int, string) { return 200, packed(good(s)) }},
		{"after a byte order mark", func(s *recorder, _ string) (int, string) { return 200, "\xef\xbb\xbf" + good(s) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s *recorder
			s = serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					_, _ = w.Write([]byte(token))
					return
				}
				status, body := tc.answer(s, r.URL.Path)
				w.WriteHeader(status)
				_, _ = w.Write([]byte(body))
			})
			ends(t, client(t).Refresh(t.Context(), demo(t, "issuer: "+s.URL), key, held()), provider.OK, "")
			last := s.seen()[len(s.seen())-1]
			if last.target != "/t" {
				t.Errorf("posted to %s", last.target)
			}
			if post := strings.Contains(last.body, "client_secret"); post != (tc.name == "a word in the place of a list") {
				t.Errorf("the secret in the body: %t", post)
			}
		})
	}
}

func TestMetadataThatAreNotBelieved(t *testing.T) {
	for _, tc := range []struct{ name, metadata, hosts string }{
		{name: "of another issuer", metadata: `{"issuer": "URL/other", "token_endpoint": "URL/t"}`},
		{name: "of no issuer", metadata: `{"token_endpoint": "URL/t"}`},
		{name: "without a token endpoint", metadata: `{"issuer": "URL"}`},
		{name: "no JSON", metadata: `<html>`},
		{name: "a token endpoint on another host", metadata: `{"issuer": "URL", "token_endpoint": "https://evil.example.com/t"}`},
		{name: "a token endpoint on another port", metadata: `{"issuer": "URL", "token_endpoint": "http://127.0.0.1:1/t"}`},
		{name: "a revocation endpoint on another host",
			metadata: `{"issuer": "URL", "token_endpoint": "URL/t", "revocation_endpoint": "https://evil.example.com/t"}`},
		{name: "an introspection endpoint on another host",
			metadata: `{"issuer": "URL", "token_endpoint": "URL/t", "introspection_endpoint": "https://evil.example.com/t"}`},
		{name: "a listed host, by another protocol", hosts: "idp.example.com",
			metadata: `{"issuer": "URL", "token_endpoint": "ftp://idp.example.com/t"}`},
		{name: "a user in the URL", metadata: `{"issuer": "URL", "token_endpoint": "AUTH/t"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := issuer(t, openID, tc.metadata)
			p, c := demo(t, "issuer: "+s.URL, "hosts: ["+tc.hosts+"]"), client(t)
			ends(t, c.Prepare(t.Context(), p), provider.NotSpent, provider.CodeDiscoveryFailed)
			ends(t, c.Refresh(t.Context(), p, key, held()), provider.NotSpent, provider.CodeDiscoveryFailed)
			for _, r := range s.seen() {
				if r.method != http.MethodGet {
					t.Errorf("%s %s", r.method, r.target)
				}
			}
		})
	}
}

func TestAnIssuerThatDoesNotAnswer(t *testing.T) {
	s := serveRaw(t, func(_ net.Conn, read func() error) { _ = read() })
	ends(t, client(t).Prepare(t.Context(), demo(t, "issuer: "+s.url())), provider.NotSpent, provider.CodeDiscoveryFailed)
}

func TestAListedHostMayBeNamed(t *testing.T) {
	other := serve(t, http.StatusOK, token)
	s := issuer(t, openID, `{"issuer": "URL", "token_endpoint": "`+other.URL+`/t"}`)
	p := demo(t, "issuer: "+s.URL, "hosts: ['"+other.Listener.Addr().String()+"']")
	ends(t, client(t).Refresh(t.Context(), p, key, held()), provider.OK, "")
	other.only(t)
}

func TestHowTheClientAuthenticatesToAnIssuer(t *testing.T) {
	for _, tc := range []struct{ name, methods, authorization, body string }{
		{"that says nothing: client_secret_basic", ``, "Basic YXBwOnMzY3JldA==", ""},
		{"that takes both", `["client_secret_post", "client_secret_basic"]`, "Basic YXBwOnMzY3JldA==", ""},
		{"that takes client_secret_post", `["client_secret_post", "private_key_jwt"]`, "", "client_secret=s3cret"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := metadata
			if tc.methods != "" {
				text = strings.TrimSuffix(metadata, "}") + `, "token_endpoint_auth_methods_supported": ` + tc.methods + `}`
			}
			s := issuer(t, openID, text)
			ends(t, client(t).Refresh(t.Context(), demo(t, "issuer: "+s.URL), key, held()), provider.OK, "")
			got := s.seen()[1]
			if got.header.Get("Authorization") != tc.authorization || !strings.Contains(got.body, tc.body) {
				t.Errorf("Authorization %q, body %q", got.header.Get("Authorization"), got.body)
			}
		})
	}
}

func TestMetadataAreFetchedOnceAnHour(t *testing.T) {
	var now atomic.Int64
	now.Store(noon.Unix())
	clock := func(c *provider.Config) { c.Now = func() time.Time { return time.Unix(now.Load(), 0) } }
	later := func(d time.Duration) { now.Add(int64(d / time.Second)) }
	var down atomic.Bool
	var s *recorder
	s = serveFunc(t, func(w http.ResponseWriter, _ *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": s.URL, "token_endpoint": s.URL})
	})
	p, c := demo(t, "issuer: "+s.URL), client(t, clock)
	step := func(what string, wantFetches int, outcome provider.Outcome) {
		t.Helper()
		before := len(s.seen())
		if a := c.Prepare(t.Context(), p); a.Outcome != outcome {
			t.Errorf("%s: ended as %+v", what, a)
		}
		if n := len(s.seen()) - before; n != wantFetches {
			t.Errorf("%s: %d fetches, want %d", what, n, wantFetches)
		}
	}
	down.Store(true)
	step("never had any, and the issuer is down", 2, provider.NotSpent)
	step("just after", 0, provider.NotSpent)
	down.Store(false)
	later(10 * time.Second)
	step("after the pause", 1, provider.OK)
	later(time.Hour - time.Second)
	step("within the hour", 0, provider.OK)
	down.Store(true)
	later(time.Second)
	step("after the hour, the issuer is down: the old ones serve on", 2, provider.OK)
	step("just after that", 0, provider.OK)
	down.Store(false)
	later(10 * time.Second)
	step("and are fetched again", 1, provider.OK)
}

func TestManyWhoNeedMetadataShareOneFetch(t *testing.T) {
	s := issuer(t, openID, metadata)
	p, c := demo(t, "issuer: "+s.URL), client(t)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if a := c.Prepare(t.Context(), p); a.Outcome != provider.OK {
				t.Errorf("ended as %+v", a)
			}
		})
	}
	wg.Wait()
	s.only(t)
}

func TestWhoGivesUpWaitingForMetadataSaysNothingAboutTheIssuer(t *testing.T) {
	leaving, leave := context.WithCancel(t.Context())
	var s *recorder
	s = serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		if leaving.Err() == nil {
			leave()
			<-r.Context().Done()
			return
		}
		_, _ = strings.NewReplacer("URL", s.URL).WriteString(w, metadata)
	})
	p, c := demo(t, "issuer: "+s.URL), client(t)
	ends(t, c.Prepare(leaving, p), provider.NotSpent, provider.CodeCanceled)
	ends(t, c.Prepare(t.Context(), p), provider.OK, "")
}
