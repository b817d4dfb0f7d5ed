package consumer_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/consumer"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/streams"
)

// behind makes a worker to whose clock that of the NATS server is behind.
func behind(by time.Duration) func(*consumer.Config) {
	return func(c *consumer.Config) { c.Now = func() time.Time { return time.Now().Add(by) } }
}

func TestEventsGoOnWhereTheClockOfTheServerWasBehind(t *testing.T) {
	const by = 10 * time.Minute
	r, metrics := newRig(t), prometheus.NewRegistry()
	r.start(behind(by), func(c *consumer.Config) { c.Registerer = metrics })
	seq := r.publish(r.acquired(acme, "a", time.Now().Add(by)))
	r.publish(r.disconnect(other, time.Now().Add(by)))
	r.settled(streams.In)
	r.settled(streams.Parked)
	if got := r.token(acme); got != "a" {
		t.Errorf("stored %q", got)
	}
	rec, err := r.db.Get(t.Context(), acme)
	must(t, err)
	if want := (tokenworker.Stamp{Epoch: epoch, Sequence: seq}); rec.Stamp != want || rec.Entered.After(time.Now()) {
		t.Errorf("stamp %s, entered %s; want the event's own", rec.Stamp, rec.Entered)
	}
	if n := r.count(streams.DLQ); n != 0 {
		t.Errorf("%d events were refused", n)
	}
	if got := counter(t, metrics, "tokenworker_early_events_total"); got != 2 {
		t.Errorf("the alarm counts %v events, want 2", got)
	}
	if !strings.Contains(r.logs.String(), "a clock is wrong") {
		t.Error("no alarm in the log")
	}
}

func TestAnEventThatIsEarlyByEveryClockWaitsAside(t *testing.T) {
	r := newRig(t)
	stop := r.start()
	r.publish(r.acquired(acme, "a", time.Now().Add(10*time.Minute)))
	r.publish(r.acquired(other, "b", time.Now()))
	r.settled(streams.In)
	r.eventually("it waits", func() bool { return strings.Count(r.logs.String(), "a clock is wrong") == 2 }) // parked, and tried there
	if r.count(streams.Parked) != 1 || r.count(streams.DLQ) != 0 || r.token(acme) != "none" || r.token(other) != "b" {
		t.Errorf("%d parked, %d refused, stored %s and %s", r.count(streams.Parked), r.count(streams.DLQ), r.token(acme), r.token(other))
	}
	must(t, stop())
}

func TestAReplayOfWhatWasFromTheFutureIsJudgedByWhenItWasRefused(t *testing.T) {
	r := newRig(t)
	m := r.acquired(acme, "a", time.Now())
	early := r.acquired(other, "early", time.Now().Add(20*time.Minute))
	refuse := func(m events.Message, code events.Code, seq uint64, entered time.Time) {
		t.Helper()
		letter, err := r.keys.SealDeadLetter(t.Context(), events.DeadLetter{
			Code: code, Original: m, Stamp: tokenworker.Stamp{Epoch: epoch - 1, Sequence: seq}, Entered: entered, Refused: time.Now(),
		})
		must(t, err)
		replay, err := events.Replay(letter)
		must(t, err)
		r.publish(replay)
	}
	refuse(m, events.CodeFromFuture, 1, time.Now().Add(-20*time.Minute)) // the server's clock was behind
	refuse(early, events.CodeFromFuture, 2, time.Now())                  // it was early when it was refused, too
	refuse(r.acquired(acme, "old", time.Now().Add(-30*time.Hour)), events.CodeTooOld, 3, time.Now().Add(-2*time.Hour))
	r.start()
	r.settled(streams.In)
	if got := r.token(acme); got != "a" {
		t.Errorf("stored %q", got)
	}
	rec, err := r.db.Get(t.Context(), acme)
	must(t, err)
	if rec.Stamp.Sequence != 1 || time.Since(rec.Entered) < 19*time.Minute {
		t.Errorf("stamp %s, entered %s; want the original's", rec.Stamp, rec.Entered)
	}
	var codes []string
	for _, letter := range r.messages(streams.DLQ) {
		d, err := r.keys.OpenDeadLetter(t.Context(), letter)
		must(t, err)
		codes = append(codes, string(d.Code))
	}
	if got := strings.Join(codes, " "); !strings.Contains(got, "from_future") || !strings.Contains(got, "too_old") || len(codes) != 2 {
		t.Errorf("refused again as %s; want from_future and too_old", got)
	}
}

// counter is what a worker has counted so far.
func counter(t *testing.T, metrics *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := metrics.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	return 0
}
