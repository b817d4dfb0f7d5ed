package demoprovider

import (
	"net/http"
	"strings"
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
	mux.Handle("GET /jwks", s.exchange(MetadataEndpoint, readNothing, s.jwks))
	mux.HandleFunc("/elsewhere", s.elsewhere)
	if s.cfg.Control {
		s.routeControl(mux)
	}
	return mux
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
		return challenge(answer{status: http.StatusUnauthorized}, `Bearer error="invalid_token"`)
	}
	return answer{status: http.StatusOK, body: map[string]string{"sub": f.subject}}
}

// elsewhere is where a redirect leads that nobody should follow.
func (s *Server) elsewhere(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.totals.Followed++
	w.WriteHeader(http.StatusNoContent)
}
