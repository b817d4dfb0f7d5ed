package demoprovider

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("POST /token", s.exchange(TokenEndpoint, readToken("refresh_token"), s.refresh))
	mux.Handle("POST /revoke", s.exchange(RevokeEndpoint, readToken("token"), s.revoke))
	mux.Handle("POST /introspect", s.exchange(IntrospectEndpoint, readToken("token"), s.introspect))
	mux.Handle("GET /resource", s.exchange(ResourceEndpoint, readBearer, s.resource))
	// RFC 8414, section 3, and OpenID Connect Discovery, section 4.
	metadata := s.exchange(MetadataEndpoint, readNothing, s.metadata)
	mux.Handle("GET /.well-known/oauth-authorization-server", metadata)
	mux.Handle("GET /.well-known/openid-configuration", metadata)
	return mux
}

// refresh is the token endpoint: RFC 6749, section 6.
func (s *Server) refresh(req request) answer {
	client, refusal := s.authenticate(req)
	if client == nil {
		return refusal
	}
	switch grantType := req.form.Get("grant_type"); {
	case grantType == "":
		return oauthError(http.StatusBadRequest, invalidRequest)
	case grantType != "refresh_token":
		return oauthError(http.StatusBadRequest, "unsupported_grant_type")
	case req.token == "":
		return oauthError(http.StatusBadRequest, invalidRequest)
	case req.posting == nil:
		return oauthError(http.StatusBadRequest, invalidGrant)
	}
	return s.refreshFamily(client, req)
}

func (s *Server) refreshFamily(client *Client, req request) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, number, now := req.posting.family, req.posting.number, s.now()
	if f.client != client {
		return oauthError(http.StatusBadRequest, invalidGrant)
	}
	scope, ok := narrow(f.scope, req.form.Get("scope"))
	if !ok {
		return oauthError(http.StatusBadRequest, "invalid_scope")
	}
	t := f.refresh.at(number)
	switch f.rule(t, now) {
	case rulingReused:
		s.noteReuse(req.posting)
		if f.revoke(RevokedByReuse, now) {
			s.totals.RevokedByReuse++
		}
		return oauthError(http.StatusBadRequest, invalidGrant)
	case rulingDead:
		return oauthError(http.StatusBadRequest, invalidGrant)
	case rulingGrace:
		s.noteGrace(req.posting)
		number = s.again(f, t, number, now)
	case rulingFresh:
		t.used = now
		if f.client.Policy.Rotation != Static && !req.keeps {
			number = s.rotate(f, number, now)
		}
	}
	return answer{status: http.StatusOK, body: s.tokens(f, number, scope, now), tokens: true, refresh: number}
}

// again is the refresh token for one that was spent and is in its grace.
func (s *Server) again(f *family, t *refreshToken, number int, now time.Time) int {
	if f.client.Policy.GraceMints {
		return s.rotate(f, number, now)
	}
	return t.successor
}

func (s *Server) rotate(f *family, number int, now time.Time) (successor int) {
	s.totals.RefreshMinted++
	return f.spend(number, now)
}

// narrow is the scope that was asked for, all of which must have been granted; by default everything (RFC 6749, section 6).
func narrow(granted, asked string) (string, bool) {
	if asked == "" {
		return granted, true
	}
	all := strings.Fields(granted)
	for _, one := range strings.Fields(asked) {
		if !slices.Contains(all, one) {
			return "", false
		}
	}
	return asked, true
}

// revoke is RFC 7009. A token that is not known, or dead already, is no error (section 2.2).
func (s *Server) revoke(req request) answer {
	client, refusal := s.authenticate(req)
	if client == nil {
		return refusal
	}
	if req.token == "" {
		return oauthError(http.StatusBadRequest, invalidRequest)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.totals.Revocations++
	id, f := s.find(req.token)
	if f == nil {
		return answer{status: http.StatusOK}
	}
	if f.client != client {
		return oauthError(http.StatusBadRequest, "unauthorized_client")
	}
	s.revokeToken(f, id)
	return answer{status: http.StatusOK}
}

func (s *Server) revokeToken(f *family, id tokenID) {
	now := s.now()
	switch f.client.Policy.Revocation {
	case ReachGrant:
		for _, sibling := range s.grants[grantID{f.client.ID, f.subject}] {
			s.revokeFamily(sibling, now)
		}
	case ReachFamily:
		s.revokeFamily(f, now)
	case ReachToken:
		if t := f.access.at(id.number); id.prefix == AccessPrefix && t != nil {
			t.revoked = true
		}
		if t := f.refresh.at(id.number); id.prefix == RefreshPrefix && t != nil {
			t.revoked = true
		}
	}
}

func (s *Server) revokeFamily(f *family, now time.Time) {
	if f.revoke(RevokedByClient, now) {
		s.totals.RevokedByClient++
	}
}

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

// readBearer is RFC 6750, section 2.1.
func readBearer(_ http.ResponseWriter, r *http.Request) (request, error) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return request{Request: r, token: token}, nil
}

// resource is an API that access tokens are for.
func (s *Server) resource(req request) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, f := s.find(req.token)
	if f == nil || id.prefix != AccessPrefix || !f.isLiveAccess(f.access.at(id.number), s.now()) {
		return answer{status: http.StatusUnauthorized, challenge: `Bearer error="invalid_token"`}
	}
	return answer{status: http.StatusOK, body: map[string]string{"sub": f.subject}}
}

func readNothing(_ http.ResponseWriter, r *http.Request) (request, error) {
	return request{Request: r}, nil
}

// metadata is RFC 8414, section 2. There is no authorization endpoint: grants come from [Server.Grant].
func (s *Server) metadata(req request) answer {
	issuer := s.issuerFor(req.Request)
	methods := []AuthMethod{AuthBasic, AuthPost, AuthPrivateKeyJWT, AuthNone}
	return answer{status: http.StatusOK, body: map[string]any{
		"issuer":                                        issuer,
		"token_endpoint":                                issuer + "/token",
		"revocation_endpoint":                           issuer + "/revoke",
		"introspection_endpoint":                        issuer + "/introspect",
		"grant_types_supported":                         []string{"refresh_token"},
		"response_types_supported":                      []string{},
		"token_endpoint_auth_methods_supported":         methods,
		"revocation_endpoint_auth_methods_supported":    methods,
		"introspection_endpoint_auth_methods_supported": methods,
	}}
}

// issuerFor is the address that the request was sent to while no other is known.
func (s *Server) issuerFor(r *http.Request) string {
	if issuer := s.URL(); issuer != "" {
		return issuer
	}
	return "http://" + r.Host
}
