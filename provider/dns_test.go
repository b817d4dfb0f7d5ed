package provider_test

import (
	"context"
	"encoding/binary"
	"net"
	"strings"
	"sync"
	"testing"
)

// dnsServer starts a name server on loopback and returns a resolver that asks it. An address of nil is no such name.
func dnsServer(t *testing.T, resolve func(name string) net.IP) *net.Resolver {
	t.Helper()
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		query := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(query)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(dnsReply(query[:n], resolve), from)
		}
	})
	t.Cleanup(func() {
		_ = conn.Close()
		wg.Wait()
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// dnsReply answers the one question of a query (RFC 1035 section 4).
func dnsReply(query []byte, resolve func(string) net.IP) []byte {
	var labels []string
	at := 12
	for query[at] != 0 {
		end := at + 1 + int(query[at])
		labels = append(labels, string(query[at+1:end]))
		at = end
	}
	kind := binary.BigEndian.Uint16(query[at+1:])
	question := query[12 : at+5]
	ip := resolve(strings.Join(labels, "."))

	var data []byte
	const a, aaaa = 1, 28
	switch v4 := ip.To4(); {
	case kind == a && v4 != nil:
		data = v4
	case kind == aaaa && v4 == nil:
		data = ip.To16()
	}
	flags, answers := uint16(0x8180), uint16(0) // an answer, recursion available
	if ip == nil {
		flags |= 3 // no such name
	}
	if data != nil {
		answers = 1
	}
	reply := append([]byte(nil), query[:2]...)
	for _, n := range []uint16{flags, 1, answers, 0, 0} {
		reply = binary.BigEndian.AppendUint16(reply, n)
	}
	reply = append(reply, question...)
	if data == nil {
		return reply
	}
	reply = append(reply, 0xc0, 12) // the name of the question
	for _, n := range []uint16{kind, 1, 0, 0, uint16(len(data))} {
		reply = binary.BigEndian.AppendUint16(reply, n)
	}
	return append(reply, data...)
}
