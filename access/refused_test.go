package access_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/provider"
	"github.com/tokenworker/tokenworker/rotator"
	"github.com/tokenworker/tokenworker/streams"
)

// finchShaped is a provider without refresh tokens, that is asked about an access token and says what has become of the
// company's connection.
type finchShaped struct {
	status atomic.Value // of the connection
	asked  atomic.Int64
}

// finchShaped has refreshes done by a real rotator, for such a provider.
func (r *rig) finchShaped() *finchShaped {
	r.t.Helper()
	p := &finchShaped{}
	p.status.Store("connected")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"company_id": %q, "connection_status": {"status": %q}}`, conn.CompanyID, p.status.Load())
	}))
	r.t.Cleanup(server.Close)
	r.t.Setenv("ACCESS_TEST_ID", "worker")
	catalogue, err := provider.Load(r.t.Context(), nil, provider.Source{Name: "finch.yaml", YAML: fmt.Appendf(nil, `providers:
  %[1]s:
    introspect:
      url: %[2]s/introspect
      method: GET
      send: bearer
      company: company_id
      status: connection_status.status
      dead: [reauth]
      gone: [disconnected]
    rotation: static
    disconnect_scope: company
    allow_networks: [127.0.0.0/8]
    client: {id: "env:ACCESS_TEST_ID", secret: none}
`, conn.ProviderID, server.URL)})
	must(r.t, err)
	client := provider.NewClient(provider.Config{})
	r.t.Cleanup(client.Close)
	js, err := jetstream.New(r.nc)
	must(r.t, err)
	must(r.t, streams.Setup(r.t.Context(), js, 1, func(context.Context) (uint64, error) { return 1, nil }))
	rot, err := rotator.New(rotator.Config{Process: "one", Now: r.clock.Now}, js, r.db, r.sealer, provider.NewGateway(catalogue, client))
	must(r.t, err)
	r.refresher.do = rot.Replace
	return p
}

// announced is how many events of a kind there are.
func (r *rig) announced(kind events.Kind) uint64 {
	r.t.Helper()
	js, err := jetstream.New(r.nc)
	must(r.t, err)
	s, err := js.Stream(r.t.Context(), streams.Out)
	must(r.t, err)
	info, err := s.Info(r.t.Context(), jetstream.WithSubjectFilter(kind.Subject(conn)))
	must(r.t, err)
	return info.State.Subjects[kind.Subject(conn)]
}

// withoutRefresh makes a set one that cannot be refreshed, and never expires.
func withoutRefresh(s *tokenworker.TokenSet) {
	s.RefreshToken, s.ExpiresAt = tokenworker.Secret{}, tokenworker.TokenSet{}.ExpiresAt
}

func TestWhatTheProviderSaysOfARefusedTokenReachesEveryReader(t *testing.T) {
	for _, c := range []struct {
		status    string
		code      events.GetCode
		announced events.Kind
	}{
		{"disconnected", events.GetDisconnected, events.Disconnected},
		{"reauth", events.GetReauthRequired, events.ReauthRequired},
	} {
		t.Run(c.status, func(t *testing.T) {
			r := newRig(t)
			p := r.finchShaped()
			r.start()
			fence := r.acquire(withoutRefresh)
			r.expect("canary-access-0")
			p.status.Store(c.status)
			r.expectCode(c.code, refused(fence))
			r.expectCode(c.code)
			if n := r.announced(c.announced); n != 1 {
				t.Errorf("announced %d times", n)
			}
		})
	}
}

func TestARefusedSetIsNotRefreshedAgainAtOnce(t *testing.T) {
	r := newRig(t)
	r.start()
	second := r.expect("canary-access-1", refused(r.acquire())).Fence
	for range 3 { // an API that refuses every token
		r.expectCode(events.GetUnavailable, refused(second))
	}
	r.expect("canary-access-1") // other readers may be luckier
	r.clock.advance(30 * time.Second)
	r.expect("canary-access-2", refused(second))
	if n := r.refresher.times(); n != 2 {
		t.Errorf("%d refreshes", n)
	}
}

func TestARefusedSetThatIsAboutToExpireIsRefreshedHoweverYoung(t *testing.T) {
	r := newRig(t)
	r.start()
	r.lifetime = 20 * time.Second
	second := r.expect("canary-access-1", refused(r.acquire())).Fence
	r.clock.advance(15 * time.Second)
	r.expect("canary-access-2", refused(second), atLeast(time.Minute))
}

func TestAProviderIsAskedAboutARefusedTokenOnceInAWhile(t *testing.T) {
	r := newRig(t)
	p := r.finchShaped()
	r.start()
	fence := r.acquire(withoutRefresh)
	for range 3 {
		r.expectCode(events.GetReauthRequired, refused(fence))
	}
	if n := p.asked.Load(); n != 1 {
		t.Errorf("asked %d times, want 1", n)
	}
	r.clock.advance(30 * time.Second)
	p.status.Store("disconnected")
	r.expectCode(events.GetDisconnected, refused(fence))
}
