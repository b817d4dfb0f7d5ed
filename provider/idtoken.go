package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/tokenworker/tokenworker"
)

var (
	// ErrIDToken says that an ID token is not one that the provider's issuer has made for this client and token set.
	ErrIDToken = errors.New("ID token does not verify")

	// ErrIDTokenUnverified says that it cannot be told, because the issuer's keys are not to be had. It may be later.
	ErrIDTokenUnverified = errors.New("ID token cannot be verified")
)

const (
	// keysLifetime is how long an issuer's keys are used before they are fetched again; a token that none of them has signed
	// has them fetched after keysPause already. So a key that the issuer has withdrawn is believed for an hour more, and bad
	// tokens cost the issuer a request a minute. After a fetch that failed nobody tries again for metadataPause.
	keysLifetime = time.Hour
	keysPause    = time.Minute
)

// VerifiesIDTokens reports whether the provider's ID tokens can be verified: it has an issuer, whose keys are published, and
// a client, for which they are made.
func (p *Provider) VerifiesIDTokens() bool { return p.issuer != "" && p.Enabled() }

// VerifyIDToken verifies the ID token of a set that was obtained at a time, by OpenID Connect Core 1.0 section 3.1.3.7: its
// signature by a key of the provider's issuer, the issuer, the client as audience and as authorized party (who must be named
// where there are several audiences), that it had not expired at that time, the nonce where the set names one, and that it
// was issued with the access token where it says with which. It returns the subject.
//
// The keys are fetched from where the issuer's metadata say, which must be the issuer's own host or a listed one. Errors
// match [ErrIDToken] or [ErrIDTokenUnverified] and show nothing of the token.
func (c *Client) VerifyIDToken(
	ctx context.Context, p *Provider, set tokenworker.TokenSet, at time.Time,
) (subject string, err error) {
	keys, err := c.issuerKeys(ctx, p, keysLifetime)
	if err != nil {
		return "", err
	}
	subject, err = p.verifyIDToken(ctx, keys, set, at)
	if err == nil || c.cfg.Now().Sub(keys.fetched) < keysPause {
		return subject, err
	}
	if keys, err = c.issuerKeys(ctx, p, keysPause); err != nil { // the issuer may have a new key
		return "", err
	}
	return p.verifyIDToken(ctx, keys, set, at)
}

func (p *Provider) verifyIDToken(
	ctx context.Context, keys *issuerKeys, set tokenworker.TokenSet, at time.Time,
) (subject string, err error) {
	verifier := oidc.NewVerifier(p.issuer, keys, &oidc.Config{
		ClientID: string(p.creds().clientID.Reveal()), SupportedSigningAlgs: keys.algorithms, Now: func() time.Time { return at },
	})
	token, err := verifier.Verify(ctx, string(set.IDToken.Reveal()))
	if err != nil {
		return "", ErrIDToken // the library's words may repeat claims
	}
	var claims struct {
		AuthorizedParty string `json:"azp"`
	}
	switch {
	case token.Claims(&claims) != nil:
	case (claims.AuthorizedParty != "" || len(token.Audience) > 1) && claims.AuthorizedParty != string(p.creds().clientID.Reveal()):
	case set.Nonce != "" && token.Nonce != set.Nonce:
	case token.AccessTokenHash != "" && token.VerifyAccessToken(string(set.AccessToken.Reveal())) != nil:
	case token.Subject == "":
	default:
		return token.Subject, nil
	}
	return "", ErrIDToken
}

// issuerKeys are the public keys of an issuer, and what it signs with.
type issuerKeys struct {
	oidc.StaticKeySet
	algorithms []string
	fetched    time.Time
}

// keyCache holds one provider's.
type keyCache struct {
	turn  chan struct{} // one fetches; the others wait for it or for their context, unless the fetch before has failed
	state atomic.Pointer[keyState]
}

// keyState is what the fetches so far have left.
type keyState struct {
	keys  *issuerKeys // nil: never had any
	fault error       // of the last fetch, if it failed
	until time.Time   // with a fault: when to fetch again
}

