package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// attackWith runs attacks of the test's own.
func attackWith(t *testing.T, run func(ctx context.Context, e *env, n int) error) (stdout string, results []result, err error) {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	p := promise{name: "P0", unit: "tries", usual: 7, full: 70, attacks: []attack{{"something", run}}}
	var stderr, out bytes.Buffer
	results, err = attackAll(t.Context(), []promise{p}, options{seed: 1}, &stderr)
	table(&out, results)
	return out.String(), results, err
}

func TestALineSaysWhatWasTriedHowOftenAndWhatBroke(t *testing.T) {
	for name, c := range map[string]struct {
		run    func(ctx context.Context, e *env, n int) error
		want   []string
		failed bool
	}{
		"nothing broke": {
			func(_ context.Context, e *env, n int) error { e.did("%d tries", n); return nil },
			[]string{"P0", "something", "7 tries", "nothing"}, false,
		},
		"something broke": {
			func(_ context.Context, e *env, _ int) error { e.broke("a token is gone"); return nil },
			[]string{"1 BROKEN", "P0: a token is gone"}, true,
		},
		"it could not be tried": {
			func(context.Context, *env, int) error { return errors.New("no server") },
			[]string{"COULD NOT BE TRIED", "P0: no server"}, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			out, results, err := attackWith(t, c.run)
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("the table lacks %q:\n%s", want, out)
				}
			}
			if results[0].failed() != c.failed || (err != nil) != c.failed {
				t.Errorf("failed: %t, %v; want %t", results[0].failed(), err, c.failed)
			}
		})
	}
}

func TestFilesAreKeptOnlyWhenSomethingBroke(t *testing.T) {
	for _, broken := range []bool{false, true} {
		var dir string
		_, _, _ = attackWith(t, func(_ context.Context, e *env, _ int) error {
			dir = e.dir
			if broken {
				e.broke("it")
			}
			return os.WriteFile(filepath.Join(e.dir, "log"), []byte("x"), 0o600)
		})
		if _, err := os.Stat(filepath.Join(dir, "log")); (err == nil) != broken {
			t.Errorf("broken %t: %v", broken, err)
		}
	}
}

func TestAnInterruptedRunEndsWithAnErrorAndLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	ran := 0
	a := attack{"something", func(ctx context.Context, _ *env, _ int) error {
		ran++
		cancel()
		return ctx.Err()
	}}
	var stderr bytes.Buffer
	_, err := attackAll(ctx, []promise{{name: "P0", attacks: []attack{a, a}}}, options{}, &stderr)
	if err == nil || ran != 1 {
		t.Fatalf("ran %d attacks, %v; want one and an error", ran, err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestUsage(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		code int
		out  string
	}{
		"a promise that nothing attacks": {[]string{"-p", "P99"}, 2, ""},
		"an unknown flag":                {[]string{"-x"}, 2, ""},
		"a stray argument":               {[]string{"P1"}, 2, ""},
		"the list":                       {[]string{"-list"}, 0, "P11"},
		"the list of one":                {[]string{"-list", "-p", "P7"}, 0, "1000"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), c.args, &stdout, &stderr); code != c.code {
				t.Errorf("exit code %d, want %d: %s", code, c.code, &stderr)
			}
			if !strings.Contains(stdout.String(), c.out) {
				t.Errorf("printed %q", &stdout)
			}
		})
	}
}

func TestPromisesWithoutAnAttackAreNotListed(t *testing.T) {
	var names []string
	for _, p := range promises() {
		if len(p.attacks) == 0 || p.usual <= 0 || p.full < p.usual || p.unit == "" {
			t.Errorf("%s: incomplete", p.name)
		}
		names = append(names, p.name)
	}
	if got := strings.Join(names, " "); got != "P1 P2 P3 P4 P5 P6 P7 P8 P9 P10 P11 audit erase rewrap siblings tenants epoch rights clocks" {
		t.Errorf("attacked are %s", got)
	}
}
