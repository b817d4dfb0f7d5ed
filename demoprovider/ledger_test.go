package demoprovider_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker/demoprovider"
)

func TestConcurrentRefreshesOfOneTokenAreOneGrantAndReuses(t *testing.T) {
	r := start(t, demoprovider.Policy{})
	token := r.mustGrant("s").RefreshToken
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() { r.refresh(token) })
	}
	wg.Wait()
	if totals := r.Totals(); totals.Granted != 1 || totals.Reuses != 15 || totals.RevokedByReuse != 1 || totals.InFlight != 0 {
		t.Errorf("%+v", totals)
	}
}

// A client that does all it may see the ledger agree with its own books, whatever the server does to it.
func TestTheLedgerAgreesWithItsClients(t *testing.T) {
	families, rotations := 200, 15
	if testing.Short() {
		families, rotations = 50, 10
	}
	r := start(t, demoprovider.Policy{})
	if err := r.Inject(
		demoprovider.Fault{Kind: demoprovider.RateLimited, Probability: 0.1},
		demoprovider.Fault{Kind: demoprovider.Unavailable, Probability: 0.05},
		demoprovider.Fault{Kind: demoprovider.GatewayTimeout, Probability: 0.002},
		demoprovider.Fault{Kind: demoprovider.LostAnswer, Probability: 0.002},
		demoprovider.Fault{Kind: demoprovider.TornAnswer, Probability: 0.002},
		demoprovider.Fault{Kind: demoprovider.Cut, Probability: 0.01},
	); err != nil {
		t.Fatal(err)
	}
	var posts, granted, gambles, ended atomic.Int64
	held := make([]string, families)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := worker; i < families; i += 8 {
				token := r.mustGrant(fmt.Sprint(i)).RefreshToken
				inDoubt := false
				for done := 0; done < rotations; {
					posts.Add(1)
					if inDoubt {
						gambles.Add(1)
					}
					got := r.refresh(token)
					if got.status == http.StatusOK {
						granted.Add(1)
						done, token, inDoubt = done+1, got.RefreshToken, false
						continue
					}
					if got.Error == "invalid_grant" { // an answer had been lost, and this was one post too many
						ended.Add(1)
						token = ""
						break
					}
					inDoubt = inDoubt || got.status != http.StatusTooManyRequests
				}
				held[i] = token
			}
		})
	}
	wg.Wait()

	totals := r.Totals()
	for name, pair := range map[string][2]int{
		"families":         {totals.Families, families},
		"posts":            {totals.Posts, int(posts.Load())},
		"granted":          {totals.Granted - totals.Lost, int(granted.Load())},
		"minted":           {totals.RefreshMinted, families + totals.Granted},
		"access minted":    {totals.AccessMinted, families + totals.Granted},
		"doubtful":         {totals.Doubtful, int(gambles.Load())},
		"lost":             {totals.Lost, int(ended.Load())},
		"revoked by reuse": {totals.RevokedByReuse, int(ended.Load())},
		"in flight":        {totals.InFlight, 0},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: the ledger says %d, the client %d", name, pair[0], pair[1])
		}
	}
	// A reuse counts when it arrives, and ends the family once no fault answers in the server's place.
	if totals.Reuses < totals.RevokedByReuse || totals.Reuses > totals.Doubtful {
		t.Errorf("%d reuses, %d families ended by one, %d posts in doubt", totals.Reuses, totals.RevokedByReuse, totals.Doubtful)
	}
	if totals.Lost == 0 || totals.Doubtful <= totals.Lost {
		t.Errorf("the faults did not show: %+v", totals)
	}

	var live []string
	for _, token := range held {
		if token != "" {
			live = append(live, token)
		}
	}
	j := r.Judge(live)
	if j.Held != families-int(ended.Load()) || len(j.Unheld) != 0 || len(j.Useless) != 0 || j.Unknown != 0 {
		t.Errorf("%+v", j)
	}
	var sum demoprovider.Totals
	for family := range r.Families() {
		sum.Families++
		sum.RefreshMinted += family.RefreshMinted
		sum.Reuses += family.Reuses
		sum.Doubtful += family.Doubtful
		for _, a := range family.Attempts {
			sum.Posts++
			sum.Granted += number(a.Granted)
			sum.Lost += number(a.Lost)
		}
	}
	if sum.Families != families || sum.RefreshMinted != totals.RefreshMinted || sum.Reuses != totals.Reuses || sum.Doubtful != totals.Doubtful {
		t.Errorf("the families sum up to %+v, the totals are %+v", sum, totals)
	}
	if sum.Posts != totals.Posts || sum.Granted != totals.Granted || sum.Lost != totals.Lost {
		t.Errorf("the attempts sum up to %+v, the totals are %+v", sum, totals)
	}
}

