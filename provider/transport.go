package provider

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// idleTimeout is how long a connection is kept for the next request; the package comment says why no longer.
	idleTimeout = time.Second

	// maxIdleConnections is how many a burst may leave behind, for each host.
	maxIdleConnections = 64

	maxHeaderBytes = 64 << 10 // of an answer
)

var errTLS = errors.New("TLS handshake failed")

// newTransport makes a transport for one provider, because what may be dialed is the provider's own.
func newTransport(cfg Config, p *Provider) *http.Transport {
	d := &dialer{cfg: cfg, allowed: p.allowNetworks, sessions: tls.NewLRUClientSessionCache(0)}
	return &http.Transport{
		Proxy:                  nil, // a proxy would choose the address in our place
		DialContext:            d.dialPlain,
		DialTLSContext:         d.dialTLS,
		DisableCompression:     true, // it would unpack what is announced, and nothing else; see readBody
		IdleConnTimeout:        idleTimeout,
		MaxIdleConnsPerHost:    maxIdleConnections,
		MaxResponseHeaderBytes: maxHeaderBytes,
		// Not nil, so that HTTP/2 stays off: its transport retries by rules of its own.
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
}

// dialer connects to allowed addresses only.
type dialer struct {
	cfg      Config
	allowed  []netip.Prefix
	sessions tls.ClientSessionCache
}

func (d *dialer) dialPlain(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.ConnectTimeout)
	defer cancel()
	conn, err := d.dial(ctx, network, address, true)
	if err != nil {
		return nil, err
	}
	return &countingConn{Conn: conn}, nil
}

func (d *dialer) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.ConnectTimeout)
	defer cancel()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	raw, err := d.dial(ctx, network, address, false)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, &tls.Config{
		ServerName: host, RootCAs: d.cfg.RootCAs, MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"}, ClientSessionCache: d.sessions,
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("%w: %w", errTLS, err)
	}
	return &countingConn{Conn: conn}, nil
}

// dial judges each address after name resolution, inside the very call that connects to it. Plain says that no TLS will
// follow.
func (d *dialer) dial(ctx context.Context, network, address string, plain bool) (net.Conn, error) {
	nd := net.Dialer{
		Resolver: d.cfg.Resolver,
		Control: func(_, resolved string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(resolved)
			if err != nil || !mayDial(to.Addr(), d.allowed, plain) {
				return errAddressRefused
			}
			return nil
		},
	}
	return nd.DialContext(ctx, network, address)
}

// countingConn counts the writes that reached the network, above TLS: what it has not counted, nobody has read.
type countingConn struct {
	net.Conn
	writes atomic.Int64

	// Of the request that has the connection.
	before atomic.Int64 // writes when it got it
	sendBy atomic.Int64 // when it must have begun, in Unix nanoseconds
}

var errTooLate = errors.New("too late to send")

// begin gives the connection to a request that must begin by a time, and returns the number of writes so far.
func (c *countingConn) begin(sendBy time.Time) int64 {
	before := c.writes.Load()
	c.before.Store(before)
	c.sendBy.Store(sendBy.UnixNano())
	return before
}

// Write counts before it writes, so that a write under way counts as well. One that failed before its first byte does
// not: of a TLS record that was cut off the other side can read nothing. A process that was paused between its decision to
// send and the first write does not send any more.
func (c *countingConn) Write(b []byte) (int, error) {
	if c.writes.Load() == c.before.Load() && time.Now().UnixNano() > c.sendBy.Load() {
		return 0, errTooLate
	}
	c.writes.Add(1)
	n, err := c.Conn.Write(b)
	if n == 0 && err != nil {
		c.writes.Add(-1)
	}
	return n, err
}
