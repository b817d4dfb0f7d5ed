package provider

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// errorCodes are those of RFC 6749 section 5.2, RFC 6750 section 3.1, RFC 7009 section 2.2.1, and two of RFC 6749 section
// 4.1.2.1 that token endpoints send as well. Like a provider's own codes, and those below, they may be passed on.
var errorCodes = []string{
	"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
	"invalid_token", "insufficient_scope", "unsupported_token_type", "server_error", "temporarily_unavailable",
}

// clientCodes is what providers say in the place of invalid_client, some of them behind HTTP 200.
var clientCodes = []string{
	"invalid_client", "incorrect_client_credentials", "bad_client_secret", "bad_client_id", "invalid_client_id",
	"invalid_client_secret", "deleted_client", "disabled_client",
}

// deadCodes is what providers say in the place of invalid_grant. Only an entry can make such a word count; without one it is a
// hint, to be confirmed.
var deadCodes = []string{
	"invalid_grant", "invalid_refresh_token", "bad_refresh_token", "refresh_token_expired", "expired_refresh_token",
	"keymanagement.service.invalid_refresh_token", "keymanagement.service.refresh_token_expired",
}

// codeFields are where providers put an error code, the usual places first. Some put an object or a list there.
var codeFields = []string{
	"error", "error_code", "error_codes", "error_subcode", "error_subtype", "errors", "code", "finch_code", "name", "status", "type",
}

// phraseFields are where providers put words for people. A code of the entry's own may stand there, a whole phrase even;
// nothing else is taken from them.
var phraseFields = []string{"message", "detail", "error_description"}

// failure is what a body says went wrong.
type failure struct {
	code   string // a known one, or [OtherCode]; empty: the body speaks of no error
	reauth bool   // the user must connect again
	client bool   // the operator's fault
	doubt  bool   // the user must, if that is confirmed: it is said where nothing of the kind is expected
}

// failure reads an error body. Whatever of it is not in a known list stays behind here.
func (p *Provider) failure(doc document) failure {
	body := map[string]any(doc)
	codes := candidateCodes(body, 0, codeFields)
	all := candidateCodes(body, 0, slices.Concat(codeFields, phraseFields))
	for _, code := range all {
		if slices.Contains(p.reauthCodes, code) {
			return failure{code: code, reauth: true}
		}
	}
	if slices.Contains(codes, "invalid_grant") {
		return failure{code: "invalid_grant", reauth: true}
	}
	for _, code := range all {
		if slices.Contains(p.clientCodes, code) {
			return failure{code: code, client: true}
		}
	}
	for _, code := range codes {
		if slices.Contains(clientCodes, code) {
			return failure{code: code, client: true}
		}
	}
	for _, code := range anyCodes(body, 0) {
		if slices.Contains(deadCodes, code) || slices.Contains(p.reauthCodes, code) {
			return failure{code: code, doubt: true}
		}
	}
	for _, code := range codes {
		if slices.Contains(errorCodes, code) {
			return failure{code: code}
		}
	}
	if speaksOfError(doc) {
		return failure{code: OtherCode}
	}
	return failure{}
}

// codeText is what could be a code of a text: the whole, and what stands before a colon. Microsoft's description begins
// "AADSTS70008: ", and the number is what counts.
func codeText(s string) []string {
	if prefix, _, ok := strings.Cut(s, ":"); ok {
		return []string{s, prefix}
	}
	return []string{s}
}

// maxListed is how many items of a list are looked at for codes.
const maxListed = 8

// candidateCodes collects what could be an error code in the given members, and the same members further down.
func candidateCodes(v any, depth int, members []string) []string {
	if depth > 3 {
		return nil
	}
	var found []string
	switch v := v.(type) {
	case string:
		found = codeText(v)
	case json.Number:
		found = append(found, v.String())
	case []any:
		for _, item := range v[:min(len(v), maxListed)] {
			found = append(found, candidateCodes(item, depth+1, members)...)
		}
	case map[string]any:
		for _, name := range members {
			found = append(found, candidateCodes(v[name], depth+1, members)...)
		}
	}
	return found
}

// anyCodes collects the texts of all members, by name, so that the same answer is always read the same.
func anyCodes(v any, depth int) []string {
	if depth > maxNesting {
		return nil
	}
	var found []string
	switch v := v.(type) {
	case string:
		found = codeText(v)
	case []any:
		for _, item := range v[:min(len(v), maxListed)] {
			found = append(found, anyCodes(item, depth+1)...)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			found = append(found, anyCodes(v[name], depth+1)...)
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
		a.Doubted = a.Doubted && o == Unknown
		return a
	}
	var f failure
	if doc, ok := parseDocument(r); ok {
		f = p.failure(doc)
	}
	a.ProviderCode = f.code
	a.Doubted = f.reauth || f.doubt
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
	case f.client:
		return end(Misconfigured, CodeInvalidClient)
	case f.doubt:
		return end(Unknown, CodeGrantDoubted)
	}
	switch f.code {
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
