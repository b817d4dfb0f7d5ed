package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/tokenworker/tokenworker"
)

func (a *app) historyCommand() *cli.Command {
	var flags struct {
		target targetFlags
		json   bool
	}
	return &cli.Command{
		Name: "history", Usage: "list the last token sets of the connection KEY, without their tokens", Category: "Connections",
		Description: "They are kept where the provider's entry says so (retain), until the connection is disconnected or erased. " +
			"The newest comes first; the one of the connection's own generation is the current one.",
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
			sets, current, err := history(ctx, s, key)
			if err != nil {
				return err
			}
			out := newListing(a.stdout, flags.json, "STAMP", "GENERATION", "SINCE", "EXPIRES", "CURRENT")
			for _, set := range sets {
				v := setView{
					set.Stamp.Epoch, set.Stamp.Sequence, set.Generation, set.At, set.ExpiresAt, set.Scope, len(set.Sealed), set.Fence == current,
				}
				out.row(v, set.Stamp.String(), strconv.FormatUint(v.Generation, 10), timeCell(v.At), timeCell(v.ExpiresAt),
					strconv.FormatBool(v.Current))
			}
			return out.close()
		}),
	}
}

// history returns the sets of a connection that may be read, the newest first, and the fence of the current one.
func history(ctx context.Context, s store, key tokenworker.Key) ([]tokenworker.RetainedSet, tokenworker.Fence, error) {
	kept, err := s.Retained(ctx, key) // before the record: a disconnect in between counts
	if err != nil {
		return nil, tokenworker.Fence{}, fmt.Errorf("looking up the sets of %s: %w", key, err)
	}
	rec, err := s.Get(ctx, key)
	if errors.Is(err, tokenworker.ErrNotFound) {
		return nil, rec.Fence, fmt.Errorf("there is no connection %s", key)
	} else if err != nil {
		return nil, rec.Fence, fmt.Errorf("looking up %s: %w", key, err)
	}
	return rec.History(kept), rec.Fence, nil
}

// setView is what may be seen of a retained set.
type setView struct {
	Epoch       uint64    `json:"epoch"`
	Sequence    uint64    `json:"sequence"`
	Generation  uint64    `json:"generation"`
	At          time.Time `json:"at"` // acquired or refreshed
	ExpiresAt   time.Time `json:"expires_at,omitzero"`
	Scope       string    `json:"scope,omitempty"`
	SealedBytes int       `json:"sealed_bytes"`
	Current     bool      `json:"current"`
}
