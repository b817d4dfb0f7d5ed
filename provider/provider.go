package provider

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tokenworker/tokenworker"
)

// Provider is one entry of the [Catalogue]. It is read-only once loaded and shared by all who ask for it. Printed under
// any verb it shows no secret.
type Provider struct {
	ID   string // the ProviderID of a [tokenworker.Key]
	Name string
	Policy

	Notes   string
	Sources []string // where its facts are from; see [Provider.Facts]

	claims   map[string]string       // what the entry says of the provider, by field
	verified map[string]verification // of it: what was checked against the vendor's own pages

	issuer       string // whose metadata names the endpoints that are not configured; empty: no discovery
	hosts        []string
	tokenURL     string
	auth         authMethod // empty: as the metadata says
	body         sendStyle
	requestNames map[string]string // what a request calls its parameters, by their standard names
	params       map[string]string // more parameters of the token request, or other values
	headers      map[string]string // of every request
	answerPath   string            // where in the answer the tokens are; empty: at the top
	answerNames  map[string]string // what the answer calls its members, by their standard names
	reauthCodes  []string
	clientCodes  []string // what it says when the client is not who it says

	// refreshEndsAccess says that a refresh ends the access token before it, so that readers who hold it meet a 401.
	refreshEndsAccess bool

	expiresInUnit     lifetimeUnit  // empty: seconds
	longestLifetime   time.Duration // of an access token; what goes beyond it is not believed; 0: the default
	lifetimeOverrides bool          // AssumedLifetime counts whatever an answer says

	values  map[string]string // of variables in URLs
	regions map[string]string // of the variable region, by the name that a connection's id begins with

	revoke     operation
	introspect introspection

	client        clientConfig
	allowNetworks []netip.Prefix

	// Derived when loaded.
	urls     endpoints            // with regions: of one of them
	regional map[string]endpoints // by region
	live     *liveCreds           // nil: no client is configured
}

// authMethod is how the client authenticates, by its name in RFC 7591 section 2 where it has one there.
type authMethod string

const (
	authBasic      authMethod = "client_secret_basic"
	authPost       authMethod = "client_secret_post"
	authPrivateKey authMethod = "private_key_jwt"
	authNone       authMethod = "none"

	// authBasicPlain is Basic without form-encoding id and secret first, as RFC 7617 has it and many servers expect.
	authBasicPlain authMethod = "client_secret_basic_unencoded"
	// authHeader is "Authorization: Client SECRET", Square's way.
	authHeader authMethod = "client_secret_header"
)

// sendStyle is how a request carries its parameters.
type sendStyle string

const (
	sendForm   sendStyle = "form"
	sendJSON   sendStyle = "json"
	sendBearer sendStyle = "bearer" // no parameters: the access token authorizes the request that is about it
)

// tokenChoice is which token of a set a request is about.
type tokenChoice string

const (
	accessToken  tokenChoice = "access"
	refreshToken tokenChoice = "refresh"
	bothTokens   tokenChoice = "both"
)

// operation is a request about one token.
type operation struct {
	url             string
	method          string
	send            sendStyle
	auth            authMethod // empty: the provider's
	token           tokenChoice
	param           string // name of the token in a form or JSON body
	allowTokenInURL bool
}

// introspection is an [operation] and where its answer says what.
type introspection struct {
	operation
	company    string   // path of the company's id
	connection string   // path of the connection's id
	status     string   // path of a word for the state of the connection
	dead       []string // the words that mean that the user must connect again
	gone       []string // the words that mean that the connection was disconnected
}

// clientConfig names the secrets of a client as the operator's file does: env:NAME, file:PATH or secretsmanager:NAME.
type clientConfig struct {
	id, secret, privateKey string
	certificate            string // reference to the certificate of the private key
	keyID                  string // of the private key, as the provider knows it
	algorithm              string // of assertions; empty: by the key
	audience               string // of assertions; empty: the issuer, or else the token endpoint
}

// endpoints is a provider's URL templates with all its values filled in.
type endpoints struct {
	token, revoke, introspect template
}

// Enabled reports whether a client is configured. If not, nothing is ever sent to the provider.
func (p *Provider) Enabled() bool { return p.live != nil }

// Refreshes reports whether the provider has refresh tokens. If not, there is nothing to refresh, only to watch.
func (p *Provider) Refreshes() bool { return p.tokenURL != "" || p.issuer != "" }

// Revokes reports whether a token can be revoked without putting it into a URL, or the operator allows that.
func (p *Provider) Revokes() bool {
	return p.revoke.url != "" && (p.revoke.allowTokenInURL || !p.urls.revoke.has(varToken)) ||
		p.revoke.url == "" && p.issuer != ""
}

// Introspects reports whether the provider can be asked about a token.
func (p *Provider) Introspects() bool { return p.introspect.url != "" || p.issuer != "" }

// regionSeparator ends the region in a connection's id.
const regionSeparator = ":"

// endpointsOf are the endpoints for a connection. A provider with hosts by region finds the connection's in its id.
func (p *Provider) endpointsOf(connection string) (e endpoints, ok bool) {
	if len(p.regions) == 0 {
		return p.urls, true
	}
	region, _, _ := strings.Cut(connection, regionSeparator)
	e, ok = p.regional[region]
	return e, ok
}

// name is what a request calls a parameter.
func (p *Provider) name(standard string) string { return cmp.Or(p.requestNames[standard], standard) }

// ReauthCodes lists the provider's error codes that mean that the user must connect again.
func (p *Provider) ReauthCodes() []string { return slices.Clone(p.reauthCodes) }

// choose returns the tokens of the set that an operation is about, by their names in RFC 7009 section 2.1.
func (o operation) choose(set tokenworker.TokenSet) []hintedToken {
	access := hintedToken{"access_token", set.AccessToken}
	refresh := hintedToken{"refresh_token", set.RefreshToken}
	var chosen []hintedToken
	switch {
	case o.send == sendBearer || o.token == accessToken:
		chosen = []hintedToken{access}
	case o.token == bothTokens:
		chosen = []hintedToken{refresh, access}
	case o.token == refreshToken || !set.RefreshToken.IsEmpty():
		chosen = []hintedToken{refresh}
	default:
		chosen = []hintedToken{access}
	}
	return slices.DeleteFunc(chosen, func(t hintedToken) bool { return t.value.IsEmpty() })
}

type hintedToken struct {
	hint  string // token_type_hint
	value tokenworker.Secret
}
