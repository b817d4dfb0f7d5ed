package main

// rights: nobody makes the server do what its user may not. Whoever asks NATS for something chooses where the answer goes, and
// the server publishes it there with its own rights.
//
// Breaks that were tried, and what the attack said, are in docs/attacks.md.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/client"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/attack/process"
	"github.com/tokenworker/tokenworker/streams"
)

var borrowedRights = promise{
	name: "rights", unit: "acknowledgements wanted elsewhere", usual: 2000, full: 20_000,
	attacks: []attack{
		{"every user has the server's answers sent where they forge or destroy, with the shipped configuration, on LocalStack", borrow},
	},
}

// forger has credentials of every user, and wants to harm the organization other, whose tokens none of them may touch but by
// the server's help.
type forger struct {
	*env
	*replicas
	own, theirs tokenworker.Key
	billing     *client.Reader
	asked       int
}

func borrow(ctx context.Context, e *env, n int) error {
	r, err := startReplicas(ctx, e, 1, siteConfig{settings: strictly})
	if err != nil {
		return err
	}
	defer r.close()
	f := &forger{env: e, replicas: r}
	if f.own, f.theirs, err = r.acquireTwo(ctx); err != nil {
		return err
	}
	if f.billing, err = f.reader(billingUser, client.ReaderConfig{}); err != nil {
		return err
	}
	if err := f.eavesdrop(ctx); err != nil {
		return err
	}
	for _, try := range []func(context.Context, int) error{f.acknowledgements, f.answers, f.deliveries, f.bodies} {
		if err := try(ctx, n); err != nil {
			return err
		}
	}
	f.did("%d answers wanted elsewhere", f.asked)
	return f.judge(ctx)
}

// eavesdrop listens as the publisher of acme to all that the other organization is told.
func (f *forger) eavesdrop(ctx context.Context) error {
	nc, err := f.connect(process.Publisher)
	if err != nil {
		return err
	}
	heard, err := nc.SubscribeSync("tokens.v1.event.*.acme.>")
	if err == nil {
		_, err = nc.Subscribe("tokens.v1.event.>", func(m *nats.Msg) {
			if k, ok := events.KeyOf(m.Subject); ok && k.OrgID != f.own.OrgID {
				f.broke("the publisher of %s hears %s", f.own.OrgID, m.Subject)
			}
		})
	}
	if err == nil {
		err = nc.FlushTimeout(10 * time.Second)
	}
	if err != nil {
		return fmt.Errorf("listening as a publisher: %w", err)
	}
	for _, k := range []tokenworker.Key{f.theirs, f.own} {
		if err := f.acquire(ctx, k, 0, time.Hour); err != nil {
			return err
		}
	}
	m, err := heard.NextMsg(10 * time.Second)
	if err != nil {
		f.broke("the publisher of %s hears nothing of its own: %v", f.own.OrgID, err)
		return nil
	}
	if k, _ := events.KeyOf(m.Subject); k != f.own {
		f.broke("the publisher of %s hears %s", f.own.OrgID, m.Subject)
	}
	f.did("notices of 2 organizations listened to")
	return nil
}

// targets are where an answer does harm.
func (f *forger) targets() []string {
	all := []string{
		events.Acquired.Subject(f.theirs), events.Disconnect.Subject(f.theirs), events.Refresh.Subject(f.theirs),
		events.Erase.Subject(f.theirs), "tokens.v1.erase.other", events.Disconnected.Subject(f.theirs), events.RescueSubject(f.theirs),
		events.SweepSubject(f.theirs.ProviderID, 0), events.ParkedSubject(events.Acquired.Subject(f.theirs)),
		"tokens.v1.dlq.too_old.acquired.other.x.1", "tokens.v1.audit.read.x", events.GetSubject(billingUser, f.theirs),
		"$JS.API.CONSUMER.DELETE." + streams.Out + "." + streams.Auditor,
	}
	for _, name := range everyStream() {
		for _, api := range []string{"STREAM.DELETE.", "STREAM.PURGE.", "STREAM.MSG.DELETE.", "STREAM.LEADER.STEPDOWN."} {
			all = append(all, "$JS.API."+api+name)
		}
	}
	return all
}

func everyStream() []string {
	return []string{streams.In, streams.Out, streams.DLQ, streams.Parked, streams.Rescue, streams.Sweep, streams.Audit}
}

