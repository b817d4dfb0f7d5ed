package provider_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker/provider"
)

const token = `{"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 3600}`

func TestHowTheClientAuthenticates(t *testing.T) {
	for _, tc := range []struct {
		name       string
		id, secret string
		fields     []string
		header     string // Authorization
		body       string
	}{
		{name: "client_secret_basic", id: "app", secret: "s3cret", fields: []string{"auth: client_secret_basic"},
			header: "Basic YXBwOnMzY3JldA==", body: "grant_type=refresh_token&refresh_token=old-refresh"},
		{name: "client_secret_basic is the default", id: "app", secret: "s3cret",
			header: "Basic YXBwOnMzY3JldA==", body: "grant_type=refresh_token&refresh_token=old-refresh"},
		{name: "client_secret_basic form-encodes before it joins", id: "a:b c", secret: "p+q%ü", fields: []string{"auth: client_secret_basic"},
			// a%3Ab+c:p%2Bq%25%C3%BC
			header: "Basic YSUzQWIrYzpwJTJCcSUyNSVDMyVCQw==", body: "grant_type=refresh_token&refresh_token=old-refresh"},
		{name: "client_secret_post", id: "app", secret: "s3&cret", fields: []string{"auth: client_secret_post"},
			body: "client_id=app&client_secret=s3%26cret&grant_type=refresh_token&refresh_token=old-refresh"},
		{name: "client_secret_post as JSON", id: "app", secret: "s3cret", fields: []string{"auth: client_secret_post", "body: json"},
			body: `{"client_id":"app","client_secret":"s3cret","grant_type":"refresh_token","refresh_token":"old-refresh"}`},
		{name: "client_secret_post under another name, with more parameters", id: "app", secret: "s3cret",
			fields: []string{"auth: client_secret_post", "request_names: {client_id: client_key}", `params: {expires_in: "1800"}`},
			body:   "client_key=app&client_secret=s3cret&expires_in=1800&grant_type=refresh_token&refresh_token=old-refresh"},
		{name: "grant type and token under other names", id: "app", secret: "s3cret",
			fields: []string{"auth: client_secret_post", "request_names: {grant_type: type, refresh_token: rt, client_secret: key}", "params: {type: refresh}"},
			body:   "client_id=app&key=s3cret&rt=old-refresh&type=refresh"},
		{name: "client_secret_basic_unencoded", id: "a b", secret: "p+q%", fields: []string{"auth: client_secret_basic_unencoded"},
			header: "Basic YSBiOnArcSU=", body: "grant_type=refresh_token&refresh_token=old-refresh"}, // a b:p+q%
		{name: "client_secret_header", id: "app", secret: "s3cret", fields: []string{"auth: client_secret_header"},
			header: "Client s3cret", body: "client_id=app&grant_type=refresh_token&refresh_token=old-refresh"},
		{name: "none", id: "app", secret: "s3cret", fields: []string{"auth: none"},
			body: "client_id=app&grant_type=refresh_token&refresh_token=old-refresh"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := serve(t, http.StatusOK, token)
			p := demoFor(t, tc.id, tc.secret, append(tc.fields, tokenURL("%s/token?x=1", s.URL))...)
			ends(t, client(t).Refresh(t.Context(), p, key, held()), provider.OK, "")
			got := s.only(t)
			if got.method != http.MethodPost || got.target != "/token?x=1" {
				t.Errorf("%s %s", got.method, got.target)
			}
			if h := got.header.Get("Authorization"); h != tc.header {
				t.Errorf("Authorization %q, want %q", h, tc.header)
			}
			if got.body != tc.body {
				t.Errorf("body\n got %s\nwant %s", got.body, tc.body)
			}
		})
	}
}

func TestWhatEveryRequestSays(t *testing.T) {
	s := serve(t, http.StatusOK, token)
	p := demo(t, tokenURL("%s", s.URL), "headers: {X-Version: v1, Accept: application/vnd.demo+json}")
	ends(t, client(t).Refresh(t.Context(), p, key, held()), provider.OK, "")
	got := s.only(t).header
	for name, want := range map[string]string{
		"Accept": "application/vnd.demo+json", "User-Agent": "tokenworker", "X-Version": "v1",
		"Content-Type": "application/x-www-form-urlencoded", "Accept-Encoding": "identity",
	} {
		if got.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.Get(name), want)
		}
	}
}

// assertions is a provider whose client signs with the key. The first fields may be the client's, further indented.
func assertions(t *testing.T, key any, fields ...string) *provider.Provider {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return withPEM(t, &pem.Block{Type: "PRIVATE KEY", Bytes: der}, fields...)
}

