package natstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tokenworker/tokenworker/internal/attack/proxy"
)

// ClusterSize is how many servers a [Cluster] has.
const ClusterSize = 3

// Cluster is three NATS servers with JetStream in this process. Each route between two of them leads through proxies of its
// own on the loopback interface, so that a server can be cut off from the others and keeps its clients.
type Cluster struct {
	Servers [ClusterSize]*server.Server // nil: stopped
	options [ClusterSize]*server.Options
	links   []link
}

// link is the way by which one server solicits a route to another.
type link struct {
	from, to int
	proxy    *proxy.TCP
}

// StartCluster runs a cluster until the test ends.
func StartCluster(tb testing.TB) *Cluster {
	tb.Helper()
	c, err := OpenCluster(tb.Context(), tb.TempDir())
	if err != nil {
		tb.Fatalf("starting a cluster: %v", err)
	}
	tb.Cleanup(c.Close)
	return c
}

// OpenCluster runs a cluster with its files below a folder until it is closed. When it returns, JetStream has a leader who can
// place a stream on every server.
func OpenCluster(ctx context.Context, dir string) (_ *Cluster, err error) {
	c := &Cluster{}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	for i := range c.options {
		port, err := freePort(ctx)
		if err != nil {
			return nil, err
		}
		c.options[i] = &server.Options{
			ServerName: "n" + strconv.Itoa(i+1), Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
			JetStream: true, StoreDir: filepath.Join(dir, "n"+strconv.Itoa(i+1)),
			// The others are told of no address that would lead past the proxies.
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: port, Advertise: "127.0.0.1:1", PoolSize: -1},
		}
	}
	for from := range c.options {
		for to, o := range c.options {
			if from == to {
				continue
			}
			p, err := proxy.NewTCP(ctx, net.JoinHostPort("127.0.0.1", strconv.Itoa(o.Cluster.Port)))
			if err != nil {
				return nil, err
			}
			c.links = append(c.links, link{from, to, p})
			c.options[from].Routes = append(c.options[from].Routes, &url.URL{Scheme: "nats-route", Host: p.Addr()})
		}
	}
	for i := range c.Servers {
		if err := c.Start(i); err != nil {
			return nil, err
		}
	}
	return c, c.await(c.isReady, "JetStream has no leader that can place streams")
}

func freePort(ctx context.Context) (int, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("looking for a free port: %w", err)
	}
	defer l.Close() //nolint:errcheck // only its number is wanted
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Close stops everything.
func (c *Cluster) Close() {
	for _, s := range c.Servers {
		if s != nil {
			s.Shutdown()
		}
	}
	for i := range c.Servers {
		c.Stop(i)
	}
	for _, l := range c.links {
		l.proxy.Close()
	}
}

// Start starts a server, again after a Stop, on the same files and ports.
func (c *Cluster) Start(i int) error {
	s, err := server.NewServer(c.options[i].Clone())
	if err != nil {
		return fmt.Errorf("making a NATS server: %w", err)
	}
	s.Start()
	c.Servers[i] = s
	if !s.ReadyForConnections(30 * time.Second) {
		return errors.New("the NATS server did not get ready within 30 s")
	}
	c.options[i].Port = s.Addr().(*net.TCPAddr).Port
	return nil
}

// Stop stops a server.
func (c *Cluster) Stop(i int) {
	if s := c.Servers[i]; s != nil {
		s.Shutdown()
		s.WaitForShutdown()
		c.Servers[i] = nil
	}
}

// Cut cuts a server off from the others.
func (c *Cluster) Cut(i int) { c.set(i, proxy.Cut) }

// Mend undoes a Cut.
func (c *Cluster) Mend(i int) { c.set(i, proxy.Open) }

func (c *Cluster) set(i int, state proxy.State) {
	for _, l := range c.links {
		if l.from == i || l.to == i {
			l.proxy.Set(state)
		}
	}
}

// URL is where clients connect to all of it, a server first and the others in turn.
func (c *Cluster) URL(first int) string {
	var urls []string
	for i := range c.options {
		urls = append(urls, "nats://127.0.0.1:"+strconv.Itoa(c.options[(first+i)%ClusterSize].Port))
	}
	return strings.Join(urls, ",")
}

// Leader waits for the leader of a stream.
func (c *Cluster) Leader(stream string) (leader int, err error) {
	err = c.await(func() bool {
		leader = c.find(func(s *server.Server) bool { return s.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) })
		return leader >= 0
	}, "stream "+stream+" has no leader")
	return leader, err
}

// StepDown has the leaders of a stream and of one of its consumers step down, and waits until each has one again.
func (c *Cluster) StepDown(stream, consumer string) error {
	leader, err := c.Leader(stream)
	if err != nil {
		return err
	}
	if err := c.Servers[leader].JetStreamStepdownStream(server.DEFAULT_GLOBAL_ACCOUNT, stream); err != nil {
		return fmt.Errorf("having the leader of %s step down: %w", stream, err)
	}
	isLeader := func(s *server.Server) bool {
		return s.JetStreamIsConsumerLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream, consumer)
	}
	if i := c.find(isLeader); i >= 0 {
		if err := c.Servers[i].JetStreamStepdownConsumer(server.DEFAULT_GLOBAL_ACCOUNT, stream, consumer); err != nil {
			return fmt.Errorf("having the leader of %s step down: %w", consumer, err)
		}
	}
	if _, err := c.Leader(stream); err != nil {
		return err
	}
	return c.await(func() bool { return c.find(isLeader) >= 0 }, "consumer "+consumer+" has no leader")
}

// find returns the server that is something; -1: none is.
func (c *Cluster) find(is func(*server.Server) bool) int {
	return slices.IndexFunc(c.Servers[:], func(s *server.Server) bool { return s != nil && is(s) })
}

// isReady reports whether each server keeps up with JetStream's leader, and that one has heard of each how much it has room for.
func (c *Cluster) isReady() bool {
	leader := c.find((*server.Server).JetStreamIsLeader)
	return leader >= 0 && len(c.Servers[leader].JetStreamClusterPeers()) == ClusterSize &&
		c.find(func(s *server.Server) bool { return !s.JetStreamIsLeader() && !s.JetStreamIsCurrent() }) < 0
}

// await waits until done.
func (c *Cluster) await(done func() bool, otherwise string) error {
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(20 * time.Millisecond) { //nolint:forbidigo // between looks
		if time.Now().After(deadline) {
			return errors.New("waited a minute in vain: " + otherwise)
		}
	}
	return nil
}
