package provider

import (
	"errors"
	"net"
	"testing"
	"time"
)

// brokenConn accepts so many bytes of a write before it fails.
type brokenConn struct {
	net.Conn
	accepts int
}

func (c brokenConn) Write(b []byte) (int, error) {
	if c.accepts >= len(b) {
		return len(b), nil
	}
	return c.accepts, errors.New("broken")
}

// net/http never sends requests for this machine to a proxy, so no server here could show it.
func TestProxiesOfTheEnvironmentAreNotAsked(t *testing.T) {
	if newTransport(Config{}, &Provider{}).Proxy != nil {
		t.Error("a proxy would choose the address that is dialed")
	}
}

func TestWhatCountsAsWritten(t *testing.T) {
	for _, tc := range []struct {
		name    string
		accepts int
		counts  int64
	}{
		{"a write that failed before its first byte does not", 0, 0},
		{"a write that failed after its first byte does", 1, 1},
		{"a write that worked does", 3, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &countingConn{Conn: brokenConn{accepts: tc.accepts}}
			c.begin(time.Now().Add(time.Minute))
			_, _ = c.Write([]byte("abc"))
			if n := c.writes.Load(); n != tc.counts {
				t.Errorf("%d writes counted, want %d", n, tc.counts)
			}
		})
	}
}
