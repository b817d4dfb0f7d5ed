package consumer_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/streams"
)

// refreshable lists what the stored notices say of each set.
func (r *rig) refreshable() (says []bool) {
	r.t.Helper()
	for _, m := range r.messages(streams.Out) {
		n, err := events.ParseNotice(m)
		must(r.t, err)
		var data events.StoredData
		must(r.t, json.Unmarshal(n.Data, &data))
		says = append(says, data.Refreshable)
	}
	return says
}

func TestALoginWithoutARefreshTokenEndsTheOneBeforeIt(t *testing.T) {
	const warning = "without a refresh token"
	r := newRig(t)
	r.start()
	r.publish(r.acquired(acme, "first", time.Now()))
	r.settled(streams.In)
	if rec, err := r.db.Get(t.Context(), acme); err != nil || !rec.Refreshable || strings.Contains(r.logs.String(), warning) {
		t.Fatalf("a set with a refresh token: refreshable is %t, %v\n%s", rec.Refreshable, err, r.logs)
	}
	e, err := events.NewAcquired(acme, "test", tokenworker.TokenSet{
		AccessToken: tokenworker.SecretString(secret + "-second"), ExpiresAt: time.Now().Add(time.Hour).Truncate(time.Second),
	}, time.Now())
	must(t, err)
	must(t, e.Seal(r.public))
	m, err := e.Message()
	must(t, err)
	r.publish(m)
	r.settled(streams.In)
	rec, err := r.db.Get(t.Context(), acme)
	must(t, err)
	if rec.Refreshable || r.token(acme) != "second" {
		t.Errorf("after a login without a refresh token: refreshable is %t, the access token %q", rec.Refreshable, r.token(acme))
	}
	plain, err := r.sealer.Open(t.Context(), acme, rec.Fence, rec.Sealed)
	must(t, err)
	set, err := tokenworker.DecodeTokenSet(plain)
	must(t, err)
	if !set.RefreshToken.IsEmpty() {
		t.Error("the refresh token of the login before it was carried over")
	}
	if says := r.refreshable(); len(says) != 2 || !says[0] || says[1] {
		t.Errorf("the notices say %t", says)
	}
	if !strings.Contains(r.logs.String(), warning) {
		t.Error("nobody is warned")
	}
}
