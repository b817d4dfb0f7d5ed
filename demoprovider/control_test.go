package demoprovider_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker/demoprovider"
)

func startControlled(t testing.TB) *rig {
	t.Helper()
	return startConfig(t, demoprovider.Config{
		Control: true,
		Clients: []demoprovider.Client{{ID: clientID, Auth: demoprovider.AuthPost, Secret: secret}},
	})
}

// order sends an order to the control API and decodes its answer, unless into is nil.
func (r *rig) order(method, path string, order, into any) int {
	r.t.Helper()
	body, err := json.Marshal(order)
	if err != nil {
		r.t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(context.Background(), method, r.URL()+"/control/"+path, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	got := r.send(request)
	if into != nil && got.status == http.StatusOK {
		if err := json.Unmarshal([]byte(got.body), into); err != nil {
			r.t.Fatalf("%s %s: %s: %v", method, path, got.body, err)
		}
	}
	return got.status
}

func TestAJudgeInAnotherProcessCanDoWhatOneInThisCan(t *testing.T) {
	r := startControlled(t)
	var tokens demoprovider.Tokens
	if status := r.order("POST", "grants", map[string]string{"client": clientID, "subject": "s", "scope": "read"}, &tokens); status != 200 {
		t.Fatalf("granting: %d", status)
	}

	faults := []demoprovider.Fault{{Kind: demoprovider.RateLimited, RetryAfter: time.Minute, Count: 1}}
	if status := r.order("POST", "faults", faults, nil); status != 200 {
		t.Errorf("injecting: %d", status)
	}
	if got := r.refresh(tokens.RefreshToken); got.status != 429 || got.header.Get("Retry-After") != "60" {
		t.Errorf("under the fault: %d %v", got.status, got.header)
	}
	r.order("POST", "faults", []demoprovider.Fault{{Kind: demoprovider.Unavailable}}, nil)
	if status := r.order("DELETE", "faults", nil, nil); status != 204 {
		t.Errorf("clearing: %d", status)
	}
	next := r.mustRefresh(tokens.RefreshToken)

	begin := r.Now()
	var clock struct{ Now time.Time }
	if r.order("POST", "clock", map[string]time.Duration{"advance": time.Hour}, &clock); !clock.Now.Equal(begin.Add(time.Hour)) {
		t.Errorf("the clock shows %v, want an hour after %v", clock.Now, begin)
	}
	if r.works(next.AccessToken) {
		t.Error("an hour has passed, and the access token works")
	}

	var totals demoprovider.Totals
	if r.order("GET", "totals", nil, &totals); totals.Posts != 2 || totals.Granted != 1 || totals.Faults[demoprovider.RateLimited] != 1 {
		t.Errorf("%+v", totals)
	}
	var family demoprovider.Family
	if r.order("POST", "family", map[string]string{"token": tokens.RefreshToken}, &family); family.Subject != "s" || len(family.Attempts) != 2 {
		t.Errorf("%+v", family)
	}
	var judgement demoprovider.Judgement
	if r.order("POST", "judgement", map[string][]string{"held": {tokens.RefreshToken}}, &judgement); len(judgement.Unheld) != 1 || len(judgement.Useless) != 1 {
		t.Errorf("%+v", judgement)
	}
	r.mustGrant("another")
	lines := strings.Split(strings.TrimSpace(r.get("/control/families", "").body), "\n")
	if len(lines) != 2 || !strings.Contains(lines[1], `"subject":"another"`) {
		t.Errorf("families: %q", lines)
	}
	if status := r.order("POST", "withdrawals", map[string]string{"token": next.RefreshToken}, nil); status != 200 {
		t.Errorf("withdrawing: %d", status)
	}
	if got := r.refresh(next.RefreshToken); got.Error != "invalid_grant" {
		t.Errorf("withdrawn: %d %s", got.status, got.body)
	}
}

func TestAnOrderThatMakesNoSenseIsRefused(t *testing.T) {
	r := startControlled(t)
	for _, c := range []struct {
		name, path string
		order      any
		status     int
	}{
		{"an unknown client", "grants", map[string]string{"client": "nobody"}, 404},
		{"an unknown token", "withdrawals", map[string]string{"token": "nonsense"}, 404},
		{"an unknown token's family", "family", map[string]string{"token": "nonsense"}, 404},
		{"an unknown field", "grants", map[string]string{"client": clientID, "user": "s"}, 400},
		{"an unknown fault", "faults", []map[string]string{{"kind": "flood"}}, 400},
		{"no object", "clock", 7, 400},
	} {
		if status := r.order("POST", c.path, c.order, nil); status != c.status {
			t.Errorf("%s: %d, want %d", c.name, status, c.status)
		}
	}
	// A form is what a web page could send to it.
	if got := r.post("/control/clock", map[string][]string{}); got.status != http.StatusUnsupportedMediaType {
		t.Errorf("a form: %d", got.status)
	}
}

func TestTheControlAPIIsOffUnlessAskedFor(t *testing.T) {
	r := start(t, demoprovider.Policy{})
	if status := r.order("GET", "totals", nil, nil); status != http.StatusNotFound {
		t.Errorf("%d", status)
	}
}
