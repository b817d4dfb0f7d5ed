package provider_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tokenworker/tokenworker"
)

// A provider that repeats everything it is told, wherever it can, must not make the worker repeat it.
func TestWhatAProviderEchoesGoesNoFurther(t *testing.T) {
	const access, refresh, secret = "canary-access-7f3a", "canary-refresh-9c1e", "canary-secret-55d0"
	canaries := []string{access, refresh, secret}
	set := held()
	set.AccessToken, set.RefreshToken = tokenworker.SecretString(access), tokenworker.SecretString(refresh)

	all := strings.Join(canaries, " ")
	quoted := `"` + all + `"`
	bodies := []string{
		all,
		`{"error": ` + quoted + `}`,
		`{"error": "invalid_grant", "error_description": ` + quoted + `, "error_uri": "https://x/?t=` + refresh + `"}`,
		`{"error": {"code": "` + refresh + `", "message": "` + access + `"}, "error_codes": ["` + secret + `"]}`,
		`{"` + refresh + `": "` + access + `"}`,
		`{"access_token": "` + access + `", "token_type": "` + refresh + `", "scope": ` + quoted + `}`,
		`{"active": true, "sub": ` + quoted + `, "scope": "` + refresh + `", "company": "` + access + `", "connection": "` + secret + `"}`,
		`{"access_token": "` + access + `", "expires_in": "` + refresh + `", "refresh_token": ["` + refresh + `"]}`,
		"error=" + refresh + "&error_description=" + access,
		"<html>" + all + "</html>",
		`{"access_token": "` + access,
	}
	var status, which atomic.Int64
	s := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"Location", "WWW-Authenticate", "Retry-After", "Content-Type", "X-Echo", "Set-Cookie", "Content-Language"} {
			w.Header().Set(name, "https://evil.example.com/"+all)
		}
		if which.Load()%2 == 0 {
			w.Header().Set("Content-Type", "application/json")
		}
		w.WriteHeader(int(status.Load()))
		_, _ = io.WriteString(w, bodies[which.Load()])
		_, _ = io.Copy(w, r.Body)
	})
	p := demoFor(t, "app", secret, tokenURL("%s/{connection}", s.URL), "auth: client_secret_post",
		"revoke: {url: '"+s.URL+"/{token}', allow_token_in_url: true}",
		"introspect: {url: "+s.URL+", company: company, connection: connection}")
	c := client(t)
	for _, n := range []int64{200, 204, 302, 307, 400, 401, 403, 404, 408, 429, 500, 503} {
		for i := range bodies {
			status.Store(n)
			which.Store(int64(i))
			silent(t, canaries, c.Refresh(t.Context(), p, key, set))
			silent(t, canaries, c.Revoke(t.Context(), p, key, set))
			silent(t, canaries, c.Introspect(t.Context(), p, key, set))
		}
	}
	silent(t, canaries, p)
	silent(t, canaries, *p)
	silent(t, canaries, c)
	if n := len(s.seen()); n != 3*12*len(bodies) {
		t.Errorf("%d requests", n)
	}
}

// silent checks that nothing that v can be printed as holds a canary, in any spelling.
func silent(t *testing.T, canaries []string, v any) {
	t.Helper()
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	logger.Error("ended", slog.Any("what", v))
	slog.New(slog.NewJSONHandler(&log, nil)).Error("ended", slog.Any("what", v))
	printed := fmt.Sprintf("%v %+v %#v %s %q %x %d", v, v, v, v, v, v, v) + log.String()
	for _, canary := range canaries {
		for _, spelling := range spellings(canary) {
			if strings.Contains(printed, spelling) {
				t.Fatalf("%T shows a canary as %q", v, spelling)
			}
		}
	}
}

func spellings(s string) []string {
	all := []string{s, url.QueryEscape(s), hex.EncodeToString([]byte(s)), strings.ToUpper(hex.EncodeToString([]byte(s)))}
	for shift := range 3 { // base64 at each alignment, without the letters that its neighbours share
		text := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + s))
		all = append(all, text[4:len(text)-4])
	}
	return all
}

func TestAnAssertionsKeyIsNotPrinted(t *testing.T) {
	key, scalar := newKey(t)
	p := assertions(t, key, "token_url: https://api.example.com/token")
	canaries := []string{scalar, new(big.Int).SetBytes([]byte(scalar)).String()}
	silent(t, canaries, p)
	silent(t, canaries, *p)
}
