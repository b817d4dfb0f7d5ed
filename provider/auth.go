package provider

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// authOr is the operation's own way to authenticate, or else the provider's.
func (o operation) authOr(provider authMethod) authMethod {
	if o.auth != "" {
		return o.auth
	}
	return provider
}

// negotiate picks the way to authenticate that the client has credentials for and the issuer takes. An issuer that names
// none takes client_secret_basic (RFC 8414 section 2, OpenID Connect Discovery 1.0 section 3).
func (p *Provider) negotiate(supported []string) authMethod {
	takes := func(m authMethod) bool { return slices.Contains(supported, string(m)) }
	switch {
	case p.sign != nil && (takes(authPrivateKey) || p.secret.IsEmpty()):
		return authPrivateKey
	case p.secret.IsEmpty():
		return authNone
	case takes(authPost) && !takes(authBasic):
		return authPost
	default:
		return authBasic
	}
}

// authenticate adds the client's credentials to a request. The audience and the time are for assertions.
func (p *Provider) authenticate(
	method authMethod, audience string, now time.Time, header http.Header, params map[string]string,
) error {
	id := string(p.clientID.Reveal())
	switch method {
	case authBasic:
		// RFC 6749 section 2.3.1: both are form-encoded before they are joined.
		pair := url.QueryEscape(id) + ":" + url.QueryEscape(string(p.secret.Reveal()))
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	case authPost:
		params[p.clientIDParam] = id
		params["client_secret"] = string(p.secret.Reveal())
	case authPrivateKey:
		assertion, err := p.assertion(audience, now)
		if err != nil {
			return err
		}
		params[p.clientIDParam] = id
		params["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
		params["client_assertion"] = assertion
	case authNone:
		params[p.clientIDParam] = id
	}
	return nil
}
