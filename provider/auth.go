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

// takesSecret reports whether a client that authenticates so needs a secret.
func (m authMethod) takesSecret() bool {
	return slices.Contains([]authMethod{authBasic, authBasicPlain, authPost, authHeader}, m)
}

// negotiate picks the way to authenticate that the client has credentials for and the issuer takes. An issuer that names
// none takes client_secret_basic (RFC 8414 section 2, OpenID Connect Discovery 1.0 section 3).
func (p *Provider) negotiate(supported []string) authMethod {
	takes := func(m authMethod) bool { return slices.Contains(supported, string(m)) }
	creds := p.creds()
	switch {
	case creds.sign != nil && (takes(authPrivateKey) || creds.secret.IsEmpty()):
		return authPrivateKey
	case creds.secret.IsEmpty():
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
	creds := p.creds()
	id, secret := string(creds.clientID.Reveal()), string(creds.secret.Reveal())
	basic := func(id, secret string) {
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(id+":"+secret)))
	}
	if method != authBasic && method != authBasicPlain {
		params[p.name("client_id")] = id
	}
	switch method {
	case authBasic:
		basic(url.QueryEscape(id), url.QueryEscape(secret)) // RFC 6749 section 2.3.1: form-encoded before they are joined
	case authBasicPlain:
		basic(id, secret)
	case authPost:
		params[p.name("client_secret")] = secret
	case authHeader:
		header.Set("Authorization", "Client "+secret)
	case authPrivateKey:
		assertion, err := p.assertion(creds, audience, now)
		if err != nil {
			return err
		}
		params["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
		params["client_assertion"] = assertion
	case authNone:
	}
	return nil
}
