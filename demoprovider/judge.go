package demoprovider

import (
	"iter"
	"time"
)

// Family is what the ledger knows of one grant's tokens. It holds them in clear.
type Family struct {
	Number  int       `json:"number"` // in order of granting, from 0
	Client  string    `json:"client"`
	Subject string    `json:"subject"`
	Scope   string    `json:"scope,omitempty"`
	Born    time.Time `json:"born"`
	Fate    Fate      `json:"fate"`
	Revoked time.Time `json:"revoked,omitzero"` // of a family that was revoked as a whole

	RefreshMinted int `json:"refresh_minted"` // the first included
	AccessMinted  int `json:"access_minted"`
	Reuses        int `json:"reuses"`
	Doubtful      int `json:"doubtful"`

	// Live are the refresh tokens that work and have not been spent: one, unless uses within a grace minted more, or none
	// when the family is dead. LiveAccess are the access tokens that work.
	Live       []string `json:"live"`
	LiveAccess []string `json:"live_access"`

	// The latest, at most [Config.History] of each.
	Refresh  []RefreshToken `json:"refresh"`
	Attempts []Attempt      `json:"attempts"`
}

// RefreshToken is a refresh token of a family.
type RefreshToken struct {
	Number  int       `json:"number"` // in its family, from 0
	Token   string    `json:"token"`
	Minted  time.Time `json:"minted"`
	Spent   time.Time `json:"spent,omitzero"`
	Revoked bool      `json:"revoked,omitempty"` // this one alone
	Sent    bool      `json:"sent"`              // an answer that carried it went out whole
	Posts   int       `json:"posts"`
}

// Family returns the family of any of its tokens, or [ErrUnknownToken].
func (s *Server) Family(token string) (Family, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, f := s.find(token)
	if f == nil {
		return Family{}, ErrUnknownToken
	}
	return s.view(f), nil
}

// Families gives all families in order of granting, each as it is when its turn comes.
func (s *Server) Families() iter.Seq[Family] {
	return func(yield func(Family) bool) {
		for i := 0; ; i++ {
			family, ok := s.familyAt(i)
			if !ok || !yield(family) {
				return
			}
		}
	}
}

func (s *Server) familyAt(i int) (Family, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i >= len(s.families) {
		return Family{}, false
	}
	return s.view(s.families[i]), true
}

// view is called under the lock.
func (s *Server) view(f *family) Family {
	now := s.now()
	v := Family{
		Number: f.number, Client: f.client.ID, Subject: f.subject, Scope: f.scope, Born: f.born, Fate: f.fate(now), Revoked: f.over,
		RefreshMinted: f.refresh.next(), AccessMinted: f.access.next(), Reuses: f.reuses, Doubtful: f.doubtful,
	}
	for n, t := range f.refresh.all() {
		token := RefreshToken{
			Number: n, Token: s.mint.token(tokenID{RefreshPrefix, f.number, n}),
			Minted: t.minted, Spent: t.spent, Revoked: t.revoked, Sent: t.sends > 0, Posts: t.posts,
		}
		v.Refresh = append(v.Refresh, token)
		if f.rule(t, now) == rulingFresh {
			v.Live = append(v.Live, token.Token)
		}
	}
	for n, t := range f.access.all() {
		if f.isLiveAccess(t, now) {
			v.LiveAccess = append(v.LiveAccess, s.mint.token(tokenID{AccessPrefix, f.number, n}))
		}
	}
	for _, a := range f.attempts.all() {
		v.Attempts = append(v.Attempts, *a)
	}
	return v
}

// Judgement compares the refresh tokens that a client holds with those that work.
type Judgement struct {
	Held    int       `json:"held"`    // families of which a live refresh token is held
	Unheld  []Finding `json:"unheld"`  // families that are alive and of which none is
	Useless []Finding `json:"useless"` // held refresh tokens that were spent, revoked or have expired
	Unknown int       `json:"unknown"` // held strings that are no refresh token of this server
}

// Finding is what a judgement found of a family. An unheld one is lost, or was not revoked when its connection ended.
type Finding struct {
	Family  int    `json:"family"`
	Client  string `json:"client"`
	Subject string `json:"subject"`
	Fate    Fate   `json:"fate"`
	// NeverSent says that no answer with any of the family's live refresh tokens went out whole: no client can hold one.
	NeverSent bool `json:"never_sent,omitempty"`
}

// Judge compares what a client holds, all of it, with what is alive. Wait until [Totals.InFlight] is 0.
func (s *Server) Judge(held []string) Judgement {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	var j Judgement
	holds := map[*family]bool{}
	for _, token := range held {
		id, f := s.find(token)
		switch {
		case f == nil || id.prefix != RefreshPrefix:
			j.Unknown++
		case f.rule(f.refresh.at(id.number), now) == rulingFresh:
			holds[f] = true
		default:
			j.Useless = append(j.Useless, f.finding(now))
		}
	}
	j.Held = len(holds)
	for _, f := range s.families {
		if !holds[f] && f.fate(now) == Alive {
			j.Unheld = append(j.Unheld, f.finding(now))
		}
	}
	return j
}

func (f *family) finding(now time.Time) Finding {
	found := Finding{Family: f.number, Client: f.client.ID, Subject: f.subject, Fate: f.fate(now)}
	live := f.live(now)
	found.NeverSent = len(live) > 0
	for _, n := range live {
		found.NeverSent = found.NeverSent && f.refresh.at(n).sends == 0
	}
	return found
}
