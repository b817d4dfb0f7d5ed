package demoprovider

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"time"
)

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	// maxAssertion bounds how far ahead an assertion may expire, and so how long it is remembered. RFC 7523, section 3,
	// lets a server refuse an unreasonably far one.
	maxAssertion = 10 * time.Minute
)

// assertion is a client's JWT: RFC 7523, section 3, and OpenID Connect Core, section 9.
type assertion struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  audience `json:"aud"`
	Expires   int64    `json:"exp"`
	NotBefore int64    `json:"nbf"`
	ID        string   `json:"jti"`

	algorithm string
	signed    string
	signature []byte
}

// audience is one string or several.
type audience []string

func (a *audience) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// parseAssertion checks nothing yet.
func parseAssertion(jwt string) (assertion, bool) {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return assertion{}, false
	}
	var (
		decoded [3][]byte
		header  struct {
			Algorithm string `json:"alg"`
		}
		a assertion
	)
	for i, part := range parts {
		var err error
		if decoded[i], err = base64.RawURLEncoding.DecodeString(part); err != nil {
			return assertion{}, false
		}
	}
	if json.Unmarshal(decoded[0], &header) != nil || json.Unmarshal(decoded[1], &a) != nil {
		return assertion{}, false
	}
	a.algorithm, a.signed, a.signature = header.Algorithm, parts[0]+"."+parts[1], decoded[2]
	return a, true
}

// isSignedBy takes only the one algorithm of the registered key, whatever the header asks for.
func (a assertion) isSignedBy(key crypto.PublicKey) bool {
	digest := sha256.Sum256([]byte(a.signed))
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if a.algorithm != "ES256" || len(a.signature) != 64 {
			return false
		}
		r, s := new(big.Int).SetBytes(a.signature[:32]), new(big.Int).SetBytes(a.signature[32:])
		return ecdsa.Verify(key, digest[:], r, s)
	case *rsa.PublicKey:
		return a.algorithm == "RS256" && rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], a.signature) == nil
	default:
		return false
	}
}

// asserts reports whether the request carries an assertion of the client that holds and was not seen before.
func (s *Server) asserts(client *Client, req request) bool {
	if req.form.Get("client_assertion_type") != assertionType {
		return false
	}
	a, ok := parseAssertion(req.form.Get("client_assertion"))
	if !ok || !a.isSignedBy(client.Key) || a.Issuer != client.ID || a.Subject != client.ID || a.ID == "" {
		return false
	}
	issuer := s.issuerFor(req.Request)
	if !slices.ContainsFunc(a.Audience, func(aud string) bool {
		return aud == issuer || aud == issuer+"/token" || aud == issuer+req.URL.Path
	}) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now, expires := s.now(), time.Unix(a.Expires, 0)
	if !now.Before(expires) || expires.After(now.Add(maxAssertion)) || now.Before(time.Unix(a.NotBefore, 0)) {
		return false
	}
	return s.seen.first(assertionID{client.ID, a.ID}, expires, now)
}

type assertionID struct{ client, jti string }

// seenAssertions remembers assertions until they expire. Its owner locks it.
type seenAssertions struct {
	until   map[assertionID]time.Time
	pruneAt int
}

// first reports whether the assertion is new.
func (s *seenAssertions) first(id assertionID, expires, now time.Time) bool {
	if _, seen := s.until[id]; seen {
		return false
	}
	if len(s.until) >= s.pruneAt {
		for id, until := range s.until {
			if !now.Before(until) {
				delete(s.until, id)
			}
		}
		// Twice what is left, so that the cost of pruning stays in proportion.
		s.pruneAt = 2*len(s.until) + 1024
	}
	if s.until == nil {
		s.until = map[assertionID]time.Time{}
	}
	s.until[id] = expires
	return true
}
