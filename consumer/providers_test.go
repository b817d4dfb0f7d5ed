package consumer_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/consumer"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/streams"
)

// knowing is a configuration that knows these providers alone.
func knowing(ids ...string) func(*consumer.Config) {
	return func(c *consumer.Config) {
		c.Known = func(id string) bool { return slices.Contains(ids, id) }
	}
}

func TestAcquisitionsOfProvidersThatNobodyKnowsAreRefused(t *testing.T) {
	r := newRig(t)
	const madeUp = 40
	for i := range madeUp {
		r.publish(r.acquired(tokenworker.Key{OrgID: "acme", ProviderID: fmt.Sprint("made-up-", i), CompanyID: "1"}, "t", time.Now()))
	}
	r.publish(r.acquired(tokenworker.Key{OrgID: "acme", ProviderID: "made-up"}, "t", time.Now())) // without a company
	r.publish(r.acquired(acme, "good", time.Now()))
	r.start(knowing("google"))
	r.settled(streams.In)
	if got := r.token(acme); got != "good" {
		t.Errorf("of a provider that is known: %s", got)
	}
	letters := 0
	for _, m := range r.messages(streams.DLQ) {
		code, _, err := events.ParseDeadLetterSubject(m.Subject)
		must(t, err)
		if code != events.CodeUnknownProvider {
			t.Errorf("refused as %s", code)
		}
		letters++
	}
	if letters != madeUp+1 {
		t.Errorf("%d dead letters, want %d", letters, madeUp+1)
	}
	ids, err := r.db.Providers(t.Context())
	must(t, err)
	if len(ids) != 1 || ids[0] != "google" {
		t.Errorf("the store knows the providers %q", ids)
	}
}

// A disconnect may overtake the acquisition that it is about, or be replayed before it, so it leaves a tombstone whatever its
// provider; but none that a sweep would have to find.
func TestDisconnectsOfProvidersThatNobodyKnowsLeaveTombstonesAlone(t *testing.T) {
	r := newRig(t)
	k := tokenworker.Key{OrgID: "acme", ProviderID: "made-up", CompanyID: "1"}
	r.publish(r.disconnect(k, time.Now()))
	r.start(knowing())
	r.settled(streams.In)
	if got := r.token(k); got != string(tokenworker.Disconnected) {
		t.Errorf("left: %s", got)
	}
	ids, err := r.db.Providers(t.Context())
	must(t, err)
	if len(ids) != 0 {
		t.Errorf("sweeps look for %q", ids)
	}
}

func TestWhatIsStoredIsHandledWhateverTheConfiguration(t *testing.T) {
	r := newRig(t)
	r.publish(r.acquired(acme, "first", time.Now()))
	r.publish(r.acquired(other, "first", time.Now()))
	stop := r.start(knowing("google"))
	r.settled(streams.In)
	must(t, stop())

	r.publish(r.acquired(acme, "second", time.Now()))
	r.publish(r.disconnect(other, time.Now()))
	r.start(knowing()) // the provider was taken out
	r.settled(streams.In)
	if got := r.token(acme); got != "second" {
		t.Errorf("a new login of a stored provider: %s", got)
	}
	if got := r.token(other); got != string(tokenworker.Disconnecting) {
		t.Errorf("a disconnect: %s", got)
	}
}
