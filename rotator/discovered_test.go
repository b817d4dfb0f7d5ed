package rotator_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/provider"
)

// finchShaped is a provider without refresh tokens, that is asked about an access token and says what has become of the
// company's connection.
func (r *rig) finchShaped() (answer *atomic.Value) {
	r.t.Helper()
	answer = &atomic.Value{}
	answer.Store("connected")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		status := answer.Load().(string)
		if status == "reauthenticate_user" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprintf(w, `{"finch_code": %q}`, status)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"company_id": "1", "connection_status": {"status": %q}}`, status)
	}))
	r.t.Cleanup(s.Close)
	catalogue, err := provider.Load(r.t.Context(), nil, provider.Source{Name: "finch.yaml", YAML: fmt.Appendf(nil, `providers:
  demo:
    revoke: {url: %[1]s/disconnect, send: bearer}
    introspect:
      url: %[1]s/introspect
      method: GET
      send: bearer
      company: company_id
      status: connection_status.status
      dead: [reauth]
      gone: [disconnected]
    reauth_codes: [reauthenticate_user]
    rotation: static
    revocation_scope: grant
    disconnect_scope: company
    allow_networks: [127.0.0.0/8]
    client: {id: "env:ROTATOR_TEST_ID", secret: none}
`, s.URL)})
	must(r.t, err)
	client := provider.NewClient(provider.Config{})
	r.t.Cleanup(client.Close)
	r.gate = provider.NewGateway(catalogue, client)
	return answer
}

// hold stores an access token alone, which never expires.
func (r *rig) hold(k tokenworker.Key) {
	r.t.Helper()
	set := tokenworker.TokenSet{AccessToken: tokenworker.SecretString("access of " + k.OrgID)}
	plain, err := tokenworker.EncodeTokenSet(set)
	must(r.t, err)
	ev := r.event(k)
	sealed, err := r.sealer.Seal(r.t.Context(), k, tokenworker.Fence{Stamp: ev.Stamp}, plain)
	must(r.t, err)
	_, err = r.db.Acquire(r.t.Context(), &tokenworker.Acquisition{Event: ev, Sealed: sealed})
	must(r.t, err)
}

func TestADisconnectAtTheProviderIsDiscovered(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, "")
	answer := r.finchShaped()
	rot, a, b := r.rotator("one"), inOrg("a"), inOrg("b")
	r.hold(a)
	r.hold(b)

	must(t, rot.Do(t.Context(), a, true)) // somebody met a 401 and asks for a refresh
	if rec := r.get(a); rec.Status != tokenworker.Active || !rec.DueAt.IsZero() {
		t.Fatalf("a connection that is well is %s, due at %s", rec.Status, rec.DueAt)
	}
	answer.Store("disconnected")
	must(t, rot.Do(t.Context(), a, true))
	rec := r.get(a)
	if rec.Status != tokenworker.Disconnected || rec.Sealed != nil || rec.Subject != "" {
		t.Errorf("what the provider has disconnected is %s", rec.Status)
	}
	if rec := r.get(b); rec.Status != tokenworker.Active || rec.DueAt.After(r.clock.Now()) || rec.DueAt.IsZero() {
		t.Errorf("its sibling is %s, and not to be asked about next", rec.Status)
	}
	r.advance(time.Second)
	r.do(rot, b)
	if rec := r.get(b); rec.Status != tokenworker.Disconnected {
		t.Errorf("its sibling is %s", rec.Status)
	}
	if got := r.notices(); strings.Count(got, "disconnected") != 2 {
		t.Errorf("announced: %s", got)
	}
}

func TestADiscoveryThatBreaksOffIsTakenUpAgain(t *testing.T) {
	r := newRig(t, demoprovider.Policy{}, "")
	answer := r.finchShaped()
	a, b := inOrg("a"), inOrg("b")
	r.hold(a)
	r.hold(b)
	answer.Store("disconnected")
	lost := errors.New("lost")
	r.before = func(_ context.Context, k tokenworker.Key) error {
		if k == b {
			return lost
		}
		return nil
	}
	if err := r.rotator("one").Do(t.Context(), a, true); !errors.Is(err, lost) {
		t.Fatalf("error %v", err)
	}
	if rec := r.get(a); rec.Status != tokenworker.Disconnected || rec.Due().After(r.clock.Now()) {
		t.Fatalf("the connection is %s, to be looked at %s", rec.Status, rec.Due())
	}
	r.before = nil
	r.do(r.rotator("another"), a, b)
	if rec := r.get(b); rec.Status != tokenworker.Disconnected {
		t.Errorf("its sibling is %s", rec.Status)
	}
}

func TestAProviderThatWantsALoginIsBelieved(t *testing.T) {
	for _, said := range []string{"reauth", "reauthenticate_user"} {
		r := newRig(t, demoprovider.Policy{}, "")
		answer := r.finchShaped()
		rot, a, b := r.rotator("one"), inOrg("a"), inOrg("b")
		r.hold(a)
		r.hold(b)
		answer.Store(said)
		must(t, rot.Do(t.Context(), a, true))
		if rec := r.get(a); rec.Status != tokenworker.ReauthRequired || rec.Sealed == nil {
			t.Errorf("%s: the connection is %s", said, rec.Status)
		}
		if rec := r.get(b); rec.Status != tokenworker.Active || !rec.DueAt.IsZero() {
			t.Errorf("%s: its sibling is %s, due at %s", said, rec.Status, rec.DueAt)
		}
		if got := r.notices(); got != "reauth_required" {
			t.Errorf("%s: announced %s", said, got)
		}
	}
}
