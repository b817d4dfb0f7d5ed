package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v3"
)

// stepLimit bounds one step of the demo. Each takes milliseconds.
const stepLimit = 10 * time.Second

func (a *app) demoCommand() *cli.Command {
	var flags struct {
		dir  string
		json bool
	}
	return &cli.Command{
		Name: "demo", Usage: "show the whole story once, and check every step by reading back", Category: "Workers",
		Description: "It starts everything in one process, publishes events as upstream services would, and looks at what " +
			"became of them. It succeeds only if every check does.",
		Flags: []cli.Flag{
			&cli.StringFlag{
				Name: "data-dir", Sources: env("data-dir"), Destination: &flags.dir, TakesFile: true,
				DefaultText: "a temporary folder, removed afterwards", Usage: "`DIR` to write to; it must be empty or new",
			},
			jsonFlag(&flags.json),
		},
		Action: func(ctx context.Context, _ *cli.Command) error {
			return a.demo(ctx, flags.dir, flags.json)
		},
	}
}

// demo tells the story in a directory and prints each check.
func (a *app) demo(ctx context.Context, dir string, asJSON bool) (err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("", "tokenworker-demo-"); err != nil {
			return fmt.Errorf("making a temporary folder: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	} else if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return wrongUse("--data-dir is not empty; the demo writes to a folder of its own")
	}
	s, err := newStory(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.finish()) }()
	r := &report{out: a.stdout, json: asJSON}
	for _, step := range s.steps() {
		if err := r.check(ctx, step); err != nil {
			return err
		}
	}
	return r.close()
}

// step is one check of the demo: it does something and reads back what came of it. Its error says what was not as it
// should be.
type step struct {
	check string
	do    func(ctx context.Context) (detail string, err error)
}

// result is one line of the demo.
type result struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// report prints results, each as soon as it is there.
type report struct {
	out            io.Writer
	json           bool
	checks, failed int
}

// check runs a step. The error is that of printing.
func (r *report) check(ctx context.Context, s step) error {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	detail, err := s.do(ctx)
	if err != nil {
		detail = err.Error()
		r.failed++
	}
	r.checks++
	return r.print(result{s.check, err == nil, detail}, "%-4s  %-62s  %s\n", mark(err == nil), s.check, detail)
}

func mark(ok bool) string {
	if ok {
		return "ok"
	}
	return "FAIL"
}

func (r *report) close() error {
	if err := r.print(struct {
		Checks int `json:"checks"`
		Failed int `json:"failed"`
	}{r.checks, r.failed}, "%s, %d failed\n", count(r.checks, "check", "checks"), r.failed); err != nil {
		return err
	}
	if r.failed > 0 {
		return fmt.Errorf("%s failed", count(r.failed, "check", "checks"))
	}
	return nil
}

// print writes an object as JSON, or a line for people.
func (r *report) print(object any, format string, args ...any) error {
	var err error
	if r.json {
		err = json.NewEncoder(r.out).Encode(object)
	} else {
		_, err = fmt.Fprintf(r.out, format, args...)
	}
	if err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}
