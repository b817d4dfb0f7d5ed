package provider

import (
	"context"
	"net/http"
	"slices"

	"github.com/tokenworker/tokenworker"
)

// Revoke ends the set at the provider (RFC 7009, or the provider's own way). Revoking what is revoked is harmless, so
// every outcome but OK and Reauth may be tried again, save Unsupported:
//
//   - OK: the provider has revoked it.
//   - Reauth: the provider no longer knows the token, and nothing more can be revoked by it.
//   - Unsupported: there is no way to revoke it, or only one that would put the token into a URL, where logs of
//     proxies and servers keep it; such a request is not sent unless the operator turns it on.
//
// Where several tokens of the set are to be revoked, the first that fails ends the call.
func (c *Client) Revoke(ctx context.Context, p *Provider, key tokenworker.Key, set tokenworker.TokenSet) Answer {
	switch {
	case !p.Enabled():
		return ended(Misconfigured, CodeNotEnabled)
	case !p.Revokes():
		return ended(Unsupported, CodeUnsupported)
	}
	c.renewCreds(ctx, p)
	urls, ok := p.endpointsOf(set.ProviderConnectionID)
	if !ok {
		return ended(Misconfigured, CodeBadTarget)
	}
	last := ended(Unsupported, CodeUnsupported) // a set without the token that is to be revoked
	for _, token := range p.revoke.choose(set) {
		r, fault := c.prepare(ctx, p, p.about(p.revoke, urls.token, urls.revoke, token, key, set,
			func(m *metadata) string { return m.Revocation }))
		if fault.Outcome != OK {
			return fault
		}
		last = p.noteRefusal(p.revoked(c.exchange(ctx, p, r)))
		if last.Outcome != OK {
			return last
		}
	}
	return last
}

// revoked reads the reply to a revocation. A good status is enough (RFC 7009 section 2.2), unless the body says otherwise.
func (p *Provider) revoked(r reply) Answer {
	a := p.classify(r)
	good := 200 <= r.status && r.status < 300
	switch {
	case good && a.ProviderCode == "":
		return Answer{Outcome: OK, Status: r.status}
	case a.Outcome == Reauth, a.ProviderCode == "invalid_token" && a.Outcome != Unknown,
		p.revoke.send == sendBearer && r.status == http.StatusUnauthorized,
		p.revoke.method == http.MethodDelete && slices.Contains([]int{http.StatusNotFound, http.StatusGone}, r.status):
		a.Outcome, a.Code = Reauth, CodeInvalidToken
	}
	return a
}

// about is the call of an operation on one token.
func (p *Provider) about(
	op operation, endpoint, t template, token hintedToken, key tokenworker.Key, set tokenworker.TokenSet,
	discovered func(*metadata) string,
) call {
	f := p.fillers(key, set)
	params := map[string]string{}
	if t.has(varToken) {
		f.token = token.value
	} else {
		params[op.param] = string(token.value.Reveal())
		if op.send == sendForm {
			params["token_type_hint"] = token.hint
		}
	}
	return call{
		method: op.method, send: op.send, auth: op.authOr(p.auth), token: endpoint, template: t, discovered: discovered,
		params: params, bearer: token.value, fillers: f,
	}
}
