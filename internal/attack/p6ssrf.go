package main

// P6, the part of the address: a provider's host that leads to where no provider is.
//
// Breaks that were tried, and what the attack said:
//
//	the dialer does not look at the address that it connects to  "the trap was sprung 66 times"

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/provider"
)

// innerHosts lead to this machine or to a metadata service, each spelled or resolved in another way.
var innerHosts = []string{
	"127.0.0.1", "127.1.2.3", "0.0.0.0", "[::1]", "[::]",
	"169.254.169.254", "[fd00:ec2::254]", "100.100.100.200", // metadata services
	"[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::127.0.0.1]", // IPv4 in IPv6
	"2130706433", "0x7f000001", "017700000001", "127.1", "0x7f.1", // as one number, and other old spellings
	"localhost", "user@127.0.0.1", "127.0.0.1.",
	"loopback.example.com", "loopback6.example.com", "mapped.example.com", "metadata.example.com", // by what they resolve to
	"rebound.example.com", // a public address for the first question, and loopback for the next
}

// springTraps tells a worker's client to reach every one of those hosts, at the port of a trap that listens there.
func springTraps(ctx context.Context, e *env, n int) error {
	t, err := openTrap(ctx)
	if err != nil {
		return err
	}
	defer t.close()
	clientID := e.inDir("client-id")
	if err := os.WriteFile(clientID, []byte(siteClient), 0o600); err != nil {
		return fmt.Errorf("writing a client id: %w", err)
	}
	client := provider.NewClient(provider.Config{
		ConnectTimeout: time.Second, Resolver: t.resolver(), Now: time.Now,
	})
	defer client.Close()
	key := tokenworker.Key{OrgID: "org", ProviderID: "inner", CompanyID: "1"}
	set := tokenworker.TokenSet{AccessToken: tokenworker.SecretString("a"), RefreshToken: tokenworker.SecretString("r")}
	unreadable, calls := 0, 0
	for range max(1, n/100) {
		for _, host := range innerHosts {
			for _, scheme := range []string{"https", "http"} {
				url := fmt.Sprintf("%s://%s:%s/token", scheme, host, t.port)
				catalogue, err := provider.Load(ctx, nil, provider.Source{Name: "inner", YAML: fmt.Appendf(nil,
					"providers:\n  inner:\n    token_url: '%[1]s'\n    revoke: {url: '%[1]s'}\n    introspect: {url: '%[1]s'}\n"+
						"    allow_networks: [10.255.255.255/32]\n    client: {id: 'file:%[2]s'}\n    auth: none\n", url, clientID)})
				if err != nil {
					unreadable++ // refused before anything is sent
					continue
				}
				gate := provider.NewGateway(catalogue, client)
				for _, call := range []func(context.Context, tokenworker.Key, tokenworker.TokenSet) provider.Answer{
					gate.Refresh, gate.Revoke, gate.Introspect,
				} {
					calls++
					if a := call(ctx, key, set); a.Outcome == provider.OK {
						e.broke("%s: answered", url)
					}
				}
			}
		}
	}
	if calls == 0 {
		return errors.New("every address was refused by the configuration: nothing was dialed")
	}
	redirected, err := t.redirect(ctx, e, client, set)
	if err != nil {
		return err
	}
	if sprung := t.sprung.Load(); sprung > 0 {
		e.broke("the trap was sprung %d times", sprung)
	}
	e.did("%d hosts, %d calls, %d refused as configuration, %d redirects, %d questions to the name server, %d connections",
		len(innerHosts), calls, unreadable, redirected, t.asked.Load(), t.sprung.Load())
	return nil
}

// trap listens on all of loopback and counts who comes, and answers questions about names.
type trap struct {
	listeners []net.Listener
	names     net.PacketConn
	port      string
	sprung    atomic.Int64
	asked     atomic.Int64
	rebound   atomic.Int64
}

func openTrap(ctx context.Context) (*trap, error) {
	t := &trap{}
	var lc net.ListenConfig
	v4, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	_, t.port, _ = net.SplitHostPort(v4.Addr().String())
	t.listeners = append(t.listeners, v4)
	for _, other := range []string{"127.1.2.3:", "[::1]:"} { // not every machine has them
		if l, err := lc.Listen(ctx, "tcp", other+t.port); err == nil {
			t.listeners = append(t.listeners, l)
		}
	}
	for _, l := range t.listeners {
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				t.sprung.Add(1)
				_ = conn.Close()
			}
		}()
	}
	if t.names, err = lc.ListenPacket(ctx, "udp", "127.0.0.1:0"); err != nil {
		t.close()
		return nil, fmt.Errorf("listening: %w", err)
	}
	go t.answerNames()
	return t, nil
}

