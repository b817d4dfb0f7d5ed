package demoprovider_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker/demoprovider"
)

func TestARevocationReachesAsFarAsThePolicySays(t *testing.T) {
	const token, family, grant = demoprovider.ReachToken, demoprovider.ReachFamily, demoprovider.ReachGrant
	for _, c := range []struct {
		name  string
		reach demoprovider.Reach
		what  string // spent, refresh, access
		// What works afterwards: the family's tokens, and those of the same user's other family.
		refresh, access, otherwise bool
		ended                      int
	}{
		{"token: the refresh token", token, "refresh", false, true, true, 0},
		{"token: the access token", token, "access", true, false, true, 0},
		{"token: a spent one reaches nothing", token, "spent", true, true, true, 0},
		{"family: the refresh token", family, "refresh", false, false, true, 1},
		{"family: the access token", family, "access", false, false, true, 1},
		{"family: a spent one reaches as far", family, "spent", false, false, true, 1},
		{"grant: the refresh token", grant, "refresh", false, false, false, 2},
		{"grant: the access token", grant, "access", false, false, false, 2},
		{"grant: a spent one reaches as far", grant, "spent", false, false, false, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := start(t, demoprovider.Policy{Revocation: c.reach})
			first := r.mustGrant("user")
			tokens := r.mustRefresh(first.RefreshToken)
			same, other := r.mustGrant("user"), r.mustGrant("another user")
			what := map[string]string{"spent": first.RefreshToken, "refresh": tokens.RefreshToken, "access": tokens.AccessToken}[c.what]
			for range 2 { // the second changes nothing (RFC 7009, section 2.2)
				if got := r.post("/revoke", url.Values{"token": {what}}); got.status != http.StatusOK || got.body != "" {
					t.Fatalf("%d %s", got.status, got.body)
				}
			}
			if got := r.introspect(tokens.RefreshToken); got.Active != c.refresh {
				t.Errorf("the refresh token is active: %v", got.Active)
			}
			if r.works(tokens.AccessToken) != c.access {
				t.Errorf("the access token works: %v", !c.access)
			}
			if r.works(same.AccessToken) != c.otherwise || r.introspect(same.RefreshToken).Active != c.otherwise {
				t.Errorf("the same user's other tokens work: %v", !c.otherwise)
			}
			if !r.works(other.AccessToken) || !r.introspect(other.RefreshToken).Active {
				t.Error("another user's tokens are gone")
			}
			fate := demoprovider.RevokedByClient
			if c.refresh {
				fate = demoprovider.Alive
			}
			if got := r.mustFamily(what).Fate; got != fate {
				t.Errorf("fate %s, want %s", got, fate)
			}
			if got := r.refresh(tokens.RefreshToken); (got.status == http.StatusOK) != c.refresh {
				t.Errorf("refreshing: %d %s", got.status, got.body)
			}
			totals := r.Totals()
			if totals.Revocations != 2 || totals.RevokedByClient != c.ended || totals.Reuses != 0 {
				t.Errorf("%+v", totals)
			}
			if alone := c.reach == token && c.what != "spent"; totals.RevokedTokens != number(alone) {
				t.Errorf("%d tokens were revoked alone", totals.RevokedTokens)
			}
		})
	}
}

func TestARevocationOfNothingSucceeds(t *testing.T) {
	r := start(t, demoprovider.Policy{})
	if got := r.post("/revoke", url.Values{"token": {"no such token"}, "token_type_hint": {"nonsense"}}); got.status != http.StatusOK {
		t.Errorf("an unknown token: %d %s", got.status, got.body)
	}
	if got := r.post("/revoke", url.Values{}); got.Error != "invalid_request" {
		t.Errorf("no token: %d %s", got.status, got.body)
	}
}

func TestAClientCannotTouchAnothersTokens(t *testing.T) {
	r := start(t, demoprovider.Policy{}, demoprovider.Client{ID: "other", Auth: demoprovider.AuthNone})
	tokens, err := r.Grant("other", "s", "")
	if err != nil {
		t.Fatal(err)
	}
	if got := r.post("/revoke", url.Values{"token": {tokens.RefreshToken}}); got.Error != "unauthorized_client" {
		t.Errorf("revoking: %d %s", got.status, got.body)
	}
	if got := r.introspect(tokens.AccessToken); got != (introspected{}) {
		t.Errorf("introspecting shows %+v", got)
	}
	if !r.works(tokens.AccessToken) {
		t.Error("the token is gone")
	}
}