func withPEM(t *testing.T, key *pem.Block, fields ...string) *provider.Provider {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(key), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DEMO_ID", "app")
	return entry(t, append([]string{onLoopback, "auth: private_key_jwt",
		"client:", "  id: env:DEMO_ID", "  private_key: 'file:" + file + "'", "  key_id: k-1"}, fields...)...)
}

func TestPrivateKeyJWT(t *testing.T) {
	ec, _ := newKey(t)
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	byES256 := func(digest, signature []byte) bool {
		return len(signature) == 64 && ecdsa.Verify(&ec.PublicKey, digest,
			new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
	}
	byRS256 := func(digest, signature []byte) bool {
		return rsa.VerifyPKCS1v15(&rs.PublicKey, crypto.SHA256, digest, signature) == nil
	}
	byPS256 := func(digest, signature []byte) bool {
		return rsa.VerifyPSS(&rs.PublicKey, crypto.SHA256, digest, signature, nil) == nil
	}
	for _, tc := range []struct {
		name     string
		provider func(t *testing.T, url string) *provider.Provider
		alg      string
		verify   func(digest, signature []byte) bool
	}{
		{"ES256, PKCS #8", func(t *testing.T, url string) *provider.Provider { return assertions(t, ec, tokenURL("%s/token", url)) },
			"ES256", byES256},
		{"ES256, SEC 1", func(t *testing.T, url string) *provider.Provider {
			return withPEM(t, &pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}, tokenURL("%s/token", url))
		}, "ES256", byES256},
		{"RS256, PKCS #8", func(t *testing.T, url string) *provider.Provider { return assertions(t, rs, tokenURL("%s/token", url)) },
			"RS256", byRS256},
		{"PS256, PKCS #8", func(t *testing.T, url string) *provider.Provider {
			return assertions(t, rs, "  algorithm: PS256", tokenURL("%s/token", url))
		}, "PS256", byPS256},
		{"RS256, PKCS #1", func(t *testing.T, url string) *provider.Provider {
			return withPEM(t, &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rs)}, tokenURL("%s/token", url))
		}, "RS256", byRS256},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := serve(t, http.StatusOK, token)
			ends(t, client(t).Refresh(t.Context(), tc.provider(t, s.URL), key, held()), provider.OK, "")
			form, err := url.ParseQuery(s.only(t).body)
			if err != nil {
				t.Fatal(err)
			}
			if kind := form.Get("client_assertion_type"); kind != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
				t.Errorf("client_assertion_type %q", kind)
			}
			if form.Get("client_id") != "app" || form.Has("client_secret") {
				t.Errorf("client_id %q, a secret: %t", form.Get("client_id"), form.Has("client_secret"))
			}
			header, claims := verified(t, form.Get("client_assertion"), tc.verify)
			if header["alg"] != tc.alg || header["kid"] != "k-1" || header["typ"] != "JWT" {
				t.Errorf("header %v", header)
			}
			if id, _ := claims["jti"].(string); len(id) < 22 {
				t.Errorf("jti %q holds fewer than 128 random bits", id)
			}
			delete(claims, "jti")
			want := map[string]any{"iss": "app", "sub": "app", "aud": s.URL + "/token",
				"iat": float64(noon.Unix()), "exp": float64(noon.Add(5 * time.Minute).Unix())}
			if got, want := asJSON(t, claims), asJSON(t, want); got != want {
				t.Errorf("claims\n got %s\nwant %s", got, want)
			}
		})
	}
}

// Microsoft finds the key by the certificate's thumbprint alone.
func TestAnAssertionNamesTheCertificate(t *testing.T) {
	ec, _ := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{}, &ec.PublicKey, ec)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DEMO_CERTIFICATE", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	s := serve(t, http.StatusOK, token)
	p := assertions(t, ec, "  certificate: env:DEMO_CERTIFICATE", tokenURL("%s", s.URL))
	ends(t, client(t).Refresh(t.Context(), p, key, held()), provider.OK, "")
	form, err := url.ParseQuery(s.only(t).body)
	if err != nil {
		t.Fatal(err)
	}
	header, _ := verified(t, form.Get("client_assertion"), func(_, _ []byte) bool { return true })
	sum := sha256.Sum256(der)
	if want := base64.RawURLEncoding.EncodeToString(sum[:]); header["x5t#S256"] != want {
		t.Errorf("x5t#S256 %v, want %s", header["x5t#S256"], want)
	}
}

