package main

// P8 Tenants are apart: a caller allowed to read organization A gets nothing of B, by NATS permission and (scope org) by
// encryption context. What the encryption context is worth is attacked by P7.
//
// Breaks that were tried, and what the attack said:
//
//   - deploy/nats: payroll may publish on tokens.v1.get.payroll.*.>: "a request that is not its own went through", and "the worker
//     dealt with 48 requests, want 1 (its own)".
//   - deploy/nats: payroll may subscribe to _INBOX.>: "heard a message on _INBOX.worker.…", 808 times, and on _INBOX.billing.….
//   - access/run.go sends answers to any inbox: "an answer (1715 bytes, "") on _INBOX.billing.x", on _INBOX.worker.x and on four
//     other inboxes that are not the reader's.
//   - deploy/nats: access may publish on >, and access/run.go answers elsewhere than in inboxes: "the streams were …; now: …
//     stream not found": an answer had deleted them.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/client"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/internal/attack/process"
	"github.com/tokenworker/tokenworker/streams"
)

var p8 = promise{
	name: "P8", unit: "random subjects", usual: 300, full: 10_000,
	attacks: []attack{
		{"a reader of one organization wants tokens of another, and to have answers published, on LocalStack", readForeign},
	},
}

// payrollUser may read what is acme's; billingUser what is other's; anyUser what is anybody's; witnessUser hears everything in the
// account of the streams.
const (
	payrollUser = "payroll"
	billingUser = "billing"
	witnessUser = "witness"
	anyUser     = "everyone"
)

