package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
)

// front is a vendor's endpoints as an entry says that they are, before a demoprovider that keeps the tokens: it takes requests
// at the entry's own URLs, with the entry's authentication, names and encoding alone, and answers in the entry's shape.
type front struct {
	t       *testing.T
	p       *Provider
	demo    *demoprovider.Server
	mu      sync.Mutex
	refused []string // requests that are not as the entry says
}

const (
	frontClient  = "app"
	frontSecret  = "s3cret"
	frontCompany = "c-1"
	frontRegion  = "na1" // the connection's id where the entry has no regions
)

// connection is the provider's own id of the connection.
func (f *front) connection() string {
	if len(f.p.regions) == 0 {
		return frontRegion
	}
	return slices.Sorted(maps.Keys(f.p.regions))[0]
}

// place is what an entry's URL is for this connection.
func (f *front) place(raw string) string {
	for name, value := range f.p.values {
		raw = strings.ReplaceAll(raw, "{"+name+"}", value)
	}
	return strings.NewReplacer("{company}", frontCompany, "{company_label}", frontCompany, "{connection}", f.connection(),
		"{client_id}", frontClient, "{region}", f.p.regions[f.connection()]).Replace(raw)
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := "https://" + r.Host + r.URL.RequestURI()
	switch {
	case r.Method == http.MethodPost && at == f.place(f.p.tokenURL):
		f.refresh(w, r)
	case r.Method == f.p.revoke.method && f.p.revoke.url != "" && at == f.place(f.p.revoke.url):
		f.about(w, r, f.p.revoke, "/revoke")
	case r.Method == f.p.introspect.method && f.p.introspect.url != "" && at == f.place(f.p.introspect.url):
		f.about(w, r, f.p.introspect.operation, "/introspect")
	default:
		f.refuse(w, r.Method+" "+at)
	}
}

func (f *front) refuse(w http.ResponseWriter, what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused = append(f.refused, what)
	w.WriteHeader(http.StatusTeapot)
}

// params reads a body in the style of the entry, and takes the client's credentials out of it.
func (f *front) params(r *http.Request, style sendStyle, auth authMethod) (map[string]string, error) {
	for name, value := range f.p.headers {
		if r.Header.Get(name) != value {
			return nil, fmt.Errorf("header %s is %q", name, r.Header.Get(name))
		}
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	params := map[string]string{}
	switch {
	case style == sendBearer && len(body) == 0:
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			return nil, errors.New("no bearer")
		}
		return map[string]string{"token": token}, nil
	case style == sendJSON && r.Header.Get("Content-Type") == "application/json":
		if err := json.Unmarshal(body, &params); err != nil {
			return nil, err
		}
	case style == sendForm && r.Header.Get("Content-Type") == "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, err
		}
		for name := range form {
			params[name] = form.Get(name)
		}
	default:
		return nil, fmt.Errorf("a body of %q where the entry says %s", r.Header.Get("Content-Type"), style)
	}
	id, secret, header := params[f.p.name("client_id")], params[f.p.name("client_secret")], r.Header.Get("Authorization")
	user, password, basic := r.BasicAuth()
	var ok bool
	switch auth {
	case authBasic, authBasicPlain:
		ok = basic && user == frontClient && password == frontSecret && id == "" && secret == ""
	case authPost:
		ok = header == "" && id == frontClient && secret == frontSecret
	case authHeader:
		ok = header == "Client "+frontSecret && id == frontClient && secret == ""
	case authNone:
		ok = header == "" && id == frontClient && secret == ""
	case authPrivateKey:
		ok = header == "" && params["client_assertion"] != ""
	}
	if !ok {
		return nil, fmt.Errorf("not authenticated by %s", auth)
	}
	return params, nil
}

