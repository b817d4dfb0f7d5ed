package provider

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Fact is something that an entry says of a provider, and where that is from.
type Fact struct {
	Field   string
	Value   string   // as the entry has it; empty: that there is none
	On      string   // the day on which somebody checked it against the vendor's own pages; empty: nobody did
	Sources []string // those pages
}

// factFields are the fields that say something of the provider, in the order in which people ask. The rest is about how it is
// shown, or the operator's own.
var factFields = []string{
	"rotation", "grace", "refresh_ends_access", "assumed_lifetime", "idle_expiry", "hard_expiry", "revoke", "revocation_scope",
	"disconnect_scope", "introspect", "token_url", "auth", "lead_cap", "false_invalid_grant", "reauth_codes", "client_codes", "scheme",
	"regions",
}

// verification is when a fact was checked, and against which of the entry's sources.
type verification struct {
	on      string
	sources []int // from 0
}

// Facts lists what the entry says of the provider.
func (p *Provider) Facts() []Fact {
	var facts []Fact
	for _, field := range factFields {
		value, claimed := p.claims[field]
		v, verified := p.verified[field]
		if !claimed && !verified {
			continue
		}
		f := Fact{Field: field, Value: value, On: v.on}
		for _, i := range v.sources {
			f.Sources = append(f.Sources, p.Sources[i])
		}
		facts = append(facts, f)
	}
	return facts
}

// Unverified lists the fields that say something that nobody has checked against the vendor's own pages.
func (p *Provider) Unverified() []string {
	var fields []string
	for _, f := range p.Facts() {
		if f.On == "" {
			fields = append(fields, f.Field)
		}
	}
	return fields
}

// claim notes what a file says of a provider. Nobody has checked that yet, whatever stood there before.
func (p *Provider) claim(fields node) error {
	return entries(fields, func(name string, _, value node) error {
		if !slices.Contains(factFields, name) {
			return nil
		}
		if p.claims == nil {
			p.claims = map[string]string{}
		}
		delete(p.verified, name)
		p.claims[name] = strings.Join(strings.Fields(value.String()), " ")
		return nil
	})
}

// verifications reads field: "DATE NUMBER …", the numbers being those of sources, from 1.
func verifications(n node) (map[string]verification, error) {
	texts, err := stringMap(n)
	if err != nil {
		return nil, err
	}
	all := map[string]verification{}
	for field, text := range texts {
		words := strings.Fields(text)
		if len(words) < 2 {
			return nil, errVerified
		}
		v := verification{on: words[0]}
		if _, err := time.Parse(time.DateOnly, v.on); err != nil {
			return nil, errVerified
		}
		for _, word := range words[1:] {
			number, err := strconv.Atoi(word)
			if err != nil || number < 1 {
				return nil, errVerified
			}
			v.sources = append(v.sources, number-1)
		}
		all[field] = v
	}
	return all, nil
}

var errVerified = errors.New("not fields with a date and numbers of sources each, like 2026-11-30 1")

// validateFacts reports verifications of nothing, or by nothing.
func (d *draft) validateFacts() error {
	for _, field := range slices.Sorted(maps.Keys(d.verified)) {
		if !slices.Contains(factFields, field) {
			return d.errorf("verified", "a name is not that of a field that can be")
		}
		for _, i := range d.verified[field].sources {
			if i >= len(d.Sources) {
				return d.errorf("verified", "%w", fmt.Errorf("there are %d sources", len(d.Sources)))
			}
		}
	}
	return nil
}