func TestAPostIsDoubtfulWhileAnEarlierOneMayHaveSpentTheToken(t *testing.T) {
	const grace = 30 * time.Second
	withGrace := demoprovider.Policy{Rotation: demoprovider.Grace, Grace: grace}
	for _, c := range []struct {
		name   string
		policy demoprovider.Policy
		fault  demoprovider.FaultKind
		after  time.Duration
		want   int
	}{
		{"strict: an error of a gateway, long ago", demoprovider.Policy{}, demoprovider.Unavailable, time.Hour, 1},
		{"strict: a refusal", demoprovider.Policy{}, demoprovider.RateLimited, 0, 0},
		{"static: an error of a gateway", demoprovider.Policy{Rotation: demoprovider.Static}, demoprovider.Unavailable, time.Hour, 0},
		{"grace: an error of a gateway, within the grace", withGrace, demoprovider.GatewayTimeout, grace - 1, 0},
		{"grace: an error of a gateway, before that", withGrace, demoprovider.GatewayTimeout, grace, 1},
	} {
		r := start(t, c.policy)
		if err := r.Inject(demoprovider.Fault{Kind: c.fault, Count: 1}); err != nil {
			t.Fatal(err)
		}
		token := r.mustGrant("s").RefreshToken
		r.refresh(token)
		r.Advance(c.after)
		r.refresh(token)
		family := r.mustFamily(token)
		if r.Totals().Doubtful != c.want || family.Doubtful != c.want || family.Attempts[1].Doubtful != (c.want > 0) || family.Attempts[1].Try != 2 {
			t.Errorf("%s: %+v", c.name, family)
		}
	}
}

func TestTheDoubtCountsFromTheFirstPostInDoubt(t *testing.T) {
	r := start(t, demoprovider.Policy{Rotation: demoprovider.Grace, Grace: 30 * time.Second})
	if err := r.Inject(demoprovider.Fault{Kind: demoprovider.Unavailable, Count: 2}); err != nil {
		t.Fatal(err)
	}
	token := r.mustGrant("s").RefreshToken
	for range 3 {
		r.refresh(token)
		r.Advance(20 * time.Second)
	}
	family := r.mustFamily(token)
	if family.Attempts[1].Doubtful || !family.Attempts[2].Doubtful {
		t.Errorf("%+v", family.Attempts)
	}
}

