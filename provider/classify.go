package provider

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// errorCodes are those of RFC 6749 section 5.2, RFC 6750 section 3.1, RFC 7009 section 2.2.1, and two of RFC 6749 section
// 4.1.2.1 that token endpoints send as well. Like a provider's own re-authentication codes they may be passed on.
var errorCodes = []string{
	"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
	"invalid_token", "insufficient_scope", "unsupported_token_type", "server_error", "temporarily_unavailable",
}

// codeFields are where providers put an error code, the usual places first. Some put an object or a list there.
var codeFields = []string{
	"error", "error_code", "error_codes", "error_subcode", "error_subtype", "errors", "code", "finch_code", "name", "status",
	"type", "message", "detail", "error_description",
}

// failure is what a body says went wrong.
type failure struct {
	code   string // a known one, or [OtherCode]; empty: the body speaks of no error
	reauth bool   // the user must connect again
}

// failure reads an error body. Whatever of it is not in a known list stays behind here.
func (p *Provider) failure(doc document) failure {
	candidates := candidateCodes(map[string]any(doc), 0)
	for _, code := range candidates {
		if code == "invalid_grant" || slices.Contains(p.reauthCodes, code) {
			return failure{code, true}
		}
	}
	for _, code := range candidates {
		if slices.Contains(errorCodes, code) {
			return failure{code, false}
		}
	}
	if speaksOfError(doc) {
		return failure{OtherCode, false}
	}
	return failure{}
}

// candidateCodes collects what could be an error code.
func candidateCodes(v any, depth int) []string {
	if depth > 3 {
		return nil
	}
	var found []string
	switch v := v.(type) {
	case string:
		found = append(found, v)
		// Microsoft's description begins "AADSTS70008: ", and the number is what counts.
		if prefix, _, ok := strings.Cut(v, ":"); ok {
			found = append(found, prefix)
		}
	case json.Number:
		found = append(found, v.String())
	case []any:
		for _, item := range v[:min(len(v), 8)] {
			found = append(found, candidateCodes(item, depth+1)...)
		}
	case map[string]any:
		for _, name := range codeFields {
			found = append(found, candidateCodes(v[name], depth+1)...)
		}
	}
	return found
}

// speaksOfError reports a body that says that something failed, whatever its HTTP status.
func speaksOfError(doc document) bool {
	for _, name := range []string{"error", "errors", "error_code"} {
		switch v := doc[name].(type) {
		case string:
			if v != "" {
				return true
			}
		case json.Number:
			if number(v) != 0 {
				return true
			}
		case map[string]any:
			return true
		case []any:
			if len(v) > 0 {
				return true
			}
		}
	}
	return doc["ok"] == false || doc["success"] == false
}

// classify decides what a reply means that did not bring what was asked for: without a status, with an error status, or
// with an error behind a good one. It is the table of the package comment.
func (p *Provider) classify(r reply) Answer {
	a := Answer{Status: r.status, RetryAfter: r.retryAfter}
	end := func(o Outcome, c Code) Answer {
		a.Outcome, a.Code = o, c
		return a
	}
	var f failure
	if doc, ok := parseDocument(r.mediaType, r.body); ok {
		f = p.failure(doc)
	}
	a.ProviderCode = f.code
	good, refused := 200 <= r.status && r.status < 300, 400 <= r.status && r.status < 500
	switch {
	case r.fault != "" && r.wrote:
		return end(Unknown, r.fault)
	case r.fault != "":
		return end(NotSpent, r.fault)
	case r.status == http.StatusTooManyRequests:
		return end(NotSpent, CodeRateLimited)
	case r.status >= 500, r.status == http.StatusRequestTimeout:
		return end(Unknown, CodeServerError)
	case 300 <= r.status && r.status < 400:
		return end(Unknown, CodeRedirected)
	case !good && !refused:
		return end(Unknown, CodeUnreadable)
	case f.reauth:
		return end(Reauth, CodeInvalidGrant)
	}
	switch f.code {
	case "invalid_client":
		return end(Misconfigured, CodeInvalidClient)
	case "unauthorized_client":
		return end(Misconfigured, CodeUnauthorizedClient)
	case "unsupported_token_type":
		return end(Unsupported, CodeUnsupported)
	case "server_error", "temporarily_unavailable":
		return end(Unknown, CodeServerError) // a 4xx that says this is not definite
	case "invalid_request", "unsupported_grant_type", "invalid_scope", "insufficient_scope", "invalid_token":
		if r.status != http.StatusUnauthorized {
			return end(NotSpent, CodeRefused)
		}
	}
	switch {
	case r.status == http.StatusUnauthorized:
		return end(Misconfigured, CodeUnauthorized)
	case refused:
		return end(NotSpent, CodeRefused)
	default:
		return end(Unknown, CodeUnreadable) // a good status with nothing that can be understood
	}
}
