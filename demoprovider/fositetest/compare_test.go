package fositetest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tokenworker/tokenworker/demoprovider"
)

// said is what a server answers, as far as a client may care.
type said struct {
	status  int
	Error   string `json:"error"`
	Active  bool   `json:"active"`
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

func (s said) String() string {
	return fmt.Sprintf("%d error=%q active=%v tokens=%v,%v", s.status, s.Error, s.Active, s.Access != "", s.Refresh != "")
}

// client is the same client at either server.
type client struct {
	t   *testing.T
	url string
}

func (c client) post(path, password string, form url.Values) said {
	c.t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, c.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(url.QueryEscape(clientID), url.QueryEscape(password))
	answer, err := (&http.Client{}).Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	got := said{status: answer.StatusCode}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &got); err != nil {
			c.t.Fatalf("%s: %s: %v", path, body, err)
		}
	}
	return got
}

// pair is a token of the demo provider and the one that fosite gave in its place.
type pair [2]string

// both are the two servers, driven side by side.
type both struct {
	t       *testing.T
	clients [2]client
	refresh []pair // every refresh token that was ever handed out
	access  []pair
}

func startBoth(t *testing.T) *both {
	t.Helper()
	ours, err := demoprovider.New(demoprovider.Config{Clients: []demoprovider.Client{
		{ID: clientID, Secret: secret, Policy: demoprovider.Policy{RefreshEndsAccess: true}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := ours.Start(context.Background(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ours.Close(); err != nil {
			t.Errorf("closing the provider: %v", err)
		}
	})
	b := &both{t: t, clients: [2]client{{t, ours.URL()}, {t, startFosite(t).URL}}}
	tokens, err := ours.Grant(clientID, subject, "")
	if err != nil {
		t.Fatal(err)
	}
	theirs := b.clients[1].post("/token", secret, url.Values{
		"grant_type": {"password"}, "username": {subject}, "password": {password},
	})
	if theirs.Refresh == "" {
		t.Fatalf("fosite gives no grant: %s", theirs)
	}
	b.keep([2]said{{Access: tokens.AccessToken, Refresh: tokens.RefreshToken}, theirs})
	return b
}

func (b *both) keep(got [2]said) {
	b.access = append(b.access, pair{got[0].Access, got[1].Access})
	b.refresh = append(b.refresh, pair{got[0].Refresh, got[1].Refresh})
}

// ask posts a form to both, each with its own token in the named parameter.
func (b *both) ask(path, password, parameter string, token pair, form url.Values) [2]said {
	b.t.Helper()
	var got [2]said
	for i, c := range b.clients {
		own := url.Values{parameter: {token[i]}}
		maps.Copy(own, form)
		got[i] = c.post(path, password, own)
	}
	return got
}

func (b *both) refreshWith(token pair) [2]said {
	b.t.Helper()
	got := b.ask("/token", secret, "refresh_token", token, url.Values{"grant_type": {"refresh_token"}})
	if got[0].Refresh != "" && got[1].Refresh != "" {
		b.keep(got)
	}
	return got
}

func (b *both) introspect(token pair) [2]said {
	b.t.Helper()
	return b.ask("/introspect", secret, "token", token, nil)
}

func TestTheDemoProviderDecidesAsFositeDoes(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("walk ", seed), func(t *testing.T) {
			b := startBoth(t)
			dice := rand.New(rand.NewPCG(seed, 0))
			for step := range 30 {
				what, got := b.walk(dice)
				if got[0].String() != got[1].String() {
					t.Fatalf("step %d, %s: the demo provider says %s, fosite %s", step, what, got[0], got[1])
				}
			}
		})
	}
}

// walk does one thing at random. Most refreshes use the latest token, or every walk would end at once.
func (b *both) walk(dice *rand.Rand) (string, [2]said) {
	b.t.Helper()
	latest := len(b.refresh) - 1
	refresh, access := dice.IntN(len(b.refresh)), dice.IntN(len(b.access))
	switch n := dice.IntN(100); {
	case n < 50:
		return fmt.Sprint("refreshing with ", latest), b.refreshWith(b.refresh[latest])
	case n < 55:
		return fmt.Sprint("refreshing with ", refresh), b.refreshWith(b.refresh[refresh])
	case n < 70:
		return fmt.Sprint("looking at refresh token ", refresh), b.introspect(b.refresh[refresh])
	case n < 85:
		return fmt.Sprint("looking at access token ", access), b.introspect(b.access[access])
	case n < 87:
		return fmt.Sprint("revoking refresh token ", latest), b.ask("/revoke", secret, "token", b.refresh[latest], nil)
	case n < 89:
		return fmt.Sprint("revoking access token ", latest), b.ask("/revoke", secret, "token", b.access[latest], nil)
	case n < 92:
		return "revoking what is unknown", b.ask("/revoke", secret, "token", pair{"unknown", "unknown"}, nil)
	case n < 95:
		return "refreshing with what is unknown", b.refreshWith(pair{"unknown", "unknown"})
	default:
		return "refreshing with a wrong secret", b.ask("/token", "wrong", "refresh_token", b.refresh[latest], url.Values{"grant_type": {"refresh_token"}})
	}
}

// The one difference: RFC 7009 leaves open what the revocation of a spent token does. Fosite ignores it, so a token whose
// answer was lost can be revoked by nobody. The demo provider lets a policy decide, see demoprovider.ReachToken.
func TestTheRevocationOfASpentTokenIsWhereTheyDiffer(t *testing.T) {
	b := startBoth(t)
	b.refreshWith(b.refresh[0])
	if got := b.ask("/revoke", secret, "token", b.refresh[0], nil); got[0].status != 200 || got[1].status != 200 {
		t.Errorf("revoking: %s, %s", got[0], got[1])
	}
	if got := b.introspect(b.refresh[1]); got[0].Active || !got[1].Active {
		t.Errorf("afterwards the demo provider says %s, fosite %s", got[0], got[1])
	}
}
