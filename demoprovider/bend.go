package demoprovider

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// page is what gateways answer.
const page = "<!DOCTYPE html><html><head><title>Something went wrong</title></head><body><h1>Something went wrong</h1></body></html>"

// bend is what goes out under a fault instead of an answer; the answer is empty for a request that was not processed.
func (f Fault) bend(req request, ans answer, issuer string) answer {
	switch f.Kind {
	case RateLimited:
		out := answer{status: cmp.Or(f.Status, http.StatusTooManyRequests)}
		if f.RetryAfter > 0 {
			out.header = http.Header{"Retry-After": {strconv.Itoa(int((f.RetryAfter + time.Second - 1) / time.Second))}}
		}
		return out
	case Unavailable:
		return answer{status: cmp.Or(f.Status, http.StatusServiceUnavailable), page: page}
	case Refused:
		return oauthError(cmp.Or(f.Status, http.StatusBadRequest), cmp.Or(f.Error, invalidGrant))
	case Echo:
		return f.echo(req)
	case Redirect:
		return f.redirect(req, issuer)
	case GatewayTimeout:
		return answer{status: cmp.Or(f.Status, http.StatusGatewayTimeout), page: page, lost: ans.tokens}
	case HTMLPage:
		return answer{status: cmp.Or(f.Status, http.StatusOK), page: page, lost: ans.tokens}
	default:
		return f.reshape(ans)
	}
}

// echo repeats what a client sent wherever an answer has room for it.
func (f Fault) echo(req request) answer {
	out := oauthError(cmp.Or(f.Status, http.StatusBadRequest), cmp.Or(f.Error, invalidRequest))
	out.header = http.Header{
		"X-Request-Token":  {req.token},
		"Set-Cookie":       {"token=" + req.token},
		"Www-Authenticate": {fmt.Sprintf("Bearer error=%q, error_description=%q", out.code, req.token)},
	}
	out.body = map[string]any{
		"error":             out.code,
		"error_description": fmt.Sprintf("the token %s was not welcome", req.token),
		"error_uri":         "https://provider.invalid/errors?token=" + url.QueryEscape(req.token),
		"request":           req.form,
	}
	return out
}

func (f Fault) redirect(req request, issuer string) answer {
	location := cmp.Or(f.Location, issuer+"/elsewhere") + "?" + url.Values{"token": {req.token}}.Encode()
	return answer{
		status: cmp.Or(f.Status, http.StatusTemporaryRedirect),
		header: http.Header{"Location": {location}},
	}
}

// reshape changes the fields of an answer with tokens, and leaves others.
func (f Fault) reshape(ans answer) answer {
	tokens, ok := ans.body.(Tokens)
	if !ok {
		return ans
	}
	// The outer field hides that of Tokens.
	type reshaped struct {
		Tokens
		ExpiresIn any `json:"expires_in,omitempty"`
	}
	switch f.Kind {
	case KeepRefresh:
		tokens.RefreshToken = ""
		ans.body = tokens
	case NoExpiry:
		ans.body = reshaped{tokens, nil}
	case TextExpiry:
		ans.body = reshaped{tokens, strconv.FormatInt(tokens.ExpiresIn, 10)}
	case ZeroExpiry:
		ans.body = reshaped{tokens, 0}
	default:
	}
	return ans
}
