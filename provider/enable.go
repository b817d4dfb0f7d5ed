package provider

import (
	"context"
	"errors"
	"slices"

	"github.com/tokenworker/tokenworker"
)

// noSecret is the reference that says that there is none, for providers whose client id is the secret.
const noSecret = "none"

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
		{"secret", p.client.secret, slices.Contains(methods, authBasic) || slices.Contains(methods, authPost)},
		{"private_key", p.client.privateKey, slices.Contains(methods, authPrivateKey)},
	} {
		if needed.by && needed.reference == "" {
			errs = append(errs, d.errorf("client", "%s is missing", needed.field))
		}
	}

	resolve := func(field, reference string) tokenworker.Secret {
		if reference == "" || reference == noSecret && field == "client.secret" {
			return tokenworker.Secret{}
		}
		value, err := resolveSecret(ctx, manager, reference)
		if err != nil {
			errs = append(errs, d.errorf(field, "%w", err))
		}
		return value
	}
	p.clientID = resolve("client.id", p.client.id)
	p.secret = resolve("client.secret", p.client.secret)
	if key := resolve("client.private_key", p.client.privateKey); !key.IsEmpty() {
		var err error
		if p.sign, err = newSigner(key); err != nil {
			errs = append(errs, d.errorf("client.private_key", "%w", err))
		}
	}
	inURL := p.urls.token.has(varClientID) || p.urls.revoke.has(varClientID) || p.urls.introspect.has(varClientID)
	if inURL && !p.clientID.IsEmpty() && !pathValue.Match(p.clientID.Reveal()) {
		errs = append(errs, d.errorf("client.id", "%w", errTemplateValue))
	}
	return errors.Join(errs...)
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
