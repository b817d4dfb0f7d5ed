package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/urfave/cli/v3"
)

const (
	defaultHTTPAddr = "127.0.0.1:8088"

	probeTimeout = 2 * time.Second // for finding out whether the worker is ready
	probeAge     = time.Second     // for which an answer is good: whoever asks more often costs nothing more
)

func httpFlag(to *string) cli.Flag {
	return &cli.StringFlag{
		Name: "http-addr", Sources: env("http-addr"), Value: defaultHTTPAddr, Destination: to,
		Usage: "`ADDRESS` of /healthz, /readyz and /metrics; port 0 takes any that is free",
	}
}

// httpServer answers what runs the worker: whether it lives, whether it is ready, and its metrics. It never sees a
// token.
type httpServer struct {
	listener net.Listener
	server   *http.Server
	metrics  *prometheus.Registry
	ready    probe
}

// listenHTTP takes the address. Until serve is called, connections wait.
func listenHTTP(ctx context.Context, addr string, log *slog.Logger) (*httpServer, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listening for HTTP: %w", err)
	}
	s := &httpServer{listener: listener, metrics: prometheus.NewRegistry(), ready: probe{log: log}}
	s.metrics.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "tokenworker_build_info", Help: "1, labelled with the version.",
			ConstLabels: prometheus.Labels{"version": buildVersion()},
		}, func() float64 { return 1 }),
	)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.Handle("GET /readyz", &s.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{}))
	s.server = &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// addr is where it listens.
func (s *httpServer) addr() string { return s.listener.Addr().String() }

// serve answers until ctx ends.
func (s *httpServer) serve(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { _ = s.server.Close() })()
	if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving HTTP: %w", err)
	}
	return nil
}

// probe answers whether the worker is ready.
type probe struct {
	log *slog.Logger

	mu    sync.Mutex
	check func(context.Context) error // nil: it is starting
	asked time.Time
	err   error
}

var errStarting = errors.New("starting")

// use sets how readiness is found out; nil: not at all, because the worker starts or stops.
func (p *probe) use(check func(context.Context) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.check, p.asked = check, time.Time{}
}

// ServeHTTP answers 200 or 503. What is wrong is for the log only.
func (p *probe) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := p.ask(r.Context()); err != nil {
		p.log.DebugContext(r.Context(), "not ready", slog.Any("error", err))
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ready\n"))
}

// ask checks, one request at a time, unless an answer is still good.
func (p *probe) ask(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.check == nil {
		return errStarting
	}
	if now := time.Now(); now.Sub(p.asked) > probeAge {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
		defer cancel()
		p.asked, p.err = now, p.check(ctx)
	}
	return p.err
}
