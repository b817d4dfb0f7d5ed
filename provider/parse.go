package provider

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"mime"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxTextBytes bounds what an answer says in clear (scope, type), which goes into the record beside the sealed tokens.
const maxTextBytes = 4 << 10

// document is an answer's body, as JSON has it.
type document map[string]any

// parseDocument reads a body: a JSON object, or a form as GitHub sends one by default.
func parseDocument(mediaType string, body []byte) (document, bool) {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	if bytes.HasPrefix(body, []byte("{")) {
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.UseNumber()
		var doc document
		err := decoder.Decode(&doc) // what follows the object is of no interest; a token in it is
		return doc, err == nil
	}
	if media, _, err := mime.ParseMediaType(mediaType); err != nil || media != "application/x-www-form-urlencoded" && media != "text/plain" {
		return nil, false
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || !form.Has("access_token") && !form.Has("error") {
		return nil, false
	}
	doc := document{}
	for name := range form {
		doc[name] = form.Get(name)
	}
	return doc, true
}

// at walks down a path with dots between names; nil if it leads nowhere. The empty path is the document itself.
func (d document) at(path string) any {
	var here any = map[string]any(d)
	for name := range strings.SplitSeq(path, ".") {
		if path == "" {
			break
		}
		object, _ := here.(map[string]any)
		here = object[name]
	}
	return here
}

// text returns the string at a path, or "".
func (d document) text(path string) string {
	s, _ := d.at(path).(string)
	return s
}

// tokens is what a token endpoint sent.
type tokens struct {
	access, refresh, id string
	tokenType, scope    string
	expires             time.Time // of the access token; zero: not said
	refreshExpires      time.Time // of the refresh token; zero: not said
}

// tokens reads a token answer; it is false without an access token. RFC 6749 section 5.1 as it is found in the wild:
// numbers as strings or floats, a lifetime of zero that means none is known, times instead of lifetimes, lists of scopes.
func (d document) tokens(now time.Time) (tokens, bool) {
	t := tokens{
		access: d.text("access_token"), refresh: d.text("refresh_token"), id: d.text("id_token"),
		tokenType: d.text("token_type"), scope: scopes(d["scope"]),
		expires: firstTime(
			after(now, d["expires_in"]), instant(d["expires_at"]), jwtExpiry(d.text("access_token"))),
		refreshExpires: firstTime(
			after(now, d["refresh_token_expires_in"]), after(now, d["refresh_expires_in"]),
			after(now, d["x_refresh_token_expires_in"]), instant(d["refresh_token_expires_at"])),
	}
	return t, t.access != ""
}

func firstTime(times ...time.Time) time.Time {
	for _, t := range times {
		if !t.IsZero() {
			return t
		}
	}
	return time.Time{}
}

// number reads a number, also one written as a string. It is zero for what is none, or not a sensible one.
func number(v any) float64 {
	var s string
	switch v := v.(type) {
	case json.Number:
		s = v.String()
	case string:
		s = strings.TrimSpace(v)
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
}

// maxSeconds bounds a lifetime. What is said to live for a century is taken to have no expiry.
const maxSeconds = 100 * 365 * 24 * 3600

// after is now plus a number of seconds; zero unless there are some.
func after(now time.Time, v any) time.Time {
	seconds := number(v)
	if seconds <= 0 || seconds > maxSeconds {
		return time.Time{}
	}
	return now.Add(time.Duration(seconds * float64(time.Second)))
}

// instant reads a time: RFC 3339, or Unix seconds or milliseconds.
func instant(v any) time.Time {
	if s, ok := v.(string); ok {
		if t, err := time.Parse(time.RFC3339, s); err == nil && t.Unix() > 0 {
			return t
		}
	}
	unix := number(v)
	if unix > 1e11 { // seconds reach that in the year 5138, milliseconds did in 1973
		unix /= 1000
	}
	if unix <= 0 || unix > 1e11 {
		return time.Time{}
	}
	return time.Unix(int64(unix), 0)
}

// jwtExpiry reads the exp of an access token that is a JWT. Its signature does not matter here: the token came straight from
// its issuer, and a wrong expiry harms nobody else.
func jwtExpiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	decoder := json.NewDecoder(bytes.NewReader(payload))
	decoder.UseNumber()
	var claims map[string]any
	if decoder.Decode(&claims) != nil {
		return time.Time{}
	}
	return instant(claims["exp"])
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

// clearText returns s if it may be kept in clear: not too long, and with none of the secrets in it, however a provider came to
// put one there.
func clearText(s string, secrets ...[]byte) string {
	if len(s) > maxTextBytes {
		return ""
	}
	for _, secret := range secrets {
		if len(secret) > 0 && strings.Contains(s, string(secret)) {
			return ""
		}
	}
	return s
}
