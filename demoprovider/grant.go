package demoprovider

import (
	"errors"
	"time"
)

// Tokens is what a client gets, as in RFC 6749, section 5.1.
type Tokens struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"` // seconds
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"` // when the scope has openid
	Scope        string `json:"scope,omitempty"`
}

// ErrUnknownClient is returned for a client that the configuration does not name.
var ErrUnknownClient = errors.New("unknown client")

// ErrUnknownToken is returned for a token that this server never minted.
var ErrUnknownToken = errors.New("unknown token")

// Grant does what a user does who logs in and consents: it starts a new family of tokens for the subject, beside the ones
// that the subject may have. The subject is opaque; a judge may well use the connection's key. Scope is a list separated by
// spaces, or empty; with openid in it there is an ID token.
func (s *Server) Grant(clientID, subject, scope string) (Tokens, error) {
	client := s.clients[clientID]
	if client == nil {
		return Tokens{}, ErrUnknownClient
	}
	return s.identify(s.newFamily(client, subject, scope), client, subject, s.URL())
}

func (s *Server) newFamily(client *Client, subject, scope string) Tokens {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	f := &family{
		number:   len(s.families),
		client:   client,
		subject:  subject,
		scope:    scope,
		born:     now,
		refresh:  history[refreshToken]{limit: s.cfg.History},
		access:   history[accessToken]{limit: s.cfg.History},
		attempts: history[Attempt]{limit: s.cfg.History},
	}
	s.families = append(s.families, f)
	id := grantID{client.ID, subject}
	s.grants[id] = append(s.grants[id], f)
	number := f.addRefresh(now)
	f.refresh.at(number).sends = 1
	s.totals.Families++
	s.totals.RefreshMinted++
	return s.tokens(f, number, scope, now)
}

// Withdraw does what a user does who removes the application: every family of the same subject and client ends, and the
// client is not told.
func (s *Server) Withdraw(token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, f := s.find(token)
	if f == nil {
		return ErrUnknownToken
	}
	for _, sibling := range s.grants[grantID{f.client.ID, f.subject}] {
		sibling.revoke(Withdrawn, s.now())
	}
	return nil
}

// find knows a token by itself; the family is nil for one that was never minted. It is called under the lock.
func (s *Server) find(token string) (tokenID, *family) {
	id, ok := s.mint.parse(token)
	if !ok || id.family >= len(s.families) {
		return id, nil
	}
	return id, s.families[id.family]
}

// tokens mints an access token and puts it beside the numbered refresh token. It is called under the lock.
func (s *Server) tokens(f *family, refresh int, scope string, now time.Time) Tokens {
	access, lifetime := f.addAccess(scope, now)
	s.totals.AccessMinted++
	return Tokens{
		AccessToken:  s.mint.token(tokenID{AccessPrefix, f.number, access}),
		TokenType:    "Bearer",
		ExpiresIn:    int64(lifetime / time.Second),
		RefreshToken: s.mint.token(tokenID{RefreshPrefix, f.number, refresh}),
		Scope:        scope,
	}
}
