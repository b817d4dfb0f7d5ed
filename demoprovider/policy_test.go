package demoprovider_test

import (
	"maps"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker/demoprovider"
)

// step posts a refresh token after a while. Tokens have names; the family's first is a.
type step struct {
	after time.Duration
	post  string
	gives string // name of the refresh token in the answer; empty: invalid_grant
}

func TestAPolicyDecidesOnEveryPost(t *testing.T) {
	const (
		grace = 30 * time.Second
		day   = 24 * time.Hour
	)
	for _, c := range []struct {
		name   string
		policy demoprovider.Policy
		steps  []step
		fate   demoprovider.Fate
		reuses int
		graces int
	}{
		{
			name:  "strict: each token is used once",
			steps: []step{{0, "a", "b"}, {0, "b", "c"}, {90 * day, "c", "d"}},
			fate:  demoprovider.Alive,
		},
		{
			name:   "strict: a spent token ends its family, at once or a year later",
			steps:  []step{{0, "a", "b"}, {365 * day, "a", ""}, {0, "b", ""}},
			fate:   demoprovider.RevokedByReuse,
			reuses: 1,
		},
		{
			name:   "strict: a token spent long before ends its family",
			steps:  []step{{0, "a", "b"}, {0, "b", "c"}, {0, "c", "d"}, {0, "a", ""}, {0, "d", ""}},
			fate:   demoprovider.RevokedByReuse,
			reuses: 1,
		},
		{
			name:   "strict: every post of a spent token is a reuse, in a dead family too",
			steps:  []step{{0, "a", "b"}, {0, "a", ""}, {0, "a", ""}},
			fate:   demoprovider.RevokedByReuse,
			reuses: 2,
		},
		{
			name:   "static: one token serves for ever",
			policy: demoprovider.Policy{Rotation: demoprovider.Static},
			steps:  []step{{0, "a", "a"}, {0, "a", "a"}, {365 * day, "a", "a"}},
			fate:   demoprovider.Alive,
		},
		{
			name:   "grace: within it the spent token gives the same successor",
			policy: demoprovider.Policy{Rotation: demoprovider.Grace, Grace: grace},
			steps:  []step{{0, "a", "b"}, {grace - 1, "a", "b"}, {0, "b", "c"}},
			fate:   demoprovider.Alive,
			graces: 1,
		},
		{
			name:   "grace: when it has passed, the spent token ends its family",
			policy: demoprovider.Policy{Rotation: demoprovider.Grace, Grace: grace},
			steps:  []step{{0, "a", "b"}, {grace, "a", ""}, {0, "b", ""}},
			fate:   demoprovider.RevokedByReuse,
			reuses: 1,
		},
		{
			name:   "grace: it counts from the rotation and not from the last use",
			policy: demoprovider.Policy{Rotation: demoprovider.Grace, Grace: grace},
			steps:  []step{{0, "a", "b"}, {20 * time.Second, "a", "b"}, {20 * time.Second, "a", ""}},
			fate:   demoprovider.RevokedByReuse,
			graces: 1,
			reuses: 1,
		},
		{
			name:   "grace: the token before the last leads to the last",
			policy: demoprovider.Policy{Rotation: demoprovider.Grace, Grace: grace},
			steps:  []step{{0, "a", "b"}, {0, "b", "c"}, {0, "a", "b"}, {0, "b", "c"}, {0, "c", "d"}},
			fate:   demoprovider.Alive,
			graces: 2,
		},
		{
			name:   "grace that mints: each use has a successor of its own, and all live on",
			policy: demoprovider.Policy{Rotation: demoprovider.Grace, Grace: grace, GraceMints: true},
			steps:  []step{{0, "a", "b"}, {0, "a", "c"}, {grace, "b", "d"}, {0, "c", "e"}},
			fate:   demoprovider.Alive,
			graces: 1,
		},
		{
			name:   "grace that mints: it counts from the rotation, too",
			policy: demoprovider.Policy{Rotation: demoprovider.Grace, Grace: grace, GraceMints: true},
			steps:  []step{{0, "a", "b"}, {20 * time.Second, "a", "c"}, {20 * time.Second, "a", ""}},
			fate:   demoprovider.RevokedByReuse,
			graces: 1,
			reuses: 1,
		},
		{
			name:   "grace that mints: a reuse ends all branches",
			policy: demoprovider.Policy{Rotation: demoprovider.Grace, Grace: grace, GraceMints: true},
			steps:  []step{{0, "a", "b"}, {0, "a", "c"}, {grace, "a", ""}, {0, "b", ""}, {0, "c", ""}},
			fate:   demoprovider.RevokedByReuse,
			graces: 1,
			reuses: 1,
		},
		{
			name:   "idle: a token that is used in time keeps its grant alive",
			policy: demoprovider.Policy{IdleLifetime: 14 * day},
			steps:  []step{{14*day - 1, "a", "b"}, {14*day - 1, "b", "c"}},
			fate:   demoprovider.Alive,
		},
		{
			name:   "idle: a token that is used too late is dead, and that is no reuse",
			policy: demoprovider.Policy{IdleLifetime: 14 * day},
			steps:  []step{{0, "a", "b"}, {14 * day, "b", ""}},
			fate:   demoprovider.ExpiredIdle,
		},
		{
			name:   "idle, static: each use counts anew",
			policy: demoprovider.Policy{Rotation: demoprovider.Static, IdleLifetime: day},
			steps:  []step{{day - 1, "a", "a"}, {day - 1, "a", "a"}, {day, "a", ""}},
			fate:   demoprovider.ExpiredIdle,
		},
		{
			name:   "hard: no refresh carries a grant past its end",
			policy: demoprovider.Policy{GrantLifetime: 90 * day},
			steps:  []step{{0, "a", "b"}, {90*day - 1, "b", "c"}, {1, "c", ""}},
			fate:   demoprovider.ExpiredHard,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := start(t, c.policy)
			tokens := map[string]string{"a": r.mustGrant("s").RefreshToken}
			for i, step := range c.steps {
				r.Advance(step.after)
				got := r.refresh(tokens[step.post])
				if step.gives == "" {
					if got.status != http.StatusBadRequest || got.Error != "invalid_grant" || got.RefreshToken != "" {
						t.Fatalf("step %d: %d %s, want invalid_grant", i, got.status, got.body)
					}
					continue
				}
				if got.status != http.StatusOK || got.RefreshToken == "" || !r.works(got.AccessToken) {
					t.Fatalf("step %d: %d %s, want tokens that work", i, got.status, got.body)
				}
				known, ok := tokens[step.gives]
				if ok && known != got.RefreshToken {
					t.Fatalf("step %d: another refresh token than %s", i, step.gives)
				}
				for name, token := range tokens {
					if !ok && token == got.RefreshToken {
						t.Fatalf("step %d: %s again, want a new one", i, name)
					}
				}
				tokens[step.gives] = got.RefreshToken
			}
			family := r.mustFamily(tokens["a"])
			if family.Fate != c.fate || family.Reuses != c.reuses {
				t.Errorf("fate %s after %d reuses, want %s after %d", family.Fate, family.Reuses, c.fate, c.reuses)
			}
			totals := r.Totals()
			ended := 0
			if c.fate == demoprovider.RevokedByReuse {
				ended = 1
			}
			if totals.Reuses != c.reuses || totals.Graces != c.graces || totals.RevokedByReuse != ended || totals.Posts != len(c.steps) {
				t.Errorf("totals %+v", totals)
			}
		})
	}
}

