package demoprovider

import (
	"maps"
	"net/http"
	"time"
)

// Totals is what happened since the server was made. See the package's documentation for the words.
type Totals struct {
	Families      int `json:"families"`       // grants made
	RefreshMinted int `json:"refresh_minted"` // refresh tokens, the first of each family included
	AccessMinted  int `json:"access_minted"`

	Posts    int `json:"posts"`     // POSTs of a refresh token to the token endpoint, whatever became of them
	InFlight int `json:"in_flight"` // of those: not settled yet; wait for 0 before judging
	Granted  int `json:"granted"`   // tokens were made for it, delivered or not
	Lost     int `json:"lost"`      // granted, and the tokens did not go out whole
	Unknown  int `json:"unknown"`   // the token was never minted here

	Reuses   int `json:"reuses"`   // the token was spent, and no grace let it work
	Graces   int `json:"graces"`   // the token was spent, and a grace let it work
	Doubtful int `json:"doubtful"` // the client could not know that the token was not spent

	RevokedByReuse  int `json:"revoked_by_reuse"` // families
	RevokedByClient int `json:"revoked_by_client"`
	RevokedTokens   int `json:"revoked_tokens"` // alone, where a revocation reaches no further
	Revocations     int `json:"revocations"`    // requests to the revocation endpoint

	Faults   map[FaultKind]int `json:"faults"`   // requests that were hit
	Followed int               `json:"followed"` // redirects of the server's own that were followed
}

// Attempt is one POST of a refresh token to the token endpoint.
type Attempt struct {
	At     time.Time `json:"at"`
	Token  int       `json:"token"` // number of the refresh token in its family, from 0
	Try    int       `json:"try"`   // 1 for the token's first POST
	Fault  FaultKind `json:"fault,omitempty"`
	Status int       `json:"status,omitempty"` // answered; 0: the connection broke first
	Error  string    `json:"error,omitempty"`  // OAuth error code answered

	Granted  bool `json:"granted,omitempty"` // tokens were made for it
	Lost     bool `json:"lost,omitempty"`    // they did not go out whole
	Reuse    bool `json:"reuse,omitempty"`
	Grace    bool `json:"grace,omitempty"`
	Doubtful bool `json:"doubtful,omitempty"`
}

// posting is the POST of a known refresh token, from its arrival to its answer.
type posting struct {
	family  *family
	number  int // of the refresh token
	attempt int // of the family
	reuse   bool
}

// arrive notes that a refresh token was posted. It is nil for a token that was never minted.
func (s *Server) arrive(token string, fault FaultKind) *posting {
	s.mu.Lock()
	defer s.mu.Unlock()
	if token == "" {
		return nil
	}
	s.totals.Posts++
	id, f := s.find(token)
	if f == nil || id.prefix != RefreshPrefix {
		s.totals.Unknown++
		return nil
	}
	s.totals.InFlight++
	now := s.now()
	attempt := Attempt{At: now, Token: id.number, Fault: fault}
	if t := f.refresh.at(id.number); t != nil {
		t.posts++
		attempt.Try = t.posts
		attempt.Doubtful = t.open > 0 && f.client.Policy.mustNotRepost(now.Sub(t.inDoubt))
		if t.open == 0 {
			t.inDoubt = now
		}
		t.open++
	}
	if attempt.Doubtful {
		f.doubtful++
		s.totals.Doubtful++
	}
	return &posting{family: f, number: id.number, attempt: f.attempts.add(attempt)}
}

// mustNotRepost reports whether a client may not post a token again that may have been spent so long ago.
func (p Policy) mustNotRepost(ago time.Duration) bool { return p.Rotation != Static && ago >= p.Grace }

// witness notes a reuse whatever the request is answered.
func (s *Server) witness(p *posting) {
	if p == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.family.rule(p.family.refresh.at(p.number), s.now()) == rulingReused {
		s.noteReuse(p)
	}
}

// noteReuse notes a reuse once. It is called under the lock.
func (s *Server) noteReuse(p *posting) {
	if p.reuse {
		return
	}
	p.reuse = true
	p.family.reuses++
	s.totals.Reuses++
	if a := p.family.attempts.at(p.attempt); a != nil {
		a.Reuse = true
	}
}

// noteGrace is called under the lock.
func (s *Server) noteGrace(p *posting) {
	s.totals.Graces++
	if a := p.family.attempts.at(p.attempt); a != nil {
		a.Grace = true
	}
}

// settle notes how a posting ends; sent is whether the whole answer is about to go out. It does nothing for nil.
func (s *Server) settle(p *posting, ans answer, sent bool) {
	if p == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	granted := ans.tokens || ans.lost
	lost := granted && (!ans.tokens || !sent)
	s.totals.InFlight--
	s.totals.Granted += count(granted)
	s.totals.Lost += count(lost)
	if a := p.family.attempts.at(p.attempt); a != nil {
		a.Granted, a.Lost = granted, lost
		if sent {
			a.Status, a.Error = ans.status, ans.code
		}
	}
	if !sent {
		return
	}
	if t := p.family.refresh.at(ans.refresh); ans.tokens && t != nil {
		t.sends++
	}
	if t := p.family.refresh.at(p.number); t != nil && ans.isDefinite() {
		t.open--
	}
}

// unsend takes back that an answer was about to go out, which then turned out to fail.
func (s *Server) unsend(p *posting, ans answer) {
	if p == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.totals.Lost += count(ans.tokens)
	if a := p.family.attempts.at(p.attempt); a != nil {
		a.Lost, a.Status, a.Error = a.Granted, 0, ""
	}
	if t := p.family.refresh.at(ans.refresh); ans.tokens && t != nil {
		t.sends--
	}
	if t := p.family.refresh.at(p.number); t != nil && ans.isDefinite() {
		t.open++
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// isDefinite reports whether the answer lets the client know what became of its token. Anything but tokens, an OAuth error
// and a refusal may come from a gateway, after the token was spent.
func (a answer) isDefinite() bool {
	return a.tokens || a.code != "" && a.status/100 == 2 || a.status/100 == 4 && a.status != http.StatusRequestTimeout
}

// Totals returns the sums.
func (s *Server) Totals() Totals {
	s.mu.Lock()
	defer s.mu.Unlock()
	totals := s.totals
	totals.Faults = maps.Clone(totals.Faults)
	return totals
}
