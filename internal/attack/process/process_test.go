package process

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// shell starts a script and waits until it has written "ready".
func shell(ctx context.Context, t *testing.T, script string) *Process {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	p, err := Start(ctx, Program{Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"SEEN=by-all"}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	err = Await(t.Context(), 10*time.Second, "the script is ready", func() (bool, error) {
		b, err := os.ReadFile(log)
		return strings.Contains(string(b), "ready"), err
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const wait = "; while :; do sleep 0.05; done"

func TestStopTellsAnOrderlyEndFromAnyOther(t *testing.T) {
	for name, c := range map[string]struct {
		script  string
		limit   time.Duration
		orderly bool
	}{
		"ends with 0 when asked to":     {"trap 'exit 0' TERM; echo ready" + wait, 10 * time.Second, true},
		"ends with 3 when asked to":     {"trap 'exit 3' TERM; echo ready" + wait, 10 * time.Second, false},
		"ends by the signal itself":     {"echo ready" + wait, 10 * time.Second, false},
		"does not end when asked to":    {"trap '' TERM; echo ready" + wait, 100 * time.Millisecond, false},
		"has ended before it was asked": {"echo ready; exit 1", 10 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := shell(t.Context(), t, c.script)
			if err := p.Stop(c.limit); (err == nil) != c.orderly || err != nil && !errors.Is(err, ErrStop) {
				t.Errorf("Stop: %v", err)
			}
			select {
			case <-p.Ended():
			default:
				t.Error("it still runs")
			}
		})
	}
}

func TestAProcessEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := shell(ctx, t, "trap '' TERM INT; echo ready"+wait)
	cancel()
	<-p.Ended()
}

func TestSignalReachesNobodyOnceTheProcessHasEnded(t *testing.T) {
	p := shell(t.Context(), t, "trap 'exit 0' USR1; echo ready"+wait)
	if err := p.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	<-p.Ended()
	if err := p.Signal(syscall.SIGUSR1); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Signal: %v", err)
	}
}

func TestVisibleShowsArgumentsAndEnvironment(t *testing.T) {
	if _, err := os.Stat("/proc/self/environ"); err != nil {
		t.Log("no /proc on this system: nothing to see")
		return
	}
	p := shell(t.Context(), t, "echo ready; : an-argument"+wait)
	for _, want := range []string{"an-argument", "SEEN=by-all"} {
		if !strings.Contains(string(p.Visible()), want) {
			t.Errorf("%q does not show", want)
		}
	}
}

func TestRunGivesOutputsAndExitCode(t *testing.T) {
	out, err := Run(t.Context(), Program{Path: "/bin/sh", Args: []string{"-c", "cat; echo bad >&2; exit 7"}}, []byte("in"))
	if err != nil || string(out.Stdout) != "in" || string(out.Stderr) != "bad\n" || out.ExitCode != 7 {
		t.Fatalf("got %q, %q, %d, %v", out.Stdout, out.Stderr, out.ExitCode, err)
	}
}

func TestTheNATSServerKeepsWhatItAcknowledgedThroughAKillAndPublishersOnlyPublish(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "nats-server")
	if err := Build(t.Context(), path, NATSServer); err != nil {
		t.Fatal(err)
	}
	n, err := NewNATS(t.Context(), path, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Kill() })
	as := func(user string) jetstream.JetStream {
		t.Helper()
		nc, err := nats.Connect("nats://"+n.Addr, nats.UserInfo(user, Password), nats.ErrorHandler(nil))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		return js
	}
	config := jetstream.StreamConfig{Name: "S", Subjects: []string{"tokens.v1.acquired.>"}}
	if _, err := as(Worker).CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	publisher := as(Publisher)
	if _, err := publisher.Publish(t.Context(), "tokens.v1.acquired.a.b.c", nil); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := publisher.Stream(short, "S"); err == nil {
		t.Error("a publisher may look at streams")
	}
	n.Kill()
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := as(Worker).Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Msgs; n != 1 {
		t.Errorf("%d messages after the kill, want 1", n)
	}
}
