package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/urfave/cli/v3"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/client"
	"github.com/tokenworker/tokenworker/erase"
	"github.com/tokenworker/tokenworker/events"
)

// erasing is what the flags of `erase` say.
type erasing struct {
	target               targetFlags
	chosen               selection
	source, reason       string
	yes, dry, wait, json bool
}

func (a *app) eraseCommand() *cli.Command {
	e := &erasing{}
	return &cli.Command{
		Name: "erase", Usage: "delete all data of the connection KEY, an organization or a person, messages included", ArgsUsage: "[KEY]",
		Category: "Data protection",
		Description: "It shows what it is about and asks first. Then it publishes a request to erase: the worker revokes the tokens, " +
			"leaves a tombstone of each connection, deletes the messages about it from every stream and publishes a receipt. " +
			"A person's connections are found by --subject and erased one by one.",
		Flags: append(append(e.chosen.flags(),
			&cli.StringFlag{
				Name: "reason", Sources: env("reason"), Destination: &e.reason, Usage: "snake_case `WORD` for the receipt",
			},
			&cli.StringFlag{
				Name: "source", Sources: env("source"), Destination: &e.source, Value: "tokenworker-cli",
				Usage: "`NAME` of the publisher, a part of the event's identity",
			},
			&cli.BoolFlag{
				Name: "wait", Sources: env("wait"), Destination: &e.wait, Usage: "wait for the receipts, and show the progress",
			},
			dryRunFlag(&e.dry), yesFlag(&e.yes), jsonFlag(&e.json),
		), e.target.flags()...),
		ArgValidator: anyArguments,
		Action: a.onTarget(&e.target, func(ctx context.Context, c *cli.Command, t *target) error {
			if err := e.chosen.read(c); err != nil {
				return err
			}
			return a.erase(ctx, t, e)
		}),
	}
}

// doomed is a line about what is to be erased.
type doomed struct {
	Key      string             `json:"key"`
	Status   tokenworker.Status `json:"status,omitempty"` // empty: there is no row
	Messages int                `json:"messages"`         // in all streams; of an organization on its first line alone
}

// erase shows, asks, publishes and waits.
func (a *app) erase(ctx context.Context, t *target, e *erasing) error {
	s, err := t.store(ctx)
	if err != nil {
		return err
	}
	js, err := t.jetStream(ctx)
	if err != nil {
		return err
	}
	rows, keys, err := e.find(ctx, s, js)
	if err != nil {
		return err
	}
	if e.dry {
		out := newListing(a.stdout, e.json, "KEY", "STATUS", "MESSAGES")
		for _, d := range rows {
			out.row(d, d.Key, string(d.Status), strconv.Itoa(d.Messages))
		}
		return out.close()
	}
	if len(keys) == 0 {
		return fmt.Errorf("there is no connection of %s", &e.chosen)
	}
	what := fmt.Sprintf("All data of %s is deleted: %s, and every message about them. This cannot be undone", &e.chosen,
		count(len(rows), "connection", "connections"))
	if err := a.confirm(ctx, e.yes, what, e.chosen.String()); err != nil {
		return err
	}
	out := newListing(a.stdout, e.json, "KEY", "SEQUENCE", "OUTCOME", "CONNECTIONS", "UNCONFIRMED", "MESSAGES", "UNREVOKED",
		"BACKUPS UNTIL", "KEYS UNTIL", "EVENT KEYS")
	var errs []error
	for _, k := range keys {
		done, err := a.eraseOne(ctx, s, js, e, k)
		errs = append(errs, err)
		if done.Sequence > 0 {
			out.row(done, done.cells()...)
		}
	}
	return errors.Join(append(errs, out.close())...)
}

// find lists the rows, and the keys that requests are to be published for. A connection without a row is erased all the
// same: messages may name it.
func (e *erasing) find(ctx context.Context, s store, js jetstream.JetStream) (rows []doomed, keys []tokenworker.Key, err error) {
	for r, err := range e.chosen.records(ctx, s) {
		if err != nil {
			return nil, nil, err
		}
		rows = append(rows, doomed{Key: r.Key.String(), Status: r.Status})
		keys = append(keys, r.Key)
	}
	if e.chosen.subject == "" {
		keys = []tokenworker.Key{e.chosen.key}
		if len(rows) == 0 {
			rows = []doomed{{Key: events.KeyText(e.chosen.key)}}
		}
	}
	if !e.dry {
		return rows, keys, nil
	}
	for i, k := range keys {
		counts, err := erase.Count(ctx, js, k)
		if err != nil {
			return nil, nil, err
		}
		for _, n := range counts {
			rows[i].Messages += n
		}
	}
	return rows, keys, nil
}