func readForeign(ctx context.Context, e *env, n int) error {
	f, err := startReplicas(ctx, e, 1, siteConfig{settings: strictly})
	if err != nil {
		return err
	}
	defer f.close()
	t := &trespass{env: e, replicas: f}
	if t.own, t.theirs, err = f.acquireTwo(ctx); err != nil {
		return err
	}
	for _, try := range []func(context.Context, int) error{t.readers, t.eavesdrop, t.ask, t.misdirect} {
		if err := try(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// trespass is what a reader of acme tries.
type trespass struct {
	*env
	*replicas
	own, theirs      tokenworker.Key
	payroll, billing *client.Reader
}

// readers connects both, and makes sure that each can read its own, so that what is refused later is not for want of a worker.
func (t *trespass) readers(ctx context.Context, _ int) error {
	for _, r := range []struct {
		user string
		key  tokenworker.Key
		to   **client.Reader
	}{{payrollUser, t.own, &t.payroll}, {billingUser, t.theirs, &t.billing}} {
		reader, err := t.reader(r.user, client.ReaderConfig{})
		if err != nil {
			return err
		}
		if _, err := reader.Token(ctx, r.key); err != nil {
			return fmt.Errorf("%s reads its own: %w", r.user, err)
		}
		*r.to = reader
	}
	return nil
}

// eavesdrop listens wherever it can while the other reader reads.
func (t *trespass) eavesdrop(ctx context.Context, _ int) error {
	patterns := []string{
		">", "*", "*.>", "*.*.*", "_INBOX.>", "_INBOX.*", "_INBOX.*.*", "_INBOX.*.>", "_INBOX.billing.>", "_INBOX.billing.*",
		"_INBOX.worker.>", "_INBOX.access.>", "tokens.>", "tokens.v1.>", "tokens.v1.get.>", "tokens.v1.get.*.*.*.*",
		"tokens.v1.get.billing.other.>", "tokens.v1.acquired.>", "tokens.v1.event.>", "tokens.v1.rescue.>", "tokens.v1.dlq.>",
		"tokens.v1.audit.>", "$JS.>", "$JS.API.>", "$JS.ACK.>", "$SRV.>", "$SYS.>",
	}
	heard := make(chan *nats.Msg, 1000)
	for _, p := range patterns { // a connection each, so that none hides what another hears
		nc, err := t.connect(payrollUser)
		if err != nil {
			return err
		}
		for _, queue := range []string{"", "q"} { // q is that of the service: a member would get requests instead of it
			if _, err := nc.ChanQueueSubscribe(p, queue, heard); err != nil {
				continue // not even the client library takes it
			}
		}
		if err := nc.FlushTimeout(10 * time.Second); err != nil {
			return fmt.Errorf("listening: %w", err)
		}
	}
	const reads = 100
	for range reads {
		if _, err := t.billing.Token(ctx, t.theirs); err != nil {
			t.broke("the other reader's own read fails while somebody listens: %v", err)
		}
	}
	if err := t.acquire(ctx, t.theirs, 0, time.Hour); err != nil {
		return err
	}
	for len(heard) > 0 {
		t.broke("heard a message on %s", (<-heard).Subject)
	}
	t.did("%d patterns listened to during %d reads and an acquisition", len(patterns), reads)
	return nil
}

// ask asks for what is not its own on every subject that it can think of.
func (t *trespass) ask(ctx context.Context, n int) error {
	nc, err := t.connect(payrollUser)
	if err != nil {
		return err
	}
	answers, err := nc.SubscribeSync("_INBOX.payroll.p8.>")
	if err != nil {
		return fmt.Errorf("listening to its own inbox: %w", err)
	}
	g, err := events.NewGet(events.GetRequest{Caller: payrollUser, Key: t.theirs}, events.SuiteHybrid)
	if err != nil {
		return fmt.Errorf("making a request: %w", err)
	}
	body, err := g.Body()
	if err != nil {
		return fmt.Errorf("making a request: %w", err)
	}
	before, err := t.answered(ctx)
	if err != nil {
		return err
	}
	subjects := t.foreignSubjects(n)
	for i, subject := range subjects {
		// Raw, since the client library would refuse some.
		if err := nc.PublishMsg(&nats.Msg{Subject: subject, Reply: fmt.Sprint("_INBOX.payroll.p8.", i), Data: body}); err != nil {
			continue
		}
	}
	if err := nc.FlushTimeout(10 * time.Second); err != nil {
		t.broke("a subject cuts the connection: %v", err)
		return nil
	}
	// The control comes last, and over the same connection: when it is answered, so is all that went before.
	if _, err := client.NewReader(nc, payrollUser, client.ReaderConfig{}).Token(ctx, t.own); err != nil {
		return fmt.Errorf("reading its own afterwards: %w", err)
	}
	for {
		msg, err := answers.NextMsg(200 * time.Millisecond)
		if errors.Is(err, nats.ErrTimeout) {
			break
		} else if err != nil { // the server let a request through, to nobody
			t.broke("a request that is not its own went through: %v", err)
			continue
		}
		t.broke("an answer (%d bytes, %q) to a request that is not its own", len(msg.Data), msg.Header.Get(micro.ErrorHeader))
	}
	after, err := t.answered(ctx)
	if err != nil {
		return err
	}
	if more, err := servedMore(before, after); err != nil || more != 1 {
		t.broke("the worker dealt with %d requests, want 1 (its own): %v", more, err)
	}
	t.did("%d subjects asked on", len(subjects))
	return nil
}

// foreignSubjects are ways to name the other organization, another caller, or both.
func (t *trespass) foreignSubjects(n int) []string {
	const provider = "demo-0"
	subjects := []string{
		events.GetSubject(payrollUser, t.theirs), events.GetSubject(billingUser, t.theirs), events.GetSubject(billingUser, t.own),
		"tokens.v1.get.payroll.*." + provider + ".1", "tokens.v1.get.payroll.>", "tokens.v1.get.*.other." + provider + ".1", "tokens.v1.get.>",
		"tokens.v1.get..other." + provider + ".1", "tokens.v1.get.payroll..other." + provider + ".1", "tokens.v1.get.payroll.ACME." + provider + ".1",
		"tokens.v1.get.payroll.acme%2Eother." + provider + ".1", "tokens.v1.get.payroll.%6Fther." + provider + ".1",
		"tokens.v1.get.PAYROLL.other." + provider + ".1", "Tokens.v1.get.payroll.other." + provider + ".1", "tokens.v1.get.payroll.acme2." + provider + ".1",
		"tokens.v1.get.payroll.acme\x00.other." + provider + ".1", "tokens.v1.get.payroll.acme\u200b." + provider + ".1",
		"$SRV.PING", "$SRV.INFO", "$SRV.STATS.tokenworker",
		"$JS.API.DIRECT.GET.TOKENS_OUT.tokens.v1.event.stored.other." + provider + ".1", "$JS.API.STREAM.MSG.GET." + streams.Out,
		"tokens.v1.refresh.other." + provider + ".1", "tokens.v1.disconnect.other." + provider + ".1", "tokens.v1.erase.other",
	}
	parts := []string{"tokens", "v1", "get", "payroll", "billing", "acme", "other", provider, "1", "*", ">", "%", "_INBOX", "$JS", "API"}
	for range n {
		tokens := []string{"tokens", "v1", "get", "payroll", "other", provider, "1"}
		for range 1 + t.rand.IntN(3) {
			i := t.rand.IntN(len(tokens))
			switch t.rand.IntN(3) {
			case 0:
				tokens[i] = parts[t.rand.IntN(len(parts))]
			case 1:
				tokens[i] += parts[t.rand.IntN(len(parts))]
			default:
				tokens = append(tokens[:i], tokens[min(i+1, len(tokens)):]...)
				if len(tokens) == 0 {
					tokens = []string{"x"}
				}
			}
		}
		if s := strings.Join(tokens, "."); !strings.HasPrefix(s, "tokens.v1.get.payroll.acme.") {
			subjects = append(subjects, s)
		}
	}
	return subjects
}

// servedMore is how many requests lie between two states of the workers' metrics.
func servedMore(before, after string) (int, error) {
	sum := func(state string) (total int, err error) {
		for line := range strings.SplitSeq(state, ", ") {
			if line == "" {
				continue
			}
			var n float64
			if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &n); err != nil {
				return 0, fmt.Errorf("reading metrics: %w", err)
			}
			total += int(n)
		}
		return total, nil
	}
	a, err := sum(before)
	if err != nil {
		return 0, err
	}
	b, err := sum(after)
	return b - a, err
}

// misdirect asks for its own token, and has the answer sent where an answer does harm.
func (t *trespass) misdirect(ctx context.Context, _ int) error {
	nc, err := t.connect(payrollUser)
	if err != nil {
		return err
	}
	var targets []string
	for _, s := range []string{streams.In, streams.Out, streams.DLQ, streams.Parked, streams.Rescue, streams.Sweep, streams.Audit} {
		for _, api := range []string{"STREAM.PURGE.", "STREAM.DELETE.", "STREAM.UPDATE.", "STREAM.MSG.DELETE.", "STREAM.INFO.", "STREAM.SNAPSHOT."} {
			targets = append(targets, "$JS.API."+api+s)
		}
	}
	for _, kind := range []events.Kind{events.Acquired, events.Disconnect, events.Refresh, events.Erase, events.Stored, events.Disconnected} {
		targets = append(targets, kind.Subject(t.own), kind.Subject(t.theirs))
	}
	targets = append(targets,
		events.RescueSubject(t.theirs), events.SweepSubject(t.theirs.ProviderID, 0), "tokens.v1.dlq.too_old.acquired.other.x.1",
		"tokens.v1.parked.acquired.other.x.1", "tokens.v1.audit.read.x", events.GetSubject(billingUser, t.theirs),
		"$JS.API.CONSUMER.DELETE."+streams.In+"."+streams.Durable(streams.Acquired, 1),
		"$JS.ACK."+streams.In+"."+streams.Durable(streams.Acquired, 1)+".1.1.1.1.1",
		"$SYS.REQ.USER.INFO")
	before, err := t.state(ctx)
	if err != nil {
		return err
	}
	heard, err := t.overhear()
	if err != nil {
		return err
	}
	for target := range owners() {
		targets = append(targets, target)
	}
	g, err := events.NewGet(events.GetRequest{Caller: payrollUser, Key: t.own}, events.SuiteHybrid)
	if err != nil {
		return fmt.Errorf("making a request: %w", err)
	}
	body, err := g.Body()
	if err != nil {
		return fmt.Errorf("making a request: %w", err)
	}
	for _, target := range targets {
		for _, data := range [][]byte{body, nil} { // an answer with a token, and one with a code
			if err := nc.PublishRequest(g.Subject(), target, data); err != nil {
				return fmt.Errorf("asking: %w", err)
			}
		}
	}
	if _, err := client.NewReader(nc, payrollUser, client.ReaderConfig{}).Token(ctx, t.own); err != nil {
		t.broke("it can no longer read its own: %v", err)
	}
	for _, sub := range heard {
		for {
			msg, err := sub.NextMsg(200 * time.Millisecond)
			if errors.Is(err, nats.ErrTimeout) {
				break
			} else if err != nil {
				return fmt.Errorf("listening on %s: %w", sub.Subject, err)
			}
			t.broke("an answer (%d bytes, %q) on %s", len(msg.Data), msg.Header.Get(micro.ErrorHeader), msg.Subject)
		}
	}
	if after, err := t.state(ctx); err != nil || before != after {
		t.broke("the streams were %s; now: %s %v", before, after, err)
	}
	if _, err := t.billing.Token(ctx, t.theirs); err != nil {
		t.broke("the other organization's connection is no longer read: %v", err)
	}
	t.did("%d places for an answer", len(targets))
	return nil
}

// owners are places for an answer that no stream keeps, and users of the attack's configuration that hear what arrives there.
func owners() map[string]string {
	return map[string]string{
		"_INBOX.billing.x": billingUser, "_INBOX.worker.x": process.Worker, "_INBOX.operator.x": process.Operator,
		"_INBOX.payrolls.x": witnessUser, "_INBOX.payroll": witnessUser, "_INBOX.x": witnessUser, "_INBOX": witnessUser,
		"_inbox.payroll.x": witnessUser, "anything": witnessUser, "$SRV.PING": witnessUser,
	}
}

// overhear subscribes to each as its owner.
func (t *trespass) overhear() (heard []*nats.Subscription, err error) {
	for target, user := range owners() {
		nc, err := t.connect(user)
		if err != nil {
			return nil, err
		}
		sub, err := nc.SubscribeSync(target)
		if err == nil {
			err = nc.FlushTimeout(10 * time.Second)
		}
		if err == nil {
			err = nc.LastError() // it may not
		}
		if err != nil {
			return nil, fmt.Errorf("listening on %s: %w", target, err)
		}
		heard = append(heard, sub)
	}
	return heard, nil
}

// state is what the streams hold. That of the audit trail grows by each read, and no faster.
func (t *trespass) state(ctx context.Context) (string, error) {
	var all []string
	for _, name := range []string{streams.In, streams.Out, streams.DLQ, streams.Parked, streams.Rescue} {
		s, err := t.operator.Stream(ctx, name)
		if err != nil {
			return "", fmt.Errorf("looking at stream %s: %w", name, err)
		}
		st := s.CachedInfo().State
		all = append(all, fmt.Sprintf("%s %d to %d, %d consumers", name, st.FirstSeq, st.LastSeq, st.Consumers))
	}
	s, err := t.operator.Stream(ctx, streams.Audit)
	if err != nil {
		return "", fmt.Errorf("looking at the audit trail: %w", err)
	}
	all = append(all, fmt.Sprintf("%s from %d", streams.Audit, s.CachedInfo().State.FirstSeq))
	return strings.Join(all, ", "), nil
}
