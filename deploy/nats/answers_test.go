package nats_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/tokenworker/tokenworker/streams"
)

var update = flag.Bool("update", false, "write the table of answers into SECURITY.md")

// line is a kind of rights whose answers go to a subject that the asker chooses.
type line struct {
	right    string // a pattern of rights
	answer   string // what is published
	together string // what that could do in the account of the streams
	body     string // of a request, where it needs one
}

// lines are in order: a right is of the first that covers it.
func lines() []line {
	const garbage = "a message of no form into any stream"
	return []line{
		{"tokens.v1.get.>", "the token, sealed, or a code; by `access`, not by the server", "nothing: `access` publishes on `_R_.>` alone", ""},
		{"tokens.v1.>", "`{\"stream\": …, \"seq\": …}`, the stream's acknowledgement", garbage + "; 10,050 in `TOKENS_RESCUE` stopped it", ""},
		{"$JS.API.INFO", "limits and usage, in JSON", garbage, ""},
		{"$JS.API.STREAM.INFO.>", "settings and state, in JSON", garbage, ""},
		{"$JS.API.STREAM.MSG.GET.>", "a message, in base64 inside JSON", garbage, `{"seq": 1}`},
		{"$JS.API.STREAM.MSG.DELETE.>", "success or an error, in JSON", garbage, `{"seq": 999999}`},
		{"$JS.API.STREAM.CREATE.>", "settings and state or an error, in JSON", garbage, `{}`},
		{"$JS.API.STREAM.UPDATE.>", "settings and state or an error, in JSON", garbage, `{}`},
		{"$JS.API.CONSUMER.INFO.>", "settings and state, in JSON", garbage, ""},
		{"$JS.API.CONSUMER.NAMES.>", "names, in JSON", garbage, ""},
		{"$JS.API.CONSUMER.DELETE.>", "success or an error, in JSON", garbage, ""},
		{"$JS.API.CONSUMER.CREATE.>", "settings and state or an error, in JSON", garbage, `{}`},
		{
			"$JS.API.CONSUMER.MSG.NEXT.>", "messages as they are, under their own subjects; statuses and heartbeats without a body",
			"messages into other streams, outside every filter; on `$JS.API.STREAM.DELETE.…` it deletes any stream, the audit trail too",
			`{"batch": 1, "no_wait": true}`,
		},
		{"notices.API.CONSUMER.INFO.>", "settings and state, in JSON", garbage, ""},
		{"notices.API.CONSUMER.MSG.NEXT.>", "as `$JS.API.CONSUMER.MSG.NEXT`", "as there", `{"batch": 1, "no_wait": true}`},
		{
			"$JS.ACK.>", "an empty message, which confirms; with `+NXT` the next message",
			"on `$JS.API.STREAM.DELETE.…` it deletes any stream, the audit trail too", "+ACK",
		},
		{"$SRV.>", "what the read service says of itself; by `access`, not by the server", "nothing: `access` publishes on `_R_.>` alone", ""},
		{"$SYS.REQ.USER.INFO", "the user's name, account and rights, in JSON", garbage, ""},
	}
}

// lineOf is the line of a right; nil: there is none.
func lineOf(right string) *line {
	for _, l := range lines() {
		if l.right == right || strings.HasSuffix(l.right, ".>") && strings.HasPrefix(right, strings.TrimSuffix(l.right, ">")) ||
			right == strings.TrimSuffix(l.right, ".>") {
			return &l
		}
	}
	return nil
}

// everyStream has the names of all.
var everyStream = []string{streams.In, streams.Out, streams.DLQ, streams.Parked, streams.Rescue, streams.Sweep, streams.Audit}

// places are where an asker would like an answer to go.
func places() []string {
	all := []string{
		"tokens.v1.acquired.other.google.misdirected", "tokens.v1.disconnect.other.google.misdirected", "tokens.v1.erase.misdirected",
		"tokens.v1.event.stored.other.google.misdirected", "tokens.v1.notice.stored.other.google.misdirected",
		"tokens.v1.dlq.too_old.acquired.other.google.misdirected", "tokens.v1.parked.acquired.other.google.misdirected",
		"tokens.v1.rescue.other.google.misdirected", "tokens.v1.sweep.google.99", "tokens.v1.audit.read.misdirected",
		"tokens.v1.get.billing.other.google.misdirected", "_INBOX.misdirected", "$SRV.PING.misdirected",
		"$JS.API.STREAM.MSG.DELETE." + streams.Audit, "$JS.API.CONSUMER.DELETE." + streams.Out + "." + streams.Auditor,
	}
	for _, s := range everyStream {
		all = append(all, "$JS.API.STREAM.DELETE."+s, "$JS.API.STREAM.PURGE."+s)
	}
	return all
}