func (f *front) refresh(w http.ResponseWriter, r *http.Request) {
	params, err := f.params(r, f.p.body, f.p.auth)
	if err != nil {
		f.refuse(w, err.Error())
		return
	}
	want := map[string]string{f.p.name("grant_type"): "refresh_token"}
	maps.Copy(want, f.p.params)
	for name, value := range want {
		if params[name] != value {
			f.refuse(w, fmt.Sprintf("parameter %s is %q, not %q", name, params[name], value))
			return
		}
	}
	status, doc := f.ask("/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {params[f.p.name("refresh_token")]}})
	if doc["error"] == "invalid_grant" && len(f.p.reauthCodes) > 0 {
		doc["error"] = f.p.reauthCodes[0]
	}
	if f.p.Rotation == Static {
		delete(doc, "refresh_token") // vendors that do not rotate leave it out as a rule
	}
	if f.p.AssumedLifetime > 0 {
		delete(doc, "expires_in")
	}
	if status == http.StatusOK {
		for standard, own := range f.p.answerNames {
			doc[own] = doc[standard]
			delete(doc, standard)
		}
		for _, name := range slices.Backward(strings.Split(f.p.answerPath, ".")) {
			if name != "" {
				doc = map[string]any{name: doc}
			}
		}
	}
	answer(w, status, doc)
}

// about serves an operation on one token.
func (f *front) about(w http.ResponseWriter, r *http.Request, op operation, path string) {
	params, err := f.params(r, op.send, op.authOr(f.p.auth))
	if err != nil {
		f.refuse(w, err.Error())
		return
	}
	token := params["token"]
	if op.send != sendBearer {
		token = params[op.param]
	}
	prefix := map[tokenChoice]string{accessToken: demoprovider.AccessPrefix, refreshToken: demoprovider.RefreshPrefix}[op.token]
	if op.send == sendBearer {
		prefix = demoprovider.AccessPrefix
	}
	if token == "" || !strings.HasPrefix(token, prefix) {
		f.refuse(w, "another token than the entry says")
		return
	}
	status, doc := f.ask(path, url.Values{"token": {token}})
	answer(w, status, doc)
}

func answer(w http.ResponseWriter, status int, doc map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if doc != nil {
		_ = json.NewEncoder(w).Encode(doc) //nolint:errchkjson // what was decoded from JSON
	}
}

// ask asks the demoprovider in the way of the RFCs.
func (f *front) ask(path string, form url.Values) (status int, doc map[string]any) {
	r := httptest.NewRequestWithContext(f.t.Context(), http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(frontClient, frontSecret)
	w := httptest.NewRecorder()
	f.demo.ServeHTTP(w, r)
	decoder := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
	decoder.UseNumber()
	_ = decoder.Decode(&doc) // a revocation has no body
	return w.Code, doc
}

// vendor is an entry of the catalogue, with a client, and a demoprovider that behaves as it says.
type vendor struct {
	*front
	client *Client
}

// clock is one that the test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// enabledCatalogue is the built-in catalogue with a client for every entry that takes a secret, and values for hosts that are
// a customer's own.
func enabledCatalogue(t *testing.T) *Catalogue {
	t.Helper()
	t.Setenv("FRONT_ID", frontClient)
	t.Setenv("FRONT_SECRET", frontSecret)
	c, err := Load(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var yaml strings.Builder
	yaml.WriteString("providers:\n")
	for _, p := range c.All() {
		if p.auth == authPrivateKey {
			continue
		}
		fmt.Fprintf(&yaml, "  %s:\n    client: {id: env:FRONT_ID, secret: env:FRONT_SECRET}\n", p.ID)
		if strings.Contains(p.tokenURL, "{domain}") {
			yaml.WriteString("    values: {domain: vendor.example.com, tenant: t-1}\n")
		}
	}
	if c, err = Load(t.Context(), nil, Source{"test.yaml", []byte(yaml.String())}); err != nil {
		t.Fatal(err)
	}
	return c
}

func newVendor(t *testing.T, p *Provider) *vendor {
	t.Helper()
	policy := demoprovider.Policy{
		Rotation: demoprovider.Rotation(p.Rotation), Grace: p.GracePeriod, AccessLifetime: p.AssumedLifetime, RefreshWindow: p.LeadCap,
		RefreshEndsAccess: p.refreshEndsAccess,
		IdleLifetime:      p.IdleExpiry, GrantLifetime: p.HardExpiry, Revocation: demoprovider.Reach(p.RevocationScope),
	}
	clock := &clock{now: fuzzNow}
	demo, err := demoprovider.New(demoprovider.Config{
		Issuer: "https://vendor.example.com", Now: clock.Now,
		Clients: []demoprovider.Client{{ID: frontClient, Secret: frontSecret, Policy: policy}},
	})
	if err != nil {
		t.Fatal(err)
	}
	v := &vendor{front: &front{t: t, p: p, demo: demo}}
	server := httptest.NewServer(v.front)
	v.client = NewClient(Config{Now: demo.Now})
	// The vendor's names lead to the front. What is on the wire is plain, which nobody but the transport sees.
	v.client.session(p).transport.DialTLSContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
		return &countingConn{Conn: conn}, err
	}
	t.Cleanup(func() {
		v.client.Close()
		server.Close()
		_ = demo.Close()
		if len(v.refused) > 0 {
			t.Errorf("requests that are not as the entry says: %q", v.refused)
		}
	})
	return v
}

func (v *vendor) key() tokenworker.Key {
	return tokenworker.Key{OrgID: "acme", ProviderID: v.p.ID, CompanyID: frontCompany}
}

// grant is a login, always of the same user.
func (v *vendor) grant() tokenworker.TokenSet {
	v.t.Helper()
	tokens, err := v.demo.Grant(frontClient, "u-1", "")
	if err != nil {
		v.t.Fatal(err)
	}
	return tokenworker.TokenSet{
		AccessToken: tokenworker.SecretString(tokens.AccessToken), RefreshToken: tokenworker.SecretString(tokens.RefreshToken),
		ProviderConnectionID: v.connection(),
	}
}

// refresh refreshes a set, when the provider takes that, and checks how it ends.
func (v *vendor) refresh(set tokenworker.TokenSet, want Outcome) tokenworker.TokenSet {
	v.t.Helper()
	a := v.client.Refresh(v.t.Context(), v.p, v.key(), set)
	if a.Outcome != want {
		v.t.Fatalf("a refresh ended as %s %q (%q, status %d), want %s", a.Outcome, a.Code, a.ProviderCode, a.Status, want)
	}
	if want != OK {
		return set
	}
	if a.NewRefreshToken != v.p.Rotates() || a.Set.RefreshToken.Equal(set.RefreshToken) == v.p.Rotates() {
		v.t.Errorf("a new refresh token: %t, the entry's rotation is %s", a.NewRefreshToken, v.p.Rotation)
	}
	if lives := v.p.AssumedLifetime; lives > 0 && !a.Set.ExpiresAt.Equal(v.demo.Now().Add(lives)) {
		v.t.Errorf("expires at %s, now %s; the entry says %s", a.Set.ExpiresAt, v.demo.Now(), lives)
	}
	return a.Set
}

// wait lets so much time pass as the provider wants to between two refreshes.
func (v *vendor) wait() {
	if v.p.LeadCap > 0 {
		v.demo.Advance(v.p.AssumedLifetime - v.p.LeadCap)
	}
}

// Every entry loads, and is refreshed, rotated and revoked against a provider that behaves as the entry says: at its URLs, with
// its authentication, names and encodings alone.
func TestEveryEntryAgainstAProviderThatBehavesAsItSays(t *testing.T) {
	for _, p := range enabledCatalogue(t).All() {
		if p.ID == "generic_oidc" || p.ID == "github_app_installation" {
			continue // the one has nothing of its own (TestAProviderThatNobodyHereWrote), the other nothing to do
		}
		t.Run(p.ID, func(t *testing.T) {
			if p.Refreshes() {
				t.Run("refresh and rotation", func(t *testing.T) { refreshesAsItSays(newVendor(t, p)) })
				t.Run("the end of a grant", func(t *testing.T) { endsAsItSays(newVendor(t, p)) })
			} else {
				v := newVendor(t, p)
				v.refresh(v.grant(), Unsupported)
			}
			t.Run("revocation", func(t *testing.T) { revokesAsItSays(newVendor(t, p)) })
		})
	}
}

func refreshesAsItSays(v *vendor) {
	v.t.Helper()
	first := v.grant()
	if v.p.LeadCap > 0 {
		v.refresh(first, NotSpent) // too early
	}
	v.wait()
	second := v.refresh(first, OK)
	family, err := v.demo.Family(string(first.AccessToken.Reveal()))
	if err != nil {
		v.t.Fatal(err)
	}
	if lives := slices.Contains(family.LiveAccess, string(first.AccessToken.Reveal())); lives == v.p.refreshEndsAccess {
		v.t.Errorf("the old access token lives: %t; the entry says that a refresh ends it: %t", lives, v.p.refreshEndsAccess)
	}
	v.wait()
	third := v.refresh(second, OK)
	switch v.p.Rotation {
	case Static:
		v.refresh(first, OK)
	case Grace:
		again := v.client.Refresh(v.t.Context(), v.p, v.key(), second)
		if again.Outcome != OK || !again.Set.RefreshToken.Equal(third.RefreshToken) {
			v.t.Errorf("within the grace a spent token ends as %s", again.Outcome)
		}
		v.demo.Advance(v.p.GracePeriod)
		v.refresh(second, Reauth)
	case Strict:
		v.refresh(second, Reauth)
		v.refresh(third, Reauth) // the reuse has ended the family
		if totals := v.demo.Totals(); totals.Reuses != 1 || totals.RevokedByReuse != 1 {
			v.t.Errorf("%d reuses, %d families ended", totals.Reuses, totals.RevokedByReuse)
		}
	}
}

func endsAsItSays(v *vendor) {
	v.t.Helper()
	if v.p.IdleExpiry > 0 {
		set := v.grant()
		v.demo.Advance(v.p.IdleExpiry - time.Second)
		set = v.refresh(set, OK)
		v.demo.Advance(v.p.IdleExpiry)
		v.refresh(set, Reauth)
	}
	if v.p.HardExpiry > 0 {
		set := v.grant()
		step := v.p.HardExpiry/4 + time.Second // four of them are too many
		if v.p.IdleExpiry > 0 {
			step = min(step, v.p.IdleExpiry-time.Second)
		}
		for gone := step; gone < v.p.HardExpiry-v.p.AssumedLifetime; gone += step {
			v.demo.Advance(step)
			set = v.refresh(set, OK)
		}
		v.demo.Advance(v.p.HardExpiry)
		v.refresh(set, Reauth)
	}
	if v.p.IdleExpiry == 0 && v.p.HardExpiry == 0 {
		set := v.grant()
		v.demo.Advance(10 * 365 * 24 * time.Hour)
		v.refresh(set, OK)
	}
}

func revokesAsItSays(v *vendor) {
	v.t.Helper()
	first, second := v.grant(), v.grant()
	if introspects := v.p.introspect.url != "" && v.p.introspect.status == ""; introspects {
		defer func() {
			if a := v.client.Introspect(v.t.Context(), v.p, v.key(), first); a.Outcome != Reauth && v.p.Revokes() {
				v.t.Errorf("after the revocation introspection ends as %s", a.Outcome)
			}
		}()
		if a := v.client.Introspect(v.t.Context(), v.p, v.key(), first); a.Outcome != OK {
			v.t.Errorf("introspection ends as %s %s", a.Outcome, a.Code)
		}
	}
	a := v.client.Revoke(v.t.Context(), v.p, v.key(), first)
	if !v.p.Revokes() {
		if a.Outcome != Unsupported {
			v.t.Errorf("a revocation that there is not ended as %s", a.Outcome)
		}
		return
	}
	if a.Outcome != OK {
		v.t.Fatalf("a revocation ended as %s %q, status %d", a.Outcome, a.Code, a.Status)
	}
	alive := func(set tokenworker.TokenSet) bool {
		family, err := v.demo.Family(string(set.RefreshToken.Reveal()))
		if err != nil {
			v.t.Fatal(err)
		}
		return family.Fate == demoprovider.Alive
	}
	if alive(first) {
		v.t.Error("what was revoked is alive")
	}
	if alive(second) != v.p.RevokesNarrowly() {
		v.t.Errorf("a later login is alive: %t; the entry says that a revocation ends the %s", alive(second), v.p.RevocationScope)
	}
	v.wait()
	if v.p.Refreshes() {
		v.refresh(first, Reauth)
	}
}
