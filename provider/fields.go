package provider

import (
	"maps"
	"net/netip"
	"time"
)

// The fields of a catalogue file. docs/providers.md explains them; a test keeps the two lists equal.

var providerFields = map[string]setter{
	"name":     field(text, func(p *Provider) *string { return &p.Name }),
	"notes":    field(text, func(p *Provider) *string { return &p.Notes }),
	"sources":  field(list, func(p *Provider) *[]string { return &p.Sources }),
	"verified": field(verifications, func(p *Provider) *map[string]verification { return &p.verified }),

	"issuer":         field(text, func(p *Provider) *string { return &p.issuer }),
	"hosts":          field(list, func(p *Provider) *[]string { return &p.hosts }),
	"token_url":      field(text, func(p *Provider) *string { return &p.tokenURL }),
	"auth":           field(authMethods, func(p *Provider) *authMethod { return &p.auth }),
	"body":           field(word(sendForm, sendJSON), func(p *Provider) *sendStyle { return &p.body }),
	"request_names":  field(stringMap, func(p *Provider) *map[string]string { return &p.requestNames }),
	"regions":        field(stringMap, func(p *Provider) *map[string]string { return &p.regions }),
	"params":         field(stringMap, func(p *Provider) *map[string]string { return &p.params }),
	"headers":        field(stringMap, func(p *Provider) *map[string]string { return &p.headers }),
	"answer_path":    field(text, func(p *Provider) *string { return &p.answerPath }),
	"answer_names":   field(stringMap, func(p *Provider) *map[string]string { return &p.answerNames }),
	"client_codes":   field(list, func(p *Provider) *[]string { return &p.clientCodes }),
	"reauth_codes":   field(list, func(p *Provider) *[]string { return &p.reauthCodes }),
	"values":         field(stringMap, func(p *Provider) *map[string]string { return &p.values }),
	"allow_networks": field(prefixes, func(p *Provider) *[]netip.Prefix { return &p.allowNetworks }),

	"rotation":                   field(word(Strict, Grace, Static), func(p *Provider) *Rotation { return &p.Rotation }),
	"grace":                      field(duration, func(p *Provider) *time.Duration { return &p.GracePeriod }),
	"refresh_ends_access":        field(boolean, func(p *Provider) *bool { return &p.refreshEndsAccess }),
	"false_invalid_grant":        field(boolean, func(p *Provider) *bool { return &p.FalseInvalidGrant }),
	"assumed_lifetime":           field(duration, func(p *Provider) *time.Duration { return &p.AssumedLifetime }),
	"assumed_lifetime_overrides": field(boolean, func(p *Provider) *bool { return &p.lifetimeOverrides }),
	"expires_in_unit": field(word(inSeconds, inMilliseconds, asUnixTime),
		func(p *Provider) *lifetimeUnit { return &p.expiresInUnit }),
	"longest_lifetime": field(duration, func(p *Provider) *time.Duration { return &p.longestLifetime }),
	"lead_cap":         field(duration, func(p *Provider) *time.Duration { return &p.LeadCap }),
	"idle_expiry":      field(duration, func(p *Provider) *time.Duration { return &p.IdleExpiry }),
	"hard_expiry":      field(duration, func(p *Provider) *time.Duration { return &p.HardExpiry }),
	"margin":           field(duration, func(p *Provider) *time.Duration { return &p.Margin }),
	"rate_limit":       field(rate, func(p *Provider) *float64 { return &p.RateLimit }),
	"revocation_scope": field(word(RevokesToken, RevokesFamily, RevokesGrant),
		func(p *Provider) *RevocationScope { return &p.RevocationScope }),
	"scheme": field(text, func(p *Provider) *string { return &p.Scheme }),
	"retain": field(sets, func(p *Provider) *int { return &p.Retain }),
	"disconnect_scope": field(word(DisconnectsConnection, DisconnectsCompany),
		func(p *Provider) *DisconnectScope { return &p.DisconnectScope }),

	"revoke":     section(revokeFields),
	"introspect": section(introspectFields),
	"client":     section(clientFields),
}

var revokeFields = operationFields(func(p *Provider) *operation { return &p.revoke }, map[string]setter{
	"allow_token_in_url": field(boolean, func(p *Provider) *bool { return &p.revoke.allowTokenInURL }),
})

var introspectFields = operationFields(func(p *Provider) *operation { return &p.introspect.operation }, map[string]setter{
	"company":    field(text, func(p *Provider) *string { return &p.introspect.company }),
	"connection": field(text, func(p *Provider) *string { return &p.introspect.connection }),
	"status":     field(text, func(p *Provider) *string { return &p.introspect.status }),
	"dead":       field(list, func(p *Provider) *[]string { return &p.introspect.dead }),
	"gone":       field(list, func(p *Provider) *[]string { return &p.introspect.gone }),
})

var clientFields = map[string]setter{
	"id":          field(text, func(p *Provider) *string { return &p.client.id }),
	"secret":      field(text, func(p *Provider) *string { return &p.client.secret }),
	"private_key": field(text, func(p *Provider) *string { return &p.client.privateKey }),
	"certificate": field(text, func(p *Provider) *string { return &p.client.certificate }),
	"algorithm":   field(word("RS256", "PS256", "ES256"), func(p *Provider) *string { return &p.client.algorithm }),
	"key_id":      field(text, func(p *Provider) *string { return &p.client.keyID }),
	"audience":    field(text, func(p *Provider) *string { return &p.client.audience }),
}

var authMethods = word(authBasic, authBasicPlain, authPost, authHeader, authPrivateKey, authNone)

// operationFields are the fields of any operation, and those that only one has.
func operationFields(op func(*Provider) *operation, own map[string]setter) map[string]setter {
	fields := map[string]setter{
		"url":    field(text, func(p *Provider) *string { return &op(p).url }),
		"method": field(word("POST", "DELETE", "GET"), func(p *Provider) *string { return &op(p).method }),
		"send":   field(word(sendForm, sendJSON, sendBearer), func(p *Provider) *sendStyle { return &op(p).send }),
		"auth":   field(authMethods, func(p *Provider) *authMethod { return &op(p).auth }),
		"token":  field(word(accessToken, refreshToken, bothTokens), func(p *Provider) *tokenChoice { return &op(p).token }),
		"param":  field(text, func(p *Provider) *string { return &op(p).param }),
	}
	maps.Copy(fields, own)
	return fields
}
