package provider

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"time"

	"github.com/tokenworker/tokenworker"
)

// Refresh posts the set's refresh token, once (RFC 6749 section 6). The key and the set fill the variables of the
// provider's URL. OK comes with a complete set, to be sealed and committed before anything else.
//
// A context that is canceled after the request was written leaves an Unknown outcome. See [Client.Prepare] for what can be
// done ahead.
func (c *Client) Refresh(ctx context.Context, p *Provider, key tokenworker.Key, set tokenworker.TokenSet) Answer {
	switch {
	case !p.Enabled():
		return ended(Misconfigured, CodeNotEnabled)
	case !p.Refreshes():
		return ended(Unsupported, CodeUnsupported)
	case set.RefreshToken.IsEmpty():
		return ended(Unsupported, CodeNoRefreshToken)
	}
	urls, ok := p.endpointsOf(set.ProviderConnectionID)
	if !ok {
		return ended(Misconfigured, CodeBadTarget)
	}
	params := map[string]string{p.name("grant_type"): "refresh_token", p.name("refresh_token"): string(set.RefreshToken.Reveal())}
	maps.Copy(params, p.params)
	r, fault := c.prepare(ctx, p, call{
		method: http.MethodPost, send: p.body, auth: p.auth, token: urls.token, template: urls.token,
		discovered: func(m *metadata) string { return m.Token },
		params:     params, fillers: p.fillers(key, set),
	})
	if fault.Outcome != OK {
		return fault
	}
	return p.noteRefusal(p.refreshed(c.exchange(ctx, p, r), set, c.cfg.Now()))
}

// refreshed reads the reply to a refresh. Once there is a new access token, nothing else in the answer is a reason to
// lose what came with it.
func (p *Provider) refreshed(r reply, old tokenworker.TokenSet, now time.Time) Answer {
	if r.status < 200 || r.status > 299 {
		return p.classify(r)
	}
	got, ok := p.issued(r, now)
	if !ok {
		return p.classify(r)
	}
	return Answer{
		Outcome: OK, Status: r.status,
		Set: p.renew(old, got, now), NewRefreshToken: got.refresh != "", RefreshExpires: got.refreshExpires,
	}
}

// renew puts what the provider sent over what the old set had. What RFC 6749 lets an answer leave out is unchanged: a
// refresh token (section 6), the scope (section 5.1).
func (p *Provider) renew(old tokenworker.TokenSet, got tokens, now time.Time) tokenworker.TokenSet {
	secrets := [][]byte{
		old.AccessToken.Reveal(), old.RefreshToken.Reveal(), old.IDToken.Reveal(), p.creds().secret.Reveal(),
		[]byte(got.access), []byte(got.refresh), []byte(got.id),
	}
	set := old
	set.AccessToken = tokenworker.SecretString(got.access)
	set.ExpiresAt = got.expires
	if got.refresh != "" {
		set.RefreshToken = tokenworker.SecretString(got.refresh)
	}
	if got.id != "" {
		set.IDToken = tokenworker.SecretString(got.id)
	}
	set.TokenType = cmp.Or(clearText(got.tokenType, maxTypeBytes, secrets...), old.TokenType)
	set.Scope = cmp.Or(clearText(got.scope, maxTextBytes, secrets...), old.Scope)
	if set.ExpiresAt.IsZero() && p.AssumedLifetime > 0 {
		set.ExpiresAt = now.Add(p.AssumedLifetime)
	}
	// Where refresh tokens die only with their grant, their expiry is the grant's.
	if p.HardExpiry > 0 && p.IdleExpiry == 0 && !got.refreshExpires.IsZero() {
		set.GrantExpiresAt = got.refreshExpires
	}
	return fit(set)
}

// maxSetBytes is what is left for a set in a record, beside its envelope.
const maxSetBytes = tokenworker.MaxSealedBytes - 4<<10

// fit leaves out what is optional of a set that no record has room for, rather than to lose the refresh token with the rest.
func fit(set tokenworker.TokenSet) tokenworker.TokenSet {
	for _, leaveOut := range []func(){
		func() { set.IDToken = tokenworker.Secret{} },
		func() { set.Scope = "" },
	} {
		text, err := tokenworker.EncodeTokenSet(set)
		size := len(text)
		clear(text)
		if err != nil || size <= maxSetBytes {
			break
		}
		leaveOut()
	}
	return set
}
