package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/tokenworker/tokenworker"
)

func (a *app) listCommand() *cli.Command {
	var flags struct {
		target targetFlags
		org    string
		json   bool
	}
	return &cli.Command{
		Name: "list", Usage: "list the connections of an organization", Category: "Connections",
		Flags: append([]cli.Flag{
			&cli.StringFlag{
				Name: "org", Sources: env("org"), Destination: &flags.org, Value: tokenworker.DefaultOrg,
				Usage: "`ID` of the organization",
			},
			jsonFlag(&flags.json),
		}, flags.target.flags()...),
		Action: a.onTarget(&flags.target, func(ctx context.Context, _ *cli.Command, t *target) error {
			if err := tokenworker.ValidatePart(flags.org); err != nil {
				return wrongUse("--org: %v", err)
			}
			s, err := t.store(ctx)
			if err != nil {
				return err
			}
			out := newListing(a.stdout, flags.json, "KEY", "STATUS", "STAMP", "EXPIRES", "DUE", "REFRESHED", "REFRESHABLE", "FAILURE")
			for r, err := range s.Records(ctx, flags.org) {
				if err != nil {
					return errors.Join(fmt.Errorf("listing connections: %w", err), out.close())
				}
				v := view(r)
				out.row(v, v.Key, string(v.Status), r.Stamp.String(), timeCell(v.ExpiresAt), timeCell(r.Due()),
					timeCell(v.RefreshedAt), refreshableCell(r), failureCell(r))
			}
			return out.close()
		}),
	}
}

func (a *app) inspectCommand() *cli.Command {
	var flags struct {
		target targetFlags
		json   bool
	}
	return &cli.Command{
		Name: "inspect", Usage: "show what is known of the connection KEY, without its tokens", Category: "Connections",
		ArgsUsage: "KEY", ArgValidator: oneArgument,
		Flags: append([]cli.Flag{jsonFlag(&flags.json)}, flags.target.flags()...),
		Action: a.onTarget(&flags.target, func(ctx context.Context, c *cli.Command, t *target) error {
			key, err := tokenworker.ParseKey(c.Args().First())
			if err != nil {
				return wrongUse("KEY: %v", err)
			}
			s, err := t.store(ctx)
			if err != nil {
				return err
			}
			r, err := s.Get(ctx, key)
			if errors.Is(err, tokenworker.ErrNotFound) {
				return fmt.Errorf("there is no connection %s", key)
			} else if err != nil {
				return fmt.Errorf("looking up %s: %w", key, err)
			}
			return printObject(a.stdout, view(r), flags.json)
		}),
	}
}

// recordView is what may be seen of a record: everything but the sealed sets, fingerprints and event ids, which are
// counted.
type recordView struct {
	Key                  string             `json:"key"`
	Status               tokenworker.Status `json:"status"`
	Epoch                uint64             `json:"epoch"`
	Sequence             uint64             `json:"sequence"`
	Generation           uint64             `json:"generation"`
	Entered              time.Time          `json:"entered,omitzero"`
	DisconnectEpoch      uint64             `json:"disconnect_epoch,omitempty"`
	DisconnectSequence   uint64             `json:"disconnect_sequence,omitempty"`
	AcquiredAt           time.Time          `json:"acquired_at,omitzero"`
	RefreshedAt          time.Time          `json:"refreshed_at,omitzero"`
	ExpiresAt            time.Time          `json:"expires_at,omitzero"`
	GrantExpiresAt       time.Time          `json:"grant_expires_at,omitzero"`
	Refreshable          bool               `json:"refreshable"` // the current set has a refresh token
	DueAt                time.Time          `json:"due_at,omitzero"`
	RevokeAt             time.Time          `json:"revoke_at,omitzero"`
	RevokeSince          time.Time          `json:"revoke_since,omitzero"`
	RemoveAt             time.Time          `json:"remove_at,omitzero"`
	Scope                string             `json:"scope,omitempty"`
	Subject              string             `json:"subject,omitempty"`
	Issuer               string             `json:"issuer,omitempty"`
	ProviderConnectionID string             `json:"provider_connection_id,omitempty"`
	ConsentRef           string             `json:"consent_ref,omitempty"`
	Failures             int                `json:"failures,omitempty"`
	FailureCode          string             `json:"failure_code,omitempty"`
	ClaimOwner           string             `json:"claim_owner,omitempty"`
	ClaimAt              time.Time          `json:"claim_at,omitzero"`
	ClaimUntil           time.Time          `json:"claim_until,omitzero"`
	LastResort           bool               `json:"last_resort,omitempty"` // of the claim
	RevokingUntil        time.Time          `json:"revoking_until,omitzero"`
	Unannounced          []string           `json:"unannounced,omitempty"` // kinds of events, as far as the record knows
	SealedBytes          int                `json:"sealed_bytes"`
	ToRevoke             int                `json:"to_revoke"`
	EventsRemembered     int                `json:"events_remembered"`
	SpentRemembered      int                `json:"spent_remembered"`
}

func view(r tokenworker.Record) recordView {
	v := recordView{
		Key: r.Key.String(), Status: r.Status,
		Epoch: r.Stamp.Epoch, Sequence: r.Stamp.Sequence, Generation: r.Generation, Entered: r.Entered,
		DisconnectEpoch: r.Disconnected.Epoch, DisconnectSequence: r.Disconnected.Sequence,
		AcquiredAt: r.AcquiredAt, RefreshedAt: r.RefreshedAt, ExpiresAt: r.ExpiresAt, GrantExpiresAt: r.GrantExpiresAt,
		DueAt: r.DueAt, RevokeAt: r.RevokeAt, RevokeSince: r.RevokeSince, RemoveAt: r.RemoveAt,
		Scope: r.Scope, Subject: r.Subject, Issuer: r.Issuer, ProviderConnectionID: r.ProviderConnectionID,
		ConsentRef: r.ConsentRef, Refreshable: r.Sealed != nil && r.Refreshable, SealedBytes: len(r.Sealed), ToRevoke: len(r.Revoke),
		Failures: r.Failures, FailureCode: r.FailureCode,
		EventsRemembered: len(r.Seen), SpentRemembered: len(r.Acquired) + len(r.Spent),
	}
	if c := r.Claim; c != nil {
		v.ClaimOwner, v.ClaimAt, v.ClaimUntil, v.LastResort = c.Owner, c.At, c.Until, c.LastResort
	}
	if r.Revoking != nil {
		v.RevokingUntil = r.Revoking.Until
	}
	for _, o := range r.Owed {
		v.Unannounced = append(v.Unannounced, o.Kinds...)
	}
	return v
}

// refreshableCell says whether the current set has a refresh token.
func refreshableCell(r tokenworker.Record) string {
	switch {
	case r.Sealed == nil:
		return "-"
	case r.Refreshable:
		return "yes"
	default:
		return "no"
	}
}

// failureCell says how often in a row, and why, a refresh or a revocation failed.
func failureCell(r tokenworker.Record) string {
	if r.Failures == 0 && r.FailureCode == "" {
		return "-"
	}
	return fmt.Sprintf("%d %s", r.Failures, r.FailureCode)
}

func timeCell(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