func TestARefreshIsTakenInItsWindowAlone(t *testing.T) {
	r := start(t, demoprovider.Policy{RefreshWindow: 30 * time.Second})
	token := r.mustGrant("s").RefreshToken
	r.Advance(time.Hour - 31*time.Second)
	if got := r.refresh(token); got.status != http.StatusBadRequest || got.Error != "invalid_request" {
		t.Fatalf("too early: %d %s", got.status, got.body)
	}
	r.Advance(time.Second)
	token = r.mustRefresh(token).RefreshToken
	r.Advance(2 * time.Hour)
	r.mustRefresh(token)
}

func TestAnAccessTokenLivesAsLongAsItsPolicySays(t *testing.T) {
	for _, c := range []struct {
		name    string
		policy  demoprovider.Policy
		refresh bool
		after   time.Duration
		works   bool
	}{
		{name: "to its end", policy: demoprovider.Policy{AccessLifetime: 300 * time.Second}, after: 299 * time.Second, works: true},
		{name: "not beyond", policy: demoprovider.Policy{AccessLifetime: 300 * time.Second}, after: 300 * time.Second},
		{name: "not beyond its grant", policy: demoprovider.Policy{GrantLifetime: time.Minute}, after: time.Minute},
		{name: "beyond a refresh", refresh: true, works: true},
		{name: "unless a refresh ends it", policy: demoprovider.Policy{RefreshEndsAccess: true}, refresh: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := start(t, c.policy)
			tokens := r.mustGrant("s")
			if !r.works(tokens.AccessToken) {
				t.Fatal("a new access token does not work")
			}
			if c.refresh {
				if later := r.mustRefresh(tokens.RefreshToken); !r.works(later.AccessToken) {
					t.Error("the later access token does not work")
				}
			}
			r.Advance(c.after)
			if r.works(tokens.AccessToken) != c.works {
				t.Errorf("works: %v", !c.works)
			}
		})
	}
}

