package provider_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker/provider"
)

// rawServer hands each connection to the test, together with what can be read from it.
type rawServer struct {
	net.Listener
	posts atomic.Int64 // requests that were read whole
	conns atomic.Int64
}

func serveRaw(t *testing.T, handle func(net.Conn, func() error)) *rawServer {
	t.Helper()
	l, err := listen(t, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{Listener: l}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			wg.Go(func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				handle(conn, func() error {
					r, err := http.ReadRequest(in)
					if err == nil {
						_, err = io.Copy(io.Discard, r.Body)
					}
					if err == nil {
						s.posts.Add(1)
					}
					return err
				})
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return s
}

func (s *rawServer) url() string { return "http://" + s.Addr().String() }

// The limits of a client, each short enough to be met by a test that waits for nothing else.
func patient(*provider.Config)        {}
func shortConnect(c *provider.Config) { c.ConnectTimeout = 50 * time.Millisecond }
func shortTotal(c *provider.Config)   { c.Timeout = 2 * time.Second } // long enough for the head of the answer

// guard is a context that is canceled when a limit was not kept, which ends a call in another way.
func guard(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	timer := time.AfterFunc(20*time.Second, cancel)
	t.Cleanup(func() {
		timer.Stop()
		cancel()
	})
	return ctx
}

// answer writes an answer as it is.
func answer(conn net.Conn, text string) { _, _ = io.WriteString(conn, text) }

// hang waits until the client has gone.
func hang(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

func TestOncePostedNobodyKnows(t *testing.T) {
	for _, tc := range []struct {
		name   string
		handle func(net.Conn, func() error)
		code   provider.Code
		limits func(*provider.Config)
	}{
		{"closed after the request was read", func(_ net.Conn, read func() error) { _ = read() }, provider.CodeConnectionLost, patient},
		{"reset after the request was read", func(conn net.Conn, read func() error) {
			_ = read()
			_ = conn.(*net.TCPConn).SetLinger(0)
		}, provider.CodeConnectionLost, patient},
		{"closed inside the head of the answer", func(conn net.Conn, read func() error) {
			_ = read()
			answer(conn, "HTTP/1.1 200 OK\r\nContent-Ty")
		}, provider.CodeConnectionLost, patient},
		{"closed inside the body of the answer", func(conn net.Conn, read func() error) {
			_ = read()
			answer(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"access_token\": \"a\"")
		}, provider.CodeUnreadable, patient},
		{"an answer in another protocol", func(conn net.Conn, read func() error) {
			_ = read()
			answer(conn, "SSH-2.0-demo\r\n")
		}, provider.CodeConnectionLost, patient},
		{"a head without end", func(conn net.Conn, read func() error) {
			_ = read()
			answer(conn, "HTTP/1.1 200 OK\r\n")
			for {
				if _, err := io.WriteString(conn, "X-More: and more\r\n"); err != nil {
					return
				}
			}
		}, provider.CodeConnectionLost, patient},
		{"no answer", func(conn net.Conn, read func() error) {
			_ = read()
			hang(conn)
		}, provider.CodeTimeout, shortTotal},
		{"an answer whose body never ends", func(conn net.Conn, read func() error) {
			_ = read()
			answer(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
			hang(conn)
		}, provider.CodeUnreadable, shortTotal},
		{"switched protocols", func(conn net.Conn, read func() error) {
			_ = read()
			answer(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		}, provider.CodeUnreadable, patient},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := serveRaw(t, tc.handle)
			p := demo(t, tokenURL("%s", s.url()))
			ends(t, client(t, tc.limits).Refresh(guard(t), p, key, held()), provider.Unknown, tc.code)
			if n := s.posts.Load(); n != 1 {
				t.Errorf("%d POSTs, want 1", n)
			}
		})
	}
}

// net/http's own client would send a GET again here, and a POST as well if it could begin its body a second time.
func TestAPostOnAReusedConnectionIsNotRepeated(t *testing.T) {
	s := serveRaw(t, func(conn net.Conn, read func() error) {
		if read() != nil {
			return
		}
		answer(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 21\r\n\r\n{\"access_token\": \"a\"}")
		_ = read() // and close
	})
	p, c := demo(t, tokenURL("%s", s.url())), client(t)
	ends(t, c.Refresh(t.Context(), p, key, held()), provider.OK, "")
	ends(t, c.Refresh(t.Context(), p, key, held()), provider.Unknown, provider.CodeConnectionLost)
	if posts, conns := s.posts.Load(), s.conns.Load(); posts != 2 || conns != 1 {
		t.Errorf("%d POSTs on %d connections, want 2 on 1", posts, conns)
	}
}

func TestWhatWasNotWrittenIsNotSpent(t *testing.T) {
	closed, err := listen(t, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	trusted := serveTLS(t, func(*httptest.Server) {}, http.NotFound)
	notTLS := serveRaw(t, func(conn net.Conn, _ func() error) { answer(conn, "HTTP/1.1 400 Bad Request\r\n\r\n") })
	silent := serveRaw(t, func(conn net.Conn, _ func() error) { hang(conn) })
	nobody := dnsServer(t, func(string) net.IP { return nil })

	for _, tc := range []struct {
		name string
		gone bool // canceled before
		url  string
		edit func(*provider.Config)
		code provider.Code
	}{
		{name: "connection refused", url: "http://" + closed.Addr().String(), code: provider.CodeUnreachable},
		{name: "no such name", url: "https://nowhere.example.com", edit: func(c *provider.Config) { c.Resolver = nobody },
			code: provider.CodeUnreachable},
		{name: "a certificate that nobody trusts", url: trusted.URL, code: provider.CodeTLSFailed},
		{name: "no TLS behind https", url: "https://" + notTLS.Addr().String(), code: provider.CodeTLSFailed},
		{name: "a handshake that never ends", url: "https://" + silent.Addr().String(), edit: shortConnect, code: provider.CodeTLSFailed},
		{name: "canceled before", gone: true, url: silent.url(), code: provider.CodeCanceled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := client(t)
			ctx, cancel := context.WithCancel(guard(t))
			defer cancel()
			if tc.gone {
				cancel()
			}
			if tc.edit != nil {
				c = client(t, tc.edit)
			}
			ends(t, c.Refresh(ctx, demo(t, tokenURL("%s", tc.url)), key, held()), provider.NotSpent, tc.code)
		})
	}
	if n := silent.posts.Load() + notTLS.posts.Load(); n != 0 {
		t.Errorf("%d POSTs, want none", n)
	}
}

// A server that closes without reading may do so before or after the request is written; either is told as it was.
func TestClosedBeforeTheRequestWasRead(t *testing.T) {
	s := serveRaw(t, func(net.Conn, func() error) {})
	p, c := demo(t, tokenURL("%s", s.url())), client(t)
	for range 50 {
		a := c.Refresh(t.Context(), p, key, held())
		lost := a.Outcome == provider.Unknown && a.Code == provider.CodeConnectionLost
		unsent := a.Outcome == provider.NotSpent && a.Code == provider.CodeUnreachable
		if !lost && !unsent {
			t.Fatalf("ended as %+v", a)
		}
	}
	if n := s.conns.Load(); n > 50 {
		t.Errorf("%d connections for 50 calls", n)
	}
}

func TestCanceledAfterTheRequestWasWritten(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := serveRaw(t, func(conn net.Conn, read func() error) {
		_ = read()
		cancel()
		hang(conn)
	})
	a := client(t).Refresh(ctx, demo(t, tokenURL("%s", s.url())), key, held())
	ends(t, a, provider.Unknown, provider.CodeCanceled)
}

// serveTLS starts a server with a certificate that nobody trusts unless told to.
func serveTLS(t *testing.T, edit func(*httptest.Server), handle http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handle)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	edit(s)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func trusting(s *httptest.Server) func(*provider.Config) {
	return func(c *provider.Config) {
		c.RootCAs = x509.NewCertPool()
		c.RootCAs.AddCert(s.Certificate())
	}
}

func TestOverTLS(t *testing.T) {
	var proto atomic.Value
	s := serveTLS(t, func(s *httptest.Server) { s.EnableHTTP2 = true }, func(w http.ResponseWriter, r *http.Request) {
		proto.Store(r.Proto)
		_, _ = io.WriteString(w, `{"access_token": "new-access"}`)
	})
	p, c := demo(t, tokenURL("%s", s.URL)), client(t, trusting(s))
	ends(t, c.Refresh(t.Context(), p, key, held()), provider.OK, "")
	if proto.Load() != "HTTP/1.1" {
		t.Errorf("spoke %s, whose transport repeats requests by rules of its own", proto.Load())
	}
}

func TestAnOldVersionOfTLSIsNotSpoken(t *testing.T) {
	s := serveTLS(t, func(s *httptest.Server) {
		s.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	}, http.NotFound)
	p, c := demo(t, tokenURL("%s", s.URL)), client(t, trusting(s))
	ends(t, c.Refresh(t.Context(), p, key, held()), provider.NotSpent, provider.CodeTLSFailed)
}
