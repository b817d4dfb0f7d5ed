package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/tokenworker/tokenworker"
)

func (a *app) exportCommand() *cli.Command {
	var flags targetFlags
	var chosen selection
	return &cli.Command{
		Name: "export", Usage: "print what is stored about the connection KEY, an organization or a person", ArgsUsage: "[KEY]",
		Category: "Data protection",
		Description: "One JSON object a line for each connection: everything but its tokens, and counts instead of what only the " +
			"worker can read. Each leaves a record in the audit trail first.",
		Flags:        append(chosen.flags(), flags.flags()...),
		ArgValidator: anyArguments,
		Action: a.onTarget(&flags, func(ctx context.Context, c *cli.Command, t *target) error {
			if err := chosen.read(c); err != nil {
				return err
			}
			s, err := t.store(ctx)
			if err != nil {
				return err
			}
			trail, err := t.trail(ctx)
			if err != nil {
				return err
			}
			out := newListing(a.stdout, true)
			for r, err := range chosen.records(ctx, s) {
				if err == nil {
					err = trail.Record(ctx, byOperator(tokenworker.AuditEntry{
						Action: tokenworker.AuditExport, Key: r.Key, Outcome: tokenworker.AuditDone, Fence: r.Fence,
					}))
				}
				if err != nil {
					return errors.Join(fmt.Errorf("exporting: %w", err), out.close())
				}
				out.row(view(r))
			}
			return out.close()
		}),
	}
}
