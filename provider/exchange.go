package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"time"
)

const (
	maxBodyBytes = 1 << 20 // of an answer

	// maxRetryAfter bounds what a provider may ask for. Longer ones are as good as never.
	maxRetryAfter = 24 * time.Hour
)

// request is one request to a provider, not yet sent.
type request struct {
	method string
	url    *url.URL
	header http.Header
	body   []byte
}

// reply is what came back. Without a status there is only the fault.
type reply struct {
	status     int
	retryAfter time.Duration
	mediaType  string
	body       []byte
	cut        bool // the body ended before its end
	fault      Code // why there is no status
	wrote      bool // something of the request reached the network
}

// encode puts parameters into the body.
func (r *request) encode(style sendStyle, params map[string]string) error {
	switch style {
	case sendForm:
		form := url.Values{}
		for name, value := range params {
			form.Set(name, value)
		}
		r.body = []byte(form.Encode())
		r.header.Set("Content-Type", "application/x-www-form-urlencoded")
	case sendJSON:
		body, err := json.Marshal(params)
		if err != nil {
			return err
		}
		r.body = body
		r.header.Set("Content-Type", "application/json")
	case sendBearer:
	}
	return nil
}

// exchange sends a request once and reads the answer. It never follows a redirect, never sends anything twice, and sends
// nothing after the deadline of ctx.
func (c *Client) exchange(ctx context.Context, p *Provider, r request) reply {
	patience, sendBy := c.cfg.Timeout, time.Now().Add(c.cfg.Timeout)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(sendBy) {
		patience, sendBy = time.Until(deadline), deadline
	}
	ctx, cancel := patient(ctx, patience)
	defer cancel()
	var conn *countingConn
	var before int64
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		conn, _ = info.Conn.(*countingConn)
		before = conn.begin(sendBy)
	}})

	req := (&http.Request{Method: r.method, URL: r.url, Header: r.header, Host: r.url.Host}).WithContext(ctx)
	if len(r.body) > 0 {
		// Without GetBody: the transport cannot begin the body a second time.
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(r.body)), int64(len(r.body))
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("User-Agent", "tokenworker")
	for name, value := range p.headers {
		req.Header.Set(name, value)
	}

	resp, err := c.session(p).transport.RoundTrip(req)
	wrote := conn != nil && conn.writes.Load() > before
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return reply{fault: faultOf(err, wrote), wrote: wrote}
	}
	defer resp.Body.Close()
	body, cut := readBody(resp)
	return reply{
		status: resp.StatusCode, retryAfter: retryAfter(resp, c.cfg.Now()), mediaType: resp.Header.Get("Content-Type"),
		body: body, cut: cut, wrote: true,
	}
}

// faultOf names an error of the transport, whose text may hold a URL or what the provider sent.
func faultOf(err error, wrote bool) Code {
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return CodeCanceled
	case errors.Is(err, errAddressRefused):
		return CodeAddressRefused
	case errors.Is(err, errTLS):
		return CodeTLSFailed
	case !wrote:
		return CodeUnreachable
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return CodeTimeout
	}
	return CodeConnectionLost
}

// retryAfter is how long an answer asks to wait: by Retry-After in the forms of RFC 9110 section 10.2.3, or with a fraction.
// Without it a 429 is asked when its limit is lifted, which is in seconds from now or a Unix time; other answers say that of
// a limit that was not reached.
func retryAfter(resp *http.Response, now time.Time) time.Duration {
	wait := delay(resp.Header.Get("Retry-After"), now)
	if wait == 0 && resp.StatusCode == http.StatusTooManyRequests {
		for _, name := range []string{"RateLimit-Reset", "X-RateLimit-Reset", "X-Rate-Limit-Reset"} {
			wait = max(wait, delay(resp.Header.Get(name), now))
		}
	}
	return min(wait, maxRetryAfter)
}

// epochs is where numbers begin that are Unix times and no delays: those would be of more than ten years.
const epochs = 3e8

// delay reads a delay or a time. It is zero for what is neither, or over.
func delay(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	var wait time.Duration
	if seconds := number(value); seconds > epochs {
		wait = instant(value).Sub(now)
	} else if seconds > 0 {
		wait = time.Duration(seconds * float64(time.Second))
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return max(wait, 0)
}
