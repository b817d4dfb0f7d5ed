package provider

import (
	"context"
	"time"

	"github.com/tokenworker/tokenworker"
)

// Gateway makes a client's calls by connection: it finds the provider in a catalogue. It is safe for concurrent use.
type Gateway struct {
	catalogue *Catalogue
	client    *Client
}

// NewGateway returns a gateway to the providers of the catalogue.
func NewGateway(c *Catalogue, client *Client) *Gateway { return &Gateway{c, client} }

// Policy is that of any provider, known or not: of one that is not, the careful reading of everything. It is enabled if
// requests may be sent to it.
func (g *Gateway) Policy(id string) (p Policy, enabled bool) {
	if known, ok := g.catalogue.Get(id); ok {
		return known.Policy, known.Enabled()
	}
	return unknown, false
}

// Known reports whether the catalogue has the provider, with a client or without.
func (g *Gateway) Known(id string) bool {
	_, ok := g.catalogue.Get(id)
	return ok
}

// Prepare is [Client.Prepare].
func (g *Gateway) Prepare(ctx context.Context, k tokenworker.Key) Answer {
	return g.call(k, func(p *Provider) Answer { return g.client.Prepare(ctx, p) })
}

// Refresh is [Client.Refresh].
func (g *Gateway) Refresh(ctx context.Context, k tokenworker.Key, set tokenworker.TokenSet) Answer {
	return g.call(k, func(p *Provider) Answer { return g.client.Refresh(ctx, p, k, set) })
}

// Revoke is [Client.Revoke].
func (g *Gateway) Revoke(ctx context.Context, k tokenworker.Key, set tokenworker.TokenSet) Answer {
	return g.call(k, func(p *Provider) Answer { return g.client.Revoke(ctx, p, k, set) })
}

// Introspect is [Client.Introspect].
func (g *Gateway) Introspect(ctx context.Context, k tokenworker.Key, set tokenworker.TokenSet) Answer {
	return g.call(k, func(p *Provider) Answer { return g.client.Introspect(ctx, p, k, set) })
}

// VerifyIDToken is [Client.VerifyIDToken] where there is an ID token that can be verified: it returns the set with the
// subject and issuer that the token names. What cannot be verified, because the provider has no issuer, is left as it is.
func (g *Gateway) VerifyIDToken(
	ctx context.Context, k tokenworker.Key, set tokenworker.TokenSet, at time.Time,
) (tokenworker.TokenSet, error) {
	p, ok := g.catalogue.Get(k.ProviderID)
	if !ok || set.IDToken.IsEmpty() || !p.VerifiesIDTokens() {
		return set, nil
	}
	subject, err := g.client.VerifyIDToken(ctx, p, set, at)
	if err != nil {
		return tokenworker.TokenSet{}, err
	}
	set.Subject, set.Issuer = subject, p.issuer
	return set, nil
}

func (g *Gateway) call(k tokenworker.Key, do func(*Provider) Answer) Answer {
	p, ok := g.catalogue.Get(k.ProviderID)
	if !ok {
		return ended(Misconfigured, CodeNotEnabled)
	}
	return do(p)
}
