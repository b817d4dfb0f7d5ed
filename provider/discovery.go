package provider

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// metadataLifetime is how long an issuer's metadata is used before it is fetched again. If that fails, the old one
	// serves on: endpoints move rarely, and an outage of the metadata must not become one of the refreshes.
	metadataLifetime = time.Hour

	// metadataPause is how long after a failure nobody tries again.
	metadataPause = 10 * time.Second
)

// metadata is what matters of an issuer's metadata (RFC 8414 section 2, OpenID Connect Discovery 1.0 section 3).
type metadata struct {
	Issuer, Token, Revocation, Introspection string

	AuthMethods []string // that the token endpoint takes
	Keys        string   // where the keys of ID tokens are
	Algorithms  []string // of ID tokens
}

// metadataCache holds one provider's metadata.
type metadataCache struct {
	turn  chan struct{} // one fetches, the others wait for it or for their context
	state atomic.Pointer[metadataState]
}

type metadataState struct {
	metadata *metadata // nil: never had any
	fault    Answer    // of the last fetch, if it failed
	until    time.Time // when to fetch again
}

func newMetadataCache() metadataCache { return metadataCache{turn: make(chan struct{}, 1)} }

// discover returns the metadata of the provider's issuer, or how that failed; nothing at all for a provider without one.
func (c *Client) discover(ctx context.Context, p *Provider) (*metadata, Answer) {
	if p.issuer == "" {
		return &metadata{}, Answer{Outcome: OK}
	}
	cache := &c.session(p).metadata
	if s := cache.state.Load(); s != nil && c.cfg.Now().Before(s.until) {
		return s.metadata, s.fault
	}
	select {
	case cache.turn <- struct{}{}:
		defer func() { <-cache.turn }()
	case <-ctx.Done():
		return nil, ended(NotSpent, CodeCanceled)
	}
	before := cache.state.Load()
	if before != nil && c.cfg.Now().Before(before.until) {
		return before.metadata, before.fault
	}
	found, fault := c.fetchMetadata(ctx, p)
	if ctx.Err() != nil {
		return found, fault // says nothing about the issuer
	}
	next := &metadataState{found, fault, c.cfg.Now().Add(metadataLifetime)}
	if fault.Outcome != OK {
		next.until = c.cfg.Now().Add(metadataPause)
		if before != nil && before.metadata != nil {
			next.metadata, next.fault = before.metadata, Answer{Outcome: OK}
		}
	}
	cache.state.Store(next)
	return next.metadata, next.fault
}

// fetchMetadata asks at both well-known places, OpenID's first, and takes the first that holds the issuer's metadata. What
// else may stand at one of them, such as the page of a site that has a page for everything, ends nothing.
func (c *Client) fetchMetadata(ctx context.Context, p *Provider) (*metadata, Answer) {
	for _, place := range wellKnown(p.issuer) {
		r := c.exchange(ctx, p, request{method: http.MethodGet, url: place, header: http.Header{}})
		switch {
		case r.fault != "" && !r.wrote, r.fault == CodeCanceled:
			return nil, ended(NotSpent, r.fault)
		case r.fault != "":
			return nil, ended(NotSpent, CodeDiscoveryFailed)
		}
		if m := readMetadata(r); r.status == http.StatusOK && p.accepts(m) {
			return m, Answer{Outcome: OK}
		}
	}
	return nil, ended(NotSpent, CodeDiscoveryFailed)
}

// readMetadata reads each member by itself: an odd one is as good as missing, and spoils no other.
func readMetadata(r reply) *metadata {
	doc, _ := parseDocument(r)
	return &metadata{
		Issuer: doc.text("issuer"), Token: doc.text("token_endpoint"), Revocation: doc.text("revocation_endpoint"),
		Introspection: doc.text("introspection_endpoint"), Keys: doc.text("jwks_uri"),
		AuthMethods: strings.Fields(scopes(doc["token_endpoint_auth_methods_supported"])),
		Algorithms:  strings.Fields(scopes(doc["id_token_signing_alg_values_supported"])),
	}
}

// wellKnown lists where an issuer's metadata may be: after the issuer's path (OpenID Connect Discovery 1.0 section 4), or
// before it (RFC 8414 section 3.1).
func wellKnown(issuer string) []*url.URL {
	u, err := url.Parse(issuer)
	if err != nil {
		return nil // checked when it was loaded
	}
	path := strings.TrimSuffix(u.Path, "/")
	openID, oauth := *u, *u
	openID.Path = path + "/.well-known/openid-configuration"
	oauth.Path = "/.well-known/oauth-authorization-server" + path
	return []*url.URL{&openID, &oauth}
}

// accepts reports whether metadata are those of the provider's issuer and name only endpoints that it may name.
func (p *Provider) accepts(m *metadata) bool {
	if m.Issuer != p.issuer || m.Token == "" {
		return false
	}
	for _, endpoint := range []string{m.Token, m.Revocation, m.Introspection} {
		if endpoint != "" && !p.allows(endpoint) {
			return false
		}
	}
	return true
}

// allows reports whether the metadata of the provider's issuer may name an endpoint.
func (p *Provider) allows(endpoint string) bool {
	issuer, err := url.Parse(p.issuer)
	if err != nil {
		return false
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil, u.User != nil, u.Fragment != "", u.Opaque != "":
		return false
	case u.Scheme != "https" && u.Scheme != issuer.Scheme:
		return false // HTTP only if the operator has written an issuer with HTTP
	}
	return u.Host == issuer.Host || slices.Contains(p.hosts, u.Host)
}
