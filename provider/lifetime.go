package provider

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// lifetimeUnit is what a number under expires_in counts.
type lifetimeUnit string

const (
	inSeconds      lifetimeUnit = "seconds"
	inMilliseconds lifetimeUnit = "milliseconds"
	asUnixTime     lifetimeUnit = "unix" // not a lifetime at all, but its end
)

// longestLifetime bounds what an answer may say of an access token, unless the entry knows better: more is taken for
// another unit, or another field's value. A lifetime that is believed and wrong serves a dead token until somebody notices;
// one that counts as unknown costs a few refreshes.
const longestLifetime = 30 * 24 * time.Hour

// lookup returns a member of an answer by its standard name.
type lookup func(name string) any

// expiry is when the access token of an answer expires, by the first member that says so plausibly; zero: unknown. A
// lifetime comes before a time, which is by the provider's clock, and both before what the token itself says.
func (p *Provider) expiry(member lookup, access string, now time.Time) time.Time {
	if p.lifetimeOverrides {
		return time.Time{}
	}
	longest := cmp.Or(p.longestLifetime, max(longestLifetime, p.AssumedLifetime))
	for _, t := range []time.Time{
		p.span(now, member("expires_in")), p.span(now, member("expires_in_sec")), p.span(now, member("expires")),
		instant(member("expires")), instant(member("expires_on")), instant(member("expires_at")),
		instant(member("access_token_expires_at")), jwtExpiry(access),
	} {
		if t.After(now) && !t.After(now.Add(longest)) {
			return t
		}
	}
	return time.Time{}
}

// refreshExpiry is when the refresh token of an answer expires; zero: unknown.
func (p *Provider) refreshExpiry(member lookup, now time.Time) time.Time {
	for _, t := range []time.Time{
		p.span(now, member("refresh_token_expires_in")), p.span(now, member("refresh_expires_in")),
		p.span(now, member("x_refresh_token_expires_in")), instant(member("refresh_token_expires_at")),
	} {
		if t.After(now) {
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

// span is now plus a lifetime, in the unit that the provider counts in; zero unless there is one. A date is one in any unit.
func (p *Provider) span(now time.Time, v any) time.Time {
	length := number(v)
	switch {
	case p.expiresInUnit == asUnixTime, length == 0:
		return instant(v)
	case p.expiresInUnit == inMilliseconds:
		length /= 1000
	}
	if length <= 0 || length > maxSeconds {
		return time.Time{}
	}
	return now.Add(time.Duration(length * float64(time.Second)))
}

// dates are the forms in which times are found beside RFC 3339: with an offset that lacks its colon, with none (then they
// are in UTC), with a blank, and as HTTP has them.
var dates = []string{
	time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 -0700",
	"2006-01-02 15:04:05", http.TimeFormat, time.RFC1123Z,
}

// instant reads a time: a date, or Unix seconds or milliseconds. It is zero for what is none.
func instant(v any) time.Time {
	if s, ok := v.(string); ok {
		for _, form := range dates {
			if t, err := time.Parse(form, strings.TrimSpace(s)); err == nil && t.Unix() > 0 {
				return t
			}
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
