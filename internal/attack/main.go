// Attack tries to break each promise of the design (section 2) against the real binary and real servers, and prints one
// line for each way in which it tried: the promise, what was tried, how often, and what broke.
//
//	go run ./internal/attack              every promise, each attack for about a minute, or for as long as it says
//	go run ./internal/attack -p P1 -n 100 one promise at a size of one's own
//	go run ./internal/attack -list        what there is, with the sizes of the published table
//
// It exits with 1 when anything broke or could not be tried. docs/attacks.md has the figures of full-size runs.
//
// Each promise is one file, and so are the audit trail, erasures, the change of a wrapping key and the connections to one company.
// What is asserted is read from where a user would find it (the store, the streams, the files on disk), after the worker has ended
// where it can be. Each file names at its top the break in the worker's code that was made once to see that its attack notices, and
// what it said.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == childCommand {
		if err := runChild(context.Background(), os.Args[2]); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, "attack:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// options are the flags.
type options struct {
	promises string
	n        int
	seed     uint64
	list     bool
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (exitCode int) {
	var o options
	flags := flag.NewFlagSet("attack", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.promises, "p", "", "the promises to attack, `P1,P2`; default all")
	flags.IntVar(&o.n, "n", 0, "the `size` of each attack, in the unit that -list shows; default its usual one")
	flags.Uint64Var(&o.seed, "seed", 0, "repeats the random choices of another run; default a new `number`")
	flags.BoolVar(&o.list, "list", false, "show what there is and attack nothing")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	chosen, err := choose(promises(), o.promises)
	if err == nil && (flags.NArg() > 0 || o.n < 0) {
		err = errors.New("want no arguments, and a size that is not negative")
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "attack:", err)
		return 2
	}
	if o.list {
		list(stdout, chosen)
		return 0
	}
	if o.seed == 0 {
		o.seed = rand.Uint64()
	}
	results, err := attackAll(ctx, chosen, o, stderr)
	table(stdout, results)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "attack:", err)
		return 1
	}
	if slices.ContainsFunc(results, result.failed) {
		return 1
	}
	return 0
}

// choose picks the promises named in a list with commas between; all for an empty one.
func choose(all []promise, names string) ([]promise, error) {
	if names == "" {
		return all, nil
	}
	var chosen []promise
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(p promise) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no attack on %q; see -list", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// result is one line of the table.
type result struct {
	promise, tries string
	report         *report
	err            error // it could not be tried to the end
	took           time.Duration
}

func (r result) failed() bool { return r.err != nil || r.report.broken > 0 }

// attackAll runs one attack after another. The error is about the run as a whole; what was found until then is in the
// results.
func attackAll(ctx context.Context, chosen []promise, o options, stderr io.Writer) ([]result, error) {
	log := slog.New(slog.NewTextHandler(stderr, nil))
	root, err := os.MkdirTemp("", "tokenworker-attack-")
	if err != nil {
		return nil, fmt.Errorf("making a directory: %w", err)
	}
	log.InfoContext(ctx, "attacking", slog.Uint64("seed", o.seed), slog.String("dir", root))
	tools := &tools{dir: root}
	var results []result
	for _, p := range chosen {
		n := p.usual
		if o.n > 0 {
			n = o.n
		}
		for i, a := range p.attacks {
			r := result{promise: p.name, tries: a.tries, report: &report{}}
			e := &env{
				tools: tools, report: r.report, dir: filepath.Join(root, fmt.Sprintf("%s-%d", p.name, i+1)),
				log:  log.With(slog.String("promise", p.name)),
				rand: rand.New(rand.NewPCG(o.seed, 0)),
			}
			start := time.Now()
			e.log.InfoContext(ctx, "attack begins", slog.String("tries", a.tries), slog.Int("n", n))
			if r.err = os.Mkdir(e.dir, 0o700); r.err == nil {
				r.err = a.run(ctx, e, n)
			}
			r.took = time.Since(start)
			e.log.InfoContext(ctx, "attack ended", slog.String("tries", a.tries), slog.Duration("took", r.took.Round(time.Second)),
				slog.Any("error", r.err))
			results = append(results, r)
			if ctx.Err() != nil {
				break
			}
			if !r.failed() {
				_ = os.RemoveAll(e.dir) // what cannot be removed now is removed with root
			}
		}
		if ctx.Err() != nil {
			return results, errors.Join(errors.New("interrupted"), os.RemoveAll(root))
		}
	}
	if slices.ContainsFunc(results, result.failed) {
		return results, fmt.Errorf("something broke; files and logs are kept in %s", root)
	}
	if err := os.RemoveAll(root); err != nil {
		return results, fmt.Errorf("cleaning up: %w", err)
	}
	return results, nil
}

// table prints one line for each result, and below it what broke, when something did.
func table(w io.Writer, results []result) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "promise\ttried\thow often\tbroke\ttook")
	for _, r := range results {
		broke := "nothing"
		switch {
		case r.err != nil:
			broke = "COULD NOT BE TRIED"
		case r.report.broken > 0:
			broke = fmt.Sprintf("%d BROKEN", r.report.broken)
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", r.promise, r.tries, strings.Join(r.report.tried, ", "), broke,
			r.took.Round(time.Second))
	}
	_ = t.Flush()
	for _, r := range results {
		for _, what := range r.report.examples {
			_, _ = fmt.Fprintf(w, "%s: %s\n", r.promise, what)
		}
		if r.err != nil {
			_, _ = fmt.Fprintf(w, "%s: %v\n", r.promise, r.err)
		}
	}
}

func list(w io.Writer, all []promise) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "promise\ttries\tusual size\tpublished size")
	for _, p := range all {
		for _, a := range p.attacks {
			_, _ = fmt.Fprintf(t, "%s\t%s\t%d %s\t%d\n", p.name, a.tries, p.usual, p.unit, p.full)
		}
	}
	_ = t.Flush()
}
