package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/embedded"
)

func natsToken(t testing.TB, d *embedded.Dir) tokenworker.Secret {
	t.Helper()
	token, err := d.NATSToken()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// startNATS runs a server until the test ends.
func startNATS(t testing.TB, c embedded.NATSConfig) *embedded.NATS {
	t.Helper()
	n, err := embedded.StartNATS(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Shutdown)
	return n
}

// connect is a connection in process that is closed when the test ends, or before.
func connect(t testing.TB, n *embedded.NATS) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := n.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

func TestNATSKeepsItsStreamsAcrossARestart(t *testing.T) {
	d := openDir(t, newDirPath(t))
	c := embedded.NATSConfig{Dir: embedded.NATSPath(d.Path()), Token: natsToken(t, d)}
	n := startNATS(t, c)
	nc, js := connect(t, n)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	nc.Close()
	n.Shutdown()

	c.Token = natsToken(t, d)
	_, js = connect(t, startNATS(t, c))
	s, err := js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	if m, err := s.GetMsg(t.Context(), 1); err != nil || string(m.Data) != "kept" {
		t.Errorf("after a restart: %v, %v", m, err)
	}
}

func TestNATSListensOnLoopbackToThoseWhoKnowTheToken(t *testing.T) {
	n := startNATS(t, embedded.NATSConfig{Dir: t.TempDir(), Token: tokenworker.SecretString("right")})
	if !strings.HasPrefix(n.URL(), "nats://127.0.0.1:") || strings.Contains(n.URL(), "right") {
		t.Errorf("URL %q, want one on loopback, without the token", n.URL())
	}
	for name, c := range map[string]struct {
		options []nats.Option
		want    error
	}{
		"no token":        {nil, nats.ErrAuthorization},
		"a wrong token":   {[]nats.Option{nats.Token("wrong")}, nats.ErrAuthorization},
		"the right token": {[]nats.Option{nats.Token("right")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			nc, err := nats.Connect(n.URL(), c.options...)
			if !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if nc != nil {
				nc.Close()
			}
		})
	}
}

func TestNATSRefusesMessagesBeyondItsLimit(t *testing.T) {
	n := startNATS(t, embedded.NATSConfig{Dir: t.TempDir(), Token: tokenworker.SecretString("t")})
	nc, _ := connect(t, n)
	if err := nc.Publish("s", make([]byte, 1<<20)); err != nil {
		t.Errorf("1 MiB: %v", err)
	}
	if err := nc.Publish("s", make([]byte, 1<<20+1)); !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("one byte more: error %v, want ErrMaxPayload", err)
	}
}

func TestStartNATSSaysWhyItCannot(t *testing.T) {
	var lc net.ListenConfig
	taken, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	token := tokenworker.SecretString("t")
	for name, c := range map[string]struct {
		config embedded.NATSConfig
		says   string
	}{
		"the port is in use": {
			embedded.NATSConfig{Dir: t.TempDir(), Port: taken.Addr().(*net.TCPAddr).Port, Token: token},
			"address already in use",
		},
		"the directory is none": {embedded.NATSConfig{Dir: file, Token: token}, "not a directory"},
		"there is no token":     {embedded.NATSConfig{Dir: t.TempDir()}, "token"},
	} {
		t.Run(name, func(t *testing.T) {
			n, err := embedded.StartNATS(c.config)
			if err == nil {
				n.Shutdown()
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want one that says %q", err, c.says)
			}
		})
	}
}

// logged is the text of a logger while it is written.
func TestWhatAKilledNATSServerLeavesBehindIsRemoved(t *testing.T) {
	d := openDir(t, newDirPath(t))
	dir := embedded.NATSPath(d.Path())
	c := embedded.NATSConfig{Dir: dir, Token: natsToken(t, d)}
	n := startNATS(t, c)
	nc, js := connect(t, n)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	nc.Close()
	n.Shutdown()

	// A file of messages as it is written anew: for a secure delete, and to compact it.
	messages := filepath.Join(dir, "jetstream", "$G", "streams", "S", "msgs")
	for _, name := range []string{"1.blk.tmp", "1.new"} {
		if err := os.WriteFile(filepath.Join(messages, name), []byte("canary"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if found := inFiles(t, dir, "canary"); len(found) != 2 {
		t.Fatalf("found %q: the search is no good", found)
	}
	_, js = connect(t, startNATS(t, c))
	if found := inFiles(t, dir, "canary"); len(found) > 0 {
		t.Errorf("left over: %q", found)
	}
	s, err := js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	if m, err := s.GetMsg(t.Context(), 1); err != nil || string(m.Data) != "kept" {
		t.Errorf("after a restart: %v, %v", m, err)
	}
}

// inFiles names the files below dir that hold a text.
func inFiles(t *testing.T, dir, text string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(text)) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestTheNATSLogNeverShowsAMessageOrTheToken(t *testing.T) {
	const token, payload, garbage = "canary-token", "canary-payload", "canary-garbage"
	var log logged
	n := startNATS(t, embedded.NATSConfig{
		Dir: t.TempDir(), Token: tokenworker.SecretString(token),
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	nc, js := connect(t, n)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s", []byte(payload)); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Request("$JS.API.STREAM.CREATE.X", []byte(`"`+garbage+`" `+garbage), time.Minute); err != nil {
		t.Fatal(err)
	}
	for _, sent := range []string{
		"POST / HTTP/1.1\r\n\r\n" + garbage,                 // not the protocol
		"PUB s 3\r\n" + garbage + "\r\n",                    // a payload longer than announced
		"PUB " + strings.Repeat(garbage, 1000) + " 1\r\n",   // a control line too long
		"CONNECT {\"auth_token\":\"" + garbage + "\"}\r\n",  // a wrong token
		"SUB " + garbage + " with too many arguments 1\r\n", // arguments that do not parse
	} {
		for _, greeting := range []string{"", fmt.Sprintf("CONNECT {\"auth_token\":%q}\r\n", token)} {
			sendRaw(t, n.URL(), greeting+sent)
		}
	}
	n.Shutdown() // all is logged
	text := log.String()
	if got := strings.Count(text, "not shown"); got < 6 {
		t.Errorf("the server quoted %d times, want 6 at least; log:\n%s", got, text)
	}
	for _, canary := range []string{token, payload, garbage} {
		if i := strings.Index(text, canary); i >= 0 {
			t.Errorf("the log shows %s: …%s", canary, text[max(0, i-200):i+len(canary)])
		}
	}
}

// sendRaw sends bytes to the server and waits until it hangs up.
func sendRaw(t *testing.T, url, text string) {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(context.Background(), "tcp", strings.TrimPrefix(url, "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		return // the server has hung up already
	}
	_, _ = io.Copy(io.Discard, c) // a reset is as good as an end
}
