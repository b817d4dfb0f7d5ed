package rotator

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/provider"
)

// deaf is a NATS that takes everything.
type deaf struct{ jetstream.JetStream }

func (deaf) PublishMsg(context.Context, *nats.Msg, ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	return &jetstream.PubAck{}, nil
}

// shortLived are providers of tokens of one lifetime, who note the age of the token that each request finds.
type shortLived struct {
	Providers
	lifetime time.Duration
	busy     bool // they refuse everything for now, and say for how long

	mu     sync.Mutex
	minted map[tokenworker.Key]time.Time
	ages   []time.Duration
}

// busyFor is longer than any back-off, which alone would keep a shorter wait.
const busyFor = 20 * time.Minute

func (p *shortLived) Policy(string) (provider.Policy, bool) {
	return provider.Policy{Rotation: provider.Strict, Margin: provider.DefaultMargin}, true
}

func (p *shortLived) Prepare(context.Context, tokenworker.Key) provider.Answer {
	return provider.Answer{Outcome: provider.OK}
}

func (p *shortLived) Refresh(_ context.Context, k tokenworker.Key, _ tokenworker.TokenSet) provider.Answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.ages = append(p.ages, now.Sub(p.minted[k]))
	if p.busy {
		return provider.Answer{Outcome: provider.NotSpent, Code: provider.CodeRateLimited, Status: 429, RetryAfter: busyFor}
	}
	p.minted[k] = now
	return provider.Answer{Outcome: provider.OK, Status: 200, Set: p.set(now)}
}

func (p *shortLived) set(now time.Time) tokenworker.TokenSet {
	return tokenworker.TokenSet{
		AccessToken: tokenworker.SecretString("a"), RefreshToken: tokenworker.SecretString("r" + now.Format(time.RFC3339Nano)),
		ExpiresAt: now.Add(p.lifetime),
	}
}

// live lets a worker live for some time in a bubble, sweeping at its start and at each tick after. Before that n connections
// are acquired, a second after each other, within its life too.
func live(t *testing.T, store *embedded.Store, p *shortLived, n int, life time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), life)
	defer cancel()
	r, err := New(Config{Process: "one"}, deaf{}, store, inClear{}, p)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { r.agenda.run(ctx, r.cfg.Tick, r.keepAppointment) })
	synctest.Wait()
	for i := range n {
		acquireIn(t, r, store, p, tokenworker.Key{OrgID: "acme", ProviderID: "demo", CompanyID: fmt.Sprint(i)})
		pass(time.Second)
	}
	for ctx.Err() == nil {
		if _, err := r.Sweep(ctx, "demo", 0); err != nil && ctx.Err() == nil {
			t.Fatal(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(r.cfg.Tick):
		}
	}
}

func acquireIn(t *testing.T, r *Rotator, store *embedded.Store, p *shortLived, k tokenworker.Key) {
	t.Helper()
	now := time.Now()
	set := p.set(now)
	plain, err := tokenworker.EncodeTokenSet(set)
	if err != nil {
		t.Fatal(err)
	}
	policy, _ := p.Policy(k.ProviderID)
	due := DueAfter(policy, k, now, set)
	_, err = store.Acquire(t.Context(), &tokenworker.Acquisition{
		Event: tokenworker.Event{
			Key: k, Stamp: tokenworker.Stamp{Epoch: 1, Sequence: uint64(now.UnixNano())}, Entered: now,
			ID: tokenworker.NewEventID("test", k.String()+now.String(), now),
		},
		Sealed: plain, Details: set.Details(), DueAt: due,
	})
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.minted[k] = now
	p.mu.Unlock()
	r.Expect(k, due)
}

// inBubble runs a test on fake time, with a store that is opened in there.
func inBubble(t *testing.T, test func(*testing.T, *embedded.Store)) {
	path := filepath.Join(t.TempDir(), "store.db")
	synctest.Test(t, func(t *testing.T) {
		store, err := embedded.OpenStore(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		test(t, store)
	})
}

// pass moves a bubble's clock on, and returns when all that was due by then is done.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // of the bubble's clock; nothing waits
	synctest.Wait()
}