func TestAWithdrawnGrantIsDeadAndItsClientNotTold(t *testing.T) {
	r := start(t, demoprovider.Policy{})
	tokens, same := r.mustGrant("user"), r.mustGrant("user")
	if err := r.Withdraw(tokens.AccessToken); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []demoprovider.Tokens{tokens, same} {
		if got := r.refresh(gone.RefreshToken); got.Error != "invalid_grant" {
			t.Errorf("%d %s", got.status, got.body)
		}
		if fate := r.mustFamily(gone.RefreshToken).Fate; fate != demoprovider.Withdrawn || r.works(gone.AccessToken) {
			t.Errorf("fate %s", fate)
		}
	}
	if again := r.mustGrant("user"); !r.works(again.AccessToken) {
		t.Error("a new grant of the user does not work")
	}
	if totals := r.Totals(); totals.RevokedByReuse != 0 || totals.RevokedByClient != 0 {
		t.Errorf("%+v", totals)
	}
}

// introspected is RFC 7662, section 2.2.
type introspected struct {
	Active    bool   `json:"active"`
	Scope     string `json:"scope"`
	ClientID  string `json:"client_id"`
	TokenType string `json:"token_type"`
	Exp       int64  `json:"exp"`
	Iat       int64  `json:"iat"`
	Sub       string `json:"sub"`
	Iss       string `json:"iss"`
}

func (r *rig) introspect(token string) introspected {
	r.t.Helper()
	var got introspected
	answer := r.post("/introspect", url.Values{"token": {token}})
	if err := json.Unmarshal([]byte(answer.body), &got); err != nil || answer.status != http.StatusOK {
		r.t.Fatalf("introspecting: %d %s, %v", answer.status, answer.body, err)
	}
	return got
}

func TestIntrospectionTellsWhatATokenIs(t *testing.T) {
	const grace = time.Minute
	r := start(t, demoprovider.Policy{Rotation: demoprovider.Grace, Grace: grace, GrantLifetime: 24 * time.Hour})
	first := r.mustGrant("user")
	begin := r.Now()
	r.Advance(time.Second)
	tokens := r.mustRefresh(first.RefreshToken)

	access := introspected{
		Active: true, Scope: "read write", ClientID: clientID, TokenType: "Bearer", Sub: "user", Iss: r.URL(),
		Iat: begin.Add(time.Second).Unix(), Exp: begin.Add(time.Second + time.Hour).Unix(),
	}
	if got := r.introspect(tokens.AccessToken); got != access {
		t.Errorf("access token: %+v", got)
	}
	refresh := introspected{
		Active: true, Scope: "read write", ClientID: clientID, Sub: "user", Iss: r.URL(), Exp: begin.Add(24 * time.Hour).Unix(),
	}
	if got := r.introspect(tokens.RefreshToken); got != refresh {
		t.Errorf("refresh token: %+v", got)
	}
	if got := r.introspect(first.RefreshToken); got != refresh {
		t.Errorf("spent refresh token within the grace: %+v", got)
	}
	r.Advance(grace)
	if got := r.introspect(first.RefreshToken); got != (introspected{}) {
		t.Errorf("spent refresh token: %+v", got)
	}
	if got := r.introspect("no such token"); got != (introspected{}) {
		t.Errorf("unknown token: %+v", got)
	}
	r.Advance(time.Hour)
	if got := r.introspect(tokens.AccessToken); got != (introspected{}) {
		t.Errorf("expired access token: %+v", got)
	}
	if got := r.post("/introspect", url.Values{}); got.Error != "invalid_request" {
		t.Errorf("no token: %d %s", got.status, got.body)
	}
	if totals := r.Totals(); totals.Posts != 1 || totals.Reuses != 0 {
		t.Errorf("looking counts as posting: %+v", totals)
	}
}
