package nats_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker/streams"
)

// These are the ways to have the server publish that are no answers. SECURITY.md lists them below its table.

// TestADeliverySubjectReachesNoStreamAndNoAPI has a consumer of the audit trail deliver elsewhere, as those who may make one. The
// server delivers where somebody subscribes to exactly that subject, which no stream and no API does.
func TestADeliverySubjectReachesNoStreamAndNoAPI(t *testing.T) {
	for _, user := range []string{worker, operator} {
		r := try(t, apart(), admin, auditAdmin)
		for i, place := range places() {
			_, err := r.js(worker).Publish(t.Context(), "tokens.v1.audit.read.x", []byte(`{"seq": 1}`))
			must(t, err)
			name := fmt.Sprint("push-", i)
			request, err := json.Marshal(map[string]any{"stream_name": streams.Audit, "config": map[string]any{
				"name": name, "deliver_subject": place, "ack_policy": "none", "idle_heartbeat": 100 * time.Millisecond,
				"inactive_threshold": time.Minute, "mem_storage": true,
			}})
			must(t, err)
			answer, err := r.as(user).Request("$JS.API.CONSUMER.CREATE."+streams.Audit+"."+name, request, 10*time.Second)
			must(t, err)
			if place == "tokens.v1.audit.read.misdirected" { // a cycle, which the server refuses
				continue
			}
			if !json.Valid(answer.Data) || contains(answer.Data, `"error"`) {
				t.Fatalf("the consumer that delivers to %s: %s", place, answer.Data)
			}
		}
		// One that delivers where somebody listens has sent heartbeats by then.
		heard, err := r.as(auditAdmin).SubscribeSync("listened")
		must(t, err)
		_, err = r.js(auditAdmin).CreateConsumer(t.Context(), streams.Audit, jetstream.ConsumerConfig{Durable: "other"})
		must(t, err)
		request := `{"stream_name": "` + streams.Audit + `", "config": {"name": "control", "deliver_subject": "listened",
			"ack_policy": "none", "deliver_policy": "new", "idle_heartbeat": 300000000, "mem_storage": true}}`
		_, err = r.as(user).Request("$JS.API.CONSUMER.CREATE."+streams.Audit+".control", []byte(request), 10*time.Second)
		must(t, err)
		if _, err := heard.NextMsg(10 * time.Second); err != nil {
			t.Fatalf("the control sends no heartbeat: %v", err)
		}
		for _, name := range everyStream {
			s, err := r.js(r.adminOf(name)).Stream(t.Context(), name)
			must(t, err)
			if n := s.CachedInfo().State.Msgs; n > 0 && name != streams.Audit {
				t.Errorf("%s: a delivery lies in %s", user, name)
			}
		}
		r.allAreThere()
	}
}

func contains(data []byte, text string) bool {
	var fields map[string]json.RawMessage
	return json.Unmarshal(data, &fields) == nil && fields[text[1:len(text)-1]] != nil
}

// TestAStreamThatRepublishesReachesNotTheAuditTrail: the operator may have a stream republish, and so publish whatever it likes in
// the account of the streams, to its API too. The audit trail is in another.
func TestAStreamThatRepublishesReachesNotTheAuditTrail(t *testing.T) {
	r := try(t, apart(), admin, auditAdmin)
	const subject = "tokens.v1.disconnect.a.b.c"
	s, err := r.js(operator).Stream(t.Context(), streams.In)
	must(t, err)
	for _, victim := range []string{streams.Audit, streams.DLQ} {
		config := s.CachedInfo().Config
		config.RePublish = &jetstream.RePublish{Source: subject, Destination: "$JS.API.STREAM.DELETE." + victim}
		_, err = r.js(operator).UpdateStream(t.Context(), config)
		must(t, err)
		_, err = r.js(operator).Publish(t.Context(), subject, nil)
		must(t, err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, err := r.js(admin).Stream(t.Context(), streams.DLQ)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			break // the same, later, has deleted another stream: it is tried, and the operator is trusted with that
		}
		if time.Now().After(deadline) {
			t.Fatalf("what is republished reaches no API: %v", err)
		}
	}
	if _, err := r.js(auditAdmin).Stream(t.Context(), streams.Audit); err != nil {
		t.Errorf("the audit trail: %v", err)
	}
}

