package provider

import (
	"net/netip"
	"testing"
)

func TestWhichAddressesMayBeDialed(t *testing.T) {
	for _, tc := range []struct {
		name    string
		allowed bool
		addrs   []string
	}{
		{"public addresses may", true, []string{
			"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0",
			"192.0.1.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700::1111", "2a00:1450::1", "2001:200::1",
			"2001:4860:4860::8888", "2003::1", "3ffe::1",
		}},
		{"this host", false, []string{"0.0.0.0", "0.1.2.3", "::"}},
		{"loopback", false, []string{"127.0.0.1", "127.255.255.254", "::1"}},
		{"private", false, []string{"10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255"}},
		{"unique local, AWS's metadata among them", false, []string{"fc00::1", "fd00:ec2::254", "fdff::1"}},
		{"link-local and metadata", false, []string{"169.254.169.254", "169.254.170.2", "169.254.0.1", "fe80::1", "fe80::a9fe:a9fe"}},
		{"link-local with a zone", false, []string{"fe80::1%eth0", "2606:4700::1%eth0"}},
		{"carrier-grade NAT and Alibaba's metadata", false, []string{"100.64.0.1", "100.100.100.200", "100.127.255.255"}},
		{"Azure's host agent", false, []string{"168.63.129.16"}},
		{"Oracle's metadata", false, []string{"192.0.0.192"}},
		{"multicast", false, []string{"224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"}},
		{"reserved and broadcast", false, []string{"240.0.0.1", "255.255.255.255"}},
		{"documentation and benchmarks", false, []string{"192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "198.19.255.255",
			"2001:db8::1", "3fff::1"}},
		{"IPv4 mapped into IPv6", false, []string{"::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1"}},
		{"IPv4-compatible IPv6", false, []string{"::127.0.0.1", "::a9fe:a9fe"}},
		{"NAT64", false, []string{"64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::808:808", "64:ff9b:1::1"}},
		{"6to4 and its relays", false, []string{"2002:7f00:1::", "2002:a9fe:a9fe::1", "192.88.99.1"}},
		{"Teredo and other protocol assignments", false, []string{"2001::1", "2001:0:7f00:1::", "2001:1ff::1"}},
		{"site-local, discard-only, unassigned", false, []string{"fec0::1", "100::1", "4000::1", "5f00::1", "e000::1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, a := range tc.addrs {
				if got := mayDial(netip.MustParseAddr(a), nil, false); got != tc.allowed {
					t.Errorf("%s: %t", a, got)
				}
				if mayDial(netip.MustParseAddr(a), nil, true) {
					t.Errorf("%s may be dialed for plain HTTP", a)
				}
			}
		})
	}
}

func TestWhichListedAddressesMayBeDialed(t *testing.T) {
	listed := networks("127.0.0.0/8", "fd00::/8", "fe80::/10")
	for addr, want := range map[string]bool{
		"127.0.0.1": true, "::ffff:127.0.0.1": true, "fd00:ec2::254": true, "fe80::1": true,
		"fe80::1%eth0": false, "10.0.0.1": false, "::1": false,
	} {
		for _, plain := range []bool{false, true} {
			if got := mayDial(netip.MustParseAddr(addr), listed, plain); got != want {
				t.Errorf("%s, plain HTTP %t: %t", addr, plain, got)
			}
		}
	}
}
