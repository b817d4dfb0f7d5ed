package provider

import (
	"errors"
	"net/netip"
	"slices"
)

var errAddressRefused = errors.New("address refused")

// Special-purpose networks (the IANA registries of RFC 6890), and addresses that clouds have put into public ones.
var (
	refusedIPv4 = networks(
		"0.0.0.0/8",        // this host
		"10.0.0.0/8",       // private
		"100.64.0.0/10",    // carrier-grade NAT, and the metadata service of Alibaba Cloud
		"127.0.0.0/8",      // loopback
		"168.63.129.16/32", // Azure's host agent
		"169.254.0.0/16",   // link-local, and the metadata services of AWS, Azure and Google Cloud
		"172.16.0.0/12",    // private
		"192.0.0.0/24",     // protocol assignments, and the metadata service of Oracle Cloud
		"192.0.2.0/24",     // documentation
		"192.88.99.0/24",   // 6to4 relays
		"192.168.0.0/16",   // private
		"198.18.0.0/15",    // benchmarks
		"198.51.100.0/24",  // documentation
		"203.0.113.0/24",   // documentation
		"224.0.0.0/4",      // multicast
		"240.0.0.0/4",      // reserved, broadcast included
	)
	// Of IPv6 only what is assigned for public use counts; that leaves out loopback, mapped IPv4, NAT64, unique local,
	// link-local and multicast addresses at once.
	publicIPv6  = netip.MustParsePrefix("2000::/3")
	refusedIPv6 = networks(
		"2001::/23",     // protocol assignments, Teredo included
		"2001:db8::/32", // documentation
		"2002::/16",     // 6to4
		"3fff::/20",     // documentation
	)
)

func networks(texts ...string) []netip.Prefix {
	prefixes := make([]netip.Prefix, len(texts))
	for i, s := range texts {
		prefixes[i] = netip.MustParsePrefix(s)
	}
	return prefixes
}

// mayDial reports whether a connection to the address is allowed: a public one, or one of a listed network. Plain HTTP
// is spoken to listed networks only. An address with a zone is in no network.
func mayDial(addr netip.Addr, listed []netip.Prefix, plain bool) bool {
	holds := func(p netip.Prefix) bool { return p.Contains(addr) }
	// An IPv4 address in IPv6's clothing is the IPv4 address.
	addr = addr.Unmap()
	switch {
	case slices.ContainsFunc(listed, holds):
		return true
	case plain:
		return false
	case addr.Is4():
		return !slices.ContainsFunc(refusedIPv4, holds)
	default:
		return publicIPv6.Contains(addr) && !slices.ContainsFunc(refusedIPv6, holds)
	}
}
