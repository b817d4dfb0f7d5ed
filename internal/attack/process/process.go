// Package process builds, starts and ends the programs that the attacks are run against. What was started ends with its
// context, by its own process id.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// Program is what to start.
type Program struct {
	Path string
	Args []string
	Env  []string // added to this process's own
	Log  string   // the file that its output is appended to
}

// Process is a program that was started.
type Process struct {
	cmd   *exec.Cmd
	log   *os.File
	ended chan struct{} // closed once it has ended
}

// Start starts the program. When ctx ends it is killed.
func Start(ctx context.Context, p Program) (*Process, error) {
	log, err := os.OpenFile(p.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening a log: %w", err)
	}
	cmd := exec.CommandContext(ctx, p.Path, p.Args...)
	cmd.Env = append(os.Environ(), p.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		_ = log.Close()
		return nil, fmt.Errorf("starting %s: %w", filepath.Base(p.Path), err)
	}
	started := &Process{cmd, log, make(chan struct{})}
	go func() {
		defer close(started.ended)
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
		_ = log.Close()
	}()
	return started, nil
}

// PID is its process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal to the process. Once it has ended, the error is [os.ErrProcessDone], and nobody else gets the signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) } //nolint:wrapcheck // says what failed

// Ended is closed once the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Kill ends the process as kill -9 does and returns when it has ended.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // that it has ended already is no matter
	<-p.ended
}

// ErrStop says that the process did not end properly when it was asked to.
var ErrStop = errors.New("did not stop in order")

// Stop asks the process to end (SIGTERM), kills it when it has not within the limit, and returns an error that matches
// [ErrStop] unless it ended by itself with exit code 0.
func (p *Process) Stop(limit time.Duration) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-p.ended:
	case <-t.C:
		p.Kill()
		return fmt.Errorf("%w: not within %s", ErrStop, limit)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("%w: %s", ErrStop, p.cmd.ProcessState)
	}
	return nil
}

// Quit sends SIGQUIT, at which a Go program writes the stacks of all its goroutines and ends, and waits.
func (p *Process) Quit() {
	_ = p.cmd.Process.Signal(syscall.SIGQUIT)
	<-p.ended
}

// Visible is what other users of the machine may see of the process: its arguments and environment, where the system
// shows them in /proc.
func (p *Process) Visible() []byte {
	var all []byte
	for _, name := range [...]string{"cmdline", "environ"} {
		b, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.PID()), name))
		all = append(all, b...)
	}
	return all
}

// Output is what a command that was run to its end wrote, and how it ended.
type Output struct {
	Stdout, Stderr []byte
	ExitCode       int
}

// Run runs the program to its end with the given standard input. Its Log is not used. The error is only about starting
// it; read ExitCode.
func Run(ctx context.Context, p Program, stdin []byte) (Output, error) {
	cmd := exec.CommandContext(ctx, p.Path, p.Args...)
	cmd.Env = append(os.Environ(), p.Env...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return Output{}, fmt.Errorf("running %s: %w", filepath.Base(p.Path), err)
	}
	return Output{stdout.Bytes(), stderr.Bytes(), cmd.ProcessState.ExitCode()}, ctx.Err()
}

// Build compiles a main package into the file at path.
func Build(ctx context.Context, path, pkg string) error { return build(ctx, path, pkg) }

func build(ctx context.Context, path, pkg string, flags ...string) error {
	args := slices.Concat([]string{"build", "-o", path}, flags, []string{pkg})
	out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("building %s: %w\n%s", pkg, err, out)
	}
	return nil
}