func TestAPostBesideOneThatIsStillOnItsWayIsDoubtful(t *testing.T) {
	r := start(t, demoprovider.Policy{})
	if err := r.Inject(demoprovider.Fault{Kind: demoprovider.RateLimited, Delay: time.Hour, Count: 1}); err != nil {
		t.Fatal(err)
	}
	token := r.mustGrant("s").RefreshToken
	ended := make(chan struct{})
	go func() { r.refresh(token); close(ended) }()
	await(t, func() bool { return r.Totals().InFlight == 1 })
	r.refresh(token)
	if totals := r.Totals(); totals.Doubtful != 1 || totals.Reuses != 0 {
		t.Errorf("%+v", totals)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	<-ended
}

// brokenPipe is a connection that breaks when an answer is written through to it.
type brokenPipe struct{ http.ResponseWriter }

func (brokenPipe) FlushError() error { return io.ErrClosedPipe }

// aborts reports whether a handler closes the connection without an answer.
func aborts(h http.Handler, w http.ResponseWriter, r *http.Request) (aborted bool) {
	defer func() {
		err, _ := recover().(error)
		aborted = errors.Is(err, http.ErrAbortHandler)
	}()
	h.ServeHTTP(w, r)
	return false
}

func TestAnAnswerThatFailsAtTheLastMomentIsLost(t *testing.T) {
	r := start(t, demoprovider.Policy{})
	token := r.mustGrant("s").RefreshToken
	if !aborts(r.Server, brokenPipe{httptest.NewRecorder()}, r.request("/token", map[string][]string{
		"grant_type": {"refresh_token"}, "refresh_token": {token}, "client_id": {clientID}, "client_secret": {secret},
	})) {
		t.Error("the connection is not closed")
	}
	family := r.mustFamily(token)
	want := demoprovider.Attempt{At: r.Now(), Try: 1, Granted: true, Lost: true}
	if family.Attempts[0] != want || family.Refresh[1].Sent || r.Totals().Lost != 1 {
		t.Errorf("%+v, %+v", family, r.Totals())
	}
	if j := r.Judge(nil); len(j.Unheld) != 1 || !j.Unheld[0].NeverSent {
		t.Errorf("%+v", j)
	}
	r.refresh(token)
	if totals := r.Totals(); totals.Doubtful != 1 || totals.Reuses != 1 {
		t.Errorf("posted again: %+v", totals)
	}
}

func TestASpentTokenIsAReuseEvenWhenAFaultAnswers(t *testing.T) {
	r := start(t, demoprovider.Policy{})
	token := r.mustGrant("s").RefreshToken
	next := r.mustRefresh(token).RefreshToken
	if err := r.Inject(demoprovider.Fault{Kind: demoprovider.RateLimited, Count: 1}); err != nil {
		t.Fatal(err)
	}
	r.refresh(token)
	if totals := r.Totals(); totals.Reuses != 1 || totals.RevokedByReuse != 0 {
		t.Errorf("%+v", totals)
	}
	r.mustRefresh(next) // the server itself had not noticed
}

func TestATokenThatWasNeverMintedIsUnknown(t *testing.T) {
	r := start(t, demoprovider.Policy{})
	tokens := r.mustGrant("s")
	changed := []byte(tokens.RefreshToken)
	changed[len(changed)-1] ^= 1
	for _, token := range []string{
		"nonsense", demoprovider.RefreshPrefix, demoprovider.RefreshPrefix + "00000000000000000000000000000000",
		tokens.RefreshToken + "00", tokens.AccessToken, string(changed),
		strings.ReplaceAll(tokens.RefreshToken, demoprovider.RefreshPrefix, demoprovider.AccessPrefix),
		demoprovider.RefreshPrefix + strings.ToUpper(strings.TrimPrefix(tokens.RefreshToken, demoprovider.RefreshPrefix)),
	} {
		before := r.Totals().Unknown
		if got := r.refresh(token); got.Error != "invalid_grant" || r.Totals().Unknown != before+1 {
			t.Errorf("%s: %d %s", token, got.status, got.body)
		}
		if j := r.Judge([]string{token}); j.Unknown != 1 {
			t.Errorf("%s: %+v", token, j)
		}
	}
	if r.works(tokens.RefreshToken) {
		t.Error("a refresh token opens the resource")
	}
}

func TestAJudgementTellsHeldFromLostFromUseless(t *testing.T) {
	r := start(t, demoprovider.Policy{})
	healthy := r.mustGrant("healthy").RefreshToken
	forgotten := r.mustGrant("forgotten").RefreshToken
	r.mustRefresh(forgotten) // the client got the answer and did not keep it
	unheard := r.mustGrant("unheard").RefreshToken
	if err := r.Inject(demoprovider.Fault{Kind: demoprovider.LostAnswer, Subject: "unheard", Count: 1}); err != nil {
		t.Fatal(err)
	}
	r.refresh(unheard)
	reused := r.mustGrant("reused").RefreshToken
	afterReuse := r.mustRefresh(reused).RefreshToken
	r.refresh(reused)
	r.post("/revoke", map[string][]string{"token": {r.mustGrant("disconnected").RefreshToken}})
	r.mustGrant("not revoked")

	j := r.Judge([]string{healthy, forgotten, unheard, afterReuse, "nonsense"})
	if j.Held != 1 || j.Unknown != 1 {
		t.Errorf("%+v", j)
	}
	finding := func(number int, subject string, fate demoprovider.Fate, neverSent bool) demoprovider.Finding {
		return demoprovider.Finding{Family: number, Client: clientID, Subject: subject, Fate: fate, NeverSent: neverSent}
	}
	wantUnheld := []demoprovider.Finding{
		finding(1, "forgotten", demoprovider.Alive, false),
		finding(2, "unheard", demoprovider.Alive, true),
		finding(5, "not revoked", demoprovider.Alive, false),
	}
	if fmt.Sprint(j.Unheld) != fmt.Sprint(wantUnheld) {
		t.Errorf("unheld %+v, want %+v", j.Unheld, wantUnheld)
	}
	wantUseless := []demoprovider.Finding{
		finding(1, "forgotten", demoprovider.Alive, false),
		finding(2, "unheard", demoprovider.Alive, true),
		finding(3, "reused", demoprovider.RevokedByReuse, false),
	}
	if fmt.Sprint(j.Useless) != fmt.Sprint(wantUseless) {
		t.Errorf("useless %+v, want %+v", j.Useless, wantUseless)
	}
}

func TestAFamilyShowsItsTokens(t *testing.T) {
	r := start(t, demoprovider.Policy{AccessLifetime: time.Hour})
	begin := r.Now()
	first := r.mustGrant("s")
	r.Advance(time.Hour)
	second := r.mustRefresh(first.RefreshToken)
	family := r.mustFamily(first.AccessToken)
	if len(family.Live) != 1 || family.Live[0] != second.RefreshToken {
		t.Errorf("live: %v", family.Live)
	}
	if len(family.LiveAccess) != 1 || family.LiveAccess[0] != second.AccessToken {
		t.Errorf("live access tokens: %v", family.LiveAccess)
	}
	want := []demoprovider.RefreshToken{
		{Number: 0, Token: first.RefreshToken, Minted: begin, Spent: begin.Add(time.Hour), Sent: true, Posts: 1},
		{Number: 1, Token: second.RefreshToken, Minted: begin.Add(time.Hour), Sent: true},
	}
	if fmt.Sprint(family.Refresh) != fmt.Sprint(want) {
		t.Errorf("refresh tokens %+v, want %+v", family.Refresh, want)
	}
	if _, err := r.Family("nonsense"); err == nil {
		t.Error("a family of nonsense")
	}
}
