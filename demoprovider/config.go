package demoprovider

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"time"
)

// Config is what a [Server] is made from. Zero fields but Clients have a default.
type Config struct {
	// Issuer is the base URL that discovery and ID tokens name, without a slash at its end. Default: the address that
	// [Server.Start] listens on, or else the host that a request asks for.
	Issuer string

	// Clients are those that may use the server; one at least.
	Clients []Client

	// Now gives the time. Default: [time.Now]. [Server.Advance] adds to it.
	Now func() time.Time

	// Seed decides which requests a fault of some probability hits: the same seed and the same order of requests give the
	// same faults.
	Seed uint64

	// History is how many refresh tokens, access tokens and attempts the ledger keeps of a family, the latest; it bounds
	// the memory. A refresh token beyond it counts as spent long ago, an access token as expired. Default: 64.
	History int

	// Control also serves the control API below /control/ (see the package's documentation). Whoever reaches it reads
	// every token.
	Control bool
}

// Client is an OAuth client with the rules that its tokens live under.
type Client struct {
	ID string

	// Auth is the only way in which the client may authenticate. Default: [AuthBasic].
	Auth AuthMethod

	// Secret is asked of AuthBasic and AuthPost.
	Secret string

	// Key verifies the assertions of AuthPrivateKeyJWT: an ECDSA key on P-256 (ES256) or an RSA key (RS256).
	Key crypto.PublicKey

	Policy Policy
}

// AuthMethod names a way to authenticate as in OpenID Connect Core, section 9.
type AuthMethod string

// The ways to authenticate.
const (
	AuthBasic         AuthMethod = "client_secret_basic"
	AuthPost          AuthMethod = "client_secret_post"
	AuthPrivateKeyJWT AuthMethod = "private_key_jwt"
	AuthNone          AuthMethod = "none"
)

// Policy is what becomes of a client's tokens. The zero Policy rotates strictly, and its grants never expire.
type Policy struct {
	// Rotation is what a refresh does to the refresh token. Default: [Strict].
	Rotation Rotation

	// Grace is how long after its rotation a refresh token still works; for [Grace] alone.
	Grace time.Duration

	// GraceMints makes each use within the grace mint a successor of its own. Otherwise it gives the same one again.
	GraceMints bool

	// RefreshEndsAccess makes a refresh end the access tokens before it, as GitHub and GitLab do
	// (gitlab.com/gitlab-org/gitlab/-/issues/372358). Otherwise they live to their own end.
	RefreshEndsAccess bool

	// RefreshWindow refuses a refresh while the latest access token lives longer than this, as Exact Online does, which takes
	// one in its last 30 seconds or later. Zero: at any time.
	RefreshWindow time.Duration

	// AccessLifetime is how long an access token lives. Default: one hour.
	AccessLifetime time.Duration

	// IdleLifetime ends a refresh token that was not used for so long. Zero: never.
	IdleLifetime time.Duration

	// GrantLifetime ends a grant for good, however often it was refreshed. Zero: never.
	GrantLifetime time.Duration

	// Revocation is how far a revoked token reaches. Default: [ReachFamily].
	Revocation Reach
}

// Rotation is what a refresh does to the refresh token.
type Rotation string

// The kinds of rotation.
const (
	// Static never rotates: one refresh token serves as long as its grant.
	Static Rotation = "static"
	// Grace rotates, and lets the refresh token before it work for a while. After that it is Strict.
	Grace Rotation = "grace"
	// Strict rotates, and takes a spent refresh token as stolen: the whole family is revoked (RFC 9700, section 4.14.2).
	Strict Rotation = "strict"
)

// Reach is how far the revocation of a token goes.
type Reach string

// The reaches of a revocation.
const (
	// ReachToken ends the posted token and nothing else. A spent one ends nothing, so a token whose answer was lost
	// cannot be revoked by anybody.
	ReachToken Reach = "token"
	// ReachFamily ends every token that came of the same grant, whichever of them was posted, spent or not.
	ReachFamily Reach = "family"
	// ReachGrant ends every token of the user and client, those of other grants too.
	ReachGrant Reach = "grant"
)

const (
	defaultHistory        = 64
	defaultAccessLifetime = time.Hour
)

// WithDefaults returns the configuration with every zero field replaced by its default.
func (c Config) WithDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.History == 0 {
		c.History = defaultHistory
	}
	clients := make([]Client, len(c.Clients))
	for i, client := range c.Clients {
		clients[i] = client.withDefaults()
	}
	c.Clients = clients
	return c
}

func (c Client) withDefaults() Client {
	if c.Auth == "" {
		c.Auth = AuthBasic
	}
	p := &c.Policy
	if p.Rotation == "" {
		p.Rotation = Strict
	}
	if p.AccessLifetime == 0 {
		p.AccessLifetime = defaultAccessLifetime
	}
	if p.Revocation == "" {
		p.Revocation = ReachFamily
	}
	return c
}

// Validate says what is wrong with a configuration that has its defaults.
func (c Config) Validate() error {
	if c.History < 1 {
		return errors.New("history below 1")
	}
	if len(c.Clients) == 0 {
		return errors.New("no client")
	}
	seen := map[string]bool{}
	for _, client := range c.Clients {
		if client.ID == "" || seen[client.ID] {
			return fmt.Errorf("client id %q is empty or taken", client.ID)
		}
		seen[client.ID] = true
		if err := client.validate(); err != nil {
			return fmt.Errorf("validating client %q: %w", client.ID, err)
		}
	}
	return nil
}

func (c Client) validate() error {
	switch c.Auth {
	case AuthBasic, AuthPost:
		if c.Secret == "" {
			return errors.New("no secret")
		}
	case AuthPrivateKeyJWT:
		if err := validateKey(c.Key); err != nil {
			return err
		}
	case AuthNone:
	default:
		return fmt.Errorf("unknown authentication %q", c.Auth)
	}
	return c.Policy.validate()
}

func validateKey(key crypto.PublicKey) error {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return errors.New("the key is not on P-256")
		}
	case *rsa.PublicKey:
	default:
		return fmt.Errorf("no ECDSA or RSA key, but %T", key)
	}
	return nil
}

func (p Policy) validate() error {
	switch p.Rotation {
	case Static, Strict:
		if p.Grace != 0 || p.GraceMints {
			return fmt.Errorf("a grace without rotation %q", Grace)
		}
	case Grace:
		if p.Grace <= 0 {
			return errors.New("no grace")
		}
	default:
		return fmt.Errorf("unknown rotation %q", p.Rotation)
	}
	switch p.Revocation {
	case ReachToken, ReachFamily, ReachGrant:
	default:
		return fmt.Errorf("unknown reach of a revocation %q", p.Revocation)
	}
	if p.AccessLifetime < time.Second || p.RefreshWindow < 0 || p.IdleLifetime < 0 || p.GrantLifetime < 0 {
		return errors.New("a lifetime is negative, or an access token's below a second")
	}
	return nil
}
