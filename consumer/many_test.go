package consumer_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/streams"
)

func TestTheNewestLoginWaitsForNoOlderOnesHoweverManyADay(t *testing.T) {
	r, logins := newRig(t), 3*tokenworker.UsualSeen
	forgetMessageIDs(t, r)
	first := r.acquired(acme, "0", time.Now())
	r.publish(first)
	for i := 1; i < logins; i++ {
		r.publish(r.acquired(acme, fmt.Sprint(i), time.Now()))
	}
	r.start()
	r.settled(streams.In)
	if got, want := r.token(acme), fmt.Sprint(logins-1); got != want {
		t.Errorf("stored is login %s, want the last, %s", got, want)
	}
	if n := r.count(streams.Parked); n != 0 {
		t.Errorf("%d logins are parked", n)
	}
	r.eventually("the stream takes a repeat of the first for new", func() bool { return !r.tryPublish(first).Duplicate })
	r.settled(streams.In)
	if got, want := r.token(acme), fmt.Sprint(logins-1); got != want {
		t.Errorf("a repeat of the first login has brought back %s", got)
	}
}
