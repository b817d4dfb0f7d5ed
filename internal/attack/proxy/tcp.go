// Package proxy stands between the worker and what it depends on, breaks the connection in the ways that networks and
// services do, and counts what the worker tries meanwhile.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// State is what a [TCP] proxy does with connections.
type State int32

// The states of a [TCP] proxy.
const (
	Open  State = iota // passes everything on
	Cut                // ends every connection; new ones end at once
	Stall              // keeps every connection and passes nothing on, as a lost route does
)

// TCP passes connections on to one address.
type TCP struct {
	listener net.Listener
	target   string
	accepted atomic.Int64
	running  sync.WaitGroup

	mu      sync.Mutex
	state   State
	changed chan struct{} // closed when state changes
	conns   map[net.Conn]struct{}
}

// NewTCP starts a proxy on a free port of the loopback interface.
func NewTCP(ctx context.Context, target string) (*TCP, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	p := &TCP{listener: l, target: target, changed: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	p.running.Go(p.accept)
	return p, nil
}

// Addr is the host and port that it listens on.
func (p *TCP) Addr() string { return p.listener.Addr().String() }

// Accepted counts the connections that were made to it, in every state.
func (p *TCP) Accepted() int64 { return p.accepted.Load() }

// Set changes the state, for connections that exist as well.
func (p *TCP) Set(s State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = s
	close(p.changed)
	p.changed = make(chan struct{})
	if s == Cut {
		p.closeConns()
	}
}

// Close ends every connection and the proxy.
func (p *TCP) Close() {
	_ = p.listener.Close()
	p.Set(Cut)
	p.running.Wait()
}

func (p *TCP) closeConns() {
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
}

func (p *TCP) accept() {
	for {
		client, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		} else if err != nil {
			continue
		}
		p.accepted.Add(1)
		p.running.Go(func() { p.serve(client) })
	}
}

// serve passes one connection on until either side ends it or the proxy is cut.
func (p *TCP) serve(client net.Conn) {
	defer client.Close() //nolint:errcheck // it may be closed already
	if !p.keep(client) {
		return
	}
	server, err := new(net.Dialer).Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close() //nolint:errcheck // as above
	if !p.keep(server) {
		return
	}
	var both sync.WaitGroup
	for _, way := range [2]struct{ to, from net.Conn }{{server, client}, {client, server}} {
		both.Go(func() {
			_, _ = io.Copy(gate{p, way.to}, way.from) // ends when either side does, which is all there is to know
			_ = way.to.Close()
			_ = way.from.Close()
		})
	}
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, client)
	delete(p.conns, server)
}

// keep notes a connection so that it can be cut; it is false when it must end at once.
func (p *TCP) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == Cut {
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

// gate writes to a connection while the proxy is open.
type gate struct {
	p  *TCP
	to net.Conn
}

func (g gate) Write(b []byte) (int, error) {
	for {
		g.p.mu.Lock()
		state, changed := g.p.state, g.p.changed
		g.p.mu.Unlock()
		if state != Stall {
			return g.to.Write(b) //nolint:wrapcheck // io.Copy's business
		}
		<-changed
	}
}