// TestTheAuditTrailIsChangedByNobody tries what would leave one record.
func TestTheAuditTrailIsChangedByNobody(t *testing.T) {
	r := try(t, apart(), admin, auditAdmin)
	for i := range 10 {
		_, err := r.js(worker).Publish(t.Context(), fmt.Sprint("tokens.v1.audit.read.", i), nil)
		must(t, err)
	}
	s, err := r.js(operator).Stream(t.Context(), streams.Audit)
	must(t, err)
	config := s.CachedInfo().Config
	config.MaxMsgs = 1
	if _, err := r.js(operator).CreateStream(t.Context(), config); !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		t.Errorf("creating it anew: %v", err)
	}
	for _, user := range []string{worker, eraser, operator} {
		short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // no answer ever comes
		if _, err := r.js(user).UpdateStream(short, config); err == nil {
			t.Errorf("%s changes it", user)
		}
		cancel()
	}
	s, err = r.js(auditAdmin).Stream(t.Context(), streams.Audit)
	must(t, err)
	if n := s.CachedInfo().State.Msgs; n != 10 {
		t.Errorf("%d records are left, want 10", n)
	}
}

// TestATraceGoesWhereItsAskerMayPublish: the header names where the server publishes what became of a message.
func TestATraceGoesWhereItsAskerMayPublish(t *testing.T) {
	r := try(t, apart(), admin, auditAdmin)
	r.listen(places()...)
	for _, user := range []string{publisher, payroll, worker, eraser, operator} {
		right := allRights(t)[user].publish[0]
		for _, place := range places() {
			nc := connect(t, r.url, user)
			msg := &nats.Msg{Subject: r.subject(right), Header: nats.Header{"Nats-Trace-Dest": {place}}}
			must(t, nc.PublishMsg(msg))
			_ = denied(t, nc)
			nc.Close()
		}
		r.control(user, right)
		r.republished()
		for _, place := range r.arrived() {
			place = strings.Replace(place, ".notice.", ".event.", 1) // which the stream republishes so
			if nc := connect(t, r.url, user); nc.Publish(place, nil) != nil || denied(t, nc) {
				t.Errorf("a trace that %s asked for arrived on %s", user, place)
			}
		}
		r.republished()
		r.arrived() // what was published just now
	}
	r.allAreThere()
}

// republished waits until the stream of announcements has republished what it has taken so far, in its order.
func (r *tried) republished() {
	r.Helper()
	notice, err := r.as(admin).SubscribeSync("tokens.v1.notice.stored.control.google.1")
	must(r.T, err)
	defer func() { must(r.T, notice.Unsubscribe()) }()
	must(r.T, r.as(admin).Flush())
	_, err = r.js(worker).Publish(r.Context(), "tokens.v1.event.stored.control.google.1", nil)
	must(r.T, err)
	_, err = notice.NextMsg(10 * time.Second)
	must(r.T, err)
}

// TestAPublisherTakesWhatWasAnnouncedWhileItWasAway replays notices from the consumer that the operator has made for it, and gets
// those of its own organization.
func TestAPublisherTakesWhatWasAnnouncedWhileItWasAway(t *testing.T) {
	r := try(t, apart(), admin, auditAdmin)
	live, err := r.as(publisher).SubscribeSync("tokens.v1.event.*.acme.>")
	must(t, err)
	must(t, r.as(publisher).Flush())
	for _, key := range []string{"acme.google.1", "other.google.1", "acme.google.2"} {
		_, err := r.js(worker).Publish(t.Context(), "tokens.v1.event.stored."+key, []byte(key))
		must(t, err)
	}
	js, err := jetstream.NewWithAPIPrefix(r.as(publisher), "notices.API")
	must(t, err)
	cons, err := js.Consumer(t.Context(), streams.Out, "notices-acme")
	must(t, err)
	for _, want := range []string{"acme.google.1", "acme.google.2"} {
		msg, err := cons.Next(jetstream.FetchMaxWait(10 * time.Second))
		must(t, err)
		if string(msg.Data()) != want || msg.Subject() != "tokens.v1.event.stored."+want {
			t.Errorf("replayed %q on %s, want %q", msg.Data(), msg.Subject(), want)
		}
		must(t, msg.Ack())
		heard, err := live.NextMsg(10 * time.Second)
		must(t, err)
		if string(heard.Data) != want || heard.Subject != "tokens.v1.event.stored."+want {
			t.Errorf("heard %q on %s, want %q", heard.Data, heard.Subject, want)
		}
	}
	if n, _, _ := live.Pending(); n > 0 {
		t.Error("a publisher hears what is announced to others")
	}
	for info := cons.CachedInfo(); info.NumPending+uint64(info.NumAckPending) > 0; {
		info, err = cons.Info(t.Context())
		must(t, err)
	}
}
