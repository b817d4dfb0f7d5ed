package consumer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/consumer"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/streams"
)

var (
	unnamed = tokenworker.Key{OrgID: "acme", ProviderID: "finch"}
	named   = tokenworker.Key{OrgID: "acme", ProviderID: "finch", CompanyID: "Größe & Co."}
)

// identifying is a provider that says what the function says, and counts how often it is asked.
func identifying(asked *atomic.Int64, says func(try int64, set tokenworker.TokenSet) (consumer.Identity, error)) func(*consumer.Config) {
	return func(c *consumer.Config) {
		c.Identify = func(
			_ context.Context, k tokenworker.Key, _ tokenworker.EventID, set tokenworker.TokenSet,
		) (consumer.Identity, error) {
			if k != unnamed {
				return consumer.Identity{}, errors.New("asked about another connection")
			}
			return says(asked.Add(1), set)
		}
	}
}

// itsCompany is what Finch would say.
func itsCompany(int64, tokenworker.TokenSet) (consumer.Identity, error) {
	return consumer.Identity{CompanyID: named.CompanyID, ProviderConnectionID: "conn-9", Scope: "company", Subject: "u-1"}, nil
}

func TestAnEventWithoutACompanyIsStoredUnderTheFullKey(t *testing.T) {
	r, at := newRig(t), time.Now().Add(-time.Minute)
	raw := r.acquired(unnamed, "raw", at)
	r.publish(raw)
	var asked atomic.Int64
	r.start(identifying(&asked, func(try int64, set tokenworker.TokenSet) (consumer.Identity, error) {
		if string(set.AccessToken.Reveal()) != secret+"-raw" {
			return consumer.Identity{}, errors.New("asked about another token")
		}
		return itsCompany(try, set)
	}))
	r.settled(streams.In)
	if got := r.token(named); got != "raw" {
		t.Fatalf("stored: %s", got)
	}
	rec, err := r.db.Get(t.Context(), named)
	must(t, err)
	if rec.ProviderConnectionID != "conn-9" || rec.Scope != "company" || rec.Subject != "u-1" || rec.Stamp.Sequence != 1 {
		t.Errorf("stored at %s with %+v", rec.Stamp, rec.Details)
	}
	if want := at.Truncate(time.Second); !rec.AcquiredAt.Equal(want) {
		t.Errorf("acquired at %s, want the raw event's time %s", rec.AcquiredAt, want)
	}
	if got, want := r.notices(), "stored "+events.KeyText(named); got != want {
		t.Errorf("announced %s, want %s", got, want)
	}
	var published, stored struct {
		ID   string            `json:"id"`
		Data events.StoredData `json:"data"`
	}
	must(t, json.Unmarshal(raw.Body, &published))
	must(t, json.Unmarshal(r.messages(streams.Out)[0].Body, &stored))
	if c := stored.Data.Cause; c.EventID != published.ID || c.Sequence != 1 {
		t.Errorf("announced as event %s, sequence %d; want the publisher's own, %s and 1", c.EventID, c.Sequence, published.ID)
	}
	if r.onDisk(secret) || strings.Contains(r.logs.String(), secret) {
		t.Error("the token is in clear on NATS's disk or in the log")
	}
	if asked.Load() != 1 {
		t.Errorf("the provider was asked %d times", asked.Load())
	}
}

func TestARepeatOfAnEventWithoutACompanyChangesNothing(t *testing.T) {
	r := newRig(t)
	forgetMessageIDs(t, r)
	raw := r.acquired(unnamed, "raw", time.Now())
	r.publish(raw)
	var asked atomic.Int64
	r.start(identifying(&asked, itsCompany))
	r.settled(streams.In)
	r.publish(r.disconnect(named, time.Now()))
	r.settled(streams.In)
	r.eventually("the stream takes the repeat for new", func() bool { return !r.tryPublish(raw).Duplicate })
	r.eventually("the provider is asked again", func() bool { return asked.Load() == 2 })
	r.settled(streams.In)
	if got := r.token(named); got != string(tokenworker.Disconnecting) {
		t.Errorf("it has brought back: %s", got)
	}
	rec, err := r.db.Get(t.Context(), named)
	must(t, err)
	if len(rec.Revoke) != 1 {
		t.Errorf("%d sets to revoke, want the one", len(rec.Revoke))
	}
}

func TestAProviderThatCannotBeAskedParksItsEventsAlone(t *testing.T) {
	r := newRig(t)
	r.publish(r.acquired(unnamed, "raw", time.Now()))
	r.publish(r.acquired(acme, "another", time.Now()))
	var asked atomic.Int64
	r.start(identifying(&asked, func(try int64, set tokenworker.TokenSet) (consumer.Identity, error) {
		if try == 1 {
			return consumer.Identity{}, errors.New("connection refused")
		}
		return itsCompany(try, set)
	}))
	r.settled(streams.In)
	if got := r.token(acme); got != "another" {
		t.Errorf("another connection: %s", got)
	}
	r.settled(streams.Parked)
	r.settled(streams.In)
	if got := r.token(named); got != "raw" {
		t.Errorf("after the provider is back: %s", got)
	}
	if !strings.Contains(r.logs.String(), `"event parked"`) {
		t.Error("it was not parked")
	}
}

