package main

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/audit"
)

const (
	auditTail   = 100         // records that `audit tail` shows of a whole trail
	auditFollow = time.Second // between looks for new ones
)

func (a *app) auditCommand() *cli.Command {
	var flags struct {
		target      targetFlags
		key         string
		follow, yes bool
		json        bool
	}
	return &cli.Command{
		Name: "audit", Usage: "the audit trail: check it, read it", Category: "Operation",
		Description: "Every read, write, refresh, disconnect, revocation and erasure leaves a record that names its connection by " +
			"a pseudonym. The records are chained, and checkpoints over the chain are signed and kept in the store.",
		Flags: append([]cli.Flag{jsonFlag(&flags.json)}, flags.target.flags()...),
		Commands: []*cli.Command{
			{
				Name: "verify", Usage: "compare every record with the chain's checkpoints; say where it breaks, and exit with 1",
				Action: a.onTarget(&flags.target, func(ctx context.Context, _ *cli.Command, t *target) error {
					trail, err := t.trail(ctx)
					if err != nil {
						return err
					}
					report, err := trail.Verify(ctx)
					return errors.Join(err, printObject(a.stdout, report, flags.json))
				}),
			},
			{
				Name: "tail", Usage: "print the newest records, or all of one connection",
				Flags: []cli.Flag{
					&cli.StringFlag{
						Name: "key", Sources: env("key"), Destination: &flags.key, Usage: "only records of the connection `KEY`",
					},
					&cli.BoolFlag{
						Name: "follow", Sources: env("follow"), Destination: &flags.follow, Usage: "go on with what is recorded from now on",
					},
				},
				Action: a.onTarget(&flags.target, func(ctx context.Context, _ *cli.Command, t *target) error {
					return a.tailAudit(ctx, t, flags.key, flags.follow, flags.json)
				}),
			},
			{
				Name: "begin", Usage: "begin a new chain, after the trail was found broken and the reason is known",
				Description: "The stream was lost, say, and made anew. From then on `audit verify` checks what comes after; what was " +
					"before is no longer confirmed, and the new chain's number says that there was a break.",
				Flags: []cli.Flag{yesFlag(&flags.yes)},
				Action: a.onTarget(&flags.target, func(ctx context.Context, _ *cli.Command, t *target) error {
					if !flags.yes {
						return wrongUse("nothing recorded so far will be confirmed any more: repeat it with --yes")
					}
					trail, err := t.trail(ctx)
					if err != nil {
						return err
					}
					var c tokenworker.AuditCheckpoint
					err = onRecord(ctx, trail, tokenworker.AuditBegin, func() error {
						c, err = trail.Begin(ctx)
						return err
					})
					if err != nil {
						return err
					}
					_, err = fmt.Fprintf(a.stdout, "chain %d begins after sequence %d\n", c.Chain, c.Sequence)
					return err
				}),
			},
		},
	}
}

// byOperator is an entry about what whoever runs this command does.
func byOperator(e tokenworker.AuditEntry) tokenworker.AuditEntry {
	e.Actor, e.Time = "operator", time.Now()
	if u, err := user.Current(); err == nil {
		e.Actor = u.Username
	}
	return e
}

// onRecord does what an operator asks for between two records: that it was asked for, without which it is not done, and what
// came of it.
func onRecord(ctx context.Context, trail *audit.Trail, action tokenworker.AuditAction, do func() error) error {
	entry := tokenworker.AuditEntry{Action: action, Outcome: tokenworker.AuditAsked}
	if err := trail.Record(ctx, byOperator(entry)); err != nil {
		return err
	}
	err := do()
	if entry.Outcome = tokenworker.AuditDone; err != nil {
		entry.Outcome = tokenworker.AuditFailed
	}
	return errors.Join(err, trail.Record(context.WithoutCancel(ctx), byOperator(entry)))
}

// auditView is a record with its place.
type auditView struct {
	Sequence uint64    `json:"sequence"`
	Entered  time.Time `json:"entered"`
	audit.Record
}

func (a *app) tailAudit(ctx context.Context, t *target, keyText string, follow, asJSON bool) error {
	trail, err := t.trail(ctx)
	if err != nil {
		return err
	}
	first, last, err := trail.Sequences(ctx)
	if err != nil {
		return err
	}
	from, pseudonym := max(first, last+1-min(last, auditTail)), ""
	if keyText != "" {
		key, err := tokenworker.ParseKey(keyText)
		if err != nil {
			return wrongUse("--key: %v", err)
		}
		from, pseudonym = first, trail.Keys().Pseudonym(key)
	}
	out := newListing(a.stdout, asJSON, "SEQ", "TIME", "ACTION", "OUTCOME", "REASON", "ACTOR", "STAMP", "CONNECTION")
	for {
		for r, err := range trail.Records(ctx, from, pseudonym) {
			if err != nil {
				return errors.Join(err, out.close())
			}
			out.row(auditView{r.Sequence, r.Entered, r}, strconv.FormatUint(r.Sequence, 10), timeCell(r.Time), string(r.Action),
				string(r.Outcome), r.Reason, r.Actor, r.Stamp().String(), r.Connection)
			from = r.Sequence + 1
		}
		if err := out.close(); err != nil || !follow {
			return err
		}
		if err := awaitRecord(ctx, trail, from); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil // told to stop
		}
	}
}

// awaitRecord returns when there is a record at a sequence or past it, or ctx has ended.
func awaitRecord(ctx context.Context, trail *audit.Trail, from uint64) error {
	every := time.NewTicker(auditFollow)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
		_, last, err := trail.Sequences(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if last >= from {
			return nil
		}
	}
}