// Users that the tests add: each may do everything in an account with streams.
const (
	admin      = "admin"
	auditAdmin = "audit-admin"
)

// apart is the configuration with the two.
func apart() string {
	return strings.NewReplacer(
		"      # `tokenworker run`, the connection", "      { user: admin, password: admin }\n      # `tokenworker run`, the connection",
		"  AUDIT {\n", "  AUDIT {\n    users: [{ user: audit-admin, password: audit-admin }]\n",
	).Replace(withPasswords())
}

// together is the configuration with all users, and all streams, in one account.
func together() string {
	config := withPasswords()
	before, _, _ := strings.Cut(config, "\naccounts {")
	users := regexp.MustCompile(`(?s)\n      \{\n        user: .*?\n      \}`).FindAllString(config, -1)
	return before + "\naccounts {\n  TOKENS {\n    jetstream: enabled\n    users: [\n      { user: admin, password: admin }" +
		strings.Join(users, "") + "\n    ]\n  }\n}\n"
}

// tried is a server on which answers are misdirected.
type tried struct {
	*testing.T
	url    string
	conns  map[string]*nats.Conn
	admins []string
	heard  []*nats.Subscription // in the accounts of the streams
	some   map[string]string    // a consumer of each stream
}

// try sets everything up on a server, with the read service naive: it answers wherever it is told to.
func try(t *testing.T, config string, admins ...string) *tried {
	t.Helper()
	r := &tried{T: t, url: start(t, config), conns: map[string]*nats.Conn{}, admins: admins, some: map[string]string{}}
	must(t, streams.Setup(t.Context(), r.js(operator), 1, func(context.Context) (uint64, error) { return 1, nil }))
	_, err := r.js(admin).CreateConsumer(t.Context(), streams.Out, jetstream.ConsumerConfig{
		Durable: "notices-acme", FilterSubject: "tokens.v1.event.*.acme.>", AckPolicy: jetstream.AckExplicitPolicy,
	})
	must(t, err)
	_, err = r.js(r.adminOf(streams.Audit)).CreateConsumer(t.Context(), streams.Audit, jetstream.ConsumerConfig{Durable: "own"})
	must(t, err)
	for _, name := range everyStream {
		s, err := r.js(r.adminOf(name)).Stream(t.Context(), name)
		must(t, err)
		for consumer := range s.ConsumerNames(t.Context()).Name() {
			if consumer != "notices-acme" {
				r.some[name] = consumer
			}
		}
	}
	service, err := micro.AddService(r.as(access), micro.Config{
		Name: "tokenworker", Version: "1.0.0", Endpoint: &micro.EndpointConfig{
			Subject: "tokens.v1.get.*.*.*.*", Handler: micro.HandlerFunc(func(r micro.Request) { _ = r.Respond(nil) }),
		},
	})
	must(t, err)
	t.Cleanup(func() { _ = service.Stop() })
	return r
}

// listen has all places heard in the accounts of the streams.
func (r *tried) listen(places ...string) {
	r.Helper()
	for _, user := range r.admins {
		for _, place := range places {
			sub, err := r.as(user).SubscribeSync(place)
			must(r.T, err)
			r.heard = append(r.heard, sub)
		}
		must(r.T, r.as(user).Flush())
	}
}

