package events

import (
	"bytes"
	"time"

	"github.com/tokenworker/tokenworker"
)

// Bounds of a token set's fields, in bytes. The issuer of RFC 8414 and the subject of OpenID Connect Core (255) fit.
const (
	maxScopeBytes     = 4 << 10
	maxTokenTypeBytes = 64
	maxDetailBytes    = 512
)

// readTokenSet reads a token set in clear. Fields that are absent are unknown; one that is there has a value, so
// neither null nor an empty string will do. The error is [CodeUnknownField] or [CodeInvalidTokenSet].
func readTokenSet(v jsonValue) (tokenworker.TokenSet, error) {
	var set tokenworker.TokenSet
	if v.kind != jsonObject {
		return set, CodeInvalidTokenSet
	}
	for _, m := range v.members {
		var ok bool
		switch string(m.name) {
		case "access_token":
			set.AccessToken, ok = readToken(m.value)
		case "refresh_token":
			set.RefreshToken, ok = readToken(m.value)
		case "id_token":
			set.IDToken, ok = readToken(m.value)
		case "token_type":
			set.TokenType, ok = readText(m.value, maxTokenTypeBytes)
		case "scope":
			set.Scope, ok = readText(m.value, maxScopeBytes)
		case "expires_at":
			set.ExpiresAt, ok = readTime(m.value)
		case "grant_expires_at":
			set.GrantExpiresAt, ok = readTime(m.value)
		case "subject":
			set.Subject, ok = readText(m.value, maxDetailBytes)
		case "issuer":
			set.Issuer, ok = readText(m.value, maxDetailBytes)
		case "provider_connection_id":
			set.ProviderConnectionID, ok = readText(m.value, maxDetailBytes)
		case "consent_ref":
			set.ConsentRef, ok = readText(m.value, maxDetailBytes)
		case "nonce":
			set.Nonce, ok = readText(m.value, maxDetailBytes)
		default:
			return tokenworker.TokenSet{}, CodeUnknownField
		}
		if !ok {
			return tokenworker.TokenSet{}, CodeInvalidTokenSet
		}
	}
	if set.AccessToken.IsEmpty() {
		return tokenworker.TokenSet{}, CodeInvalidTokenSet
	}
	return set, nil
}

// parseTokenSet reads the plaintext of a seal.
func parseTokenSet(plaintext []byte) (tokenworker.TokenSet, error) {
	v, err := parseJSON(plaintext)
	if err != nil {
		return tokenworker.TokenSet{}, err
	}
	return readTokenSet(v)
}

// validateTokenSet reports what a worker would say to set.
func validateTokenSet(set tokenworker.TokenSet) error {
	plaintext, err := tokenworker.EncodeTokenSet(set)
	if err != nil {
		return CodeInvalidTokenSet
	}
	defer clear(plaintext)
	_, err = parseTokenSet(plaintext)
	return err
}

// readToken copies a token.
func readToken(v jsonValue) (tokenworker.Secret, bool) {
	if v.kind != jsonString || !tokenworker.IsToken(v.text) {
		return tokenworker.Secret{}, false
	}
	return tokenworker.NewSecret(bytes.Clone(v.text)), true
}

func readText(v jsonValue, limit int) (string, bool) {
	if v.kind != jsonString || len(v.text) == 0 || !isText(v.text, limit) {
		return "", false
	}
	return string(v.text), true
}

func readTime(v jsonValue) (time.Time, bool) {
	if v.kind != jsonString {
		return time.Time{}, false
	}
	return parseTime(v.text)
}
