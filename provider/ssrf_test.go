package provider_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/provider"
)

// trap listens on loopback at IPv4 and, where this machine has it, IPv6, and counts who comes.
func trap(t *testing.T) (port string, sprung func() int64) {
	t.Helper()
	v4 := serveRaw(t, func(net.Conn, func() error) {})
	_, port, _ = net.SplitHostPort(v4.Addr().String())
	if v6, err := listen(t, "[::1]:"+port); err == nil {
		t.Cleanup(func() { _ = v6.Close() })
		go func() {
			for {
				conn, err := v6.Accept()
				if err != nil {
					return
				}
				v4.conns.Add(1)
				_ = conn.Close()
			}
		}()
	}
	return port, v4.conns.Load
}

func TestNoWayToAnAddressThatIsNotAllowed(t *testing.T) {
	port, sprung := trap(t)
	resolver := dnsServer(t, func(name string) net.IP {
		switch name {
		case "v4.example.com":
			return net.IPv4(127, 0, 0, 1)
		case "v6.example.com":
			return net.IPv6loopback
		case "mapped.example.com":
			return net.ParseIP("::ffff:127.0.0.1")
		case "metadata.example.com":
			return net.IPv4(169, 254, 169, 254)
		}
		return nil
	})
	for _, host := range []string{
		"127.0.0.1", "127.1.2.3", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]",
		"169.254.169.254", "[fd00:ec2::254]", "[2002:7f00:1::]",
		"localhost", "v4.example.com", "v6.example.com", "mapped.example.com", "metadata.example.com",
	} {
		t.Run(host, func(t *testing.T) {
			url := "https://" + host + ":" + port
			p := public(t, tokenURL("'%s'", url), "revoke: {url: '"+url+"'}", "introspect: {url: '"+url+"'}")
			c := client(t, func(c *provider.Config) { c.Resolver = resolver })
			for _, a := range []provider.Answer{
				c.Refresh(t.Context(), p, key, held()),
				c.Revoke(t.Context(), p, key, held()),
				c.Introspect(t.Context(), p, key, held()),
				c.Prepare(t.Context(), public(t, "issuer: '"+url+"'")),
			} {
				ends(t, a, provider.NotSpent, provider.CodeAddressRefused)
			}
		})
	}
	if n := sprung(); n != 0 {
		t.Errorf("%d connections", n)
	}
}

func TestAddressesInDisguiseAreNoHosts(t *testing.T) {
	for _, host := range []string{
		"2130706433", "0x7f000001", "017700000001", "0177.0.0.1", "127.1", "127.0.0.1.", "0x7f.1", "1.2.3.4.5", "::1", "[::1%25lo]",
		"user@127.0.0.1", "user:pass@example.com", "example.com#x", "example.com\\x", "exa mple.com", "%31%32%37.0.0.1", "１２７.0.0.1",
		"", ":80", "example.com:x", "-a.com", "a..com", strings.Repeat("a.", 130) + "com",
	} {
		t.Run(host, func(t *testing.T) {
			_, err := provider.Load(t.Context(), nil, provider.Source{Name: "test.yaml",
				YAML: []byte("providers:\n  demo:\n    token_url: 'https://" + host + "/token'\n")})
			if err == nil {
				t.Fatal("taken for a host")
			}
			if got := err.Error(); !strings.HasPrefix(got, "test.yaml:3: provider \"demo\": token_url: ") {
				t.Errorf("error %q", got)
			}
		})
	}
}

func TestARedirectLeadsNowhere(t *testing.T) {
	port, sprung := trap(t)
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := serve(t, status, "", "Location: http://127.0.0.1:"+port+"/token", "Refresh: 0; url=http://127.0.0.1:"+port)
		p, c := demo(t, tokenURL("%s", s.URL), "revoke: {url: "+s.URL+"}"), client(t)
		ends(t, c.Refresh(t.Context(), p, key, held()), provider.Unknown, provider.CodeRedirected)
		ends(t, c.Revoke(t.Context(), p, key, held()), provider.Unknown, provider.CodeRedirected)
	}
	if n := sprung(); n != 0 {
		t.Errorf("%d connections", n)
	}
}

// The name first means an address that is allowed here, as a public one is elsewhere, and then one that is not and leads to
// the same server.
func TestANameThatIsBoundAnewGainsNothing(t *testing.T) {
	s := serve(t, http.StatusOK, token, "Connection: close")
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	var rebound atomic.Bool
	resolver := dnsServer(t, func(string) net.IP {
		if rebound.Load() {
			return net.IPv4zero
		}
		return net.IPv4(127, 0, 0, 1)
	})
	p := public(t, tokenURL("http://api.example.com:%s/token", port), "allow_networks: [127.0.0.1/32]")
	c := client(t, func(c *provider.Config) { c.Resolver = resolver })
	ends(t, c.Refresh(t.Context(), p, key, held()), provider.OK, "")
	rebound.Store(true)
	ends(t, c.Refresh(t.Context(), p, key, held()), provider.NotSpent, provider.CodeAddressRefused)
	s.only(t)
}

func TestPlainHTTPIsForListedNetworksOnly(t *testing.T) {
	unallocated := net.ParseIP("2000::1") // public, but nobody's
	resolver := dnsServer(t, func(string) net.IP { return unallocated })
	p := public(t, tokenURL("http://api.example.com"), "allow_networks: [10.0.0.0/8]")
	c := client(t, func(c *provider.Config) { c.Resolver = resolver })
	ends(t, c.Refresh(t.Context(), p, key, held()), provider.NotSpent, provider.CodeAddressRefused)
}

// Ids come with events. Whatever they are, they fill a label or a segment and no more.
func TestIdsDoNotChooseTheHost(t *testing.T) {
	port, sprung := trap(t)
	var asked atomic.Value
	resolver := dnsServer(t, func(name string) net.IP {
		asked.Store(name)
		return net.IPv4(127, 0, 0, 1)
	})
	p := public(t, tokenURL("https://{company}.api.example.com:%s/{connection}/token", port))
	c := client(t, func(c *provider.Config) { c.Resolver = resolver })
	call := func(company, connection string) provider.Answer {
		set := held()
		set.ProviderConnectionID = connection
		return c.Refresh(context.Background(), p, tokenworker.Key{OrgID: "o", ProviderID: "demo", CompanyID: company}, set)
	}
	ends(t, call("acme-1", "c_1~x.y"), provider.NotSpent, provider.CodeAddressRefused)
	if asked.Load() != "acme-1.api.example.com" {
		t.Errorf("resolved %v", asked.Load())
	}
	asked.Store("")
	for _, company := range []string{
		"", "evil.com/", "evil.com#", "evil.com?", "evil.com:80", "a.b", ".", "..", "-a", "a-", "a@b", "a:b", "a%2fb", "ä", "a b", "a\x00b", "a\\b",
		"{connection}", strings.Repeat("a", 64), "127.0.0.1", "[::1]",
	} {
		ends(t, call(company, "c"), provider.Misconfigured, provider.CodeBadTarget)
	}
	for _, connection := range []string{"", ".", "..", ".hidden", "a/b", "a?b", "a#b", "a%2fb", "ä", "a b", "a\nb", strings.Repeat("a", 129)} {
		ends(t, call("acme", connection), provider.Misconfigured, provider.CodeBadTarget)
	}
	if asked.Load() != "" || sprung() != 0 {
		t.Errorf("resolved %v, %d connections", asked.Load(), sprung())
	}
}
