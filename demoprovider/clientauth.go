package demoprovider

import (
	"crypto/subtle"
	"net/http"
	"net/url"
)

// authenticate finds the client of a request (RFC 6749, section 2.3), or says why it is refused.
func (s *Server) authenticate(req request) (*Client, answer) {
	user, password, basic := req.BasicAuth()
	id := req.form.Get("client_id")
	switch {
	case basic && (req.form.Has("client_secret") || req.form.Has("client_assertion")):
		return nil, oauthError(http.StatusBadRequest, invalidRequest) // more than one method at once
	case basic:
		// Both parts are form-encoded first (section 2.3.1), which few clients do.
		var errs [2]error
		user, errs[0] = url.QueryUnescape(user)
		password, errs[1] = url.QueryUnescape(password)
		if errs != [2]error{} || id != "" && id != user {
			return nil, oauthError(http.StatusBadRequest, invalidRequest)
		}
		id = user
	case id == "":
		// The assertion itself may be all that names the client (RFC 7521, section 4.2).
		if a, ok := parseAssertion(req.form.Get("client_assertion")); ok {
			id = a.Subject
		}
	}
	client := s.clients[id]
	if client == nil || !s.proves(client, req, basic, password) {
		refusal := oauthError(http.StatusUnauthorized, "invalid_client")
		if basic {
			refusal = challenge(refusal, `Basic realm="demo"`) // section 5.2
		}
		return nil, refusal
	}
	return client, answer{}
}

// proves reports whether the request shows what its client must show, in the one way that is the client's.
func (s *Server) proves(client *Client, req request, basic bool, password string) bool {
	secret := req.form.Get("client_secret")
	switch client.Auth {
	case AuthBasic:
		return basic && equal(password, client.Secret)
	case AuthPost:
		return !basic && equal(secret, client.Secret)
	case AuthNone:
		return !basic && secret == "" && !req.form.Has("client_assertion")
	case AuthPrivateKeyJWT:
		return !basic && secret == "" && s.asserts(client, req)
	default:
		return false
	}
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func challenge(ans answer, how string) answer {
	ans.header = http.Header{"Www-Authenticate": {how}}
	return ans
}