// erased is what `erase` prints of a request.
type erased struct {
	Key          string         `json:"key"`
	ID           string         `json:"id"`
	Sequence     uint64         `json:"sequence"`
	Outcome      client.Outcome `json:"outcome,omitempty"`
	Connections  int            `json:"connections,omitempty"`
	Unconfirmed  int            `json:"unconfirmed,omitempty"`
	Messages     int            `json:"messages,omitempty"`
	Unrevoked    int            `json:"unrevoked,omitempty"`
	BackupsUntil time.Time      `json:"backups_until,omitzero"`
	EventKeys    []string       `json:"event_keys,omitempty"`
	KeysUntil    time.Time      `json:"event_keys_until,omitzero"`
}

func (d erased) cells() []string {
	return []string{
		d.Key, strconv.FormatUint(d.Sequence, 10), string(d.Outcome), strconv.Itoa(d.Connections), strconv.Itoa(d.Unconfirmed),
		strconv.Itoa(d.Messages), strconv.Itoa(d.Unrevoked), timeCell(d.BackupsUntil), timeCell(d.KeysUntil), cellOf(d.EventKeys),
	}
}

// eraseOne publishes a request and, if asked to, waits for its receipt.
func (a *app) eraseOne(
	ctx context.Context, s store, js jetstream.JetStream, e *erasing, k tokenworker.Key,
) (done erased, err error) {
	event, err := events.NewErase(k, e.source, e.reason, time.Now())
	if err != nil {
		return done, fmt.Errorf("making the event: %w", err)
	}
	msg, err := event.Message()
	if err != nil {
		return done, fmt.Errorf("making the event: %w", err)
	}
	done = erased{Key: events.KeyText(k), ID: event.ID}
	publisher := client.NewPublisher(js, client.PublisherConfig{})
	if !e.wait {
		done.Sequence, err = publisher.Publish(ctx, msg)
		return done, err
	}
	heard, err := listen(js, k)
	if err != nil {
		return done, err
	}
	defer heard.close()
	defer a.showProgress(ctx, s, e, k)()
	ctx, cancel := context.WithTimeout(ctx, eraseLimit)
	defer cancel()
	done.Sequence, done.Outcome, err = publisher.PublishAndWait(ctx, msg)
	if err != nil || done.Outcome != client.Outcome(events.Erased) {
		return done, err
	}
	for {
		var r events.ErasedData
		switch kind, err := heard.next(ctx, done.Sequence, &r); {
		case err != nil:
			return done, err
		case kind == events.Erased:
			done.Connections, done.Unconfirmed, done.Messages = r.Connections, r.Unconfirmed, r.Messages
			done.Unrevoked, done.BackupsUntil = r.Unrevoked, r.BackupsUntil
			done.EventKeys, done.KeysUntil = r.EventKeys, r.EventKeysUntil
			return done, nil
		}
	}
}

const (
	eraseLimit    = time.Hour       // for the worker to erase
	progressEvery = 2 * time.Second // while it does
)

// showProgress says on stderr how many connections are still to be erased, as that changes, until the function that it
// returns is called.
func (a *app) showProgress(ctx context.Context, s store, e *erasing, k tokenworker.Key) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		shown := -1
		for ctx.Err() == nil {
			if left, err := e.left(ctx, s, k); err == nil && left != shown {
				shown = left
				_, _ = fmt.Fprintf(a.stderr, "erasing %s: %d connections left\n", events.KeyText(k), left) // only a comfort
			}
			select {
			case <-ctx.Done():
			case <-time.After(progressEvery):
			}
		}
	}()
	return func() { cancel(); <-ended }
}

// left counts the rows that are no tombstones yet.
func (e *erasing) left(ctx context.Context, s store, k tokenworker.Key) (n int, err error) {
	one := selection{key: k}
	if k.ProviderID == "" {
		one.org = k.OrgID
	}
	for r, err := range one.records(ctx, s) {
		if err != nil {
			return 0, err
		}
		if r.Status != tokenworker.Disconnected {
			n++
		}
	}
	return n, nil
}
