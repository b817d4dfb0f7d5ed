package provider

import (
	"cmp"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// defaults fills in what no file says.
func (d *draft) defaults() {
	p := &d.Provider
	p.Name = cmp.Or(p.Name, p.ID)
	p.Rotation = cmp.Or(p.Rotation, unknown.Rotation)
	p.Margin = cmp.Or(p.Margin, unknown.Margin)
	p.RevocationScope = cmp.Or(p.RevocationScope, unknown.RevocationScope)
	p.DisconnectScope = cmp.Or(p.DisconnectScope, unknown.DisconnectScope)
	p.body = cmp.Or(p.body, sendForm)
	if p.issuer == "" {
		p.auth = cmp.Or(p.auth, authBasic) // the one that RFC 6749 section 2.3.1 has every server support
	}
	for _, op := range []*operation{&p.revoke, &p.introspect.operation} {
		op.method = cmp.Or(op.method, http.MethodPost)
		op.send = cmp.Or(op.send, sendForm)
		op.param = cmp.Or(op.param, "token") // RFC 7009 section 2.1, RFC 7662 section 2.1
	}
}

var (
	headerName  = regexp.MustCompile(`^[A-Za-z0-9-]+$`)
	headerValue = regexp.MustCompile(`^[!-~]([ -~]*[!-~])?$`)
)

// reservedHeaders are set by the client itself, or would change how the transport treats a request.
var reservedHeaders = []string{
	"Accept-Encoding", "Authorization", "Connection", "Content-Length", "Content-Type", "Expect", "Host", "Idempotency-Key",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "X-Idempotency-Key",
}

// requestParams are the parameters of a request that may be called otherwise.
var requestParams = []string{"grant_type", "refresh_token", "client_id", "client_secret"}

// answerMembers are the members of an answer that may be called otherwise.
var answerMembers = []string{
	"access_token", "refresh_token", "id_token", "token_type", "scope", "expires_in", "expires_at", "refresh_token_expires_in",
	"refresh_token_expires_at",
}

// validate reports every mistake of a provider, and derives its URL templates.
func (d *draft) validate() error {
	p := &d.Provider
	errs := []error{d.derive(), d.validateIssuer(), d.validatePolicy(), d.validateFacts()}
	mistake := func(wrong bool, field, what string) {
		if wrong {
			errs = append(errs, d.errorf(field, "%s", what))
		}
	}
	for name, value := range p.headers {
		wrong := !headerName.MatchString(name) || !headerValue.MatchString(value) ||
			slices.Contains(reservedHeaders, http.CanonicalHeaderKey(name))
		mistake(wrong, "headers", "a header is malformed, or one that the client sets itself")
	}
	for name := range p.params {
		mistake(slices.Contains([]string{p.name("refresh_token"), p.name("client_id"), p.name("client_secret"), "client_assertion",
			"client_assertion_type"}, name), "params", "a parameter is one that the client sets itself")
	}
	for name := range p.requestNames {
		mistake(!slices.Contains(requestParams, name), "request_names", "a name is not one of "+strings.Join(requestParams, ", "))
	}
	for name := range p.answerNames {
		mistake(!slices.Contains(answerMembers, name), "answer_names", "a name is not one of "+strings.Join(answerMembers, ", "))
	}
	mistake(p.lifetimeOverrides && p.AssumedLifetime == 0, "assumed_lifetime_overrides", "there is no assumed_lifetime")
	mistake(p.revoke.method == http.MethodGet, "revoke.method", "a revocation is no GET")
	mistake(p.introspect.token == bothTokens, "introspect.token", "an introspection is about one token")
	mistake(p.urls.token.has(varToken), "token_url", "a token in the URL")
	mistake(p.urls.introspect.has(varToken), "introspect.url", "a token in the URL")
	mistake(p.introspect.method == http.MethodGet && p.introspect.send != sendBearer, "introspect.method",
		"a GET has no body to send a token in, only send: bearer")
	mistake((p.introspect.status == "") != (len(p.introspect.dead) == 0), "introspect", "status and dead need each other")
	plain := p.urls.token.plain() || p.urls.revoke.plain() || p.urls.introspect.plain() || strings.HasPrefix(p.issuer, "http:")
	mistake(plain && len(p.allowNetworks) == 0, "", "plain HTTP is for networks that allow_networks lists")
	return errors.Join(errs...)
}

func (d *draft) validatePolicy() error {
	p := &d.Provider
	switch {
	case p.Scheme != "" && !headerName.MatchString(p.Scheme):
		return d.errorf("scheme", "not the name of a scheme")
	case (p.Rotation == Grace) != (p.GracePeriod > 0):
		return d.errorf("grace", "rotation: grace and a grace period need each other")
	case p.HardExpiry > 0 && p.HardExpiry < p.IdleExpiry:
		return d.errorf("idle_expiry", "longer than the hard expiry")
	}
	return nil
}

// derive fills the provider's values into its URLs; with regions, once for each.
func (d *draft) derive() error {
	p := &d.Provider
	fill := func(values map[string]string) (e endpoints, err error) {
		err = errors.Join(
			d.template("token_url", p.tokenURL, values, &e.token),
			d.template("revoke.url", p.revoke.url, values, &e.revoke),
			d.template("introspect.url", p.introspect.url, values, &e.introspect))
		return e, err
	}
	if len(p.regions) == 0 {
		var err error
		p.urls, err = fill(p.values)
		return err
	}
	p.regional = map[string]endpoints{}
	for _, region := range slices.Sorted(maps.Keys(p.regions)) {
		values := map[string]string{"region": p.regions[region]}
		maps.Copy(values, p.values)
		var err error
		if p.urls, err = fill(values); err != nil {
			return err
		}
		p.regional[region] = p.urls
	}
	return nil
}

// template fills values into a URL. One that lacks a value is left out until [draft.enable].
func (d *draft) template(field, raw string, values map[string]string, dst *template) error {
	if raw == "" {
		return nil
	}
	filled, err := fillTemplate(raw, values)
	if err == nil {
		*dst, err = parseTemplate(filled)
	}
	if err != nil && (!errors.Is(err, errTemplateUnset) || d.client != (clientConfig{})) {
		return d.errorf(field, "%w", err)
	}
	return nil
}

// validateIssuer fills and checks the issuer. It is one for all connections: ids do not choose whom to trust.
func (d *draft) validateIssuer() error {
	p := &d.Provider
	for _, host := range p.hosts {
		if _, err := parseTemplate("https://" + host); err != nil || strings.ContainsAny(host, "/?{") {
			return d.errorf("hosts", "not a list of host names, or of hosts with their ports")
		}
	}
	if p.issuer == "" {
		return nil
	}
	filled, err := fillTemplate(p.issuer, p.values)
	if err == nil {
		_, err = parseTemplate(filled)
	}
	switch u, parseErr := url.Parse(filled); {
	case errors.Is(err, errTemplateUnset) && p.client == clientConfig{}:
		return nil
	case err != nil:
		return d.errorf("issuer", "%w", err)
	case strings.ContainsAny(filled, "{?") || parseErr != nil || u.Host == "":
		return d.errorf("issuer", "not a URL without a query and without ids in it")
	}
	p.issuer = filled
	return nil
}
