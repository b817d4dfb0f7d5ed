package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/rotator"
)

// simulation is a rotator on a simulated clock, with the real provider client and server and nothing else around it.
type simulation struct {
	*site
	store *memory
	clock *simClock
	r     *rotator.Rotator
}

// openSimulation makes one whose provider knows the clients of the policies.
func openSimulation(ctx context.Context, e *env, policies map[string]demoprovider.Policy) (*simulation, error) {
	m := &simulation{
		clock: &simClock{at: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)},
		store: &memory{records: map[tokenworker.Key]tokenworker.Record{}},
	}
	m.site = &site{siteConfig: siteConfig{now: m.clock.now, settings: "    rotation: strict\n    longest_lifetime: 60d\n", providers: len(policies)}, dir: e.dir}
	var clients []demoprovider.Client
	for id, p := range policies {
		clients = append(clients, demoprovider.Client{ID: id, Secret: siteSecret, Policy: p})
	}
	var err error
	if m.server, err = demoprovider.New(demoprovider.Config{Now: m.clock.now, Clients: clients}); err != nil {
		return nil, fmt.Errorf("making a provider: %w", err)
	}
	if err := m.server.Start(ctx, "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("starting the provider: %w", err)
	}
	m.closers = append(m.closers, func() { _ = m.server.Close() })
	if err := m.writeCatalogue(); err != nil {
		m.close()
		return nil, err
	}
	gate, closeGate, err := openGate(ctx, m.catalogue(), m.clock.now)
	if err != nil {
		m.close()
		return nil, err
	}
	m.gate = gate
	m.closers = append(m.closers, closeGate)
	m.r, err = rotator.New(rotator.Config{Process: "one", Now: m.clock.now, Logger: slog.New(slog.DiscardHandler)},
		deafNATS{}, m.store, clearSealer{}, gate)
	if err != nil {
		m.close()
		return nil, fmt.Errorf("making a rotator: %w", err)
	}
	return m, nil
}

// acquire grants and stores a connection.
func (m *simulation) acquire(client string, k tokenworker.Key) error {
	tokens, err := m.server.Grant(client, k.String(), "")
	if err != nil {
		return fmt.Errorf("granting: %w", err)
	}
	set := tokenworker.TokenSet{
		AccessToken:  tokenworker.SecretString(tokens.AccessToken),
		RefreshToken: tokenworker.SecretString(tokens.RefreshToken),
		ExpiresAt:    m.now().Add(time.Duration(tokens.ExpiresIn) * time.Second),
	}
	plain, err := tokenworker.EncodeTokenSet(set)
	if err != nil {
		return fmt.Errorf("encoding a set: %w", err)
	}
	policy, _ := m.gate.Policy(k.ProviderID)
	rec, _, err := (*tokenworker.Record)(nil).Acquire(&tokenworker.Acquisition{
		Event: m.event(k), Sealed: plain, Details: set.Details(), DueAt: rotator.DueAfter(policy, k, m.now(), set),
	})
	if err != nil {
		return fmt.Errorf("acquiring: %w", err)
	}
	m.store.records[k] = rec
	return nil
}

// failuresAnHour is how often one connection may fail in an hour, with delays that double from half a minute.
const failuresAnHour = 10

// failAlways has as many connections fail always, due before those that work: whatever they cost, those that work are
// refreshed at the tick at which they are due.
func failAlways(ctx context.Context, e *env, n int) error {
	n = max(100, n/50)
	m, err := openSimulation(ctx, e, map[string]demoprovider.Policy{siteClient: {}, brokenClient: {}})
	if err != nil {
		return err
	}
	defer m.close()
	if err := m.server.Inject(demoprovider.Fault{Kind: demoprovider.RateLimited, Client: brokenClient}); err != nil {
		return fmt.Errorf("injecting a fault: %w", err)
	}
	at := func(i int) tokenworker.Key {
		return tokenworker.Key{OrgID: "org", ProviderID: siteProvider(0), CompanyID: fmt.Sprint(i)}
	}
	for i := range n {
		if err := m.acquire(brokenClient, at(i)); err != nil {
			return err
		}
	}
	m.clock.advance(time.Minute)
	for i := range n {
		if err := m.acquire(siteClient, at(n+i)); err != nil {
			return err
		}
	}
	var worst time.Duration
	refreshed := 0
	for range 60 {
		m.clock.advance(time.Minute)
		due := map[tokenworker.Key]time.Time{}
		for i := range n {
			if r := m.store.records[at(n+i)]; !r.DueAt.After(m.now()) {
				due[r.Key] = r.DueAt
			}
		}
		if _, err := m.r.Sweep(ctx, siteProvider(0), 0); err != nil {
			return fmt.Errorf("sweeping: %w", err)
		}
		for k, was := range due {
			worst = max(worst, m.now().Sub(was))
			if r := m.store.records[k]; !r.DueAt.After(m.now()) || !r.RefreshedAt.Equal(m.now()) {
				e.broke("%s was due and was not refreshed by a sweep that also met %d that fail", k, n)
				continue
			}
			refreshed++
		}
	}
	if refreshed < n {
		e.broke("%d of %d connections that work were refreshed: too little was tried", refreshed, n)
	}
	t := m.server.Totals()
	if most := failuresAnHour * n; t.Faults[demoprovider.RateLimited] > most {
		e.broke("%d connections that fail were tried %d times in an hour, want %d at most: they do not make room",
			n, t.Faults[demoprovider.RateLimited], most)
	}
	e.did("%d that always fail (%d refusals) beside %d refreshes of those that work, each at its tick (%s after it was due at most)",
		n, t.Faults[demoprovider.RateLimited], refreshed, worst)
	return nil
}