func (t *trap) close() {
	for _, l := range t.listeners {
		_ = l.Close()
	}
	if t.names != nil {
		_ = t.names.Close()
	}
}

// resolver asks the trap for every name.
func (t *trap) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", t.names.LocalAddr().String())
	}}
}

func (t *trap) answerNames() {
	question := make([]byte, 1500)
	for {
		n, from, err := t.names.ReadFrom(question)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(question[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		t.asked.Add(1)
		q := m.Questions[0]
		reply := dnsmessage.Message{
			Header: dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}, Questions: m.Questions,
		}
		header := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, Type: q.Type}
		switch ip := t.address(q.Name.String()); {
		case ip.To4() != nil && q.Type == dnsmessage.TypeA:
			reply.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AResource{A: [4]byte(ip.To4())}}}
		case ip.To4() == nil && ip != nil && q.Type == dnsmessage.TypeAAAA:
			reply.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AAAAResource{AAAA: [16]byte(ip)}}}
		}
		if packed, err := reply.Pack(); err == nil {
			_, _ = t.names.WriteTo(packed, from)
		}
	}
}

// address is what a name resolves to.
func (t *trap) address(name string) net.IP {
	switch strings.TrimSuffix(name, ".example.com.") {
	case "loopback":
		return net.IPv4(127, 0, 0, 1)
	case "loopback6":
		return net.IPv6loopback
	case "mapped":
		return net.ParseIP("::ffff:127.0.0.1")
	case "metadata":
		return net.IPv4(169, 254, 169, 254)
	case "rebound":
		if t.rebound.Add(1) == 1 {
			return net.IPv4(192, 0, 2, 1) // of a network for documentation: nobody is there, and it is refused as well
		}
		return net.IPv4(127, 0, 0, 1)
	}
	return nil
}

// redirect has a provider that may be reached redirect every call to the trap.
func (t *trap) redirect(
	ctx context.Context, e *env, client *provider.Client, set tokenworker.TokenSet,
) (int, error) {
	s, err := demoprovider.New(demoprovider.Config{Now: time.Now, Clients: []demoprovider.Client{{ID: siteClient, Secret: siteSecret}}})
	if err != nil {
		return 0, fmt.Errorf("making a provider: %w", err)
	}
	if err := s.Start(ctx, "127.0.0.1:0"); err != nil {
		return 0, fmt.Errorf("starting the provider: %w", err)
	}
	defer s.Close() //nolint:errcheck // nothing is kept
	calls := 0
	for _, at := range []demoprovider.Endpoint{
		demoprovider.TokenEndpoint, demoprovider.RevokeEndpoint, demoprovider.IntrospectEndpoint,
	} {
		if err := s.Inject(demoprovider.Fault{Kind: demoprovider.Redirect, Endpoint: at}); err != nil {
			return 0, fmt.Errorf("injecting a fault: %w", err)
		}
	}
	catalogue, err := provider.Load(ctx, nil, provider.Source{Name: "outer", YAML: fmt.Appendf(nil,
		"providers:\n  outer:\n    token_url: %[1]s/token\n    revoke: {url: %[1]s/revoke}\n    introspect: {url: %[1]s/introspect}\n"+
			"    allow_networks: [127.0.0.1/32]\n    client: {id: 'file:%[2]s'}\n    auth: none\n", s.URL(), e.inDir("client-id"))})
	if err != nil {
		return 0, fmt.Errorf("loading the catalogue: %w", err)
	}
	gate := provider.NewGateway(catalogue, client)
	key := tokenworker.Key{OrgID: "org", ProviderID: "outer", CompanyID: "1"}
	for _, call := range []func(context.Context, tokenworker.Key, tokenworker.TokenSet) provider.Answer{
		gate.Refresh, gate.Revoke, gate.Introspect,
	} {
		calls++
		if a := call(ctx, key, set); a.Outcome == provider.OK {
			e.broke("a redirect was taken for an answer")
		}
	}
	if t := s.Totals(); t.Followed > 0 {
		e.broke("%d redirects were followed", t.Followed)
	}
	return calls, nil
}