func newKeyCache() keyCache { return keyCache{turn: make(chan struct{}, 1)} }

// answer is what is known at a time without a fetch: keys of the last maxAge, or that they could not be had just now.
func (s *keyState) answer(now time.Time, maxAge time.Duration) (keys *issuerKeys, known bool, fault error) {
	switch {
	case s == nil:
		return nil, false, nil
	case s.keys != nil && now.Sub(s.keys.fetched) < maxAge:
		return s.keys, true, nil
	}
	return nil, s.fault != nil && now.Before(s.until), s.fault
}

// issuerKeys returns the keys of the provider's issuer, fetched within the last maxAge.
func (c *Client) issuerKeys(ctx context.Context, p *Provider, maxAge time.Duration) (*issuerKeys, error) {
	found, fault := c.discover(ctx, p)
	if fault.Outcome != OK {
		return nil, fmt.Errorf("%w: %s", ErrIDTokenUnverified, fault.Code)
	}
	cache := &c.session(p).keys
	if keys, known, fault := cache.state.Load().answer(c.cfg.Now(), maxAge); known {
		return keys, fault
	}
	if err := cache.enter(ctx); err != nil {
		return nil, err
	}
	defer func() { <-cache.turn }()
	before := cache.state.Load()
	if keys, known, fault := before.answer(c.cfg.Now(), maxAge); known {
		return keys, fault
	}
	keys, err := c.fetchKeys(ctx, p, found)
	switch {
	case err == nil:
		keys.fetched = c.cfg.Now()
		cache.state.Store(&keyState{keys: keys})
	case ctx.Err() == nil: // otherwise it says nothing about the issuer
		next := &keyState{fault: err, until: c.cfg.Now().Add(metadataPause)}
		if before != nil {
			next.keys = before.keys
		}
		cache.state.Store(next)
	}
	return keys, err
}

// enter takes the turn to fetch. While another has it and the fetch before failed, nobody waits: an issuer that answers
// nothing would hold up as many events as there are waiting.
func (k *keyCache) enter(ctx context.Context) error {
	select {
	case k.turn <- struct{}{}:
		return nil
	default:
	}
	if s := k.state.Load(); s != nil && s.fault != nil {
		return s.fault
	}
	select {
	case k.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrIDTokenUnverified, ctx.Err())
	}
}

// fetchKeys reads the issuer's JWK set (RFC 7517 section 5). Keys for encryption, and of kinds that nobody knows, are left
// out.
func (c *Client) fetchKeys(ctx context.Context, p *Provider, m *metadata) (*issuerKeys, error) {
	if !p.allows(m.Keys) {
		return nil, fmt.Errorf("%w: %s", ErrIDTokenUnverified, CodeDiscoveryFailed)
	}
	place, err := url.Parse(m.Keys)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrIDTokenUnverified, CodeDiscoveryFailed)
	}
	r := c.exchange(ctx, p, request{method: http.MethodGet, url: place, header: http.Header{}})
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if r.status != http.StatusOK || json.Unmarshal(r.body, &set) != nil {
		return nil, fmt.Errorf("%w: the issuer's keys cannot be had", ErrIDTokenUnverified)
	}
	keys := &issuerKeys{algorithms: signatures(m.Algorithms)}
	for _, text := range set.Keys {
		var k jose.JSONWebKey
		if json.Unmarshal(text, &k) == nil && k.Valid() && k.IsPublic() && k.Use != "enc" {
			keys.PublicKeys = append(keys.PublicKeys, k.Key)
		}
	}
	return keys, nil
}

// signatures are the algorithms that are believed of those an issuer names: public-key signatures alone, RS256 where it names
// none (OpenID Connect Discovery 1.0 section 3).
func signatures(named []string) []string {
	public := []string{
		oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA,
	}
	believed := slices.DeleteFunc(slices.Clone(named), func(a string) bool { return !slices.Contains(public, a) })
	if len(believed) == 0 {
		return []string{oidc.RS256}
	}
	return believed
}