// arrived are the places where something has been heard, and are no more afterwards.
func (r *tried) arrived() (places []string) {
	r.Helper()
	for _, user := range r.admins {
		must(r.T, r.as(user).Flush())
	}
	for _, sub := range r.heard {
		for n, _, _ := sub.Pending(); n > 0; n-- {
			_, err := sub.NextMsg(time.Second)
			must(r.T, err)
			places = append(places, sub.Subject)
		}
	}
	return places
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (r *tried) as(user string) *nats.Conn {
	r.Helper()
	if r.conns[user] == nil {
		r.conns[user] = connect(r.T, r.url, user)
	}
	return r.conns[user]
}

func (r *tried) js(user string) jetstream.JetStream {
	r.Helper()
	js, err := jetstream.New(r.as(user))
	must(r.T, err)
	return js
}

// adminOf is the admin of a stream's account.
func (r *tried) adminOf(stream string) string {
	if stream == streams.Audit && slices.Contains(r.admins, auditAdmin) {
		return auditAdmin
	}
	return admin
}

// subject is one that a right covers, of things that exist where the answer would else be none.
func (r *tried) subject(right string) string {
	parts := strings.Split(right, ".")
	for i, part := range parts {
		switch {
		case part == "*" && strings.Contains(right, "CONSUMER.DELETE"):
			parts[i] = "nobody"
		case part == "*" && r.some[parts[i-1]] != "":
			parts[i] = r.some[parts[i-1]]
		case part == "*":
			parts[i] = "x"
		case part == ">" && strings.HasPrefix(right, "$SRV"):
			parts[i] = "tokenworker"
		case part == ">" && strings.HasPrefix(right, "tokens.v1.get.payroll.acme"):
			parts[i] = "google.1"
		case part == ">":
			parts[i] = "acme.google.1"
		}
	}
	return strings.Join(parts, ".")
}

// ask asks by a right, as a user, and wants the answer on a subject.
func (r *tried) ask(user, right, reply string) {
	r.Helper()
	l := lineOf(right)
	msg := &nats.Msg{Subject: r.subject(right), Reply: reply, Data: []byte(l.body)}
	if l.right == "$JS.ACK.>" {
		msg.Subject = r.delivered(right)
	}
	must(r.T, r.as(user).PublishMsg(msg))
}

// seeds are subjects of the streams whose consumers messages are acknowledged to.
var seeds = map[string]string{
	streams.In: "tokens.v1.acquired.acme.google.1", streams.Out: "tokens.v1.event.stored.acme.google.1",
	streams.Parked: "tokens.v1.parked.acquired.acme.google.1", streams.Rescue: "tokens.v1.rescue.acme.google.1",
	streams.Sweep: "tokens.v1.sweep.google.0",
}

// delivered has a message delivered, which can be acknowledged by the right, and returns the subject to do so.
func (r *tried) delivered(right string) string {
	r.Helper()
	parts := strings.Split(right, ".") // $JS.ACK.<stream>.[consumer.]>
	stream, durable := parts[2], parts[3]
	js := r.js(admin)
	if durable == ">" {
		durable = r.ofSeed(stream)
	}
	if stream != streams.Sweep { // it keeps one of a subject, which may not be settled yet
		_, err := js.Publish(r.Context(), seeds[stream], []byte("x"))
		must(r.T, err)
	} else {
		_, err := js.Publish(r.Context(), fmt.Sprint("tokens.v1.sweep.google.", time.Now().UnixNano()), nil)
		must(r.T, err)
	}
	cons, err := js.Consumer(r.Context(), stream, durable)
	must(r.T, err)
	msg, err := cons.Next(jetstream.FetchMaxWait(5 * time.Second))
	must(r.T, err)
	return msg.Reply()
}

// ofSeed is the consumer of a stream that gets its seed.
func (r *tried) ofSeed(stream string) string {
	r.Helper()
	s, err := r.js(admin).Stream(r.Context(), stream)
	must(r.T, err)
	for info := range s.ListConsumers(r.Context()).Info() {
		if strings.HasPrefix(seeds[stream], strings.TrimSuffix(info.Config.FilterSubject, ">")) {
			return info.Name
		}
	}
	r.Fatalf("no consumer of %s gets %s", stream, seeds[stream])
	return ""
}

// control asks and wants the answer where it belongs; it must come.
func (r *tried) control(user, right string) {
	r.Helper()
	inbox := r.as(user).NewInbox()
	sub, err := r.as(user).SubscribeSync(inbox)
	must(r.T, err)
	defer func() { must(r.T, sub.Unsubscribe()) }()
	r.ask(user, right, inbox)
	if _, err := sub.NextMsg(10 * time.Second); err != nil {
		r.Fatalf("%s asks by %s and gets no answer: %v", user, right, err)
	}
}

// asking yields all rights of all users whose answers go where the asker wants them.
func asking(t *testing.T, yield func(user, right string)) {
	t.Helper()
	all := allRights(t)
	for _, user := range []string{publisher, payroll, worker, eraser, operator} {
		for _, right := range all[user].publish {
			yield(user, right)
		}
	}
}

// TestNoAnswerReachesTheAccountOfTheStreams asks by every right of every user, and wants each answer in every place.
func TestNoAnswerReachesTheAccountOfTheStreams(t *testing.T) {
	r := try(t, apart(), admin, auditAdmin)
	r.listen(places()...)
	asking(t, func(user, right string) {
		if lineOf(right) == nil {
			t.Errorf("the right of %s to %s is in no line of the table", user, right)
			return
		}
		r.control(user, right)
		for _, place := range places() {
			r.ask(user, right, place)
		}
		r.control(user, right) // by when those before are answered
		if arrived := r.arrived(); len(arrived) > 0 {
			t.Errorf("answers to %s by %s arrived on %v", user, right, arrived)
		}
	})
	r.allAreThere()
}

// allAreThere fails the test for each stream and consumer that is gone.
func (r *tried) allAreThere() {
	r.Helper()
	for _, name := range everyStream {
		if _, err := r.js(r.adminOf(name)).Stream(r.Context(), name); err != nil {
			r.Errorf("stream %s: %v", name, err)
			continue
		}
		if r.some[name] == "" {
			continue
		}
		if _, err := r.js(r.adminOf(name)).Consumer(r.Context(), name, r.some[name]); err != nil {
			r.Errorf("consumer %s of %s: %v", r.some[name], name, err)
		}
	}
}

// TestInOneAccountAnswersGoWhereTheyAreWanted shows that the tries of the other test are tries.
func TestInOneAccountAnswersGoWhereTheyAreWanted(t *testing.T) {
	r := try(t, together(), admin)
	const place = "tokens.v1.erase.misdirected"
	r.listen(place)
	asking(t, func(user, right string) {
		l := lineOf(right)
		if strings.HasSuffix(l.answer, "not by the server") || strings.HasPrefix(right, "notices.") {
			return // there is no such subject without the imports
		}
		r.ask(user, right, place)
		if _, err := r.heard[0].NextMsg(5 * time.Second); err != nil {
			t.Errorf("the answer to %s by %s does not arrive on %s: %v", user, right, place, err)
		}
	})
	r.ask(worker, "$JS.ACK.TOKENS_PARKED.>", "$JS.API.STREAM.DELETE."+streams.Audit)
	r.control(worker, "$JS.API.INFO")
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, err := r.js(admin).Stream(t.Context(), streams.Audit)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("an acknowledgement has not deleted the audit trail: %v", err)
		}
	}
}

