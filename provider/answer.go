package provider

import (
	"fmt"
	"slices"
	"time"

	"github.com/tokenworker/tokenworker"
)

// Outcome says what a call means for the token that it was about.
type Outcome uint8

// The outcomes.
const (
	OK            Outcome = iota + 1 // done
	NotSpent                         // not done, and the token is as good as before
	Unknown                          // nobody knows whether it was done
	Reauth                           // the grant, or the token, is dead at the provider
	Misconfigured                    // refused for the operator's fault; the token is as good as before
	Unsupported                      // never sent: the provider has no such thing, or it would be unsafe
)

// String names the outcome for logs and metrics.
func (o Outcome) String() string {
	switch o {
	case OK:
		return "ok"
	case NotSpent:
		return "not_spent"
	case Unknown:
		return "unknown"
	case Reauth:
		return "reauth"
	case Misconfigured:
		return "misconfigured"
	case Unsupported:
		return "unsupported"
	}
	return fmt.Sprintf("outcome(%d)", uint8(o))
}

// Code says why an outcome is not OK. The list is fixed, so a Code is safe in logs, metrics and events.
// docs/providers.md explains each to operators; a test keeps the two lists equal.
type Code string

// The codes, by the outcome that they come with.
const (
	// NotSpent.
	CodeUnreachable     Code = "unreachable"      // no connection: name resolution, refused, timed out
	CodeTLSFailed       Code = "tls_failed"       // the handshake failed, or the certificate is not trusted
	CodeAddressRefused  Code = "address_refused"  // the name resolves to an address that is not allowed
	CodeDiscoveryFailed Code = "discovery_failed" // the issuer's metadata cannot be had, or is not acceptable
	CodeRateLimited     Code = "rate_limited"     // 429
	CodeRefused         Code = "refused"          // another 4xx
	CodeCanceled        Code = "canceled"         // the caller gave up; Unknown once the request was written

	// Unknown.
	CodeTimeout        Code = "timeout"         // no complete answer in time
	CodeConnectionLost Code = "connection_lost" // closed or reset before a complete answer
	CodeRedirected     Code = "redirected"      // 3xx; redirects are never followed
	CodeServerError    Code = "server_error"    // 408, 5xx, or an error code that says the same
	CodeUnreadable     Code = "unreadable"      // an answer that cannot be understood
	CodeGrantDoubted   Code = "grant_doubted"   // the grant is called dead where nothing of the kind is expected

	// Reauth.
	CodeInvalidGrant Code = "invalid_grant" // the grant is over
	CodeInvalidToken Code = "invalid_token" // the token is no longer good: introspection and revocation
	CodeDisconnected Code = "disconnected"  // the connection was disconnected at the provider: introspection

	// Misconfigured.
	CodeInvalidClient      Code = "invalid_client"      // wrong client credentials
	CodeUnauthorizedClient Code = "unauthorized_client" // the client may not do this
	CodeUnauthorized       Code = "unauthorized"        // 401 without a known reason
	CodeNotEnabled         Code = "not_enabled"         // no client is configured for the provider
	CodeBadTarget          Code = "bad_target"          // an id does not fit the provider's URL

	// Unsupported.
	CodeNoRefreshToken Code = "no_refresh_token" // the set cannot be refreshed
	CodeUnsupported    Code = "unsupported"      // the catalogue names no way, or only one that puts the token into a URL
)

var codes = []Code{
	CodeUnreachable, CodeTLSFailed, CodeAddressRefused, CodeDiscoveryFailed, CodeRateLimited, CodeRefused, CodeCanceled,
	CodeTimeout, CodeConnectionLost, CodeRedirected, CodeServerError, CodeUnreadable, CodeGrantDoubted,
	CodeInvalidGrant, CodeInvalidToken, CodeDisconnected,
	CodeInvalidClient, CodeUnauthorizedClient, CodeUnauthorized, CodeNotEnabled, CodeBadTarget,
	CodeNoRefreshToken, CodeUnsupported,
}

// Codes lists every code.
func Codes() []Code { return slices.Clone(codes) }

// OtherCode is the ProviderCode of an answer whose error code is in no known list.
const OtherCode = "other"

// Answer is how a call ended. Printed under any verb it shows no token and nothing of what the provider said.
type Answer struct {
	Outcome      Outcome
	Code         Code          // why, unless OK
	ProviderCode string        // the provider's own error code if it is a known one, else [OtherCode]; empty: it gave none
	Status       int           // HTTP status; 0: no answer
	RetryAfter   time.Duration // how long the provider asks to wait, at most a day; 0: it does not say

	// Doubted, of an Unknown: the provider calls the grant dead, behind an HTTP status or in a member that does not count as
	// saying so. It ends the grant once introspection, or an attempt that is made anyway, confirms it.
	Doubted bool

	// Refresh, when OK. Set is complete and ready to be sealed: what the provider sent over what the old set had.
	Set             tokenworker.TokenSet
	NewRefreshToken bool      // the provider sent a refresh token; false: Set carries on the old one
	RefreshExpires  time.Time // when the refresh token expires if it is not used, as the provider says; zero: it does not

	// Introspect.
	Identity       Identity // when OK
	OfRefreshToken bool     // the refresh token was asked about, not the access token
}

// Identity is what a provider says a token is for. Fields that it does not say are empty.
type Identity struct {
	CompanyID    string // fit to be the CompanyID of a [tokenworker.Key]
	ConnectionID string // the provider's own id of the connection
	Subject      string
	Scope        string
	ExpiresAt    time.Time
}

func ended(o Outcome, c Code) Answer { return Answer{Outcome: o, Code: c} }
