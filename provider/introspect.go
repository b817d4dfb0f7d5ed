package provider

import (
	"context"
	"net/http"
	"slices"

	"github.com/tokenworker/tokenworker"
)

// Introspect asks the provider about the set (RFC 7662, or the provider's own way): about its refresh token where there
// is one and the provider does not want it otherwise.
//
//   - OK: the token is good, and the answer's Identity says what for.
//   - Reauth: it is not.
//   - Anything else: the provider could not be asked.
//
// The key may lack its company, which is what introspection then finds out.
func (c *Client) Introspect(ctx context.Context, p *Provider, key tokenworker.Key, set tokenworker.TokenSet) Answer {
	switch chosen := p.introspect.choose(set); {
	case !p.Enabled():
		return ended(Misconfigured, CodeNotEnabled)
	case !p.Introspects() || len(chosen) == 0:
		return ended(Unsupported, CodeUnsupported)
	default:
		c.renewCreds(ctx, p)
		urls, ok := p.endpointsOf(set.ProviderConnectionID)
		if !ok {
			return ended(Misconfigured, CodeBadTarget)
		}
		r, fault := c.prepare(ctx, p, p.about(p.introspect.operation, urls.token, urls.introspect, chosen[0], key, set,
			func(m *metadata) string { return m.Introspection }))
		if fault.Outcome != OK {
			return fault
		}
		a := p.noteRefusal(p.introspected(c.exchange(ctx, p, r), set))
		a.OfRefreshToken = chosen[0].hint == "refresh_token"
		return a
	}
}

// introspected reads the reply to an introspection.
func (p *Provider) introspected(r reply, set tokenworker.TokenSet) Answer {
	bearer := p.introspect.send == sendBearer
	doc, readable := parseDocument(r)
	failed := p.classify(r)
	switch {
	case failed.Outcome == Reauth, bearer && r.status == http.StatusUnauthorized:
		failed.Outcome, failed.Code = Reauth, CodeInvalidToken
		return failed
	case r.status != http.StatusOK || !readable || speaksOfError(doc):
		return failed
	}
	status := doc.text(p.introspect.status)
	if p.introspect.status != "" && slices.Contains(p.introspect.gone, status) {
		return Answer{Outcome: Reauth, Code: CodeDisconnected, Status: r.status}
	}
	dead := slices.Contains(p.introspect.dead, status) && p.introspect.status != ""
	active, said := doc["active"].(bool) // RFC 7662 section 2.2
	switch {
	case dead || said && !active:
		return Answer{Outcome: Reauth, Code: CodeInvalidToken, Status: r.status}
	case !bearer && !said:
		return failed
	}
	secrets := [][]byte{
		set.AccessToken.Reveal(), set.RefreshToken.Reveal(), set.IDToken.Reveal(), p.creds().secret.Reveal(),
	}
	id := Identity{
		CompanyID:    clearText(doc.text(p.introspect.company), maxTextBytes, secrets...),
		ConnectionID: clearText(doc.text(p.introspect.connection), maxTextBytes, secrets...),
		Subject:      clearText(doc.text("sub"), maxTextBytes, secrets...),
		Scope:        clearText(scopes(doc["scope"]), maxTextBytes, secrets...),
		ExpiresAt:    instant(doc["exp"]),
	}
	if tokenworker.ValidatePart(id.CompanyID) != nil {
		id.CompanyID = ""
	}
	return Answer{Outcome: OK, Status: r.status, Identity: id}
}
