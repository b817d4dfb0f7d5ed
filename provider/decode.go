package provider

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/tokenworker/tokenworker"
)

// Source is a file of providers, in the form of catalogue.yaml.
type Source struct {
	Name string // for errors
	YAML []byte
}

// maxSourceBytes bounds a file of providers; the built-in one has about 40 KB.
const maxSourceBytes = 1 << 20

// draft is a provider while it is put together from the catalogue and what overrides it.
type draft struct {
	Provider
	// lines says where each field was set last; the empty name is the provider itself. Errors never repeat a value,
	// which might be a secret in the wrong place: the line is all there is to find it by.
	lines map[string]string
}

// errorf is an error about a field, with the line it was set on.
func (d *draft) errorf(field, format string, args ...any) error {
	where := d.lines[field]
	if where == "" {
		where = d.lines[""]
	}
	what := "provider " + strconv.Quote(d.ID)
	if field != "" {
		what += ": " + field
	}
	return fmt.Errorf("%s: %s: %w", where, what, fmt.Errorf(format, args...))
}

// node is a YAML node and the file it is from.
type node struct {
	ast.Node
	file string
}

func (n node) at(m ast.Node) node { return node{m, n.file} }

// line is file:line, for errors.
func (n node) line() string {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return fmt.Sprintf("%s:%d", n.file, t.Position.Line)
	}
	return n.file
}

func (n node) errorf(format string, args ...any) error {
	return fmt.Errorf("%s: %w", n.line(), fmt.Errorf(format, args...))
}

// merge reads a source into the drafts: a provider that is there already has the fields replaced that the source names.
func merge(drafts map[string]*draft, src Source) error {
	root, err := parse(src)
	if err != nil || root.Node == nil {
		return err
	}
	return entries(root, func(section string, key, providers node) error {
		if section != "providers" {
			return key.errorf("unknown section; the only one is providers")
		}
		return entries(providers, func(id string, key, fields node) error {
			if err := tokenworker.ValidatePart(id); err != nil {
				return key.errorf("provider id: %w", err)
			}
			d := drafts[id]
			if d == nil {
				d = &draft{Provider: Provider{ID: id, Name: id, Policy: unknown}, lines: map[string]string{}}
				drafts[id] = d
			}
			d.lines[""] = key.line()
			if err := d.claim(fields); err != nil {
				return err
			}
			return d.set("", fields, providerFields)
		})
	})
}

// parse reads one YAML document. Its root is nil if the document is empty.
func parse(src Source) (node, error) {
	if len(src.YAML) > maxSourceBytes {
		return node{}, fmt.Errorf("%s: larger than %d bytes", src.Name, maxSourceBytes)
	}
	file, err := parser.ParseBytes(src.YAML, 0)
	if err != nil {
		where := src.Name
		var at interface{ GetToken() *token.Token } // the library's own text repeats the line
		if errors.As(err, &at) && at.GetToken() != nil && at.GetToken().Position != nil {
			where = fmt.Sprintf("%s:%d", src.Name, at.GetToken().Position.Line)
		}
		return node{}, fmt.Errorf("%s: not valid YAML, or a key that is there twice", where)
	}
	var root node
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if root.Node != nil {
			return node{}, fmt.Errorf("%s: more than one document", src.Name)
		}
		root = node{doc.Body, src.Name}
	}
	return root, nil
}

