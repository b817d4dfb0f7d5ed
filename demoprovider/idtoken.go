package demoprovider

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// signer signs ID tokens with ES256 (RFC 7518, section 3.4).
type signer struct {
	key *ecdsa.PrivateKey
	kid string
}

func newSigner() (signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return signer{}, fmt.Errorf("making the key of the ID tokens: %w", err)
	}
	return signer{key, rand.Text()}, nil
}

// idClaims are the claims of an ID token: OpenID Connect Core, section 2.
type idClaims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	Expires  int64  `json:"exp"`
	Issued   int64  `json:"iat"`
}

const idLifetime = time.Hour

// identify adds an ID token where the scope asks for one.
func (s *Server) identify(tokens Tokens, client *Client, subject, issuer string) (Tokens, error) {
	if !slices.Contains(strings.Fields(tokens.Scope), "openid") {
		return tokens, nil
	}
	if issuer == "" {
		return Tokens{}, errors.New("an ID token before the issuer is known")
	}
	now := s.Now()
	var err error
	tokens.IDToken, err = s.signer.sign(idClaims{issuer, subject, client.ID, now.Add(idLifetime).Unix(), now.Unix()})
	return tokens, err
}

// sign makes a JWT (RFC 7519).
func (k signer) sign(claims idClaims) (string, error) {
	header := `{"alg":"ES256","kid":"` + k.kid + `","typ":"JWT"}`
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encoding the claims of an ID token: %w", err)
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(payload)
	digest := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, k.key, digest[:])
	if err != nil {
		return "", fmt.Errorf("signing an ID token: %w", err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// jwks is RFC 7517, section 5.
func (s *Server) jwks(request) answer {
	point, err := s.signer.key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		return oauthError(http.StatusInternalServerError, "server_error")
	}
	return answer{status: http.StatusOK, body: map[string]any{"keys": []map[string]string{{
		"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": s.signer.kid,
		"x": base64.RawURLEncoding.EncodeToString(point[1:33]),
		"y": base64.RawURLEncoding.EncodeToString(point[33:]),
	}}}}
}
