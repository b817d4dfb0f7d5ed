package tokenworker

import (
	"encoding/json"
	"errors"
	"time"
)

// TokenSet is what a provider hands out for one connection. Only AccessToken is required. Field names on the wire are
// those of RFC 6749 section 5.1 where it has one.
type TokenSet struct {
	AccessToken  Secret
	RefreshToken Secret
	IDToken      Secret
	TokenType    string // as the provider spells it, which need not be a scheme (RFC 9110 section 11.1): bot, user, BearerToken
	Scope        string // space-separated, RFC 6749 section 3.3

	ExpiresAt      time.Time // when the access token expires; zero: unknown or never
	GrantExpiresAt time.Time // when the whole grant expires, however often it is refreshed; zero: unknown or never

	Subject              string // the provider's id of the user (OpenID Connect "sub")
	Issuer               string // who issued the ID token (OpenID Connect "iss")
	ProviderConnectionID string // the provider's own id of the connection
	ConsentRef           string // the caller's reference to the consent that allows the access

	Nonce string // that the ID token must name (OpenID Connect "nonce"); of a set on its way to the worker, never stored
}

// MaxTokenBytes is how long a token may be.
const MaxTokenBytes = 16 << 10

// IsToken reports whether b can be a token: 1*VSCHAR, which is what RFC 6749 appendix A allows and what an HTTP header can
// carry, up to [MaxTokenBytes]. What publishers send and what providers answer is held to it alike.
func IsToken(b []byte) bool {
	for _, c := range b {
		if c < 0x20 || c > 0x7e {
			return false
		}
	}
	return 0 < len(b) && len(b) <= MaxTokenBytes
}

// tokenSetJSON is the wire form. Tokens are strings here and only here.
type tokenSetJSON struct {
	AccessToken          string    `json:"access_token"`
	RefreshToken         string    `json:"refresh_token,omitempty"`
	IDToken              string    `json:"id_token,omitempty"`
	TokenType            string    `json:"token_type,omitempty"`
	Scope                string    `json:"scope,omitempty"`
	ExpiresAt            time.Time `json:"expires_at,omitzero"`
	GrantExpiresAt       time.Time `json:"grant_expires_at,omitzero"`
	Subject              string    `json:"subject,omitempty"`
	Issuer               string    `json:"issuer,omitempty"`
	ProviderConnectionID string    `json:"provider_connection_id,omitempty"`
	ConsentRef           string    `json:"consent_ref,omitempty"`
	Nonce                string    `json:"nonce,omitempty"`
}

// errTokenSet says no more than that: the JSON library's own errors may quote the input.
var errTokenSet = errors.New("token set is not valid JSON or lacks an access token")

// EncodeTokenSet writes t with its tokens in clear: the plaintext of a seal, for no other use.
func EncodeTokenSet(t TokenSet) ([]byte, error) {
	b, err := json.Marshal(tokenSetJSON{
		AccessToken:  string(t.AccessToken.Reveal()),
		RefreshToken: string(t.RefreshToken.Reveal()),
		IDToken:      string(t.IDToken.Reveal()),
		TokenType:    t.TokenType, Scope: t.Scope,
		ExpiresAt: t.ExpiresAt, GrantExpiresAt: t.GrantExpiresAt,
		Subject: t.Subject, Issuer: t.Issuer,
		ProviderConnectionID: t.ProviderConnectionID, ConsentRef: t.ConsentRef, Nonce: t.Nonce,
	})
	if err != nil {
		return nil, errTokenSet // a time out of RFC 3339's range
	}
	return b, nil
}

// DecodeTokenSet reads what [EncodeTokenSet] wrote. Its error never quotes the input. It is lenient about unknown
// fields; package events decodes what comes from outside, strictly.
func DecodeTokenSet(b []byte) (TokenSet, error) {
	var w tokenSetJSON
	if err := json.Unmarshal(b, &w); err != nil || w.AccessToken == "" {
		return TokenSet{}, errTokenSet
	}
	return TokenSet{
		AccessToken:  SecretString(w.AccessToken),
		RefreshToken: SecretString(w.RefreshToken),
		IDToken:      SecretString(w.IDToken),
		TokenType:    w.TokenType, Scope: w.Scope,
		ExpiresAt: w.ExpiresAt, GrantExpiresAt: w.GrantExpiresAt,
		Subject: w.Subject, Issuer: w.Issuer,
		ProviderConnectionID: w.ProviderConnectionID, ConsentRef: w.ConsentRef, Nonce: w.Nonce,
	}, nil
}
