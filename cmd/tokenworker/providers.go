package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/tokenworker/tokenworker/provider"
)

func (a *app) providersCommand() *cli.Command {
	var flags struct {
		files []string
		json  bool
	}
	return &cli.Command{
		Name: "providers", Usage: "list the providers that the worker knows, or explain the one with ID", ArgsUsage: "[ID]",
		Category: "Operation",
		Description: "With ID it shows each fact of the entry, the day on which it was checked against the vendor's own pages, and those " +
			"pages. What nobody has checked is named under \"unverified\", and read in the careful way. A provider " +
			"that is not enabled has no client configured, and is never sent anything.",
		Flags:        []cli.Flag{providersFlag(&flags.files), jsonFlag(&flags.json)},
		ArgValidator: anyArguments,
		Action: func(ctx context.Context, c *cli.Command) error {
			if c.Args().Len() > 1 {
				return wrongUse("providers takes one ID at most")
			}
			catalogue, err := loadCatalogue(ctx, nil, flags.files)
			if err != nil {
				return err
			}
			if id := c.Args().First(); id != "" {
				return a.explain(catalogue, id, flags.json)
			}
			out := newListing(a.stdout, flags.json, "ID", "NAME", "ROTATION", "REVOKES", "ENABLED", "UNVERIFIED")
			for _, p := range catalogue.All() {
				v := viewProvider(p)
				out.row(v, v.ID, v.Name, string(v.Rotation), v.revocation(), strconv.FormatBool(v.Enabled),
					cellOf(p.Unverified()))
			}
			return out.close()
		},
	}
}

func (a *app) explain(catalogue *provider.Catalogue, id string, asJSON bool) error {
	p, ok := catalogue.Get(id)
	if !ok {
		return fmt.Errorf("there is no provider %q", id)
	}
	v := viewProvider(p)
	if asJSON {
		return printObject(a.stdout, v, true)
	}
	facts := v.Facts
	v.Facts, v.Sources = nil, nil // the table below has them
	if err := printObject(a.stdout, v, false); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(a.stdout); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	out := newListing(a.stdout, false, "FACT", "VALUE", "VERIFIED", "BY")
	for _, f := range facts {
		out.row(f, f.Field, cmp.Or(f.Value, "none"), cmp.Or(f.VerifiedOn, "no"), cellOf(f.Sources))
	}
	return out.close()
}

// providerView is what may be seen of a provider: everything but its client's credentials.
type providerView struct {
	ID                string                   `json:"id"`
	Name              string                   `json:"name"`
	Enabled           bool                     `json:"enabled"` // a client is configured
	Refreshes         bool                     `json:"refreshes"`
	Rotation          provider.Rotation        `json:"rotation"`
	Grace             string                   `json:"grace,omitempty"`
	Margin            string                   `json:"margin,omitempty"` // before the last resort
	FalseInvalidGrant bool                     `json:"false_invalid_grant,omitempty"`
	Revokes           bool                     `json:"revokes"`
	RevocationScope   provider.RevocationScope `json:"revocation_scope"`
	DisconnectScope   provider.DisconnectScope `json:"disconnect_scope"`
	Introspects       bool                     `json:"introspects"`
	AssumedLifetime   string                   `json:"assumed_lifetime,omitempty"`
	LeadCap           string                   `json:"lead_cap,omitempty"`
	IdleExpiry        string                   `json:"idle_expiry,omitempty"`
	HardExpiry        string                   `json:"hard_expiry,omitempty"`
	RateLimit         float64                  `json:"rate_limit,omitempty"` // requests a second
	Retain            int                      `json:"retain,omitempty"`     // token sets kept
	ReauthCodes       []string                 `json:"reauth_codes,omitempty"`
	Facts             []factView               `json:"facts,omitempty"`
	Unverified        []string                 `json:"unverified,omitempty"` // fields
	Notes             string                   `json:"notes,omitempty"`
	Sources           []string                 `json:"sources,omitempty"`
}

func viewProvider(p *provider.Provider) providerView {
	return providerView{
		ID: p.ID, Name: p.Name, Enabled: p.Enabled(), Refreshes: p.Refreshes(), Rotation: p.Rotation,
		Grace: lengthOf(p.GracePeriod), Margin: lengthOf(p.Margin), FalseInvalidGrant: p.FalseInvalidGrant,
		Revokes: p.Revokes(), RevocationScope: p.RevocationScope, DisconnectScope: p.DisconnectScope, Introspects: p.Introspects(),
		AssumedLifetime: lengthOf(p.AssumedLifetime), LeadCap: lengthOf(p.LeadCap),
		IdleExpiry: lengthOf(p.IdleExpiry), HardExpiry: lengthOf(p.HardExpiry), RateLimit: p.RateLimit, Retain: p.Retain,
		ReauthCodes: p.ReauthCodes(), Facts: viewFacts(p), Unverified: p.Unverified(), Notes: p.Notes, Sources: p.Sources,
	}
}

// factView is what an entry says of a provider, and who says so.
type factView struct {
	Field      string   `json:"field"`
	Value      string   `json:"value"`
	VerifiedOn string   `json:"verified_on,omitempty"`
	Sources    []string `json:"sources,omitempty"`
}

func viewFacts(p *provider.Provider) []factView {
	var facts []factView
	for _, f := range p.Facts() {
		facts = append(facts, factView{f.Field, f.Value, f.On, f.Sources})
	}
	return facts
}

// revocation is how far a revocation reaches, if one is possible.
func (v providerView) revocation() string {
	if !v.Revokes {
		return "-"
	}
	return string(v.RevocationScope)
}

// lengthOf is empty for a length that is not known.
func lengthOf(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}