// recoverTogether refuses everything for an hour that begins when the first of many connections with one expiry come due,
// and then looks at when they are refreshed: by then all have expired.
func recoverTogether(ctx context.Context, e *env, n int) error {
	n = min(n/10, 100_000)
	m, err := openSimulation(ctx, e, map[string]demoprovider.Policy{siteClient: {AccessLifetime: time.Hour}})
	if err != nil {
		return err
	}
	defer m.close()
	for i := range n {
		if err := m.acquire(siteClient, tokenworker.Key{OrgID: "org", ProviderID: siteProvider(0), CompanyID: fmt.Sprint(i)}); err != nil {
			return err
		}
	}
	m.clock.advance(40 * time.Minute)
	if err := m.server.Inject(demoprovider.Fault{Kind: demoprovider.RateLimited}); err != nil {
		return fmt.Errorf("injecting a fault: %w", err)
	}
	const tick = 30 * time.Second
	pass := func() (int, error) {
		before := m.server.Totals().Granted
		if _, err := m.r.Sweep(ctx, siteProvider(0), 0); err != nil {
			return 0, fmt.Errorf("sweeping: %w", err)
		}
		m.clock.advance(tick)
		return m.server.Totals().Granted - before, nil
	}
	for range time.Hour / tick {
		if refreshed, err := pass(); err != nil || refreshed > 0 {
			return fmt.Errorf("%d were refreshed although all was refused: %w", refreshed, err)
		}
	}
	refusals := m.server.Totals().Faults[demoprovider.RateLimited]
	m.server.ClearFaults()
	var counts []int
	for refreshed := 0; refreshed < n; {
		if len(counts) > int(2*time.Hour/tick) {
			e.broke("%d of %d connections were refreshed in the two hours after an outage of one", refreshed, n)
			break
		}
		now, err := pass()
		if err != nil {
			return err
		}
		refreshed += now
		counts = append(counts, now)
	}
	peak := float64(slices.Max(counts)) / (float64(n) / float64(len(counts)))
	if peak > 2 {
		e.broke("the peak after the outage is %.2f times the mean of the %d ticks that it took", peak, len(counts))
	}
	e.did("%d connections, %d refusals in an hour, then all refreshed within %s: peak %.2f times the mean of %d ticks", n, refusals,
		time.Duration(len(counts))*tick, peak, len(counts))
	return nil
}

// freshDays is for how long tokens are kept fresh.
const freshDays = 30 * 24 * time.Hour

// stayFresh goes through the days by passes that are functions of the time, with a short token and with a long one that is
// in its last half month when the days begin.
func stayFresh(ctx context.Context, e *env, _ int) error {
	for _, c := range []struct{ lifetime, age time.Duration }{
		{5 * time.Minute, 0}, {60 * 24 * time.Hour, 45 * 24 * time.Hour},
	} {
		if err := stayFreshFor(ctx, e, c.lifetime, c.age); err != nil {
			return err
		}
	}
	return nil
}

func stayFreshFor(ctx context.Context, e *env, lifetime, age time.Duration) error {
	m, err := openSimulation(ctx, e, map[string]demoprovider.Policy{siteClient: {AccessLifetime: lifetime}})
	if err != nil {
		return err
	}
	defer m.close()
	k := tokenworker.Key{OrgID: "org", ProviderID: siteProvider(0), CompanyID: "1"}
	if err := m.acquire(siteClient, k); err != nil {
		return err
	}
	m.clock.advance(age)
	missed, passes := 0, 0
	for end := m.now().Add(freshDays); m.now().Before(end); passes++ {
		m.clock.advance(30 * time.Second)
		if r := m.store.records[k]; r.Status != tokenworker.Active || !r.ExpiresAt.After(m.now()) {
			missed++
			e.broke("a token of %s: %s, expired at %s, and it is %s", lifetime, r.Status, r.ExpiresAt, m.now())
		}
		if _, err := m.r.Sweep(ctx, siteProvider(0), 0); err != nil {
			return fmt.Errorf("sweeping: %w", err)
		}
	}
	refreshed := m.store.records[k].Generation
	if refreshed == 0 {
		e.broke("a token of %s was never refreshed: nothing was tried", lifetime)
	}
	e.did("%s: %d passes, %d refreshes, %d missed", lifetime, passes, refreshed, missed)
	return nil
}
