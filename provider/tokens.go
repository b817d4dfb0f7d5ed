package provider

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/tokenworker/tokenworker"
)

// Bounds of what an answer says in clear, in bytes. It goes into the record beside the sealed tokens; publishers are held to
// the same.
const (
	maxTextBytes = 4 << 10
	maxTypeBytes = 64
)

// maxNesting is how deep in an answer tokens are looked for.
const maxNesting = 4

// tokens is what a token endpoint sent.
type tokens struct {
	access, refresh, id string
	tokenType, scope    string
	expires             time.Time // of the access token; zero: not said
	refreshExpires      time.Time // of the refresh token; zero: not said
}

// issued finds the token set of an answer, wherever it stands: if there is one and no other, it is what was asked for.
func (p *Provider) issued(r reply, now time.Time) (tokens, bool) {
	var found []tokens
	note := func(t tokens) {
		if !slices.Contains(found, t) {
			found = append(found, t)
		}
	}
	if doc, ok := parseDocument(r); ok && !strings.HasPrefix(string(plainText(r)), "{") {
		p.sets(doc, now, note) // a form
	}
	for _, doc := range objects(plainText(r)) {
		p.sets(doc, now, note)
	}
	if len(found) != 1 {
		return tokens{}, false
	}
	return found[0], true
}

// sets gives the token sets of a document: the one where the entry says that it is, or else the one at the top, or else all
// that are further down. An error may repeat a request, so of one that has no tokens at the top none are taken.
func (p *Provider) sets(doc document, now time.Time, note func(tokens)) {
	object, _ := doc.at(p.answerPath).(map[string]any)
	for _, place := range []document{object, doc} {
		if t, ok := p.tokens(place, now); ok {
			note(t)
			return
		}
	}
	if !speaksOfError(doc) {
		p.nested(map[string]any(doc), maxNesting, now, note)
	}
}

func (p *Provider) nested(v any, depth int, now time.Time, note func(tokens)) {
	switch v := v.(type) {
	case map[string]any:
		if t, ok := p.tokens(v, now); ok {
			note(t)
		} else if depth > 0 {
			for _, inner := range v {
				p.nested(inner, depth-1, now, note)
			}
		}
	case []any:
		for _, inner := range v {
			p.nested(inner, depth-1, now, note)
		}
	}
}

// tokens reads a token answer; it is false without an access token. RFC 6749 section 5.1 as it is found in the wild:
// numbers as tokens and tokens as numbers, names with capitals, lists of scopes, and lifetimes of every kind.
func (p *Provider) tokens(d document, now time.Time) (tokens, bool) {
	name := func(standard string) any {
		if own := p.answerNames[standard]; own != "" {
			return d.at(own)
		}
		return d.member(standard)
	}
	t := tokens{access: tokenText(name("access_token"))}
	if t.access == "" {
		return t, false
	}
	t.refresh, t.id = tokenText(name("refresh_token")), tokenText(name("id_token"))
	t.tokenType, _ = name("token_type").(string)
	t.scope = scopes(name("scope"))
	t.expires, t.refreshExpires = p.expiry(name, t.access, now), p.refreshExpiry(name, now)
	return t, true
}

// tokenText reads a token, which may be written as a number. It is empty for what publishers may not send as one either.
func tokenText(v any) string {
	var s string
	switch v := v.(type) {
	case string:
		s = strings.Trim(v, "\r\n\t")
	case json.Number:
		s = v.String()
	}
	if !tokenworker.IsToken([]byte(s)) {
		return ""
	}
	return s
}

// scopes joins a list of scopes, and leaves text as it is.
func scopes(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []any:
		var words []string
		for _, word := range v {
			if s, ok := word.(string); ok {
				words = append(words, s)
			}
		}
		return strings.Join(words, " ")
	}
	return ""
}

// clearText returns s if it may be kept in clear: not too long, without control characters, and with none of the secrets in
// it, however a provider came to put one there.
func clearText(s string, limit int, secrets ...[]byte) string {
	if len(s) > limit || strings.ContainsFunc(s, unicode.IsControl) {
		return ""
	}
	for _, secret := range secrets {
		if len(secret) > 0 && strings.Contains(s, string(secret)) {
			return ""
		}
	}
	return s
}
