package demoprovider_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker/demoprovider"
)

func TestDiscoveryNamesEndpointsThatAreThere(t *testing.T) {
	r := start(t, demoprovider.Policy{})
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
		got := r.get(path, "")
		var metadata map[string]any
		if err := json.Unmarshal([]byte(got.body), &metadata); err != nil {
			t.Fatalf("%s: %d %s: %v", path, got.status, got.body, err)
		}
		if metadata["issuer"] != r.URL() {
			t.Errorf("%s: issuer %v, want %s (RFC 8414, section 3.3)", path, metadata["issuer"], r.URL())
		}
		for name, value := range metadata {
			url, ok := value.(string)
			if !ok || name == "issuer" {
				continue
			}
			below, ok := strings.CutPrefix(url, r.URL())
			if !ok {
				t.Errorf("%s: %s is %s", path, name, url)
				continue
			}
			if got := r.post(below, map[string][]string{}); got.status == 404 {
				t.Errorf("%s: nothing is at %s", path, url)
			}
		}
		for _, name := range []string{"token_endpoint", "revocation_endpoint", "introspection_endpoint", "jwks_uri"} {
			if metadata[name] == nil {
				t.Errorf("%s: no %s", path, name)
			}
		}
	}
}

func TestAServerWithoutAnAddressIsWhereItIsAsked(t *testing.T) {
	s, err := demoprovider.New(demoprovider.Config{Clients: []demoprovider.Client{{ID: clientID, Auth: demoprovider.AuthNone}}})
	if err != nil {
		t.Fatal(err)
	}
	got := httptest.NewRecorder()
	s.ServeHTTP(got, httptest.NewRequestWithContext(t.Context(), "GET", "http://provider.example/.well-known/openid-configuration", nil))
	if !strings.Contains(got.Body.String(), `"issuer":"http://provider.example"`) {
		t.Error(got.Body)
	}
	if _, err := s.Grant(clientID, "user", "openid"); err == nil {
		t.Error("an ID token without an issuer")
	}
}

// verified checks an ID token against the published keys and returns its claims.
func (r *rig) verified(idToken string) map[string]any {
	r.t.Helper()
	var set struct {
		Keys []struct{ Kty, Crv, Alg, Use, Kid, X, Y string }
	}
	if err := json.Unmarshal([]byte(r.get("/jwks", "").body), &set); err != nil || len(set.Keys) != 1 {
		r.t.Fatalf("keys %+v, %v", set, err)
	}
	key := set.Keys[0]
	parts := strings.Split(idToken, ".")
	if len(parts) != 3 {
		r.t.Fatalf("ID token %q", idToken)
	}
	var header struct{ Alg, Kid string }
	var claims map[string]any
	for i, into := range []any{&header, &claims} {
		if err := json.Unmarshal(unbase64(r.t, parts[i]), into); err != nil {
			r.t.Fatal(err)
		}
	}
	if header.Alg != "ES256" || header.Kid != key.Kid || key.Kty != "EC" || key.Crv != "P-256" || key.Alg != "ES256" || key.Use != "sig" {
		r.t.Fatalf("header %+v, key %+v", header, key)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, unbase64(r.t, key.X), unbase64(r.t, key.Y)))
	if err != nil {
		r.t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	signature := unbase64(r.t, parts[2])
	if !ecdsa.Verify(public, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		r.t.Fatal("the signature does not hold")
	}
	return claims
}

func unbase64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAnIDTokenComesWithEveryAnswerThatHasOpenid(t *testing.T) {
	r := start(t, demoprovider.Policy{})
	tokens, err := r.Grant(clientID, "user", "openid read")
	if err != nil {
		t.Fatal(err)
	}
	want := func() map[string]any {
		return map[string]any{
			"iss": r.URL(), "sub": "user", "aud": clientID,
			"iat": float64(r.Now().Unix()), "exp": float64(r.Now().Add(time.Hour).Unix()),
		}
	}
	if got := r.verified(tokens.IDToken); !maps.Equal(got, want()) {
		t.Errorf("granted: %v", got)
	}
	r.Advance(time.Minute)
	tokens = r.mustRefresh(tokens.RefreshToken)
	if got := r.verified(tokens.IDToken); !maps.Equal(got, want()) {
		t.Errorf("refreshed: %v", got)
	}
	got := r.post("/token", map[string][]string{"grant_type": {"refresh_token"}, "refresh_token": {tokens.RefreshToken}, "scope": {"read"}})
	if got.AccessToken == "" || got.IDToken != "" {
		t.Errorf("without openid: %s", got.body)
	}
}
