package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/urfave/cli/v3"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/streams"
)

func (a *app) dlqCommand() *cli.Command {
	var flags struct {
		target targetFlags
		code   string
		json   bool
	}
	return &cli.Command{
		Name: "dlq", Usage: "look at refused events and have them handled again", Category: "Connections",
		Description: "A dead letter holds the refused event, sealed; only the worker opens it. Replaying one has the event " +
			"handled again under its original place in the order, so it cannot undo what came after it. A dead letter " +
			"stays, replayed or not, until it is 14 days old.",
		Flags: append([]cli.Flag{jsonFlag(&flags.json)}, flags.target.flags()...),
		Commands: []*cli.Command{
			{
				Name: "list", Usage: "list the dead letters",
				Action: a.onTarget(&flags.target, func(ctx context.Context, _ *cli.Command, t *target) error {
					return a.listDeadLetters(ctx, t, flags.json)
				}),
			},
			{
				Name: "show", Usage: "show what the dead letter SEQ says in clear", ArgsUsage: "SEQ",
				ArgValidator: oneArgument,
				Action: a.onTarget(&flags.target, func(ctx context.Context, c *cli.Command, t *target) error {
					return a.showDeadLetter(ctx, t, c.Args().First(), flags.json)
				}),
			},
			{
				Name: "replay", Usage: "have the dead letters SEQ..., or all of a code, handled again",
				ArgsUsage: "[SEQ...]",
				Flags: []cli.Flag{&cli.StringFlag{
					Name: "code", Destination: &flags.code, // an argument alone, since disconnects are among what is replayed
					Usage: "replay every dead letter that was refused with `CODE`",
				}},
				ArgValidator: anyArguments,
				Action: a.onTarget(&flags.target, func(ctx context.Context, c *cli.Command, t *target) error {
					return a.replay(ctx, t, c.Args().Slice(), events.Code(flags.code), flags.json)
				}),
			},
		},
	}
}

// deadLetter is what may be seen of a dead letter.
type deadLetter struct {
	Sequence       uint64      `json:"sequence"`
	Code           events.Code `json:"code"`
	Subject        string      `json:"subject"` // of the refused event
	RefusedAt      time.Time   `json:"refused_at"`
	EnteredAt      time.Time   `json:"entered_at,omitzero"`
	EventEpoch     uint64      `json:"event_epoch,omitempty"`
	EventSequence  uint64      `json:"event_sequence,omitempty"`
	KeyID          string      `json:"kid,omitempty"`
	Bytes          int         `json:"bytes"`
	ReplaySequence uint64      `json:"replay_sequence,omitempty"`
}

func readDeadLetter(m *jetstream.RawStreamMsg) deadLetter {
	d := deadLetter{Sequence: m.Sequence, Subject: m.Subject, RefusedAt: m.Time, Bytes: len(m.Data)}
	// What the worker did not write is listed all the same, with what the stream knows of it.
	if info, err := events.ReadDeadLetter(events.Message{Subject: m.Subject, Body: m.Data}); err == nil {
		d.Code, d.Subject, d.EnteredAt, d.KeyID = info.Code, info.Subject, info.Entered, info.KeyID
		d.EventEpoch, d.EventSequence = info.Stamp.Epoch, info.Stamp.Sequence
	}
	return d
}

func (a *app) listDeadLetters(ctx context.Context, t *target, asJSON bool) error {
	js, err := t.jetStream(ctx)
	if err != nil {
		return err
	}
	out := newListing(a.stdout, asJSON, "SEQ", "CODE", "REFUSED", "STAMP", "SUBJECT")
	for m, err := range messages(ctx, js, streams.DLQ) {
		if err != nil {
			return errors.Join(err, out.close())
		}
		d := readDeadLetter(m)
		stamp := tokenworker.Stamp{Epoch: d.EventEpoch, Sequence: d.EventSequence}
		out.row(d, strconv.FormatUint(d.Sequence, 10), string(d.Code), timeCell(d.RefusedAt), stamp.String(), d.Subject)
	}
	return out.close()
}

func (a *app) showDeadLetter(ctx context.Context, t *target, text string, asJSON bool) error {
	sequences, err := parseSequences([]string{text})
	if err != nil {
		return err
	}
	js, err := t.jetStream(ctx)
	if err != nil {
		return err
	}
	m, err := lookUpDeadLetter(ctx, js, sequences[0])
	if err != nil {
		return err
	}
	return printObject(a.stdout, readDeadLetter(m), asJSON)
}

