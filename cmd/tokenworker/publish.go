package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/urfave/cli/v3"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/client"
	"github.com/tokenworker/tokenworker/events"
)

// waitLimit bounds the wait for the worker to deal with an event.
const waitLimit = time.Minute

// publishing is what the flags of `publish` say.
type publishing struct {
	target           targetFlags
	source, id, time string
	wait, json       bool
	waitRevoked      bool // beyond the disconnect, for what the provider answers

	// Of acquired events.
	tokenFile, publicKey string
	expiresIn            time.Duration
	plain, demoGrant     bool
}

func (a *app) publishCommand() *cli.Command {
	p := &publishing{}
	return &cli.Command{
		Name: "publish", Usage: "publish an event, as an upstream service would", Category: "Connections",
		Flags: append(p.flags(), p.target.flags()...),
		Commands: []*cli.Command{
			{
				Name: "acquired", Usage: "say that a token set was obtained for the connection KEY", ArgsUsage: "KEY",
				Description: "KEY is org:provider:company, or org:provider where the worker is to ask the provider which company the " +
					"token is for. The token set is read from standard input or a file, never from an " +
					"argument: JSON with the names of RFC 6749 section 5.1, as a provider's token endpoint answers, or an access " +
					"token alone. It is sealed to the worker's public key before it leaves this process.",
				Flags: p.acquiredFlags(), ArgValidator: oneArgument,
				Action: a.onTarget(&p.target, func(ctx context.Context, c *cli.Command, t *target) error {
					return a.publish(ctx, t, p, c.Args().First(), p.acquired)
				}),
			},
			{
				Name: "disconnect", Usage: "ask to revoke and delete what the connection KEY holds", ArgsUsage: "KEY",
				ArgValidator: oneArgument,
				Action: a.onTarget(&p.target, func(ctx context.Context, c *cli.Command, t *target) error {
					return a.publish(ctx, t, p, c.Args().First(), p.disconnect)
				}),
			},
		},
	}
}

func (p *publishing) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: "source", Sources: env("source"), Destination: &p.source, Value: "tokenworker-cli",
			Usage: "`NAME` of the publisher, a part of the event's identity",
		},
		&cli.StringFlag{
			Name: "id", Sources: env("id"), Destination: &p.id, DefaultText: "random",
			Usage: "`ID` of the event, at least 20 characters; the same again, with the same --time, is a repeat",
		},
		&cli.StringFlag{
			Name: "time", Sources: env("time"), Destination: &p.time, DefaultText: "now",
			Usage: "when it happened, as RFC 3339 `TIME`",
		},
		&cli.BoolFlag{
			Name: "wait", Sources: env("wait"), Destination: &p.wait,
			Usage: "wait until the worker has dealt with it, and say how",
		},
		jsonFlag(&p.json),
	}
}

func (p *publishing) acquiredFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: "token-file", Sources: env("token-file"), Destination: &p.tokenFile, Value: "-", TakesFile: true,
			Usage: "`FILE` that holds the token set; - is standard input",
		},
		&cli.DurationFlag{
			Name: "expires-in", Sources: env("expires-in"), Destination: &p.expiresIn,
			DefaultText: "what the token set says",
			Usage:       "how long the access token lives, from --time on",
		},
		&cli.StringFlag{
			Name: "public-key", Sources: env("public-key"), Destination: &p.publicKey, TakesFile: true,
			DefaultText: "the current one, from the worker's store",
			Usage:       "`FILE` with the public key to seal to, as `tokenworker keys show` prints it",
		},
		&cli.BoolFlag{
			Name: "plain", Sources: env("plain"), Destination: &p.plain,
			Usage: "do not seal; only `tokenworker dev --allow-plain` accepts that",
		},
		&cli.BoolFlag{
			Name: "demo-grant", Sources: env("demo-grant"), Destination: &p.demoGrant,
			Usage: "instead of reading a token set, have the demo provider of `tokenworker dev` grant one",
		},
	}
}

// at is the time of the event.
func (p *publishing) at() (time.Time, error) {
	if p.time == "" {
		return time.Now(), nil
	}
	at, err := time.Parse(time.RFC3339, p.time)
	if err != nil {
		return time.Time{}, wrongUse("--time is not an RFC 3339 time such as 2026-01-31T15:04:05Z")
	}
	return at, nil
}

// maker makes the message of an event.
type maker func(ctx context.Context, a *app, t *target, key tokenworker.Key, at time.Time) (events.Message, error)

