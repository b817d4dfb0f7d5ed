package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
)

// asRole, as the first argument, makes this program a child: the second is its role, the third its configuration.
const asRole = "as"

// role is what a child does: it answers each request on its standard input with a line on its standard output, until
// the requests end, also because its parent has died. Its first answer needs no request and says that it is ready.
type role func(ctx context.Context, config []byte, requests *json.Decoder, answers *json.Encoder) error

func roles() map[string]role {
	return map[string]role{
		"nats":     serveNATS,
		"dynamodb": serveDynamoDB,
		"put":      performPuts,
		"worker":   performEvents,

		"token-endpoint": serveTokens,
		"refresh":        performRefreshes,
		"bare-refresh":   performBareRefreshes,
		"reads":          performReads,
	}
}

// playRole is what a child runs.
func playRole(ctx context.Context, stdout io.Writer, args []string) error {
	if len(args) != 3 || roles()[args[1]] == nil {
		return errors.New("a child needs a role and its configuration")
	}
	err := roles()[args[1]](ctx, []byte(args[2]), json.NewDecoder(os.Stdin), json.NewEncoder(stdout))
	if err != nil {
		return fmt.Errorf("as %s: %w", args[1], err)
	}
	return nil
}

// child is a process of its own in one of the roles.
type child struct {
	cmd      *exec.Cmd
	requests io.WriteCloser
	answers  *json.Decoder
}

// startChild starts a child and reads its first answer. It is killed when ctx ends.
func startChild(ctx context.Context, role string, config, ready any) (*child, error) {
	c, err := launch(ctx, role, config)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", role, err)
	}
	if err := c.answers.Decode(ready); err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", role, err), c.stop())
	}
	return c, nil
}

func launch(ctx context.Context, role string, config any) (*child, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	arg, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, asRole, role, string(arg))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &child{cmd, stdin, json.NewDecoder(stdout)}, cmd.Start()
}

// ask makes a request and waits for its answer.
func (c *child) ask(request, answer any) error {
	if err := json.NewEncoder(c.requests).Encode(request); err != nil {
		return err
	}
	return c.answers.Decode(answer)
}

// perform is a [contestant].
func (c *child) perform(_ context.Context, operations int) (e effort, err error) {
	err = c.ask(operations, &e)
	return e, err
}

// stop ends the requests and waits until the child has ended.
func (c *child) stop() error { return errors.Join(c.requests.Close(), c.cmd.Wait()) }

// serve is the rest of a server's role: it says where it listens, and waits.
func serve(addr string, requests *json.Decoder, answers *json.Encoder) error {
	if err := answers.Encode(addr); err != nil {
		return err
	}
	var request any
	if err := requests.Decode(&request); !errors.Is(err, io.EOF) {
		return fmt.Errorf("a server takes no requests: %w", err)
	}
	return nil
}

// perform is the rest of a contestant's role: it answers each request, a number of operations, with the effort that they
// took. With a path, it writes a CPU profile of them all.
func perform(
	profile string, requests *json.Decoder, answers *json.Encoder, work func(operations int) error,
) (err error) {
	if profile != "" {
		f, err := os.Create(filepath.Clean(profile))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	for answer := (effort{}); ; {
		if err := answers.Encode(answer); err != nil {
			return err
		}
		var operations int
		if err := requests.Decode(&operations); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if answer, err = measure(func() error { return work(operations) }); err != nil {
			return err
		}
	}
}
