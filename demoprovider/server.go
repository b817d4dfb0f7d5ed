package demoprovider

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server is an OAuth 2.0 authorization server and the judge of its clients. It is an [http.Handler], safe for concurrent
// use. Make one with [New].
type Server struct {
	cfg     Config
	clients map[string]*Client
	mint    mint
	mux     *http.ServeMux
	closing chan struct{}
	close   sync.Once

	listening sync.WaitGroup
	http      *http.Server

	// What the ledger says moves under one lock: the little that is done under it takes microseconds, next to an HTTP
	// exchange it is nothing, and every view is consistent.
	mu       sync.Mutex
	issuer   string
	ahead    time.Duration
	families []*family
	grants   map[grantID][]*family
	totals   Totals
}

// grantID is what a user granted to a client; each time it is granted makes a family.
type grantID struct{ client, subject string }

// New makes a server that serves as an [http.Handler], or on an address of its own after [Server.Start].
func New(cfg Config) (*Server, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("validating the provider's configuration: %w", err)
	}
	mint, err := newMint()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:     cfg,
		clients: map[string]*Client{},
		mint:    mint,
		closing: make(chan struct{}),
		issuer:  cfg.Issuer,
		grants:  map[grantID][]*family{},
	}
	for i := range cfg.Clients {
		s.clients[cfg.Clients[i].ID] = &cfg.Clients[i]
	}
	s.mux = s.routes()
	return s, nil
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

const (
	readWithin  = 10 * time.Second // a request whose client stalls
	closeWithin = 5 * time.Second
)

// Start listens on addr, such as 127.0.0.1:0, and serves until [Server.Close]. Addresses other than loopback are refused:
// the server speaks plain HTTP and is made to be attacked.
func (s *Server) Start(ctx context.Context, addr string) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	if at, ok := listener.Addr().(*net.TCPAddr); !ok || !at.IP.IsLoopback() {
		return errors.Join(fmt.Errorf("%s is not a loopback address", addr), listener.Close())
	}
	s.mu.Lock()
	if s.issuer == "" {
		s.issuer = "http://" + listener.Addr().String()
	}
	s.mu.Unlock()
	s.http = &http.Server{Handler: s, ReadTimeout: readWithin}
	s.listening.Go(func() { _ = s.http.Serve(listener) }) // ends with Close, the only way it can
	return nil
}

// URL is the issuer, below which all endpoints are; empty when neither the configuration nor [Server.Start] gave one.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issuer
}

// Close ends what faults hold up and closes all connections of [Server.Start]. The ledger stays readable.
func (s *Server) Close() error {
	s.close.Do(func() { close(s.closing) })
	if s.http == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	s.listening.Wait()
	if err != nil {
		return fmt.Errorf("closing the provider: %w", err)
	}
	return nil
}

// Now is the server's time.
func (s *Server) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
}

// Advance sets the server's clock forward.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead += d
}

// now is called under the lock.
func (s *Server) now() time.Time { return s.cfg.Now().Add(s.ahead) }
