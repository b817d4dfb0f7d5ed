package main

import (
	"context"

	"github.com/urfave/cli/v3"

	"github.com/tokenworker/tokenworker"
)

func (a *app) disconnectCommand() *cli.Command {
	p := &publishing{}
	var yes bool
	return &cli.Command{
		Name: "disconnect", Usage: "stop serving, revoke and delete the tokens of the connection KEY", ArgsUsage: "KEY",
		Category: "Connections",
		Description: "It asks first, and publishes a disconnect event then, as an upstream service would. With --wait it says " +
			"what the provider confirmed: revoked; revoke_failed and why; nothing_to_revoke; or pending, when there is no answer " +
			"within a minute and the worker goes on trying.",
		Flags:        append(append([]cli.Flag{yesFlag(&yes)}, p.flags()...), p.target.flags()...),
		ArgValidator: oneArgument,
		Action: a.onTarget(&p.target, func(ctx context.Context, c *cli.Command, t *target) error {
			key, err := tokenworker.ParseKey(c.Args().First())
			if err != nil {
				return wrongUse("KEY: %v", err)
			}
			what := "The tokens of " + key.String() + " are revoked at the provider, and somebody has to log in again to bring it back"
			if err := a.confirm(ctx, yes, what, key.String()); err != nil {
				return err
			}
			p.waitRevoked = p.wait
			return a.publish(ctx, t, p, key.String(), p.disconnect)
		}),
	}
}
