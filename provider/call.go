package provider

import (
	"cmp"
	"context"
	"net/http"
	"net/url"

	"github.com/tokenworker/tokenworker"
)

// call is what a request is made of.
type call struct {
	method     string
	send       sendStyle
	auth       authMethod // empty: as the issuer takes it
	token      template   // of the token endpoint
	template   template   // zero: the endpoint is discovered
	discovered func(*metadata) string
	params     map[string]string
	bearer     tokenworker.Secret // for sendBearer
	fillers    fillers
}

func (p *Provider) fillers(key tokenworker.Key, set tokenworker.TokenSet) fillers {
	return fillers{company: key.CompanyID, connection: set.ProviderConnectionID, clientID: p.creds().clientID}
}

// prepare makes the request, or says why it cannot be made. Nothing of it has been sent then.
func (c *Client) prepare(ctx context.Context, p *Provider, call call) (request, Answer) {
	found, fault := c.discover(ctx, p)
	if fault.Outcome != OK {
		return request{}, fault
	}
	r := request{method: call.method, header: http.Header{}}
	var err error
	if call.template.isZero() {
		endpoint := call.discovered(found)
		if endpoint == "" {
			return request{}, ended(Unsupported, CodeUnsupported)
		}
		r.url, err = url.Parse(endpoint)
	} else {
		r.url, err = call.template.expand(call.fillers)
	}
	if err != nil {
		return request{}, ended(Misconfigured, CodeBadTarget)
	}
	if call.send == sendBearer {
		r.header.Set("Authorization", "Bearer "+string(call.bearer.Reveal()))
		return r, Answer{Outcome: OK}
	}
	method := call.auth
	if method == "" {
		method = p.negotiate(found.AuthMethods)
	}
	audience := cmp.Or(p.client.audience, p.issuer, call.audience(), r.url.String())
	if err := p.authenticate(method, audience, c.cfg.Now(), r.header, call.params); err != nil {
		return request{}, ended(Misconfigured, CodeInvalidClient)
	}
	if err := r.encode(call.send, call.params); err != nil {
		return request{}, ended(Misconfigured, CodeBadTarget)
	}
	return r, Answer{Outcome: OK}
}

// audience is the token endpoint, which assertions name as their audience where nothing better is known (RFC 7523 section 3).
func (c call) audience() string {
	u, err := c.token.expand(c.fillers)
	if err != nil {
		return ""
	}
	return u.String()
}
