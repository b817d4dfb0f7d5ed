package demoprovider

import (
	"net/http"
	"time"
)

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
		if t := f.access.at(id.number); id.prefix == AccessPrefix && f.isLiveAccess(t, now) {
			t.revoked = true
			s.totals.RevokedTokens++
		}
		if t := f.refresh.at(id.number); id.prefix == RefreshPrefix && f.rule(t, now) == rulingFresh {
			t.revoked = true
			s.totals.RevokedTokens++
		}
	}
}

func (s *Server) revokeFamily(f *family, now time.Time) {
	if f.revoke(RevokedByClient, now) {
		s.totals.RevokedByClient++
	}
}