// newRSA returns an RSA key in PEM.
func newRSA(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

func TestAnAssertionIsMadeOnce(t *testing.T) {
	ec, _ := newKey(t)
	s := serve(t, http.StatusOK, token)
	p, c := assertions(t, ec, tokenURL("%s", s.URL)), client(t)
	for range 2 {
		ends(t, c.Refresh(t.Context(), p, key, held()), provider.OK, "")
	}
	ids := map[any]bool{}
	for _, r := range s.seen() {
		form, err := url.ParseQuery(r.body)
		if err != nil {
			t.Fatal(err)
		}
		_, claims := verified(t, form.Get("client_assertion"), func(_, _ []byte) bool { return true })
		ids[claims["jti"]] = true
	}
	if len(ids) != 2 {
		t.Errorf("two requests with %d ids", len(ids))
	}
}

// verified takes a JWT apart and checks its signature.
func verified(t *testing.T, jwt string, verify func(digest, signature []byte) bool) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		t.Fatalf("a JWT of %d parts", len(parts))
	}
	for i, dst := range []*map[string]any{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, dst); err != nil {
			t.Fatal(err)
		}
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if !verify(digest[:], signature) {
		t.Error("the signature is not valid")
	}
	return header, claims
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// newKey returns a key and its secret bytes.
func newKey(t *testing.T) (key *ecdsa.PrivateKey, secret string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return key, string(scalar)
}

func newPEM(t *testing.T) []byte {
	t.Helper()
	key, _ := newKey(t)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func TestWhomAnAssertionIsFor(t *testing.T) {
	ec, _ := newKey(t)
	audience := func(t *testing.T, s *recorder, p *provider.Provider) any {
		t.Helper()
		ends(t, client(t).Revoke(t.Context(), p, key, held()), provider.OK, "")
		seen := s.seen()
		form, err := url.ParseQuery(seen[len(seen)-1].body)
		if err != nil {
			t.Fatal(err)
		}
		_, claims := verified(t, form.Get("client_assertion"), func(_, _ []byte) bool { return true })
		return claims["aud"]
	}
	t.Run("the token endpoint, also when it is sent elsewhere", func(t *testing.T) {
		s := serve(t, http.StatusOK, "{}")
		p := assertions(t, ec, tokenURL("%s/{company}/token", s.URL), "revoke: {url: "+s.URL+"/revoke}")
		if got := audience(t, s, p); got != s.URL+"/c-1/token" {
			t.Errorf("audience %v", got)
		}
	})
	t.Run("the issuer, if there is one", func(t *testing.T) {
		s := issuer(t, openID, metadata)
		if got := audience(t, s, assertions(t, ec, "issuer: "+s.URL)); got != s.URL {
			t.Errorf("audience %v", got)
		}
	})
	t.Run("whom the operator says", func(t *testing.T) {
		s := serve(t, http.StatusOK, "{}")
		p := assertions(t, ec, "  audience: urn:them", "revoke: {url: "+s.URL+"/revoke}")
		if got := audience(t, s, p); got != "urn:them" {
			t.Errorf("audience %v", got)
		}
	})
	t.Run("the endpoint itself, if nothing else is known", func(t *testing.T) {
		s := serve(t, http.StatusOK, "{}")
		if got := audience(t, s, assertions(t, ec, "revoke: {url: "+s.URL+"/revoke}")); got != s.URL+"/revoke" {
			t.Errorf("audience %v", got)
		}
	})
}

func TestKeysThatAreNotTaken(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]any{"ECDSA on P-384": p384, "Ed25519": ed}
	if short, err := rsa.GenerateKey(rand.Reader, 1024); err == nil { // under FIPS 140 it cannot even be made
		keys["RSA of 1024 bits"] = short
	}
	t.Setenv("DEMO_ID", "app")
	for name, key := range keys {
		t.Run(name, func(t *testing.T) {
			der, err := x509.MarshalPKCS8PrivateKey(key)
			if err != nil {
				t.Fatal(err)
			}
			t.Setenv("DEMO_KEY", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
			_, err = provider.Load(t.Context(), nil, provider.Source{Name: "test.yaml", YAML: []byte(
				"providers: {demo: {token_url: 'https://a.example.com', auth: private_key_jwt, client: {id: env:DEMO_ID, private_key: env:DEMO_KEY}}}")})
			if err == nil || !strings.HasPrefix(err.Error(), `test.yaml:1: provider "demo": client.private_key: not a PEM private key`) {
				t.Errorf("error %v", err)
			}
		})
	}
}