// acquired makes a token-acquired event, sealed unless it was asked not to be.
func (p *publishing) acquired(
	ctx context.Context, a *app, t *target, key tokenworker.Key, at time.Time,
) (events.Message, error) {
	if p.demoGrant {
		js, err := t.jetStream(ctx)
		if err != nil {
			return events.Message{}, err
		}
		return p.granted(ctx, js, key, at)
	}
	set, err := a.readTokens(p.tokenFile, at)
	if err != nil {
		return events.Message{}, err
	}
	if p.expiresIn > 0 {
		set.ExpiresAt = at.Add(p.expiresIn).Truncate(time.Second)
	}
	e, err := events.NewAcquired(key, p.source, set, at)
	if err != nil {
		return events.Message{}, fmt.Errorf("making the event: %w", err)
	}
	e.ID = p.idOr(e.ID)
	if p.plain {
		return e.PlainMessage()
	}
	public, err := p.public(ctx, t)
	if err != nil {
		return events.Message{}, err
	}
	if err := e.Seal(public); err != nil {
		return events.Message{}, fmt.Errorf("making the event: %w", err)
	}
	return e.Message()
}

// disconnect makes a disconnect event.
func (p *publishing) disconnect(
	_ context.Context, _ *app, _ *target, key tokenworker.Key, at time.Time,
) (events.Message, error) {
	e, err := events.NewDisconnect(key, p.source, "", at)
	if err != nil {
		return events.Message{}, fmt.Errorf("making the event: %w", err)
	}
	e.ID = p.idOr(e.ID)
	return e.Message()
}

func (p *publishing) idOr(random string) string {
	if p.id != "" {
		return p.id
	}
	return random
}

// public is the key to seal to.
func (p *publishing) public(ctx context.Context, t *target) (events.PublicKey, error) {
	if p.publicKey == "" {
		keys, err := t.keyring(ctx)
		if err != nil {
			return events.PublicKey{}, err
		}
		return currentKey(ctx, keys)
	}
	document, err := os.ReadFile(p.publicKey)
	if err != nil {
		return events.PublicKey{}, fmt.Errorf("reading the public key: %w", err)
	}
	key, err := events.ParsePublicKey(document)
	if err != nil {
		return events.PublicKey{}, fmt.Errorf("reading the public key %s: %w", p.publicKey, err)
	}
	return key, nil
}

// published is what `publish` prints.
type published struct {
	ID       string         `json:"id"`
	Subject  string         `json:"subject"`
	Sequence uint64         `json:"sequence"`
	Outcome  client.Outcome `json:"outcome,omitempty"`

	// Of a disconnect that was waited for to the end.
	Revocation string `json:"revocation,omitempty"`
	Code       string `json:"code,omitempty"`
}

// publish makes an event, publishes it and prints what came of it.
func (a *app) publish(ctx context.Context, t *target, p *publishing, keyText string, event maker) error {
	key, err := p.key(keyText)
	if err != nil {
		return err
	}
	at, err := p.at()
	if err != nil {
		return err
	}
	msg, err := event(ctx, a, t, key, at)
	if err != nil {
		return err
	}
	// As the worker will read it, so that what it would refuse is refused here, where somebody looks.
	decoded, err := events.Decoder{AllowPlain: true}.Decode(msg)
	if err != nil {
		return fmt.Errorf("making the event: the worker would answer: %w", err)
	}
	js, err := t.jetStream(ctx)
	if err != nil {
		return err
	}
	var heard *listener
	if p.waitRevoked {
		if heard, err = listen(js, key); err != nil {
			return err
		}
		defer heard.close()
	}
	publisher := client.NewPublisher(js, client.PublisherConfig{})
	done := published{ID: decoded.ID, Subject: msg.Subject}
	var refused error
	if p.wait {
		waiting, cancel := context.WithTimeout(ctx, waitLimit)
		defer cancel()
		done.Sequence, done.Outcome, refused = publisher.PublishAndWait(waiting, msg)
		if done.Outcome == "" {
			return refused
		}
	} else if done.Sequence, err = publisher.Publish(ctx, msg); err != nil {
		return err
	}
	head := []string{"ID", "SUBJECT", "SEQUENCE", "OUTCOME"}
	cells := []string{done.ID, done.Subject, strconv.FormatUint(done.Sequence, 10), string(done.Outcome)}
	if p.waitRevoked && refused == nil {
		done.Revocation, done.Code = heard.revocation(ctx, done.Sequence)
		head, cells = append(head, "REVOCATION", "CODE"), append(cells, done.Revocation, cmp.Or(done.Code, "-"))
	}
	out := newListing(a.stdout, p.json, head...)
	out.row(done, cells...)
	return errors.Join(out.close(), refused)
}

// key reads KEY. One without a company is for the kind of event that allows it to accept.
func (p *publishing) key(text string) (tokenworker.Key, error) {
	if key, ok := events.ParseKeyText(text); ok && key.ProviderID != "" && key.CompanyID == "" {
		if p.wait {
			return key, wrongUse("--wait needs a KEY with its company")
		}
		return key, nil
	}
	key, err := tokenworker.ParseKey(text)
	if err != nil {
		return key, wrongUse("KEY: %v", err)
	}
	return key, nil
}

// send publishes a message that was made elsewhere, and returns its sequence.
func send(ctx context.Context, js jetstream.JetStream, m events.Message) (uint64, error) {
	return client.NewPublisher(js, client.PublisherConfig{}).Publish(ctx, m)
}
