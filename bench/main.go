// Bench measures the worker beside what it can be compared with, and prints one table: each figure with its baseline,
// their ratio, and the target that it met or missed.
//
//	go run .             every group of rows
//	go run . seal        the groups of these names
//
// It is a module of its own, because the baselines are libraries that the worker does not use. A group of rows is a file
// with one function, named in groups below. Figures are taken as measure.go says, all in one run on one machine, so
// ratios mean something where absolute figures do not. A missed target is printed and is no error.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
)

// group is a file's worth of rows.
type group struct {
	name string
	rows func(context.Context) ([]row, error)
}

func groups() []group {
	return []group{
		{"seal", sealRows},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures the named groups, or all, and prints their table.
func run(ctx context.Context, w io.Writer, names []string) error {
	chosen, err := choose(names)
	if err != nil {
		return err
	}
	var rows []row
	for _, g := range chosen {
		more, err := g.rows(ctx)
		if err != nil {
			return fmt.Errorf("measuring %s: %w", g.name, err)
		}
		rows = append(rows, more...)
	}
	_, err = fmt.Fprintf(w, "%s, %s/%s, %d CPUs\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	return errors.Join(err, printTable(w, rows))
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
