package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/embedded"
)

// openTerminal returns the user's end of a new terminal.
func openTerminal(t *testing.T) *os.File {
	t.Helper()
	controller, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = controller.Close() })
	if err := unix.IoctlSetPointerInt(int(controller.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(controller.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = terminal.Close() })
	return terminal
}

func TestATokenIsNotTypedIntoATerminal(t *testing.T) {
	p := newDev(t)
	p.startDev()
	cmd, cancel := p.command(openTerminal(t), "publish", "acquired", connection)
	defer cancel()
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 2 || !strings.Contains(string(out), "--token-file") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

func TestAWorkerWritesNoCoreDumps(t *testing.T) {
	p := newProgram(t, "TOKENWORKER_NATS_URL=nats://127.0.0.1:1", "TOKENWORKER_HTTP_ADDR=127.0.0.1:0", "AWS_REGION=us-east-1",
		"AWS_ENDPOINT_URL=http://127.0.0.1:1")
	worker := p.start("run")
	worker.await("starting")
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", worker.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(limits)) {
		if rest, found := strings.CutPrefix(line, "Max core file size"); found {
			if f := strings.Fields(rest); f[0] != "0" || f[1] != "0" {
				t.Errorf("the limits of a core file are %v", f)
			}
			return
		}
	}
	t.Error("no limit of core files is set")
}

// smallDisk mounts a file system of so many megabytes, and returns functions that fill it up and make room again.
func smallDisk(t *testing.T, megabytes int) (dir string, fill, free func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	dir = t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", megabytes)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	filler := filepath.Join(dir, "filler")
	fill = func() {
		f, err := os.OpenFile(filler, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for chunk := make([]byte, 4096); ; {
			if _, err := f.Write(chunk); errors.Is(err, unix.ENOSPC) {
				return
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	free = func() {
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	}
	return dir, fill, free
}

// Before a write has failed as well as after: a publisher need not lose one for it to be known.
func TestAFullDiskIsToldAndAStreamThatHasFailedIs(t *testing.T) {
	t.Parallel()
	disk, fill, free := smallDisk(t, 16)
	n, err := embedded.StartNATS(embedded.NATSConfig{Dir: filepath.Join(disk, "nats"), Token: tokenworker.SecretString("t")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Shutdown)
	nc, err := n.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if err := n.Healthy(); err != nil {
		t.Fatalf("to begin with: %v", err)
	}
	fill()
	if err := n.Healthy(); !errors.Is(err, embedded.ErrDiskFull) {
		t.Errorf("of a full disk it says %v", err)
	}
	if _, err := js.Publish(t.Context(), "s", make([]byte, 200_000)); err == nil {
		t.Fatal("a message was stored on a full disk")
	}
	free()
	eventually(t, "it tells that the stream cannot be written to, though there is room", func() bool {
		err := n.Healthy()
		return err != nil && !errors.Is(err, embedded.ErrDiskFull)
	})
}

func TestDevWaitsOutAFullDisk(t *testing.T) {
	t.Parallel()
	disk, fill, free := smallDisk(t, 32)
	p := newProgram(t, "TOKENWORKER_DATA_DIR="+filepath.Join(disk, "data"))
	proc := p.startDev()
	readyz := regexp.MustCompile(`http://[0-9.:]+`).FindString(proc.await("/readyz")) + "/readyz"
	ready := func() bool { code, _ := get(t, readyz); return code == http.StatusOK }
	p.must("kept", "publish", "acquired", connection, "--wait")
	eventually(t, "it is ready", ready)

	fill()
	eventually(t, "it is not ready", func() bool { return !ready() })
	running, err := embedded.Running(p.setting("TOKENWORKER_DATA_DIR"))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(running.NATSURL, nats.Token(string(running.NATSToken.Reveal())))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := errors.Join(nc.Publish("tokens.v1.acquired.acme.gusto.lost", make([]byte, 200_000)), nc.Flush()); err != nil {
		t.Fatal(err)
	}
	proc.await("Critical write error") // the stream takes no event from here on, whatever becomes of the disk

	free()
	eventually(t, "it is ready again", ready)
	stored := p.must("new", "publish", "acquired", "acme:gusto:company-2", "--wait", "--json")
	expectFields(t, object(t, stored), map[string]any{"outcome": "stored"})
	expectFields(t, object(t, p.must("", "inspect", connection, "--json")), map[string]any{"status": "active"})
	if code := proc.stop(); code != 0 {
		t.Errorf("it ends with %d", code)
	}
}
