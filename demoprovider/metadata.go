package demoprovider

import "net/http"

func readNothing(_ http.ResponseWriter, r *http.Request) (request, error) {
	return request{Request: r}, nil
}

// metadata is RFC 8414, section 2, and OpenID Connect Discovery, section 3. There is no authorization endpoint: grants
// come from [Server.Grant].
func (s *Server) metadata(req request) answer {
	issuer := s.issuerFor(req.Request)
	algorithms := []string{"ES256", "RS256"}
	methods := []AuthMethod{AuthBasic, AuthPost, AuthPrivateKeyJWT, AuthNone}
	return answer{status: http.StatusOK, body: map[string]any{
		"issuer":                                        issuer,
		"token_endpoint":                                issuer + "/token",
		"revocation_endpoint":                           issuer + "/revoke",
		"introspection_endpoint":                        issuer + "/introspect",
		"jwks_uri":                                      issuer + "/jwks",
		"grant_types_supported":                         []string{"refresh_token"},
		"response_types_supported":                      []string{},
		"subject_types_supported":                       []string{"public"},
		"id_token_signing_alg_values_supported":         []string{"ES256"},
		"token_endpoint_auth_methods_supported":         methods,
		"revocation_endpoint_auth_methods_supported":    methods,
		"introspection_endpoint_auth_methods_supported": methods,

		"token_endpoint_auth_signing_alg_values_supported":         algorithms,
		"revocation_endpoint_auth_signing_alg_values_supported":    algorithms,
		"introspection_endpoint_auth_signing_alg_values_supported": algorithms,
	}}
}

// issuerFor is the address that the request was sent to while no other is known.
func (s *Server) issuerFor(r *http.Request) string {
	if issuer := s.URL(); issuer != "" {
		return issuer
	}
	return "http://" + r.Host
}
