package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// row is one line of the table.
type row struct {
	name     string
	unit     string  // of ours and baseline
	ours     float64 // what the worker takes
	baseline float64 // what the other takes; 0: there is nothing to compare with
	ratio    float64 // what the target is about; without a baseline that is ours
	ratioOf  string  // what the ratio says, read behind it
	target   target
}

// overhead is a row about how much longer the worker takes than the least that it could do.
func overhead(name, unit string, ours, baseline float64, t target) row {
	return row{name, unit, ours, baseline, ours / baseline, "× the time", t}
}

// speedup is a row about how much faster the worker is than another that does the same.
func speedup(name, unit string, ours, baseline float64, t target) row {
	return row{name, unit, ours, baseline, baseline / ours, "× as fast", t}
}

// rate is a row about how many of an operation the worker makes in a second, for each that the baseline makes. It is
// given what one takes, in microseconds.
func rate(name string, ours, baseline float64, t target) row {
	return row{name, "/s", 1e6 / ours, 1e6 / baseline, baseline / ours, "× the rate", t}
}

// target is what a ratio should be. The zero target is none: the row is for orientation.
type target struct {
	sign  string
	bound float64
}

func atMost(bound float64) target  { return target{"≤", bound} }
func atLeast(bound float64) target { return target{"≥", bound} }

func (t target) String() string {
	if t.sign == "" {
		return "-"
	}
	return t.sign + " " + number(t.bound)
}

// verdict is the target's word on a figure.
func (t target) verdict(figure float64) string {
	switch {
	case t.sign == "":
		return "-"
	case t.sign == "≤" && figure <= t.bound, t.sign == "≥" && figure >= t.bound:
		return "met"
	default:
		return "missed"
	}
}

func printTable(w io.Writer, rows []row) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "what\tours\tbaseline\tratio\ttarget\tverdict") // Flush returns the error
	for _, r := range rows {
		ours, baseline, ratio, figure := number(r.ours)+" "+r.unit, "-", "-", r.ours
		if r.baseline != 0 {
			baseline = number(r.baseline) + " " + r.unit
			ratio = number(r.ratio) + " " + r.ratioOf
			figure = r.ratio
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", r.name, ours, baseline, ratio, r.target, r.target.verdict(figure))
	}
	return table.Flush()
}

// number prints three digits, or all before the point.
func number(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
