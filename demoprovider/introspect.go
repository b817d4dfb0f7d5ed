package demoprovider

import "net/http"

// introspection is the answer of RFC 7662, section 2.2.
type introspection struct {
	Active    bool   `json:"active"`
	Scope     string `json:"scope,omitempty"`
	ClientID  string `json:"client_id,omitempty"`
	TokenType string `json:"token_type,omitempty"`
	Expires   int64  `json:"exp,omitempty"`
	Issued    int64  `json:"iat,omitempty"`
	Subject   string `json:"sub,omitempty"`
	Issuer    string `json:"iss,omitempty"`
}

// introspect is RFC 7662. A client learns nothing of another's tokens.
func (s *Server) introspect(req request) answer {
	client, refusal := s.authenticate(req)
	if client == nil {
		return refusal
	}
	if req.token == "" {
		return oauthError(http.StatusBadRequest, invalidRequest)
	}
	issuer := s.issuerFor(req.Request)
	s.mu.Lock()
	defer s.mu.Unlock()
	id, f := s.find(req.token)
	if f == nil || f.client != client {
		return answer{status: http.StatusOK, body: introspection{}}
	}
	seen := introspection{Active: true, Scope: f.scope, ClientID: client.ID, Subject: f.subject, Issuer: issuer}
	now := s.now()
	if id.prefix == RefreshPrefix {
		t := f.refresh.at(id.number)
		if ruling := f.rule(t, now); ruling != rulingFresh && ruling != rulingGrace {
			return answer{status: http.StatusOK, body: introspection{}}
		}
		if end := f.hardEnd(); !end.IsZero() {
			seen.Expires = end.Unix()
		}
		return answer{status: http.StatusOK, body: seen}
	}
	t := f.access.at(id.number)
	if !f.isLiveAccess(t, now) {
		return answer{status: http.StatusOK, body: introspection{}}
	}
	seen.Scope, seen.TokenType, seen.Issued, seen.Expires = t.scope, "Bearer", t.minted.Unix(), t.expires.Unix()
	return answer{status: http.StatusOK, body: seen}
}
