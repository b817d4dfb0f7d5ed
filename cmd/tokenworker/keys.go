package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/urfave/cli/v3"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/streams"
)

func (a *app) keysCommand() *cli.Command {
	var flags struct {
		target targetFlags
		all    bool
		json   bool
	}
	onKeys := func(action func(context.Context, *events.Keyring) error) cli.ActionFunc {
		return a.onTarget(&flags.target, func(ctx context.Context, _ *cli.Command, t *target) error {
			keys, err := t.keyring(ctx)
			if err != nil {
				return err
			}
			return action(ctx, keys)
		})
	}
	return &cli.Command{
		Name: "keys", Usage: "the keys that publishers seal events to", Category: "Operation",
		Description: "Two keys at most are live: the current one, and the one before it while publishers are still being " +
			"told. Publishers are configured with what `tokenworker keys show` prints.",
		Flags: flags.target.flags(),
		Commands: []*cli.Command{
			{
				Name: "make", Usage: "make the first key, unless there is one, and print its public half",
				Action: onKeys(func(ctx context.Context, keys *events.Keyring) error {
					k, err := keys.Make(ctx)
					return a.printKey(k, err)
				}),
			},
			{
				Name: "rotate", Usage: "make a new current key and print its public half; the one before stays live",
				Action: onKeys(func(ctx context.Context, keys *events.Keyring) error {
					k, err := keys.Rotate(ctx)
					return a.printKey(k, err)
				}),
			},
			{
				Name: "retire", Usage: "destroy the older key KID, once no stored message is sealed to it",
				ArgsUsage: "KID", ArgValidator: oneArgument,
				Action: a.onTarget(&flags.target, func(ctx context.Context, c *cli.Command, t *target) error {
					return retire(ctx, t, c.Args().First())
				}),
			},
			{
				Name: "show", Usage: "print the current key's public half, a JSON document for publishers",
				Flags: []cli.Flag{
					&cli.BoolFlag{
						Name: "all", Sources: env("all"), Destination: &flags.all, Usage: "list every live key, the current one first",
					},
					jsonFlag(&flags.json),
				},
				Action: onKeys(func(ctx context.Context, keys *events.Keyring) error {
					if flags.all || flags.json {
						return a.listKeys(ctx, keys, flags.json)
					}
					k, err := currentKey(ctx, keys)
					return a.printKey(k, err)
				}),
			},
		},
	}
}

// printKey prints a public key as publishers are configured with it.
func (a *app) printKey(k events.PublicKey, err error) error {
	if err != nil {
		return err
	}
	if err := json.NewEncoder(a.stdout).Encode(k); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

func (a *app) listKeys(ctx context.Context, keys *events.Keyring, asJSON bool) error {
	live, err := keys.Public(ctx)
	if err != nil {
		return err
	}
	out := newListing(a.stdout, asJSON, "KID", "STATE", "CREATED", "SUITE")
	state := "current"
	for _, k := range live {
		out.row(k, k.KeyID, state, timeCell(k.CreatedAt), string(k.Suite))
		state = "older"
	}
	return out.close()
}

// currentKey is the key that publishers seal to.
func currentKey(ctx context.Context, keys *events.Keyring) (events.PublicKey, error) {
	live, err := keys.Public(ctx)
	if err != nil {
		return events.PublicKey{}, err
	}
	if len(live) == 0 {
		return events.PublicKey{}, errors.New("there is no event key yet: run `tokenworker keys make`")
	}
	return live[0], nil
}

// retire destroys a key that nothing needs any more.
func retire(ctx context.Context, t *target, kid string) error {
	js, err := t.jetStream(ctx)
	if err != nil {
		return err
	}
	for _, stream := range sealedStreams() {
		sealed, err := sealedByKey(ctx, js, stream)
		if err != nil {
			return err
		}
		if n := sealed[kid]; n > 0 {
			return fmt.Errorf("%s in %s is sealed to the key %s: wait until it is handled; dead letters go after 14 days",
				count(n, "message", "messages"), stream, kid)
		}
	}
	keys, err := t.keyring(ctx)
	if err != nil {
		return err
	}
	err = keys.Retire(ctx, kid)
	switch {
	case errors.Is(err, tokenworker.ErrNotFound):
		return fmt.Errorf("there is no key %s: see `tokenworker keys show --all`", kid)
	case errors.Is(err, events.ErrKeyInUse):
		return fmt.Errorf("%w: rotate first, and wait 20 minutes", err)
	}
	return err
}

// sealedStreams hold messages that are sealed to event keys.
func sealedStreams() []string { return []string{streams.In, streams.Parked, streams.DLQ} }

// sealedByKey counts the messages of a stream by the id of the event key that they are sealed to.
func sealedByKey(ctx context.Context, js jetstream.JetStream, stream string) (map[string]int, error) {
	counts := make(map[string]int)
	for m, err := range messages(ctx, js, stream) {
		if err != nil {
			return nil, err
		}
		if kid := keyIDOf(m.Data); kid != "" {
			counts[kid]++
		}
	}
	return counts, nil
}

// keyIDOf is the key that a stored message, an event or a dead letter, is sealed to; empty when it is sealed to none.
func keyIDOf(body []byte) string {
	var w struct {
		KeyID string `json:"kid"`
		Data  struct {
			KeyID string `json:"kid"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &w) != nil {
		return ""
	}
	return cmp.Or(w.KeyID, w.Data.KeyID)
}