// TestTheTableOfAnswersIsThatOfTheTest compares SECURITY.md.
func TestTheTableOfAnswersIsThatOfTheTest(t *testing.T) {
	const file, first, last = "../../SECURITY.md", "-run TestTheTable -update` -->\n", "<!-- end of answers -->"
	whose := map[string][]string{}
	asking(t, func(user, right string) {
		if l := lineOf(right); l != nil && !slices.Contains(whose[l.right], user) {
			whose[l.right] = append(whose[l.right], user)
		}
	})
	var b strings.Builder
	b.WriteString("| right | whose | what is published where the asker wants it | what that could do in the account of the streams |\n|---|---|---|---|\n")
	for _, l := range lines() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", l.right, strings.Join(whose[l.right], ", "), l.answer, l.together)
	}
	content, err := os.ReadFile(file)
	must(t, err)
	before, rest, found := strings.Cut(string(content), first)
	inside, after, ended := strings.Cut(rest, last)
	if !found || !ended {
		t.Fatal("SECURITY.md has no place for the table")
	}
	if *update {
		must(t, os.WriteFile(file, []byte(before+first+b.String()+last+after), 0o644))
		return
	}
	if inside != b.String() {
		t.Error("the table in SECURITY.md is not that of the test: run it with -update")
	}
}
