package main

import (
	"strings"
	"testing"
)

func TestATargetIsMetFromItsSide(t *testing.T) {
	for _, c := range []struct {
		name   string
		target target
		figure float64
		want   string
	}{
		{"below a ceiling", atMost(1.5), 1.4, "met"},
		{"on a ceiling", atMost(1.5), 1.5, "met"},
		{"above a ceiling", atMost(1.5), 1.6, "missed"},
		{"above a floor", atLeast(25), 26, "met"},
		{"on a floor", atLeast(25), 25, "met"},
		{"below a floor", atLeast(25), 24, "missed"},
		{"no target", target{}, 1, "-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.target.verdict(c.figure); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestATableSaysWhatWasMeasured(t *testing.T) {
	var b strings.Builder
	if err := printTable(&b, []row{
		overhead("seal", "µs", 12, 8, atMost(1.4)),
		speedup("open", "µs", 10, 500, atLeast(25)),
		{name: "calls a refresh", ours: 0.004, target: atMost(0.01)},
	}); err != nil {
		t.Fatal(err)
	}
	const want = `what             ours    baseline  ratio           target  verdict
seal             12 µs   8 µs      1.5 × the time  ≤ 1.4   missed
open             10 µs   500 µs    50 × as fast    ≥ 25    met
calls a refresh  0.004   -         -               ≤ 0.01  met
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAnUnknownGroupIsRefused(t *testing.T) {
	if _, err := choose([]string{"seal", "none"}); err == nil {
		t.Error("no error")
	}
	if all, err := choose(nil); err != nil || len(all) != len(groups()) {
		t.Errorf("%d groups, %v; want all", len(all), err)
	}
}
