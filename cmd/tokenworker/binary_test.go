package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// binary is the program under test, built by TestMain.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "tokenworker-bin-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "tokenworker")
	build := exec.CommandContext(context.Background(), "go", append(append([]string{"build"}, buildFlags...), "-o", binary, ".")...)
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("building the program: %v\n%s", err, out))
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// patience bounds what is waited for; nothing takes this long unless it hangs.
const patience = time.Minute

// outcome is what a finished command left behind.
type outcome struct {
	stdout, stderr string
	code           int
}

// program runs the binary with an environment of its own.
type program struct {
	t   *testing.T
	env []string
}

// newProgram has a home directory of its own and no settings.
func newProgram(t *testing.T, env ...string) *program {
	t.Helper()
	return &program{t, append([]string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}, env...)}
}

func (p *program) command(stdin io.Reader, args ...string) (*exec.Cmd, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env, cmd.Stdin = p.env, stdin
	return cmd, cancel
}

// setting is the value of an environment variable.
func (p *program) setting(name string) string {
	value := ""
	for _, v := range p.env {
		if rest, found := strings.CutPrefix(v, name+"="); found {
			value = rest // the last one counts
		}
	}
	return value
}

// run runs a command to its end.
func (p *program) run(stdin string, args ...string) outcome {
	p.t.Helper()
	cmd, cancel := p.command(strings.NewReader(stdin), args...)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatalf("running %v: %v", args, err)
	}
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs a command that has to succeed and returns what it printed.
func (p *program) must(stdin string, args ...string) string {
	p.t.Helper()
	o := p.run(stdin, args...)
	if o.code != 0 {
		p.t.Fatalf("tokenworker %s: exit code %d: %s%s", strings.Join(args, " "), o.code, o.stderr, o.stdout)
	}
	return o.stdout
}

// process is a command that stays up.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	ended chan struct{}

	mu    sync.Mutex
	lines []string // of both outputs
	more  chan struct{}
}

// start runs a command until the test ends or stop is called.
func (p *program) start(args ...string) *process {
	p.t.Helper()
	cmd, cancel := p.command(nil, args...)
	out, in, err := os.Pipe()
	if err != nil {
		p.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = in, in
	proc := &process{t: p.t, cmd: cmd, ended: make(chan struct{}), more: make(chan struct{}, 1)}
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("starting %v: %v", args, err)
	}
	_ = in.Close()
	go func() {
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			proc.mu.Lock()
			proc.lines = append(proc.lines, scanner.Text())
			proc.mu.Unlock()
			select {
			case proc.more <- struct{}{}:
			default:
			}
		}
		_ = out.Close()
		_ = cmd.Wait()
		close(proc.ended)
	}()
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-proc.ended
		cancel()
		if p.t.Failed() {
			p.t.Logf("tokenworker %s:\n%s", strings.Join(args, " "), proc.output())
		}
	})
	return proc
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// await waits for a line that contains text and returns it.
func (p *process) await(text string) string {
	p.t.Helper()
	timeout := time.After(patience)
	for seen := 0; ; {
		p.mu.Lock()
		fresh := p.lines[seen:]
		p.mu.Unlock()
		for _, line := range fresh {
			if strings.Contains(line, text) {
				return line
			}
		}
		seen += len(fresh)
		select {
		case <-p.more:
		case <-p.ended:
			p.t.Fatalf("it ended before it said %q", text)
		case <-timeout:
			p.t.Fatalf("it did not say %q", text)
		}
	}
}

// signal sends a signal.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("sending a signal: %v", err)
	}
}

// stop asks it to stop and returns its exit code.
func (p *process) stop() int {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	return p.exitCode()
}

// exitCode waits until it has ended; -1: by a signal.
func (p *process) exitCode() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatal("it does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}