// entries calls f for each entry of a mapping, with its name, the key that this is from, and the value. It joins the
// errors, so that all mistakes of a file show at once.
func entries(n node, f func(name string, key, value node) error) error {
	mapping, ok := n.Node.(*ast.MappingNode)
	if !ok {
		return n.errorf("not a mapping")
	}
	var errs []error
	for _, entry := range mapping.Values {
		key := n.at(entry.Key)
		name, err := text(key)
		if err != nil {
			err = key.errorf("%w", err)
		} else {
			err = f(name, key, n.at(entry.Value))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// setter puts a node's value into a field of a draft.
type setter func(d *draft, path string, n node) error

// set reads a mapping into the draft by a table of fields.
func (d *draft) set(prefix string, n node, fields map[string]setter) error {
	return entries(n, func(name string, key, value node) error {
		path := prefix + name
		put, ok := fields[name]
		if !ok {
			return key.errorf("unknown field; known are %s", strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
		}
		d.lines[path] = key.line()
		return put(d, path, value)
	})
}

// field makes a setter of a reader of values and the place where they go. A null takes back what was set before.
func field[T any](read func(node) (T, error), place func(*Provider) *T) setter {
	return func(d *draft, path string, n node) error {
		var value T
		if n.Type() != ast.NullType {
			var err error
			if value, err = read(n); err != nil {
				return d.errorf(path, "%w", err)
			}
		}
		*place(&d.Provider) = value
		return nil
	}
}

// section makes a setter of a table of fields below the field.
func section(fields map[string]setter) setter {
	return func(d *draft, path string, n node) error { return d.set(path+".", n, fields) }
}

// The readers of values.

var errText = errors.New("not text")

func text(n node) (string, error) {
	switch v := n.Node.(type) {
	case *ast.StringNode:
		return v.Value, nil
	case *ast.LiteralNode:
		return strings.Join(strings.Fields(v.Value.Value), " "), nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, nil
	}
	return "", errText
}

func word[T ~string](known ...T) func(node) (T, error) {
	return func(n node) (T, error) {
		s, err := text(n)
		if err != nil || !slices.Contains(known, T(s)) {
			names := make([]string, len(known))
			for i, k := range known {
				names[i] = string(k)
			}
			return "", fmt.Errorf("not one of %s", strings.Join(names, ", "))
		}
		return T(s), nil
	}
}

func boolean(n node) (bool, error) {
	if v, ok := n.Node.(*ast.BoolNode); ok {
		return v.Value, nil
	}
	return false, errors.New("neither true nor false")
}

// duration reads Go's durations, and days: 90s, 30m, 60d.
func duration(n node) (time.Duration, error) {
	s, err := text(n)
	if err == nil {
		if days, ok := strings.CutSuffix(s, "d"); ok {
			s = days + "h"
			var whole time.Duration
			if whole, err = time.ParseDuration(s); err == nil && 0 < whole && whole < 1e5*time.Hour {
				return 24 * whole, nil
			}
		} else if d, err := time.ParseDuration(s); err == nil && d > 0 {
			return d, nil
		}
	}
	return 0, errors.New("not a duration like 90s, 30m or 60d")
}

func rate(n node) (float64, error) {
	s, err := text(n)
	if err == nil {
		if f, err := strconv.ParseFloat(s, 64); err == nil && 0 < f && f <= 1e6 {
			return f, nil
		}
	}
	return 0, errors.New("not a number of requests a second")
}

// sets reads how many token sets are kept. One would be the current one alone.
func sets(n node) (int, error) {
	s, err := text(n)
	if err == nil {
		if i, err := strconv.Atoi(s); err == nil && 2 <= i && i <= tokenworker.MaxRetain {
			return i, nil
		}
	}
	return 0, fmt.Errorf("not a number of token sets, 2 to %d", tokenworker.MaxRetain)
}

func list(n node) ([]string, error) {
	sequence, ok := n.Node.(*ast.SequenceNode)
	if !ok {
		return nil, errors.New("not a list")
	}
	var values []string
	for _, v := range sequence.Values {
		s, err := text(n.at(v))
		if err != nil {
			return nil, err
		}
		values = append(values, s)
	}
	return values, nil
}

func stringMap(n node) (map[string]string, error) {
	values := map[string]string{}
	err := entries(n, func(name string, _, value node) error {
		s, err := text(value)
		values[name] = s
		return err
	})
	if err != nil {
		return nil, errors.New("not a mapping of text")
	}
	return values, nil
}

func prefixes(n node) ([]netip.Prefix, error) {
	texts, err := list(n)
	if err != nil {
		return nil, err
	}
	var values []netip.Prefix
	for _, s := range texts {
		prefix, err := netip.ParsePrefix(s)
		if err != nil || prefix != prefix.Masked() || prefix.Addr().Is4In6() {
			return nil, errors.New("not a list of networks like 10.1.0.0/16")
		}
		values = append(values, prefix)
	}
	return values, nil
}
