package demoprovider_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker/demoprovider"
)

func TestAClientAuthenticatesInItsOneWay(t *testing.T) {
	const odd = "s%c+r:é t" // form-encoding changes all of it
	r := startConfig(t, demoprovider.Config{Clients: []demoprovider.Client{
		{ID: "basic", Secret: secret},
		{ID: "odd: id", Secret: odd},
		{ID: "post", Auth: demoprovider.AuthPost, Secret: secret},
		{ID: "none", Auth: demoprovider.AuthNone},
	}})
	for _, c := range []struct {
		name           string
		user, password string // Basic; empty: none
		form           url.Values
		status         int
		error          string
	}{
		{name: "basic", user: "basic", password: "a+secret", status: 200},
		{name: "basic, its id in the form too", user: "basic", password: "a+secret", form: url.Values{"client_id": {"basic"}}, status: 200},
		{name: "basic, every odd character", user: url.QueryEscape("odd: id"), password: url.QueryEscape(odd), status: 200},
		{name: "basic, not form-encoded", user: "odd: id", password: odd, status: 400, error: "invalid_request"},
		{name: "basic, wrong secret", user: "basic", password: "wrong", status: 401, error: "invalid_client"},
		{name: "basic, another id in the form", user: "basic", password: "a+secret", form: url.Values{"client_id": {"none"}}, status: 400, error: "invalid_request"},
		{name: "basic and a secret in the form", user: "basic", password: "a+secret", form: url.Values{"client_secret": {secret}}, status: 400, error: "invalid_request"},
		{name: "basic for a client that posts", user: "post", password: "a+secret", status: 401, error: "invalid_client"},
		{name: "basic for a client without a secret", user: "none", status: 401, error: "invalid_client"},
		{name: "post", form: url.Values{"client_id": {"post"}, "client_secret": {secret}}, status: 200},
		{name: "post, wrong secret", form: url.Values{"client_id": {"post"}, "client_secret": {"wrong"}}, status: 401, error: "invalid_client"},
		{name: "post, no secret", form: url.Values{"client_id": {"post"}}, status: 401, error: "invalid_client"},
		{name: "post for a client with basic", form: url.Values{"client_id": {"basic"}, "client_secret": {secret}}, status: 401, error: "invalid_client"},
		{name: "none", form: url.Values{"client_id": {"none"}}, status: 200},
		{name: "none, and a secret", form: url.Values{"client_id": {"none"}, "client_secret": {secret}}, status: 401, error: "invalid_client"},
		{name: "an unknown client", form: url.Values{"client_id": {"nobody"}}, status: 401, error: "invalid_client"},
		{name: "nobody", status: 401, error: "invalid_client"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, path := range []string{"/token", "/revoke", "/introspect"} {
				form := maps.Clone(c.form)
				if form == nil {
					form = url.Values{}
				}
				form.Set("token", "unknown")
				form.Set("grant_type", "refresh_token")
				form.Set("refresh_token", "unknown")
				request := r.request(path, form)
				if c.user != "" {
					request.SetBasicAuth(c.user, c.password)
				}
				got := r.send(request)
				status, code := c.status, c.error
				if status == 200 && path == "/token" {
					status, code = 400, "invalid_grant" // authenticated, and then
				}
				if got.status != status || got.Error != code {
					t.Errorf("%s: %d %q, want %d %q", path, got.status, got.Error, status, code)
				}
				// RFC 6749, section 5.2: a client that tried the header is told the scheme.
				if has := got.header.Get("Www-Authenticate") != ""; has != (c.status == 401 && c.user != "") {
					t.Errorf("%s: WWW-Authenticate: %v", path, has)
				}
			}
		})
	}
}

// claims of an assertion, with a header field alg in front.
type claims map[string]any