func TestExpiresInIsWhatIsLeftOfTheGrant(t *testing.T) {
	r := start(t, demoprovider.Policy{AccessLifetime: time.Hour, GrantLifetime: 90 * time.Minute})
	tokens := r.mustGrant("s")
	r.Advance(time.Hour)
	if got := r.mustRefresh(tokens.RefreshToken).ExpiresIn; got != 30*60 {
		t.Errorf("expires_in is %d, want half an hour", got)
	}
}

func TestThirtyDaysOfRefreshesPassInSeconds(t *testing.T) {
	r := start(t, demoprovider.Policy{AccessLifetime: 15 * time.Minute, IdleLifetime: time.Hour})
	token := r.mustGrant("s").RefreshToken
	const every = 10 * time.Minute
	n := int(30 * 24 * time.Hour / every)
	if testing.Short() {
		n = 100
	}
	for range n {
		r.Advance(every)
		token = r.mustRefresh(token).RefreshToken
	}
	family := r.mustFamily(token)
	if family.Fate != demoprovider.Alive || family.RefreshMinted != n+1 {
		t.Errorf("%s after %d refreshes, want alive after %d", family.Fate, family.RefreshMinted-1, n)
	}
	if len(family.Attempts) != 64 || len(family.Refresh) != 64 {
		t.Errorf("the ledger keeps %d attempts and %d tokens, want 64", len(family.Attempts), len(family.Refresh))
	}
}

func TestATokenBeyondTheHistoryIsStillKnownAsSpent(t *testing.T) {
	r := startConfig(t, demoprovider.Config{
		History: 2,
		Clients: []demoprovider.Client{{ID: clientID, Auth: demoprovider.AuthPost, Secret: secret}},
	})
	first := r.mustGrant("s").RefreshToken
	token := first
	for range 5 {
		token = r.mustRefresh(token).RefreshToken
	}
	if got := r.refresh(first); got.Error != "invalid_grant" {
		t.Errorf("%d %s", got.status, got.body)
	}
	if totals := r.Totals(); totals.Reuses != 1 || totals.RevokedByReuse != 1 {
		t.Errorf("%+v", totals)
	}
}

func TestARefusedRequestSpendsNothing(t *testing.T) {
	r := start(t, demoprovider.Policy{}, demoprovider.Client{ID: "other", Auth: demoprovider.AuthNone})
	token := r.mustGrant("s").RefreshToken
	for _, c := range []struct {
		name  string
		form  url.Values
		error string
	}{
		{"a scope that was not granted", url.Values{"scope": {"read admin"}}, "invalid_scope"},
		{"a wrong secret", url.Values{"client_secret": {"wrong"}}, "invalid_client"},
		{"another client", url.Values{"client_id": {"other"}, "client_secret": nil}, "invalid_grant"},
		{"another grant type", url.Values{"grant_type": {"password"}}, "unsupported_grant_type"},
	} {
		form := url.Values{
			"grant_type": {"refresh_token"}, "refresh_token": {token}, "client_id": {clientID}, "client_secret": {secret},
		}
		maps.Copy(form, c.form)
		if got := r.send(r.request("/token", form)); got.Error != c.error {
			t.Errorf("%s: %d %s, want %s", c.name, got.status, got.body, c.error)
		}
	}
	r.mustRefresh(token)
	if totals := r.Totals(); totals.Posts != 5 || totals.Reuses != 0 || totals.Doubtful != 0 {
		t.Errorf("%+v", totals)
	}
}

func TestANarrowerScopeIsThatOfTheAccessTokenAlone(t *testing.T) {
	r := start(t, demoprovider.Policy{})
	got := r.post("/token", url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {r.mustGrant("s").RefreshToken}, "scope": {"read"},
	})
	if got.Scope != "read" {
		t.Errorf("scope %q, want read", got.Scope)
	}
	if next := r.mustRefresh(got.RefreshToken); next.Scope != "read write" {
		t.Errorf("the next scope is %q, want all that was granted", next.Scope)
	}
}
