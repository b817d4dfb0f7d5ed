package provider

import (
	"context"
	_ "embed" // catalogue.yaml
	"errors"
	"maps"
	"slices"
)

//go:embed catalogue.yaml
var builtIn []byte

// Catalogue is every provider that the worker knows. It does not change once loaded.
type Catalogue struct {
	providers map[string]*Provider
	ids       []string // sorted
}

// Load reads the built-in catalogue and then the overrides, in order. A field that an override names replaces what was
// there before, in the sections revoke, introspect and client field by field; null takes it back to its default.
//
// Secrets of the clients are read now, and again while they are used (docs/providers.md says when). The manager answers for
// secretsmanager:NAME; it may be nil if no file uses that.
//
// An error names every mistake with file and line, and repeats no value. It matches what the manager's error matches.
func Load(ctx context.Context, manager SecretsManager, overrides ...Source) (*Catalogue, error) {
	drafts := map[string]*draft{}
	var errs []error
	for _, src := range append([]Source{{"catalogue.yaml", builtIn}}, overrides...) {
		errs = append(errs, merge(drafts, src))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err // what would follow only repeats it
	}
	c := &Catalogue{providers: map[string]*Provider{}, ids: slices.Sorted(maps.Keys(drafts))}
	for _, id := range c.ids {
		d := drafts[id]
		d.defaults()
		err := d.validate()
		if err == nil && d.client != (clientConfig{}) {
			err = d.enable(ctx, manager)
		}
		errs = append(errs, err)
		c.providers[id] = &d.Provider
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return c, nil
}

// Get returns the provider of that id.
func (c *Catalogue) Get(id string) (*Provider, bool) {
	p, ok := c.providers[id]
	return p, ok
}

// All returns every provider, by id.
func (c *Catalogue) All() []*Provider {
	all := make([]*Provider, len(c.ids))
	for i, id := range c.ids {
		all[i] = c.providers[id]
	}
	return all
}