// sign makes an assertion that says what it is told to; only the key decides how it is really signed.
func sign(t testing.TB, key crypto.Signer, algorithm string, claims claims) string {
	t.Helper()
	var parts [2]string
	for i, part := range []any{map[string]string{"alg": algorithm}, claims} {
		b, err := json.Marshal(part)
		if err != nil {
			t.Fatal(err)
		}
		parts[i] = base64.RawURLEncoding.EncodeToString(b)
	}
	text := parts[0] + "." + parts[1]
	digest := sha256.Sum256([]byte(text))
	var signature []byte
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		signature = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	case *rsa.PrivateKey:
		var err error
		if signature, err = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:]); err != nil {
			t.Fatal(err)
		}
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func TestAnAssertionIsCheckedInFull(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	r := startConfig(t, demoprovider.Config{Clients: []demoprovider.Client{
		{ID: "ec", Auth: demoprovider.AuthPrivateKeyJWT, Key: &ec.PublicKey},
		{ID: "rsa", Auth: demoprovider.AuthPrivateKeyJWT, Key: &rs.PublicKey},
	}})
	now := r.Now()
	good := func(change claims) claims {
		c := claims{"iss": "ec", "sub": "ec", "aud": r.URL() + "/token", "exp": now.Add(time.Minute).Unix(), "jti": rand.Text()}
		for name, value := range change {
			if c[name] = value; value == nil {
				delete(c, name)
			}
		}
		return c
	}
	ask := func(assertion string, more url.Values) reply {
		form := url.Values{
			"grant_type": {"refresh_token"}, "refresh_token": {"unknown"}, "client_assertion": {assertion},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		}
		maps.Copy(form, more)
		return r.send(r.request("/token", form))
	}
	const passes, fails = "invalid_grant", "invalid_client" // the refresh token is unknown
	for _, c := range []struct {
		name      string
		assertion string
		more      url.Values
		want      string
	}{
		{name: "ES256", assertion: sign(t, ec, "ES256", good(nil)), want: passes},
		{name: "ES256, its client named", assertion: sign(t, ec, "ES256", good(nil)), more: url.Values{"client_id": {"ec"}}, want: passes},
		{name: "RS256", assertion: sign(t, rs, "RS256", good(claims{"iss": "rsa", "sub": "rsa"})), want: passes},
		{name: "for the issuer", assertion: sign(t, ec, "ES256", good(claims{"aud": r.URL()})), want: passes},
		{name: "for several", assertion: sign(t, ec, "ES256", good(claims{"aud": []string{"https://else.invalid", r.URL()}})), want: passes},
		{name: "for another server", assertion: sign(t, ec, "ES256", good(claims{"aud": "https://else.invalid"})), want: fails},
		{name: "for another endpoint", assertion: sign(t, ec, "ES256", good(claims{"aud": r.URL() + "/revoke"})), want: fails},
		{name: "for nobody", assertion: sign(t, ec, "ES256", good(claims{"aud": nil})), want: fails},
		{name: "of another key", assertion: sign(t, other, "ES256", good(nil)), want: fails},
		{name: "of another client's key", assertion: sign(t, rs, "RS256", good(nil)), want: fails},
		{name: "under another client's name", assertion: sign(t, ec, "ES256", good(nil)), more: url.Values{"client_id": {"rsa"}}, want: fails},
		{name: "with a wrong algorithm", assertion: sign(t, ec, "RS256", good(nil)), want: fails},
		{name: "of an RSA key with a wrong algorithm", assertion: sign(t, rs, "PS256", good(claims{"iss": "rsa", "sub": "rsa"})), want: fails},
		{name: "with no algorithm", assertion: sign(t, nil, "none", good(nil)), want: fails},
		{name: "unsigned", assertion: sign(t, nil, "ES256", good(nil)), want: fails},
		{name: "expired", assertion: sign(t, ec, "ES256", good(claims{"exp": now.Unix()})), want: fails},
		{name: "without end", assertion: sign(t, ec, "ES256", good(claims{"exp": nil})), want: fails},
		{name: "with an end far away", assertion: sign(t, ec, "ES256", good(claims{"exp": now.Add(time.Hour).Unix()})), want: fails},
		{name: "not valid yet", assertion: sign(t, ec, "ES256", good(claims{"nbf": now.Add(time.Second).Unix()})), want: fails},
		{name: "by another issuer", assertion: sign(t, ec, "ES256", good(claims{"iss": "rsa"})), want: fails},
		{name: "about another subject", assertion: sign(t, ec, "ES256", good(claims{"sub": "rsa"})), more: url.Values{"client_id": {"ec"}}, want: fails},
		{name: "without an id", assertion: sign(t, ec, "ES256", good(claims{"jti": nil})), want: fails},
		{name: "of another type", assertion: sign(t, ec, "ES256", good(nil)), more: url.Values{"client_assertion_type": {"saml"}}, want: fails},
		{name: "and a secret", assertion: sign(t, ec, "ES256", good(nil)), more: url.Values{"client_secret": {secret}}, want: fails},
		{name: "that is no JWT", assertion: "a.b", want: fails},
		{name: "that is no JSON", assertion: "e30.e30x.e30", want: fails},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := ask(c.assertion, c.more); got.Error != c.want {
				t.Errorf("%d %q, want %q", got.status, got.Error, c.want)
			}
		})
	}

	t.Run("once", func(t *testing.T) {
		assertion := sign(t, ec, "ES256", good(nil))
		if got := ask(assertion, nil); got.Error != passes {
			t.Fatalf("first: %q", got.Error)
		}
		if got := ask(assertion, nil); got.Error != fails {
			t.Errorf("second: %q", got.Error)
		}
	})
	t.Run("once, among thousands, until all have expired", func(t *testing.T) {
		first := sign(t, ec, "ES256", good(nil))
		if got := ask(first, nil); got.Error != passes {
			t.Fatalf("first: %q", got.Error)
		}
		for range 1100 { // beyond the first pruning
			if got := ask(sign(t, ec, "ES256", good(nil)), nil); got.Error != passes {
				t.Fatalf("a fresh one: %q", got.Error)
			}
		}
		if got := ask(first, nil); got.Error != fails {
			t.Errorf("repeated: %q", got.Error)
		}
	})
}