// parkedOnce answers the first question about each token as a provider that is down, and later ones with the company, once
// the token's turn has come.
func parkedOnce(turn map[string]chan struct{}) func(int64, tokenworker.TokenSet) (consumer.Identity, error) {
	var known sync.Map
	return func(try int64, set tokenworker.TokenSet) (consumer.Identity, error) {
		name := strings.TrimPrefix(string(set.AccessToken.Reveal()), secret+"-")
		if _, again := known.LoadOrStore(name, nil); !again {
			return consumer.Identity{}, errors.New("connection refused")
		}
		<-turn[name]
		return itsCompany(try, set)
	}
}

func TestADisconnectIsNotUndoneByAnEventThatWaitedForItsCompany(t *testing.T) {
	r, back := newRig(t), make(chan struct{})
	r.publish(r.acquired(unnamed, "raw", time.Now()))
	var asked atomic.Int64
	r.start(identifying(&asked, parkedOnce(map[string]chan struct{}{"raw": back})))
	r.eventually("the event waits aside and is tried again", func() bool { return asked.Load() == 2 })
	left := r.publish(r.disconnect(named, time.Now()))
	r.settled(streams.In)
	close(back)
	r.settled(streams.Parked)
	r.settled(streams.In)
	rec, err := r.db.Get(t.Context(), named)
	must(t, err)
	if rec.Status != tokenworker.Disconnecting || rec.Stamp.Sequence != left || len(rec.Revoke) != 1 {
		t.Errorf("%s at %s with %d sets to revoke; want disconnecting at the disconnect, %d, with one", rec.Status, rec.Stamp,
			len(rec.Revoke), left)
	}
}

func TestEventsThatWaitedForTheirCompanyKeepTheirOrder(t *testing.T) {
	r := newRig(t)
	turn := map[string]chan struct{}{"older": make(chan struct{}), "newer": make(chan struct{})}
	r.publish(r.acquired(unnamed, "older", time.Now()))
	r.publish(r.acquired(unnamed, "newer", time.Now()))
	var asked atomic.Int64
	r.start(identifying(&asked, parkedOnce(turn)))
	r.eventually("both wait aside and are tried again", func() bool { return asked.Load() == 4 })
	close(turn["newer"])
	r.eventually("the newer one is settled", func() bool { return r.count(streams.Parked) == 1 && r.count(streams.In) == 0 })
	close(turn["older"])
	r.settled(streams.Parked)
	r.settled(streams.In)
	if got := r.token(named); got != "newer" {
		t.Errorf("stored: %s, want the newer one", got)
	}
}

func TestAnEventIsNotTooOldForHavingWaitedForItsCompany(t *testing.T) {
	r := newRig(t)
	r.publish(r.acquired(unnamed, "raw", time.Now()))
	var asked atomic.Int64
	r.start(identifying(&asked, itsCompany), func(cfg *consumer.Config) {
		cfg.Now = func() time.Time { return time.Now().Add(25 * time.Hour) }
	})
	r.settled(streams.In)
	if got := r.token(named); got != "raw" {
		t.Errorf("stored: %s", got)
	}
}

func TestWhatAProviderDoesNotIdentifyIsRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		says consumer.Identity
		err  error
		want events.Code
	}{
		{name: "the token is not good", err: events.CodeTokenRefused, want: events.CodeTokenRefused},
		{name: "the provider names no company", err: events.CodeNoCompany, want: events.CodeNoCompany},
		{name: "the provider has no introspection", err: events.CodeUnsupported, want: events.CodeUnsupported},
		{name: "the company is no part of a key", says: consumer.Identity{CompanyID: "a\nb"}, want: events.CodeNoCompany},
		{name: "what it says does not fit an event", says: consumer.Identity{CompanyID: "c", Scope: strings.Repeat("x", 5<<10)},
			want: events.CodeInvalidTokenSet},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.publish(r.acquired(unnamed, "raw", time.Now()))
			var asked atomic.Int64
			r.start(identifying(&asked, func(int64, tokenworker.TokenSet) (consumer.Identity, error) { return c.says, c.err }))
			r.settled(streams.In)
			letters := r.messages(streams.DLQ)
			if len(letters) != 1 || !strings.HasPrefix(letters[0].Subject, "tokens.v1.dlq."+string(c.want)+".acquired.acme.finch") {
				t.Errorf("dead letters: %v", letters)
			}
		})
	}
}

func TestAProviderThatHangsHoldsNoOthersAcquisitions(t *testing.T) {
	r, back := newRig(t), make(chan struct{})
	const hanging = 100
	for i := range hanging {
		r.publish(r.acquired(unnamed, fmt.Sprint("hanging-", i), time.Now()))
	}
	r.publish(r.acquired(acme, "another", time.Now()))
	var asked atomic.Int64
	r.start(identifying(&asked, func(try int64, set tokenworker.TokenSet) (consumer.Identity, error) {
		<-back
		return itsCompany(try, set)
	}))
	release := sync.OnceFunc(func() { close(back) })
	t.Cleanup(release)
	r.eventually("another provider's event is stored", func() bool { return r.token(acme) == "another" })
	if n := asked.Load(); n == 0 || n > 8 {
		t.Errorf("%d deliveries wait for the provider", n)
	}
	release()
	r.settled(streams.In)
}
