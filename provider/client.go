package provider

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// Config is how a [Client] is set up. Zero values mean the defaults.
type Config struct {
	ConnectTimeout time.Duration // for name resolution, connection and TLS together; default 10 s
	Timeout        time.Duration // for a whole exchange, in time that this process runs; default 30 s. Claims and margins must be longer

	RootCAs  *x509.CertPool   // whose certificates are trusted; default the system's
	Resolver *net.Resolver    // default the system's
	Now      func() time.Time // default time.Now
}

// WithDefaults fills in what is zero.
func (c Config) WithDefaults() Config {
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 10 * time.Second
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Validate reports what cannot work.
func (c Config) Validate() error {
	c = c.WithDefaults()
	switch {
	case c.ConnectTimeout < 0 || c.Timeout < 0:
		return errors.New("provider: a time limit is negative")
	case c.Timeout > DefaultMargin:
		return errors.New("provider: a request may take longer than the margin of the last resort")
	}
	return nil
}

// Client sends requests to providers. It is safe for concurrent use; the zero value is not usable, [NewClient] makes one.
type Client struct {
	cfg Config

	mu       sync.Mutex
	sessions map[*Provider]*session
}

// session is what a client keeps for one provider.
type session struct {
	transport *http.Transport
	metadata  metadataCache
	keys      keyCache
}

// NewClient makes a client.
func NewClient(cfg Config) *Client {
	return &Client{cfg: cfg.WithDefaults(), sessions: map[*Provider]*session{}}
}

// Close closes the connections that no request uses. A closed client may be used again.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sessions {
		s.transport.CloseIdleConnections()
	}
}

func (c *Client) session(p *Provider) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.sessions[p]
	if !ok {
		s = &session{transport: newTransport(c.cfg, p), metadata: newMetadataCache(), keys: newKeyCache()}
		c.sessions[p] = s
	}
	return s
}

// Prepare does ahead what a call to the provider would otherwise have to do first: it fetches the issuer's metadata, if
// there is an issuer and they are not at hand, and reads the client's credentials again if it is time to. Between a claim
// and its POST nothing slow may stand, so the rotator calls it before it claims. The answer is OK, or what
// the call would have ended with.
func (c *Client) Prepare(ctx context.Context, p *Provider) Answer {
	if !p.Enabled() {
		return ended(Misconfigured, CodeNotEnabled)
	}
	c.renewCreds(ctx, p)
	if _, fault := c.discover(ctx, p); fault.Outcome != OK {
		return fault
	}
	return Answer{Outcome: OK}
}
