// Bench measures the worker beside what it can be compared with, and prints one table: each figure with its baseline,
// their ratio, and the target that it met or missed.
//
//	go run .               every group of rows
//	go run . seal kms      the groups of these names
//	go run . -full         the sizes that published figures are taken at
//	go run . -profile DIR  CPU profiles of the processes that the group path measures
//
// It is a module of its own, because the baselines are libraries that the worker does not use. A group of rows is a file
// with one function, named in groups below. Figures are taken in turns, all in one run on one machine, so ratios mean
// something where absolute figures do not. A missed target is printed and is no error. docs/benchmarks.md says what each
// row means, and has the published figures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
)

// options are what the command line asks for.
type options struct {
	full     bool   // sizes of published figures
	profiles string // directory for CPU profiles; empty: none are taken
}

// size is one of two, by the options.
func (o options) size(usual, full int) int {
	if o.full {
		return full
	}
	return usual
}

// profile is where the CPU profile of a process goes; empty: nowhere.
func (o options) profile(process string) string {
	if o.profiles == "" {
		return ""
	}
	return filepath.Join(o.profiles, process+".pprof")
}

// group is a file's worth of rows.
type group struct {
	name  string
	rows  func(context.Context, options) ([]row, error)
	needs string // a variable of the environment that must be set; empty: none
}

func groups() []group {
	return []group{
		{name: "seal", rows: sealRows},
		{name: "path", rows: pathRows},
		{name: "localstack", rows: localStackRows, needs: localStackEndpoint},
		{name: "kms", rows: kmsRows},
		{name: "store", rows: storeRows},
		{name: "refresh", rows: refreshRows},
		{name: "reads", rows: readRows},
		{name: "start", rows: startRows},
		{name: "memory", rows: memoryRows},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	work := run
	if len(os.Args) > 1 && os.Args[1] == asRole {
		work = playRole
	}
	err := work(ctx, os.Stdout, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures the named groups, or all, and prints their table; also of what was measured before something failed.
func run(ctx context.Context, w io.Writer, args []string) error {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.BoolVar(&o.full, "full", false, "take the sizes of published figures")
	flags.StringVar(&o.profiles, "profile", "", "write CPU profiles of the group path into this `directory`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(flags.Args())
	if err != nil {
		return err
	}
	for _, g := range chosen {
		if g.needs != "" && os.Getenv(g.needs) == "" {
			return fmt.Errorf("the group %s needs the variable %s; `make bench` sets it", g.name, g.needs)
		}
	}
	var rows []row
	for _, g := range chosen {
		var more []row
		if more, err = g.rows(ctx, o); err != nil {
			err = fmt.Errorf("measuring %s: %w", g.name, err)
			break
		}
		rows = append(rows, more...)
	}
	_, printed := fmt.Fprintf(w, "%s, %s/%s, %d CPUs\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	return errors.Join(err, printed, printTable(w, rows))
}

// choose returns the groups of those names, all for none.
func choose(names []string) ([]group, error) {
	all := groups()
	if len(names) == 0 {
		return all, nil
	}
	var chosen []group
	for _, name := range names {
		i := slices.IndexFunc(all, func(g group) bool { return g.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no group is called %q", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}
