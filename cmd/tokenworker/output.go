package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// listing prints rows on stdout: for people a table, for programs one JSON object a line.
type listing struct {
	table *tabwriter.Writer // nil: JSON
	json  *json.Encoder
	head  []string
	err   error
}

// newListing makes a listing with the given column heads.
func newListing(w io.Writer, asJSON bool, head ...string) *listing {
	if asJSON {
		return &listing{json: json.NewEncoder(w)}
	}
	return &listing{table: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0), head: head}
}

// row prints object, whose cells in the table are given.
func (l *listing) row(object any, cells ...string) {
	if l.err != nil {
		return
	}
	if l.table == nil {
		l.err = l.json.Encode(object)
		return
	}
	if l.head != nil {
		_, _ = fmt.Fprintln(l.table, strings.Join(l.head, "\t")) // written by Flush, which says what failed
		l.head = nil
	}
	_, _ = fmt.Fprintln(l.table, strings.Join(cells, "\t"))
}

// close prints what is left. Its error is the first that printing met.
func (l *listing) close() error {
	if l.table != nil {
		l.err = l.table.Flush()
	}
	if l.err != nil {
		return fmt.Errorf("printing: %w", l.err)
	}
	return nil
}

// cellOf is a value, or the values of a list.
func cellOf[V any](value V) string {
	switch v := any(value).(type) {
	case []string:
		return strings.Join(v, ", ")
	case []any:
		cells := make([]string, len(v))
		for i := range v {
			cells[i] = fmt.Sprint(v[i])
		}
		return strings.Join(cells, ", ")
	}
	return fmt.Sprint(value)
}

// printObject prints one flat object: as JSON, or for people with a line for each of its fields.
func printObject(w io.Writer, object any, asJSON bool) error {
	b, err := json.Marshal(object)
	if err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	out := newListing(w, asJSON)
	if asJSON {
		out.row(json.RawMessage(b))
		return out.close()
	}
	fields := json.NewDecoder(bytes.NewReader(b))
	fields.UseNumber()
	_, err = fields.Token() // the opening brace
	for err == nil && fields.More() {
		var name json.Token
		var value any
		if name, err = fields.Token(); err == nil {
			err = fields.Decode(&value)
		}
		out.row(nil, fmt.Sprint(name), cellOf(value))
	}
	return errors.Join(err, out.close())
}
