package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"golang.org/x/oauth2"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// ReaderConfig is how a [Reader] is set up. Zero values mean the defaults.
type ReaderConfig struct {
	// MinLifetime is how long a token should still live when it is handed out; default one minute. The worker refreshes
	// those that do not, and gives no more than half of the lifetime that the provider gives.
	MinLifetime time.Duration

	Timeout time.Duration    // for one read; default 15 s
	Suite   events.Suite     // of one-time keys; default [events.SuiteHybrid]
	Now     func() time.Time // default: time.Now
}

// Reader reads access tokens as one caller. It is safe for concurrent use.
type Reader struct {
	nc     *nats.Conn
	caller string
	cfg    ReaderConfig
}

// NewReader returns a reader. The caller is the name that NATS's permissions pin its user to; the connection was made with
// [nats.CustomInboxPrefix]([events.InboxPrefix](caller)), because replies go nowhere else.
func NewReader(nc *nats.Conn, caller string, cfg ReaderConfig) *Reader {
	if cfg.MinLifetime == 0 {
		cfg.MinLifetime = time.Minute
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 15 * time.Second
	}
	if cfg.Suite == "" {
		cfg.Suite = events.SuiteHybrid
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Reader{nc, caller, cfg}
}

// Token reads the access token of a connection. Where there is none the error matches an [events.GetCode]:
// [events.GetDisconnected] and [events.GetReauthRequired] last until somebody acts, [events.GetUnavailable] may pass. It
// matches [tokenworker.ErrMisconfigured] when the connection to NATS hears other inboxes than the caller's.
func (r *Reader) Token(ctx context.Context, key tokenworker.Key) (events.AccessToken, error) {
	return r.Replacement(ctx, key, tokenworker.Fence{})
}

// Replacement reads a token in place of one that the provider's API has refused, which is named by its fence.
func (r *Reader) Replacement(ctx context.Context, key tokenworker.Key, refused tokenworker.Fence) (events.AccessToken, error) {
	if !strings.HasPrefix(r.nc.Opts.InboxPrefix+".", events.InboxPrefix(r.caller)+".") {
		return events.AccessToken{}, fmt.Errorf("%w: the connection hears other inboxes than those of %s",
			tokenworker.ErrMisconfigured, events.InboxPrefix(r.caller))
	}
	g, err := events.NewGet(events.GetRequest{
		Caller: r.caller, Key: key, MinLifetime: r.cfg.MinLifetime, Refused: refused,
	}, r.cfg.Suite)
	if err != nil {
		return events.AccessToken{}, fmt.Errorf("asking for a token: %w", err)
	}
	body, err := g.Body()
	if err != nil {
		return events.AccessToken{}, fmt.Errorf("asking for a token: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	reply, err := r.nc.RequestWithContext(ctx, g.Subject(), body)
	if err != nil {
		return events.AccessToken{}, errors.Join(events.GetUnavailable, fmt.Errorf("asking for a token: %w", err))
	}
	if code := reply.Header.Get(micro.ErrorHeader); code != "" {
		return events.AccessToken{}, events.GetCode(code)
	}
	token, err := g.Open(reply.Data)
	if err != nil {
		return events.AccessToken{}, fmt.Errorf("opening a token: %w", err)
	}
	return token, nil
}

// reuse is how long a token may be used without asking again: for so long may a disconnect go unnoticed here.
const reuse = time.Minute

// TokenSource reads the tokens of a connection, as [golang.org/x/oauth2] wants them. The context is that of every read. Each
// token's expiry is a minute away at most, whatever its own, so that whoever keeps it until then, as
// [golang.org/x/oauth2.NewClient] does, hears of a disconnect.
func (r *Reader) TokenSource(ctx context.Context, key tokenworker.Key) oauth2.TokenSource {
	return tokenSource(func() (*oauth2.Token, error) {
		t, err := r.Token(ctx, key)
		if err != nil {
			return nil, err
		}
		return &oauth2.Token{
			AccessToken: string(t.Value.Reveal()), TokenType: t.Scheme, Expiry: r.until(t).Add(expiryDelta),
		}, nil
	})
}

// expiryDelta is how long before its expiry package oauth2 takes a token for expired.
const expiryDelta = 10 * time.Second

type tokenSource func() (*oauth2.Token, error)

func (s tokenSource) Token() (*oauth2.Token, error) { return s() }

// until is when a token that was read now should be read again.
func (r *Reader) until(t events.AccessToken) time.Time {
	end := r.cfg.Now().Add(reuse)
	if latest := t.ExpiresAt.Add(-expiryDelta); !t.ExpiresAt.IsZero() && latest.Before(end) {
		return latest
	}
	return end
}

// Transport adds the access token of a connection to requests before base sends them; nil is [http.DefaultTransport]. When
// the API answers 401 it asks for another token and sends the request again, once, if its body can be had again (there is
// none, or [http.Request.GetBody] is set, as by [http.NewRequest]). A request that follows a redirect to another host
// gets no token.
func (r *Reader) Transport(key tokenworker.Key, base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport //nolint:forbidigo // what users of net/http expect
	}
	return &transport{reader: r, key: key, base: base}
}

type transport struct {
	reader *Reader
	key    tokenworker.Key
	base   http.RoundTripper

	mu    sync.Mutex
	token events.AccessToken
	until time.Time
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if origin(req) != req.URL.Scheme+"://"+req.URL.Host {
		return t.base.RoundTrip(req)
	}
	token, err := t.current(req.Context(), tokenworker.Fence{})
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // as every RoundTripper must
		}
		return nil, err
	}
	resp, err := t.base.RoundTrip(authorized(req, token))
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	again, ok := replay(req)
	if !ok {
		return resp, nil
	}
	if token, err = t.current(req.Context(), token.Fence); err != nil {
		if again.Body != nil {
			_ = again.Body.Close()
		}
		return resp, nil // the API's answer says it too
	}
	_ = resp.Body.Close()
	return t.base.RoundTrip(authorized(again, token))
}

// origin is where the first of a chain of redirects was sent.
func origin(req *http.Request) string {
	for req.Response != nil && req.Response.Request != nil {
		req = req.Response.Request
	}
	return req.URL.Scheme + "://" + req.URL.Host
}

// current is a token that may be used now, and is not of the refused set.
func (t *transport) current(ctx context.Context, refused tokenworker.Fence) (events.AccessToken, error) {
	t.mu.Lock()
	token, until := t.token, t.until
	t.mu.Unlock()
	if t.reader.cfg.Now().Before(until) && token.Fence != refused {
		return token, nil
	}
	token, err := t.reader.Replacement(ctx, t.key, refused)
	if err != nil {
		return events.AccessToken{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.token, t.until = token, t.reader.until(token)
	return token, nil
}

// authorized is a copy of a request with a token, since a RoundTripper must leave the request as it is.
func authorized(req *http.Request, token events.AccessToken) *http.Request {
	req = req.Clone(req.Context())
	(&oauth2.Token{AccessToken: string(token.Value.Reveal()), TokenType: token.Scheme}).SetAuthHeader(req)
	return req
}

// replay is the same request once more, unless its body is gone.
func replay(req *http.Request) (*http.Request, bool) {
	again := req.Clone(req.Context())
	if req.Body == nil || req.Body == http.NoBody {
		return again, true
	}
	if req.GetBody == nil {
		return nil, false
	}
	body, err := req.GetBody()
	again.Body = body
	return again, err == nil
}