// replay publishes the replays of dead letters, named by sequence or by code.
func (a *app) replay(ctx context.Context, t *target, texts []string, code events.Code, asJSON bool) error {
	if (len(texts) == 0) == (code == "") {
		return wrongUse("replay takes either SEQ... or --code")
	}
	if code != "" && !slices.Contains(events.Codes(), code) {
		return wrongUse("--code is none of the codes that events are refused with")
	}
	sequences, err := parseSequences(texts)
	if err != nil {
		return err
	}
	js, err := t.jetStream(ctx)
	if err != nil {
		return err
	}
	out := newListing(a.stdout, asJSON, "SEQ", "CODE", "REPLAYED AS", "SUBJECT")
	replayed := 0
	for m, err := range chosen(ctx, js, sequences, code) {
		if err == nil {
			err = a.replayOne(ctx, js, m, out)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("after %d replayed: %w", replayed, err), out.close())
		}
		replayed++
	}
	return out.close()
}

func (a *app) replayOne(ctx context.Context, js jetstream.JetStream, m *jetstream.RawStreamMsg, out *listing) error {
	replay, err := events.Replay(events.Message{Subject: m.Subject, Body: m.Data})
	if err != nil {
		return fmt.Errorf("replaying dead letter %d: %w", m.Sequence, err)
	}
	d := readDeadLetter(m)
	if d.ReplaySequence, err = send(ctx, js, replay); err != nil {
		return fmt.Errorf("replaying dead letter %d: %w", m.Sequence, err)
	}
	out.row(d, strconv.FormatUint(d.Sequence, 10), string(d.Code), strconv.FormatUint(d.ReplaySequence, 10), d.Subject)
	return nil
}

// chosen yields the dead letters of the given sequences, or else those of a code.
func chosen(
	ctx context.Context, js jetstream.JetStream, sequences []uint64, code events.Code,
) iter.Seq2[*jetstream.RawStreamMsg, error] {
	return func(yield func(*jetstream.RawStreamMsg, error) bool) {
		for _, sequence := range sequences {
			if !yield(lookUpDeadLetter(ctx, js, sequence)) {
				return
			}
		}
		if code == "" {
			return
		}
		for m, err := range messages(ctx, js, streams.DLQ) {
			if err != nil || readDeadLetter(m).Code == code {
				if !yield(m, err) {
					return
				}
			}
		}
	}
}

func parseSequences(texts []string) ([]uint64, error) {
	var sequences []uint64
	for _, text := range texts {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || n == 0 {
			return nil, wrongUse("%q is not the sequence of a dead letter; see `tokenworker dlq list`", text)
		}
		sequences = append(sequences, n)
	}
	return sequences, nil
}

func lookUpDeadLetter(ctx context.Context, js jetstream.JetStream, sequence uint64) (*jetstream.RawStreamMsg, error) {
	s, err := js.Stream(ctx, streams.DLQ)
	if err != nil {
		return nil, streamError(streams.DLQ, err)
	}
	m, err := s.GetMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, fmt.Errorf("there is no dead letter %d", sequence)
	} else if err != nil {
		return nil, fmt.Errorf("looking up dead letter %d: %w", sequence, err)
	}
	return m, nil
}

// messages yields the messages of a stream in order. After an error it stops.
func messages(ctx context.Context, js jetstream.JetStream, stream string) iter.Seq2[*jetstream.RawStreamMsg, error] {
	return func(yield func(*jetstream.RawStreamMsg, error) bool) {
		s, err := js.Stream(ctx, stream)
		if err != nil {
			yield(nil, streamError(stream, err))
			return
		}
		for sequence := uint64(1); ; {
			m, err := s.GetMsg(ctx, sequence, jetstream.WithGetMsgSubject(events.Prefix+">"))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return
			}
			if err != nil {
				yield(nil, fmt.Errorf("reading stream %s: %w", stream, err))
				return
			}
			if !yield(m, nil) {
				return
			}
			sequence = m.Sequence + 1
		}
	}
}

func streamError(stream string, err error) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("stream %s does not exist: run `tokenworker setup`", stream)
	}
	return fmt.Errorf("looking up stream %s: %w", stream, err)
}
