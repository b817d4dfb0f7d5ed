package provider_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/provider"
)

// openIDProvider is an issuer that publishes keys.
type openIDProvider struct {
	*recorder
	mu   sync.Mutex
	keys []jose.JSONWebKey // published
	down bool

	keysFail bool
	keysHang chan struct{} // answers for the keys wait until it is closed; nil: none does
}

func startOpenIDProvider(t *testing.T) *openIDProvider {
	t.Helper()
	o := &openIDProvider{}
	o.recorder = serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		hang := o.keysHang
		o.mu.Unlock()
		if hang != nil && r.URL.Path == "/keys" {
			<-hang
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		switch {
		case o.down, o.keysFail && r.URL.Path == "/keys":
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == openID:
			_, _ = fmt.Fprintf(w, `{"issuer": %[1]q, "token_endpoint": "%[1]s/t", "jwks_uri": "%[1]s/keys",
				"id_token_signing_alg_values_supported": ["ES256", "HS256", "none"]}`, o.URL)
		case r.URL.Path == "/keys":
			set, _ := json.Marshal(jose.JSONWebKeySet{Keys: o.keys})
			_, _ = w.Write([]byte(strings.Replace(string(set), `[`, `[{"kty": "future"},`, 1)))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	return o
}

// newKey makes a key and publishes it, unless it is secret.
func (o *openIDProvider) newKey(t *testing.T, published bool) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if published {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.keys = append(o.keys, jose.JSONWebKey{Key: key.Public(), KeyID: fmt.Sprint(len(o.keys)), Algorithm: "ES256", Use: "sig"})
	}
	return key
}

func (o *openIDProvider) fetches() (n int) {
	for _, r := range o.seen() {
		if r.target == "/keys" {
			n++
		}
	}
	return n
}

// claims are those of a good ID token, with some set otherwise; nil takes one out.
func (o *openIDProvider) claims(edits map[string]any) map[string]any {
	c := map[string]any{
		"iss": o.URL, "sub": "u-1", "aud": "app", "exp": noon.Add(time.Hour).Unix(), "iat": noon.Unix(), "nonce": "n-1",
		"at_hash": hashOf("old-access"),
	}
	for name, value := range edits {
		if c[name] = value; value == nil {
			delete(c, name)
		}
	}
	return c
}

// hashOf is OpenID Connect's at_hash for an algorithm with SHA-256.
func hashOf(accessToken string) string {
	sum := sha256.Sum256([]byte(accessToken))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

func sign(t *testing.T, algorithm jose.SignatureAlgorithm, key any, claims map[string]any) tokenworker.Secret {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return tokenworker.SecretString(text)
}

// unsigned is a token whose header says that it has no signature.
func unsigned(t *testing.T, claims map[string]any) tokenworker.Secret {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return tokenworker.SecretString(encode([]byte(`{"alg":"none"}`)) + "." + encode(payload) + ".")
}

// with is the set that is held, with an ID token.
func with(idToken tokenworker.Secret) tokenworker.TokenSet {
	set := held()
	set.IDToken, set.Nonce = idToken, "n-1"
	return set
}

func TestAnIDTokenIsVerified(t *testing.T) {
	o := startOpenIDProvider(t)
	key, foreign := o.newKey(t, true), o.newKey(t, false)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	o.keys = append(o.keys, jose.JSONWebKey{Key: rsaKey.Public(), KeyID: "rsa"})
	p, c := demo(t, "issuer: "+o.URL), client(t)
	signed := func(edits map[string]any) func() tokenworker.TokenSet {
		return func() tokenworker.TokenSet { return with(sign(t, jose.ES256, key, o.claims(edits))) }
	}
	for _, tc := range []struct {
		name string
		make func() tokenworker.TokenSet
		good bool
	}{
		{"a good one", signed(nil), true},
		{"for several, of whom this client is the authorized one", signed(map[string]any{"aud": []string{"other", "app"}, "azp": "app"}), true},
		{"without a hash of the access token", signed(map[string]any{"at_hash": nil}), true},
		{"whose nonce nobody asks for", func() tokenworker.TokenSet {
			set := signed(map[string]any{"nonce": "another"})()
			set.Nonce = ""
			return set
		}, true},
		{"of another issuer", signed(map[string]any{"iss": "https://evil.example.com"}), false},
		{"for another client", signed(map[string]any{"aud": "other"}), false},
		{"for several, of whom another is the authorized one", signed(map[string]any{"aud": []string{"other", "app"}, "azp": "other"}), false},
		{"for several, of whom none is the authorized one", signed(map[string]any{"aud": []string{"other", "app"}}), false},
		{"for nobody", signed(map[string]any{"aud": nil}), false},
		{"expired before the event", signed(map[string]any{"exp": noon.Add(-time.Second).Unix()}), false},
		{"without an expiry", signed(map[string]any{"exp": nil}), false},
		{"not good yet", signed(map[string]any{"nbf": noon.Add(time.Hour).Unix()}), false},
		{"with another nonce", signed(map[string]any{"nonce": "n-2"}), false},
		{"without the nonce", signed(map[string]any{"nonce": nil}), false},
		{"issued with another access token", signed(map[string]any{"at_hash": hashOf("another")}), false},
		{"of nobody", signed(map[string]any{"sub": nil}), false},
		{"signed by a key that is not the issuer's", func() tokenworker.TokenSet {
			return with(sign(t, jose.ES256, foreign, o.claims(nil)))
		}, false},
		{"signed with a key of the issuer's, in a way that it does not name", func() tokenworker.TokenSet {
			return with(sign(t, jose.RS256, rsaKey, o.claims(nil)))
		}, false},
		{"signed with the client's secret, which the issuer says it does", func() tokenworker.TokenSet {
			return with(sign(t, jose.HS256, []byte(strings.Repeat("s3cret", 6)), o.claims(nil)))
		}, false},
		{"not signed, which the issuer says it does", func() tokenworker.TokenSet { return with(unsigned(t, o.claims(nil))) }, false},
		{"no JWT", func() tokenworker.TokenSet { return with(tokenworker.SecretString("canary.canary.canary")) }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			subject, err := c.VerifyIDToken(t.Context(), p, tc.make(), noon)
			switch {
			case tc.good && (err != nil || subject != "u-1"):
				t.Errorf("subject %q, error %v", subject, err)
			case !tc.good && (!errors.Is(err, provider.ErrIDToken) || subject != ""):
				t.Errorf("subject %q, error %v; want none and ErrIDToken", subject, err)
			case !tc.good && err.Error() != provider.ErrIDToken.Error():
				t.Errorf("the error says more than that: %v", err)
			}
		})
	}
	if n := o.fetches(); n != 1 {
		t.Errorf("the keys were fetched %d times within a minute, want once", n)
	}
}

func TestTheIssuersKeysAreFetchedAgain(t *testing.T) {
	o, now := startOpenIDProvider(t), noon
	first := o.newKey(t, true)
	p, c := demo(t, "issuer: "+o.URL), client(t, func(cfg *provider.Config) { cfg.Now = func() time.Time { return now } })
	verify := func(what string, key crypto.Signer, want error, fetches int) {
		t.Helper()
		_, err := c.VerifyIDToken(t.Context(), p, with(sign(t, jose.ES256, key, o.claims(nil))), noon)
		if !errors.Is(err, want) || o.fetches() != fetches {
			t.Errorf("%s: %v after %d fetches, want %v after %d", what, err, o.fetches(), want, fetches)
		}
	}
	verify("the first", first, nil, 1)
	second := o.newKey(t, true)
	verify("a new key, within a minute", second, provider.ErrIDToken, 1)
	now = now.Add(2 * time.Minute)
	verify("after it", second, nil, 2)
	verify("the first again", first, nil, 2)
	now = now.Add(50 * time.Minute)
	o.mu.Lock()
	o.down = true
	o.mu.Unlock()
	verify("while the issuer is down, with known keys", second, nil, 2)
	now = now.Add(20 * time.Minute)
	verify("and when they are too old", second, provider.ErrIDTokenUnverified, 3)
}

func TestAnIssuerWhoseKeysCannotBeHadIsLeftAloneForAWhile(t *testing.T) {
	o, now := startOpenIDProvider(t), noon
	set := with(sign(t, jose.ES256, o.newKey(t, true), o.claims(nil)))
	p, c := demo(t, "issuer: "+o.URL), client(t, func(cfg *provider.Config) { cfg.Now = func() time.Time { return now } })
	verify := func(what string, want error, fetches int) {
		t.Helper()
		_, err := c.VerifyIDToken(t.Context(), p, set, noon)
		if !errors.Is(err, want) || o.fetches() != fetches {
			t.Errorf("%s: %v after %d fetches, want %v after %d", what, err, o.fetches(), want, fetches)
		}
	}
	o.keysFail = true
	verify("while they cannot be had", provider.ErrIDTokenUnverified, 1)
	o.keysFail = false
	verify("at once after it", provider.ErrIDTokenUnverified, 1)
	now = now.Add(time.Minute)
	verify("after the pause", nil, 2)
}

func TestNobodyWaitsForKeysThatCouldNotBeHadBefore(t *testing.T) {
	o, now, hang := startOpenIDProvider(t), noon, make(chan struct{})
	set := with(sign(t, jose.ES256, o.newKey(t, true), o.claims(nil)))
	p, c := demo(t, "issuer: "+o.URL), client(t, func(cfg *provider.Config) { cfg.Now = func() time.Time { return now } })
	o.keysFail = true
	if _, err := c.VerifyIDToken(t.Context(), p, set, noon); !errors.Is(err, provider.ErrIDTokenUnverified) {
		t.Fatalf("error %v, want ErrIDTokenUnverified", err)
	}
	now = now.Add(time.Minute)
	o.mu.Lock()
	o.keysFail, o.keysHang = false, hang
	o.mu.Unlock()
	first := make(chan error, 1)
	go func() {
		_, err := c.VerifyIDToken(t.Context(), p, set, noon)
		first <- err
	}()
	for o.fetches() < 2 {
		time.Sleep(time.Millisecond) //nolint:forbidigo // between looks at the condition
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := c.VerifyIDToken(ctx, p, set, noon); !errors.Is(err, provider.ErrIDTokenUnverified) || ctx.Err() != nil {
		t.Errorf("while another fetches them: %v, %v; want ErrIDTokenUnverified at once", err, ctx.Err())
	}
	close(hang)
	if err := <-first; err != nil {
		t.Errorf("who fetched them: %v", err)
	}
}

func TestIssuersWhoseKeysAreNotBelieved(t *testing.T) {
	for name, keys := range map[string]string{
		"on another host": `"jwks_uri": "https://evil.example.com/keys",`, "nowhere": ``, "that are none": `"jwks_uri": "URL/none",`,
	} {
		t.Run(name, func(t *testing.T) {
			s := issuer(t, openID, `{"issuer": "URL", `+keys+` "token_endpoint": "URL/t"}`)
			_, err := client(t).VerifyIDToken(t.Context(), demo(t, "issuer: "+s.URL), with(tokenworker.SecretString("a.b.c")), noon)
			if !errors.Is(err, provider.ErrIDTokenUnverified) {
				t.Errorf("error %v, want ErrIDTokenUnverified", err)
			}
		})
	}
}

func TestAGatewayTakesSubjectAndIssuerFromTheVerifiedToken(t *testing.T) {
	o := startOpenIDProvider(t)
	key := o.newKey(t, true)
	t.Setenv("DEMO_ID", "app")
	g := provider.NewGateway(load(t, `
providers:
  demo: {issuer: "`+o.URL+`", client: {id: env:DEMO_ID, secret: none}, allow_networks: [127.0.0.0/8]}
  plain: {token_url: "https://idp.example.com/t", client: {id: env:DEMO_ID, secret: none}}
`), client(t))
	set := with(sign(t, jose.ES256, key, o.claims(nil)))
	set.Subject, set.Issuer = "somebody else", "https://elsewhere.example.com"
	got, err := g.VerifyIDToken(t.Context(), tokenworker.Key{OrgID: "acme", ProviderID: "demo", CompanyID: "c"}, set, noon)
	if err != nil || got.Subject != "u-1" || got.Issuer != o.URL {
		t.Errorf("subject %q of %q, %v", got.Subject, got.Issuer, err)
	}
	for name, edit := range map[string]func(*tokenworker.Key, *tokenworker.TokenSet){
		"a provider without an issuer": func(k *tokenworker.Key, _ *tokenworker.TokenSet) { k.ProviderID = "plain" },
		"an unknown provider":          func(k *tokenworker.Key, _ *tokenworker.TokenSet) { k.ProviderID = "nobody" },
		"no ID token":                  func(_ *tokenworker.Key, s *tokenworker.TokenSet) { s.IDToken = tokenworker.Secret{} },
	} {
		k, s := tokenworker.Key{OrgID: "acme", ProviderID: "demo", CompanyID: "c"}, set
		edit(&k, &s)
		if got, err := g.VerifyIDToken(t.Context(), k, s, noon); err != nil || got.Subject != "somebody else" {
			t.Errorf("%s: subject %q, %v; want it left alone", name, got.Subject, err)
		}
	}
}