func TestShortLifetimesAreRefreshedBeforeTheyEnd(t *testing.T) {
	const connections, life = 5, 10 * time.Minute
	for _, lifetime := range []time.Duration{20 * time.Second, 25 * time.Second, 45 * time.Second, time.Minute, 90 * time.Second, 2 * time.Minute} {
		t.Run(lifetime.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, store *embedded.Store) {
				p := &shortLived{lifetime: lifetime, minted: map[tokenworker.Key]time.Time{}}
				live(t, store, p, connections, life)
				for _, age := range p.ages {
					if age >= lifetime || age < lifetime/2 {
						t.Errorf("refreshed at an age of %s", age)
					}
				}
				if least := connections * int(life/lifetime); len(p.ages) < least {
					t.Errorf("%d refreshes, want %d at least", len(p.ages), least)
				}
			})
		})
	}
}

// A process that never lives until the first tick, nor do tokens live through two processes: what falls due in the life of
// one it has found at its start.
func TestProcessesThatAreRestartedBeforeEachTickRefresh(t *testing.T) {
	inBubble(t, func(t *testing.T, store *embedded.Store) {
		p := &shortLived{lifetime: 45 * time.Second, minted: map[tokenworker.Key]time.Time{}}
		n := 5
		for range 10 {
			live(t, store, p, n, 25*time.Second)
			n = 0
		}
		for _, age := range p.ages {
			if age >= p.lifetime {
				t.Errorf("refreshed at an age of %s", age)
			}
		}
		if len(p.ages) < 5*4 {
			t.Errorf("%d refreshes in 250 s", len(p.ages))
		}
	})
}

func TestWhatAProviderAsksToWaitIsWaited(t *testing.T) {
	inBubble(t, func(t *testing.T, store *embedded.Store) {
		p := &shortLived{lifetime: time.Minute, busy: true, minted: map[tokenworker.Key]time.Time{}}
		live(t, store, p, 1, 3*busyFor)
		if len(p.ages) < 3 {
			t.Fatalf("%d requests in an hour", len(p.ages))
		}
		for i := range p.ages[1:] {
			if gap := p.ages[i+1] - p.ages[i]; gap < busyFor-time.Second { // due times are in whole seconds
				t.Errorf("%s after a 429 that asked for %s", gap, busyFor)
			}
		}
	})
}

func TestAnAgendaIsBoundedAndKeepsProvidersApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgenda(time.Now)
		at := func(provider string, i int) tokenworker.Key {
			return tokenworker.Key{OrgID: "acme", ProviderID: provider, CompanyID: fmt.Sprint(i)}
		}
		a.expect(at("early", 0), time.Now().Add(time.Second))
		if len(a.lines) != 0 {
			t.Error("kept though nobody looks")
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		var mu sync.Mutex
		looked := map[string]int{}
		hold := make(chan struct{})
		running.Go(func() {
			a.run(ctx, time.Minute, func(_ context.Context, k tokenworker.Key) {
				mu.Lock()
				looked[k.ProviderID]++
				mu.Unlock()
				if k.ProviderID == "slow" {
					<-hold
				}
			})
		})
		synctest.Wait()
		for i := range agendaRoom + 10 {
			a.expect(at("slow", i), time.Now().Add(10*time.Second))
		}
		a.expect(at("quick", 0), time.Now().Add(20*time.Second))
		a.expect(at("quick", 0), time.Now().Add(30*time.Second)) // the first stands for both
		a.expect(at("quick", 1), time.Now().Add(2*time.Minute))  // a sweep finds it
		a.mu.Lock()
		got := len(a.lines["slow"].waiting)
		a.mu.Unlock()
		if got != agendaRoom {
			t.Errorf("%d appointments, want %d", got, agendaRoom)
		}
		pass(time.Minute)
		mu.Lock()
		if looked["slow"] != concurrency || looked["quick"] != 1 {
			t.Errorf("looked %d times at what holds its looks up, want %d, and %d times beside it, want 1", looked["slow"], concurrency,
				looked["quick"])
		}
		mu.Unlock()
		cancel()
		close(hold)
		running.Wait()
		if len(a.lines) != 0 {
			t.Errorf("%d lines are left", len(a.lines))
		}
	})
}
