package demoprovider

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

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
	ans := s.refreshFamily(client, req)
	tokens, ok := ans.body.(Tokens)
	if !ok {
		return ans
	}
	tokens, err := s.identify(tokens, client, req.posting.family.subject, s.issuerFor(req.Request))
	if err != nil {
		return oauthError(http.StatusInternalServerError, "server_error")
	}
	ans.body = tokens
	return ans
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
		if window := f.client.Policy.RefreshWindow; window > 0 && f.lives(now) > window {
			return oauthError(http.StatusBadRequest, invalidRequest)
		}
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
	for one := range strings.FieldsSeq(asked) {
		if !slices.Contains(all, one) {
			return "", false
		}
	}
	return asked, true
}