// ask publishes requests with the reply subjects.
func (f *forger) ask(user string, m events.Message, replies ...string) error {
	nc, err := f.connect(user)
	if err != nil {
		return err
	}
	defer nc.Close()
	for _, reply := range replies {
		msg := &nats.Msg{Subject: m.Subject, Reply: reply, Data: m.Body}
		if m.ID != "" {
			msg.Header = nats.Header{events.MessageIDHeader: {m.ID}}
		}
		if err := nc.PublishMsg(msg); err != nil {
			return fmt.Errorf("asking on %s: %w", m.Subject, err)
		}
		f.asked++
	}
	if err := nc.FlushTimeout(10 * time.Second); err != nil {
		return fmt.Errorf("asking on %s: %w", m.Subject, err)
	}
	return nil
}

// acknowledgements has those of JetStream sent to every target, n of them into the stream of rescued sets. Each message is published
// again and again under its id: an acknowledgement comes for each.
func (f *forger) acknowledgements(_ context.Context, n int) error {
	refresh, err := f.publisher.Refresh(f.own, "", time.Now())
	if err != nil {
		return fmt.Errorf("making an event: %w", err)
	}
	flood := f.targets()
	for range n {
		flood = append(flood, events.RescueSubject(f.theirs))
	}
	for _, q := range []struct {
		user    string
		m       events.Message
		replies []string
	}{
		{process.Publisher, refresh, flood},
		{process.Worker, events.Message{Subject: "tokens.v1.event.stored.acme.x.1", ID: "forged/1"}, f.targets()},
		{"eraser", events.Message{Subject: "tokens.v1.event.erased.acme", ID: "forged/2"}, f.targets()},
		{process.Operator, events.Message{Subject: "tokens.v1.audit.begin.0123456789abcdef0123456789abcdef", ID: "forged/3"}, f.targets()},
	} {
		if err := f.ask(q.user, q.m, q.replies...); err != nil {
			return err
		}
	}
	return nil
}

// answers has those of the API sent to every target.
func (f *forger) answers(_ context.Context, _ int) error {
	for _, q := range []struct{ user, subject, data string }{
		{process.Worker, "$JS.API.STREAM.INFO." + streams.In, ""},
		{process.Worker, "$JS.API.STREAM.MSG.GET." + streams.Out, `{"seq": 1}`},
		{process.Worker, "$JS.API.STREAM.MSG.DELETE." + streams.In, `{"seq": 999999}`},
		{process.Worker, "$JS.API.CONSUMER.INFO." + streams.Parked + "." + streams.ParkedRetry, ""},
		{process.Worker, "$SYS.REQ.USER.INFO", ""},
		{"eraser", "$JS.API.STREAM.MSG.GET." + streams.Out, `{"seq": 1}`},
		{process.Operator, "$JS.API.INFO", ""},
		{process.Operator, "$JS.API.STREAM.CREATE." + streams.In, "{}"},
		{process.Operator, "$SRV.PING", ""},
		{payrollUser, events.GetSubject(payrollUser, f.own), ""},
	} {
		if err := f.ask(q.user, events.Message{Subject: q.subject, Body: []byte(q.data)}, f.targets()...); err != nil {
			return err
		}
	}
	return nil
}

// deliveries has messages, and what a consumer says without a body, sent to every target.
func (f *forger) deliveries(ctx context.Context, _ int) error {
	const next = "$JS.API.CONSUMER.MSG.NEXT."
	for _, body := range []string{`{"batch": 1, "no_wait": true}`, `{"batch": 1, "expires": 1000000000, "idle_heartbeat": 400000000}`} {
		for _, consumer := range []string{streams.Out + "." + streams.Auditor, streams.Parked + "." + streams.ParkedRetry, streams.Sweep + "." + streams.Sweeper} {
			if err := f.ask(process.Worker, events.Message{Subject: next + consumer, Body: []byte(body)}, f.targets()...); err != nil {
				return err
			}
		}
	}
	js, err := f.dial(process.Worker)
	if err != nil {
		return err
	}
	defer js.Conn().Close()
	for i, target := range f.targets() { // an acknowledgement is confirmed by an empty message
		subject := fmt.Sprintf("tokens.v1.parked.acquired.acme.x.%d", i)
		if _, err := js.Publish(ctx, subject, nil); err != nil {
			return fmt.Errorf("parking: %w", err)
		}
		cons, err := js.Consumer(ctx, streams.Parked, streams.ParkedRetry)
		if err != nil {
			return fmt.Errorf("looking up a consumer: %w", err)
		}
		// The worker at work may be given it first: then there is a message of another try.
		msg, err := cons.Next(jetstream.FetchMaxWait(200 * time.Millisecond))
		if errors.Is(err, nats.ErrTimeout) {
			continue
		} else if err != nil {
			return fmt.Errorf("pulling: %w", err)
		}
		if err := js.Conn().PublishMsg(&nats.Msg{Subject: msg.Reply(), Reply: target, Data: []byte("+ACK")}); err != nil {
			return fmt.Errorf("acknowledging: %w", err)
		}
		f.asked++
	}
	return nil
}

