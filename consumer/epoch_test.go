package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/consumer"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/streams"
)

// makeAnew deletes the stream of events and sets it up again, as the guide says of one that was lost.
func (r *rig) makeAnew() {
	r.t.Helper()
	must(r.t, r.js.DeleteStream(r.t.Context(), streams.In))
	must(r.t, streams.Setup(r.t.Context(), r.js, 1, r.db.TakeEpoch))
}

func TestAWorkerGoesOnWithAStreamThatWasMadeAnew(t *testing.T) {
	r, metrics := newRig(t), prometheus.NewRegistry()
	r.start(func(c *consumer.Config) { c.Registerer = metrics })
	for i := range 20 { // so that sequences of the new stream are lower than what is stored
		r.publish(r.acquired(acme, fmt.Sprint("former-", i), time.Now()))
	}
	r.publish(r.acquired(other, "former", time.Now()))
	r.settled(streams.In)
	r.makeAnew()

	r.publish(r.disconnect(acme, time.Now()))
	r.publish(r.acquired(other, "newer", time.Now()))
	r.settled(streams.In)
	if got := r.token(acme); got != string(tokenworker.Disconnecting) {
		t.Errorf("the disconnect left %q", got)
	}
	if got := r.token(other); got != "newer" {
		t.Errorf("stored %q, want the newer acquisition", got)
	}
	rec, err := r.db.Get(t.Context(), other)
	must(t, err)
	if want := (tokenworker.Stamp{Epoch: epoch + 1, Sequence: 2}); rec.Stamp != want {
		t.Errorf("stamp %s, want %s", rec.Stamp, want)
	}
	families, err := metrics.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() != "tokenworker_deliveries_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			if label := m.GetLabel()[0].GetValue(); label != streams.Acquired && label != streams.Disconnect {
				t.Errorf("deliveries are counted for consumer %q, want a kind", label)
			}
		}
	}
}

func TestNothingOfAnotherEpochIsHandled(t *testing.T) {
	r := newRig(t)
	release := make(chan struct{})
	var once sync.Once
	held := make(chan struct{})
	r.beforeStore = func(_ context.Context, k tokenworker.Key) error {
		if k == acme {
			once.Do(func() { close(held) })
			<-release
		}
		return nil
	}
	r.start()
	w := r.worker
	r.publish(r.acquired(acme, "a", time.Now()))
	<-held // the worker is in the middle of a message of the former stream
	if w.Epoch() != epoch {
		t.Fatalf("epoch %d is held, want %d", w.Epoch(), epoch)
	}
	r.makeAnew()
	seq := r.publish(r.disconnect(other, time.Now()))
	r.eventually("the new stream's epoch is noticed", func() bool { return w.Epoch() != epoch })
	if r.count(streams.In) != 1 || w.Epoch() != 0 {
		t.Error("a message of the new stream was handled by who holds the former epoch")
	}
	close(release)
	r.settled(streams.In)
	rec, err := r.db.Get(t.Context(), other)
	must(t, err)
	if want := (tokenworker.Stamp{Epoch: epoch + 1, Sequence: seq}); rec.Stamp != want || w.Epoch() != epoch+1 {
		t.Errorf("stamp %s, epoch %d held; want %s", rec.Stamp, w.Epoch(), want)
	}
}

func TestWhatIsRefusedOrParkedInANewStreamIsNoRepeatOfTheFormerOnes(t *testing.T) {
	r := newRig(t)
	r.beforeSeal = func(tokenworker.Key) error { return tokenworker.ErrKeyRefused }
	r.start(func(c *consumer.Config) { c.AllowPlain = false })
	for range 2 {
		r.publish(r.acquired(acme, "parked", time.Now()))
		r.publish(events.Message{Subject: "tokens.v1.acquired.acme.google.42", ID: "refused", Body: []byte("{}")})
		r.settled(streams.In)
		r.makeAnew()
	}
	if parked, refused := r.count(streams.Parked), r.count(streams.DLQ); parked != 2 || refused != 2 {
		t.Errorf("%d events parked and %d refused, want 2 of each", parked, refused)
	}
}

func TestARolledBackStreamStopsTheWorker(t *testing.T) {
	r := newRig(t)
	must(t, r.db.RaiseHighWater(t.Context(), tokenworker.Stamp{Epoch: epoch, Sequence: 1000}))
	r.publish(r.acquired(acme, "a", time.Now()))
	w, err := consumer.New(consumer.Config{}, r.js, r.keys, r.sealer, r.db, refresher{r})
	must(t, err)
	if err := w.Run(t.Context()); !errors.Is(err, tokenworker.ErrRolledBack) {
		t.Fatalf("Run = %v, want ErrRolledBack", err)
	}
	if got := r.count(streams.In); got != 1 {
		t.Errorf("%d events in the stream, want the one that was published", got)
	}
}

func TestAStreamThatIsRolledBackUnderAWorkerStopsIt(t *testing.T) {
	r := newRig(t)
	stop := r.start()
	for i := range 3 {
		r.publish(r.acquired(acme, fmt.Sprint(i), time.Now()))
	}
	r.settled(streams.In)
	// The same stream, of the same epoch, as it was before: what a restored backup is.
	s, err := r.js.Stream(t.Context(), streams.In)
	must(t, err)
	before := s.CachedInfo().Config
	must(t, r.js.DeleteStream(t.Context(), streams.In))
	_, err = r.js.CreateStream(t.Context(), before)
	must(t, err)
	must(t, streams.Setup(t.Context(), r.js, 1, nil))
	r.eventually("the worker stops", func() bool { return strings.Contains(r.logs.String(), "was rolled back; the worker stops") })
	if err := stop(); !errors.Is(err, tokenworker.ErrRolledBack) {
		t.Errorf("Run = %v, want ErrRolledBack", err)
	}
}

func TestEventsOfALeaderWhoseClockWasAheadStopNobody(t *testing.T) {
	r := newRig(t)
	// The record reflects an event with a higher sequence that entered, by another leader's clock, an hour earlier.
	_, err := r.db.Disconnect(t.Context(), &tokenworker.Disconnection{Event: tokenworker.Event{
		Key: acme, Stamp: tokenworker.Stamp{Epoch: epoch, Sequence: 2}, Entered: time.Now().Add(-time.Hour),
		ID: tokenworker.NewEventID("test", "earlier", time.Now()),
	}})
	must(t, err)
	r.start()
	r.publish(r.acquired(acme, "a", time.Now()))
	r.publish(r.acquired(other, "b", time.Now()))
	r.settled(streams.In)
	if got := r.token(acme); got != string(tokenworker.Disconnecting) {
		t.Errorf("the late acquisition left %q, want it to wait for its revocation", got)
	}
}

func TestTheMarkIsRaisedAsEventsCome(t *testing.T) {
	r := newRig(t)
	r.start()
	last := r.publish(r.acquired(acme, "a", time.Now()))
	r.eventually("the mark is raised", func() bool {
		mark, err := r.db.HighWater(t.Context())
		must(t, err)
		return mark == tokenworker.Stamp{Epoch: epoch, Sequence: last}
	})
}
