package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker/streams"
)

// misdirected is a subject that means nothing to anybody, and that the user that answers reads may hear.
const misdirected = "$SRV.PING.doctor"

// misdirectedWait is how long an answer may take that is not to come.
const misdirectedWait = time.Second

// examineAccounts asks the server something as each user of `run`, and wants the answer on a subject of the streams' account.
// The server publishes it with its own rights. It must not arrive: by an answer of the right form, an acknowledgement say,
// whoever has such a user could forge messages in any stream, and delete every one.
func (d *deployment) examineAccounts(ctx context.Context, t *target) []finding {
	hears, err := t.reads(nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil || hears == nil {
		return nil // said with the reads
	}
	var shared []string
	for _, user := range []struct {
		who     string
		connect func() (jetstream.JetStream, error)
	}{
		{"worker", func() (jetstream.JetStream, error) { return t.jetStream(ctx) }},
		{"eraser", func() (jetstream.JetStream, error) { return t.erasing() }},
	} {
		js, err := user.connect()
		if err != nil || js == nil {
			continue // said before, or with the erasures
		}
		arrived, err := answerArrives(ctx, js.Conn(), hears)
		if err != nil {
			return []finding{{warn, "accounts: " + err.Error(), "whether answers to the worker can be misdirected is not known"}}
		}
		if arrived {
			shared = append(shared, user.who)
		}
	}
	if shared != nil {
		return []finding{{warn, "accounts: in that of the streams are the users of " + strings.Join(shared, ", "),
			"whoever steals their credentials can have the server's answers put into any stream, and delete every stream"}}
	}
	return []finding{{Level: ok, What: "accounts: answers to the worker do not reach the account of the streams"}}
}

// answerArrives reports whether what the server answers to one connection can be had on a subject that another one hears.
func answerArrives(ctx context.Context, asks, hears *nats.Conn) (bool, error) {
	sub, err := hears.SubscribeSync(misdirected)
	if err == nil {
		err = hears.FlushTimeout(askTimeout)
	}
	if err != nil {
		return false, fmt.Errorf("listening for a misdirected answer: %w", err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection is closed at the end
	if err := asks.PublishRequest("$JS.API.STREAM.INFO."+streams.In, misdirected, nil); err != nil {
		return false, fmt.Errorf("misdirecting an answer: %w", err)
	}
	waiting, cancel := context.WithTimeout(ctx, misdirectedWait)
	defer cancel()
	_, err = sub.NextMsgWithContext(waiting)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return false, fmt.Errorf("listening for a misdirected answer: %w", err)
	}
	return err == nil, nil
}
