package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// echo serves connections that send back what they get.
func echo(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	return l.Addr().String()
}

func newTCP(t *testing.T) *TCP {
	t.Helper()
	p, err := NewTCP(t.Context(), echo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func dial(t *testing.T, p *TCP) net.Conn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// say sends one byte and returns what comes back within the time.
func say(c net.Conn, b byte, within time.Duration) (byte, error) {
	if _, err := c.Write([]byte{b}); err != nil {
		return 0, err
	}
	_ = c.SetReadDeadline(time.Now().Add(within))
	var got [1]byte
	_, err := io.ReadFull(c, got[:])
	return got[0], err
}

const long = 10 * time.Second

func TestAnOpenProxyPassesEverythingOnAndCounts(t *testing.T) {
	p := newTCP(t)
	for i := range byte(3) {
		if got, err := say(dial(t, p), i, long); err != nil || got != i {
			t.Fatalf("got %d, %v; want %d", got, err, i)
		}
	}
	if n := p.Accepted(); n != 3 {
		t.Fatalf("counted %d connections, want 3", n)
	}
}

func TestACutEndsConnectionsAndNewOnesUntilOpenedAgain(t *testing.T) {
	p := newTCP(t)
	old := dial(t, p)
	if _, err := say(old, 1, long); err != nil {
		t.Fatal(err)
	}
	p.Set(Cut)
	for name, c := range map[string]net.Conn{"the old connection": old, "a new connection": dial(t, p)} {
		if _, err := say(c, 2, long); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s did not end: %v", name, err)
		}
	}
	p.Set(Open)
	if got, err := say(dial(t, p), 3, long); err != nil || got != 3 {
		t.Fatalf("after opening: got %d, %v", got, err)
	}
}

func TestAStallHoldsWhatIsSentAndLosesNothing(t *testing.T) {
	p := newTCP(t)
	c := dial(t, p)
	if _, err := say(c, 1, long); err != nil {
		t.Fatal(err)
	}
	p.Set(Stall)
	if _, err := say(c, 2, 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("while stalled: %v, want no answer", err)
	}
	p.Set(Open)
	var got [1]byte
	_ = c.SetReadDeadline(time.Now().Add(long))
	if _, err := io.ReadFull(c, got[:]); err != nil || got[0] != 2 {
		t.Fatalf("after opening: got %d, %v; want what was sent meanwhile", got[0], err)
	}
}
