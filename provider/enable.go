package provider

import (
	"context"
	"errors"
	"slices"
)

// enable resolves the client's credentials, and reports what is missing.
func (d *draft) enable(ctx context.Context, manager SecretsManager) error {
	p := &d.Provider
	var errs []error
	methods := p.authMethods()
	for _, needed := range []struct {
		field, reference string
		by               bool
	}{
		{"id", p.client.id, true},
		{"secret", p.client.secret, slices.ContainsFunc(methods, authMethod.takesSecret)},
		{"private_key", p.client.privateKey, slices.Contains(methods, authPrivateKey)},
	} {
		if needed.by && needed.reference == "" {
			errs = append(errs, d.errorf("client", "%s is missing", needed.field))
		}
	}

	live, mistakes := newLiveCreds(ctx, manager, p.client)
	for field, err := range mistakes {
		errs = append(errs, d.errorf(field, "%w", err))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	p.live = live
	inURL := p.urls.token.has(varClientID) || p.urls.revoke.has(varClientID) || p.urls.introspect.has(varClientID)
	if inURL && !pathValue.Match(p.creds().clientID.Reveal()) {
		return d.errorf("client.id", "%w", errTemplateValue)
	}
	return nil
}

// authMethods lists how the client authenticates to the endpoints that are configured. With discovery and no method
// configured, whatever the issuer takes and the client has is good.
func (p *Provider) authMethods() []authMethod {
	var methods []authMethod
	if p.Refreshes() {
		methods = append(methods, p.auth)
	}
	for _, op := range []operation{p.revoke, p.introspect.operation} {
		if op.url != "" && op.send != sendBearer {
			methods = append(methods, op.authOr(p.auth))
		}
	}
	return methods
}