// bodies announces what is the body of a request to erase the other organization, and has it published where such requests go.
func (f *forger) bodies(ctx context.Context, _ int) error {
	m, err := f.publisher.Erase(tokenworker.Key{OrgID: f.theirs.OrgID}, "", time.Now())
	if err != nil {
		return fmt.Errorf("making a request: %w", err)
	}
	js, err := f.dial(process.Worker)
	if err != nil {
		return err
	}
	defer js.Conn().Close()
	ack, err := js.PublishMsg(ctx, &nats.Msg{
		Subject: "tokens.v1.event.stored.acme.x.1", Data: m.Body, Header: nats.Header{events.MessageIDHeader: {m.ID}},
	})
	if err != nil {
		return fmt.Errorf("announcing: %w", err)
	}
	get := fmt.Appendf(nil, `{"seq": %d}`, ack.Sequence)
	for _, user := range []string{process.Worker, "eraser", process.Operator} {
		for _, api := range []string{"DIRECT.GET.", "STREAM.MSG.GET."} {
			if err := f.ask(user, events.Message{Subject: "$JS.API." + api + streams.Out, Body: get}, m.Subject); err != nil {
				return err
			}
		}
	}
	return f.ask(process.Worker, events.Message{Subject: "$JS.API.DIRECT.GET." + streams.Out + ".tokens.v1.event.stored.acme.x.1"}, m.Subject)
}

// judge looks at what is left.
func (f *forger) judge(ctx context.Context) error {
	if err := f.workers[0].awaitSettled(ctx, f.operator); err != nil {
		f.broke("not every event is settled: %v", err)
	}
	if _, err := f.billing.Token(ctx, f.theirs); err != nil {
		f.broke("the other organization's connection is no longer read: %v", err)
	}
	for _, name := range everyStream() {
		s, err := f.operator.Stream(ctx, name)
		if err != nil {
			f.broke("stream %s: %v", name, err)
			continue
		}
		if n, err := streams.Misplaced(ctx, s); err != nil || n > 0 {
			f.broke("%d messages of other streams in %s: %v", n, name, err)
		}
		if n := s.CachedInfo().State.Msgs; name == streams.Rescue && n > 0 {
			f.broke("%d messages in %s", n, name)
		}
		info, err := s.Info(ctx, jetstream.WithSubjectFilter("tokens.v1.>"))
		if err != nil {
			return fmt.Errorf("looking at stream %s: %w", name, err)
		}
		for subject := range info.State.Subjects {
			if name == streams.DLQ && strings.Contains(subject, ".other") {
				f.broke("an answer arrived: %s", subject)
			}
		}
	}
	_, metrics, err := f.workers[0].get(ctx, "/metrics")
	if err != nil {
		return fmt.Errorf("asking for metrics: %w", err)
	}
	for line := range strings.SplitSeq(string(metrics), "\n") {
		// What the forger has put there as the worker, without a mark: announcements and parked events.
		if strings.HasPrefix(line, "tokenworker_foreign_messages_total{") && !strings.Contains(line, streams.Out) && !strings.Contains(line, streams.Parked) {
			f.broke("messages that are not the worker's were in its streams: %s", line)
		}
	}
	if _, err := f.workers[0].mustCLI(ctx, "audit", "verify"); err != nil {
		f.broke("the audit trail: %v", err)
	}
	return nil
}
