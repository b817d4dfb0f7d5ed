package main

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/urfave/cli/v3"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// selection says whose data a command is about: one connection, an organization or a person. Only arguments and flags say it,
// since `erase` is among the commands.
type selection struct {
	key                  tokenworker.Key // its company is missing where an organization is meant
	org, subject, issuer string
}

func (s *selection) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: "org", Destination: &s.org, Usage: "`ID` of the organization, instead of KEY",
		},
		&cli.StringFlag{
			Name: "subject", Destination: &s.subject,
			Usage: "`ID` of the person who granted access, as the provider names it, instead of KEY",
		},
		&cli.StringFlag{
			Name: "issuer", Destination: &s.issuer,
			Usage: "`URL` of the issuer that --subject is an id of, where tokens came with one",
		},
	}
}

// read takes the argument, and refuses what does not say exactly one thing.
func (s *selection) read(c *cli.Command) error {
	said := 0
	for _, is := range []bool{c.Args().Present(), s.org != "", s.subject != ""} {
		if is {
			said++
		}
	}
	switch {
	case said != 1 || c.Args().Len() > 1:
		return wrongUse("%s takes one of KEY, --org and --subject", c.Name)
	case s.issuer != "" && s.subject == "":
		return wrongUse("--issuer goes with --subject")
	case s.org != "":
		if err := tokenworker.ValidatePart(s.org); err != nil {
			return wrongUse("--org: %v", err)
		}
		s.key.OrgID = s.org
	case s.subject == "":
		var err error
		if s.key, err = tokenworker.ParseKey(c.Args().First()); err != nil {
			return wrongUse("KEY: %v", err)
		}
	}
	return nil
}

// String names what is selected.
func (s *selection) String() string {
	if s.subject != "" {
		return s.subject
	}
	return events.KeyText(s.key)
}

// records yields what the store holds of it.
func (s *selection) records(ctx context.Context, from store) iter.Seq2[tokenworker.Record, error] {
	if s.org != "" {
		return from.Records(ctx, s.org)
	}
	return func(yield func(tokenworker.Record, error) bool) {
		for k, err := range s.found(ctx, from) {
			var r tokenworker.Record
			if err == nil {
				r, err = from.Get(ctx, k)
			}
			switch {
			case errors.Is(err, tokenworker.ErrNotFound):
			case err != nil:
				yield(r, fmt.Errorf("looking up connections: %w", err))
				return
			case s.subject != "" && (r.Subject != s.subject || r.Issuer != s.issuer): // the index lags, or knows no issuers
			case !yield(r, nil):
				return
			}
		}
	}
}

// found yields the keys of a connection or of a person's.
func (s *selection) found(ctx context.Context, from store) iter.Seq2[tokenworker.Key, error] {
	if s.subject != "" {
		return from.BySubject(ctx, s.issuer, s.subject)
	}
	return func(yield func(tokenworker.Key, error) bool) { yield(s.key, nil) }
}