func TestAMalformedRequestIsRefused(t *testing.T) {
	r := start(t, demoprovider.Policy{})
	token := r.mustGrant("s").RefreshToken
	form := url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {token}, "client_id": {clientID}, "client_secret": {secret},
	}
	without := func(name string) url.Values {
		less := maps.Clone(form)
		less.Del(name)
		return less
	}
	for _, c := range []struct {
		name   string
		form   url.Values
		change func(*http.Request)
		status int
	}{
		{"no grant type", without("grant_type"), nil, 400},
		{"no refresh token", without("refresh_token"), nil, 400},
		{"a parameter twice", url.Values{"grant_type": form["grant_type"], "refresh_token": {token, token}, "client_id": {clientID}, "client_secret": {secret}}, nil, 400},
		{"a parameter in the URL", form, func(r *http.Request) { r.URL.RawQuery = "scope=read" }, 400},
		{"JSON", form, func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, 400},
		{"no content type", form, func(r *http.Request) { r.Header.Del("Content-Type") }, 400},
		{"a body without end", url.Values{"padding": {strings.Repeat("x", 1<<20)}}, nil, 400},
		{"PUT", form, func(r *http.Request) { r.Method = http.MethodPut }, 405},
	} {
		request := r.request("/token", c.form)
		if c.change != nil {
			c.change(request)
		}
		got := r.send(request)
		if got.status != c.status || c.status == 400 && got.Error != "invalid_request" {
			t.Errorf("%s: %d %s, %v", c.name, got.status, got.body, got.err)
		}
	}
	if got := r.get("/token", ""); got.status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", got.status)
	}
	got := r.refresh(token)
	if got.status != http.StatusOK {
		t.Errorf("a good one afterwards: %d %s", got.status, got.body)
	}
	if got.header.Get("Cache-Control") != "no-store" || got.header.Get("Content-Type") != "application/json" || got.TokenType != "Bearer" {
		t.Errorf("headers %v, token type %q", got.header, got.TokenType)
	}
}
