package main

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v3"
)

var update = flag.Bool("update", false, "write the flags into docs/operations.md")

const guide = "../../docs/operations.md"

func readGuide(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// between returns the text before, between and after two marks.
func between(t *testing.T, text, first, last string) (before, inside, after string) {
	t.Helper()
	before, rest, found := strings.Cut(text, first)
	inside, after, foundLast := strings.Cut(rest, last)
	if !found || !foundLast {
		t.Fatalf("the guide has no %q with %q after it", first, last)
	}
	return before, inside, after
}

// flagTable lists every flag once, with the commands that take it.
func flagTable(t *testing.T) string {
	t.Helper()
	type row struct{ name, usage string }
	takers, defaults := map[row][]string{}, map[row]string{}
	commands(t, func(path []string, c *cli.Command) {
		for _, f := range c.Flags {
			f := f.(cli.DocGenerationFlag)
			r := row{f.(cli.Flag).Names()[0], f.GetUsage()}
			takers[r] = append(takers[r], cmp.Or(strings.Join(path, " "), "all"))
			defaults[r] = cmp.Or(f.GetDefaultText(), f.GetValue())
		}
	})
	var b strings.Builder
	b.WriteString("\n| flag | default | commands | what it says |\n|---|---|---|---|\n")
	for _, r := range slices.SortedFunc(maps.Keys(takers), func(x, y row) int {
		return cmp.Or(cmp.Compare(x.name, y.name), cmp.Compare(takers[x][0], takers[y][0]))
	}) {
		_, _ = fmt.Fprintf(&b, "| `--%s` | %s | %s | %s |\n", r.name, strings.Trim(defaults[r], `"`),
			strings.Join(takers[r], ", "), r.usage)
	}
	return b.String()
}

func TestTheGuideListsEveryFlag(t *testing.T) {
	const last = "<!-- end of flags -->"
	text := readGuide(t)
	before, inside, after := between(t, text, "-update` -->", last)
	want := flagTable(t)
	if *update {
		if err := os.WriteFile(guide, []byte(before+"-update` -->"+want+last+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if inside != want {
		t.Errorf("the flags in %s are not those of the commands: run this test with -update", guide)
	}
}
