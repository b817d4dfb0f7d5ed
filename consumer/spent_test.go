package consumer_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/client"
	"github.com/tokenworker/tokenworker/streams"
)

// spent claims the set that acme holds and posts its token, which the provider rotates.
func (r *rig) spent() {
	r.t.Helper()
	attempt := r.claim()
	rec, err := r.db.Get(r.t.Context(), acme)
	must(r.t, err)
	_, v, err := r.db.Update(r.t.Context(), rec, tokenworker.Committing(&tokenworker.Refresh{
		Key: acme, From: rec.Fence, Attempt: attempt, Sealed: []byte("the successor"), RefreshedAt: time.Now(),
	}))
	must(r.t, err)
	if v != tokenworker.Applied {
		r.t.Fatalf("the refresh is %s", v)
	}
}

// claim claims the set that acme holds.
func (r *rig) claim() tokenworker.AttemptID {
	r.t.Helper()
	rec, err := r.db.Get(r.t.Context(), acme)
	must(r.t, err)
	attempt := tokenworker.NewAttemptID()
	_, _, err = r.db.Update(r.t.Context(), rec, tokenworker.Claiming(rec.Fence, tokenworker.Claim{
		Owner: "test", Attempt: attempt, At: time.Now(), Until: time.Now().Add(time.Minute),
	}, rec.Token, tokenworker.AttemptID{}))
	must(r.t, err)
	return attempt
}

func TestASetWhoseTokenMayBeSpentIsDroppedAndThatIsSaid(t *testing.T) {
	r := newRig(t)
	r.start()
	now := time.Now()
	r.publish(r.acquired(acme, "a", now))
	r.settled(streams.In)
	r.spent()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	publisher := client.NewPublisher(r.js, client.PublisherConfig{})
	_, outcome, err := publisher.PublishAndWait(ctx, r.acquired(acme, "a", now))
	if outcome != "dropped" || err == nil || !strings.Contains(err.Error(), "reused_refresh_token") {
		t.Errorf("the publisher hears %q, %v", outcome, err)
	}
	r.settled(streams.In)
	if rec, err := r.db.Get(t.Context(), acme); err != nil || string(rec.Sealed) != "the successor" {
		t.Errorf("the successor was replaced, %v", err)
	}
	if got := r.logs.String(); !strings.Contains(got, "an acquired set is dropped") || !strings.Contains(got, acme.String()) {
		t.Errorf("the log does not say so: %s", got)
	}
	if got := r.notices(); got != "stored acme:google:42, dropped acme:google:42" {
		t.Errorf("announced %q", got)
	}
}

func TestASetWhoseTokenIsBeingPostedWaitsAside(t *testing.T) {
	t.Parallel()
	for name, over := range map[string]bool{"its process may hold it": false, "its claim stands": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.over.Store(over)
			r.start()
			now := time.Now()
			r.publish(r.acquired(acme, "a", now))
			r.settled(streams.In)
			attempt := r.claim()
			newer := r.publish(r.acquired(acme, "a", now))
			r.eventually("the set is parked", func() bool { return r.count(streams.Parked) == 1 && r.count(streams.In) == 0 })
			if got := r.notices(); got != "stored acme:google:42" {
				t.Errorf("announced %q while nothing is decided", got)
			}
			_, _, err := r.db.Update(t.Context(), tokenworker.Record{Key: acme},
				tokenworker.NothingSpent(tokenworker.Failure{Attempt: attempt, Code: "rate_limited", DueAt: now}))
			must(t, err)
			r.settled(streams.Parked)
			if rec, err := r.db.Get(t.Context(), acme); err != nil || rec.Stamp.Sequence != newer || len(rec.Acquired) != 0 {
				t.Errorf("at %s with %d tokens spent, %v; want the newer set, since its token was refused and not spent", rec.Stamp,
					len(rec.Acquired), err)
			}
		})
	}
}
