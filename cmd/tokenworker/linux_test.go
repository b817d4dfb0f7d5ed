package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
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
