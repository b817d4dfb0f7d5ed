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
	signer  signer
	mux     *http.ServeMux
	closing chan struct{}
	running sync.WaitGroup // what serves

	// What the ledger says moves under one lock: the little that is done under it takes microseconds, next to an HTTP
	// exchange it is nothing, and every view is consistent.
	mu       sync.Mutex
	issuer   string
	ahead    time.Duration
	families []*family
	grants   map[grantID][]*family
	totals   Totals
	faults   faultPlan
	seen     seenAssertions
	http     *http.Server // of Start
	closed   bool
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
	signer, err := newSigner()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:     cfg,
		clients: map[string]*Client{},
		mint:    mint,
		signer:  signer,
		closing: make(chan struct{}),
		issuer:  cfg.Issuer,
		grants:  map[grantID][]*family{},
		totals:  Totals{Faults: map[FaultKind]int{}},
		faults:  newFaultPlan(cfg.Seed),
	}
	for i := range cfg.Clients {
		s.clients[cfg.Clients[i].ID] = &cfg.Clients[i]
	}
	s.mux = s.routes()
	return s, nil
}

// ServeHTTP implements [http.Handler]. A closed server closes the connection.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		panic(http.ErrAbortHandler)
	}
	defer s.running.Done()
	s.mux.ServeHTTP(w, r)
}

// enter counts a request in, unless the server is closed.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.running.Add(1)
	}
	return !s.closed
}

const (
	headerWithin = 10 * time.Second
	// Longer than clients keep idle connections: one that the server closes first can meet a request on its way, which then
	// ends unknown without any fault having been asked for.
	idleWithin = 10 * time.Minute
)

// Start listens on addr, such as 127.0.0.1:0, and serves until [Server.Close]. It is called once. Addresses other than
// loopback are refused: the server speaks plain HTTP and is made to be attacked.
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
	defer s.mu.Unlock()
	if s.issuer == "" {
		s.issuer = "http://" + listener.Addr().String()
	}
	// No limit on the whole request: it would end the contexts of those that a fault holds up.
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: headerWithin, IdleTimeout: idleWithin}
	s.running.Go(func() { _ = s.http.Serve(listener) }) // ends with Close, the only way it can
	return nil
}

// URL is the issuer, below which all endpoints are; empty when neither the configuration nor [Server.Start] gave one.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issuer
}

// Close closes all connections, ends what faults hold up, and returns when nothing is served any more. The ledger stays
// readable, and is final.
func (s *Server) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	listening := s.http
	s.mu.Unlock()
	var err error
	if listening != nil {
		err = listening.Close()
	}
	s.running.Wait()
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
