package main

// P10 Due work scales with what is due, not with what is stored, and nothing that fails stands before what works.
//
// Breaks that were tried, and what the attack said:
//
//	no index of due rows                                          "1.56 times the processor time" (20,000 against 200)
//	failures do not move the due time                             "400 connections that fail were tried 7660 times in an hour"
//	a thousandth of the jitter                                    "the peak is 60.00 times the mean over the window"
//	the same jitter in every delay of a connection, up to an hour "the peak after the outage is 4.53 times the mean"
//	a lead of a three-thousandth of the lifetime                  "a token of 5m0s: active, expired at ..." 8,640 times

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/provider"
	"github.com/tokenworker/tokenworker/rotator"
)

var p10 = promise{
	name: "P10", unit: "connections", usual: 50_000, full: 1_000_000,
	attacks: []attack{
		{"a sweep of 100 due connections among all and among a hundredth as many, on SQLite", sweepAmongMany},
		{"the same among a tenth of all and among a tenth of that, on DynamoDB (LocalStack), by requests", sweepAmongItems},
		{"a thousandth that always fails, due before as many that work, at each simulated minute of an hour", failAlways},
		{"connections with one expiry (up to 100,000): when they are refreshed", expireTogether},
		{"a tenth of all, with one expiry, after an hour in which the provider has refused everything", recoverTogether},
		{"tokens of 300 s and of 60 days through 30 simulated days", stayFresh},
	},
}

// countingStore counts what a sweep asks of the store.
type countingStore struct {
	*embedded.Store
	asked atomic.Int64
}

func (c *countingStore) Get(ctx context.Context, k tokenworker.Key) (tokenworker.Record, error) {
	c.asked.Add(1)
	return c.Store.Get(ctx, k) //nolint:wrapcheck // as the store says
}

func (c *countingStore) Update(
	ctx context.Context, rec tokenworker.Record, rule tokenworker.Rule,
) (tokenworker.Record, tokenworker.Verdict, error) {
	c.asked.Add(1)
	return c.Store.Update(ctx, rec, rule) //nolint:wrapcheck // as the store says
}

func (c *countingStore) Due(ctx context.Context, id string, shard int, at time.Time) iter.Seq2[tokenworker.Key, error] {
	c.asked.Add(1)
	return c.Store.Due(ctx, id, shard, at)
}

func (c *countingStore) Providers(ctx context.Context) ([]string, error) {
	c.asked.Add(1)
	return c.Store.Providers(ctx) //nolint:wrapcheck // as the store says
}

// sweepDue is how many are due in each sweep.
const sweepDue = 100

// crowd is a site with many connections that are not due.
type crowd struct {
	*site
	clock *simClock
	store *countingStore
	r     *rotator.Rotator
}

func openCrowd(ctx context.Context, e *env, stored int) (*crowd, error) {
	clock := &simClock{at: time.Now().Truncate(time.Second)}
	s, err := openSite(ctx, e, siteConfig{settings: "    rotation: strict\n", now: clock.now})
	if err != nil {
		return nil, err
	}
	c := &crowd{site: s, clock: clock, store: &countingStore{Store: s.store}}
	for i := range sweepDue {
		if err := s.acquire(ctx, s.key(i)); err != nil {
			s.close()
			return nil, err
		}
	}
	if err := c.fill(ctx, stored); err != nil {
		s.close()
		return nil, err
	}
	if c.r, err = s.rotator(c.store, slog.New(slog.DiscardHandler)); err != nil {
		s.close()
		return nil, err
	}
	return c, nil
}

// fill copies a row until so many are stored, due in a year.
func (c *crowd) fill(ctx context.Context, stored int) error {
	db, err := sql.Open("sqlite", "file:"+embedded.StorePath(c.dir)+"?_pragma=busy_timeout(20000)&_pragma=synchronous(OFF)")
	if err != nil {
		return fmt.Errorf("opening the store's file: %w", err)
	}
	defer db.Close() //nolint:errcheck // the insert has ended
	org, conn := connOf(c.key(0))
	_, err = db.ExecContext(ctx, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		INSERT INTO connections (org, conn, due_at, subject, sealed, record)
		SELECT org, conn || '-' || i, ? + i % 1000000, subject, sealed, record FROM connections, n WHERE org = ? AND conn = ?`,
		stored-sweepDue, c.now().Add(365*24*time.Hour).Unix(), org, conn)
	if err != nil {
		return fmt.Errorf("filling the store: %w", err)
	}
	return nil
}

// sweep makes all real connections due and sweeps them: what it asked of the store, and the processor time of this process.
func (c *crowd) sweep(ctx context.Context) (asked int64, cpu time.Duration, err error) {
	c.clock.advance(50 * time.Minute)
	c.store.asked.Store(0)
	before, err := cpuTime()
	if err != nil {
		return 0, 0, err
	}
	if _, err := c.store.Providers(ctx); err != nil {
		return 0, 0, fmt.Errorf("listing providers: %w", err)
	}
	looked, err := c.r.Sweep(ctx, siteProvider(0), 0)
	if err != nil {
		return 0, 0, fmt.Errorf("sweeping: %w", err)
	}
	after, err := cpuTime()
	if err == nil && looked != sweepDue {
		err = fmt.Errorf("a sweep looked at %d connections, want %d", looked, sweepDue)
	}
	return c.store.asked.Load(), after - before, err
}

// cpuTime is what this process has used.
func cpuTime() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("asking for the processor time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

const sweepsMeasured = 15

// sweepAmongMany compares the two in turn, so that the machine's other work falls on both; the median counts.
func sweepAmongMany(ctx context.Context, e *env, n int) error {
	few := max(2*sweepDue, n/100)
	var crowds [2]*crowd
	for i, stored := range []int{few, max(n, few)} {
		inner, err := e.below(fmt.Sprint("stored-", i))
		if err != nil {
			return err
		}
		if crowds[i], err = openCrowd(ctx, inner, stored); err != nil {
			return err
		}
		defer crowds[i].close()
	}
	var asked [2]int64
	var cpu [2][]time.Duration
	for range sweepsMeasured {
		for i, c := range crowds {
			a, spent, err := c.sweep(ctx)
			if err != nil {
				return err
			}
			asked[i], cpu[i] = asked[i]+a, append(cpu[i], spent)
		}
	}
	var median [2]time.Duration
	for i := range cpu {
		slices.Sort(cpu[i])
		median[i] = cpu[i][len(cpu[i])/2]
	}
	calls, ratio := float64(asked[1])/float64(asked[0]), float64(median[1])/float64(median[0])
	if calls > 1.2 || ratio > 1.2 {
		e.broke("a sweep among %d costs %.2f times the calls and %.2f times the processor time of one among %d", n, calls, ratio, few)
	}
	e.did("%d sweeps each of %d due among %d and %d: %d and %d calls of the store (%.2f), median %s and %s CPU (%.2f)", sweepsMeasured,
		sweepDue, few, n, asked[0]/sweepsMeasured, asked[1]/sweepsMeasured, calls, median[0].Round(10*time.Microsecond),
		median[1].Round(10*time.Microsecond), ratio)
	return nil
}

// expireTogether computes when connections come due that expire at one time.
func expireTogether(_ context.Context, e *env, n int) error {
	n = min(n, 100_000)
	const buckets = 60
	for _, c := range []struct {
		lifetime time.Duration
		policy   provider.Policy
	}{{time.Hour, provider.Policy{}}, {60 * 24 * time.Hour, provider.Policy{}}} {
		at := time.Now()
		set := tokenworker.TokenSet{RefreshToken: tokenworker.SecretString("r"), ExpiresAt: at.Add(c.lifetime)}
		due := make([]time.Time, n)
		for i := range n {
			k := tokenworker.Key{OrgID: fmt.Sprint("org-", i%50), ProviderID: "demo", CompanyID: fmt.Sprint(i)}
			due[i] = rotator.DueAfter(c.policy, k, at, set)
		}
		// The window is the documented one: a quarter of the lead, which is a third of the lifetime, at most a day.
		window := min(c.lifetime/3, 24*time.Hour) / 4
		first := at.Add(c.lifetime - 4*window)
		var counts [buckets]int
		for _, d := range due {
			b := int(d.Sub(first) * buckets / window)
			if b < 0 || b >= buckets {
				e.broke("due %s after the window of %s begins", d.Sub(first), window)
				continue
			}
			counts[b]++
		}
		peak := float64(slices.Max(counts[:])) / (float64(n) / buckets)
		if peak > 2 {
			e.broke("tokens of %s: the peak is %.2f times the mean over the window of %s", c.lifetime, peak, window)
		}
		e.did("%d of %s: peak %.2f times the mean of %d parts of %s", n, c.lifetime, peak, buckets, window)
	}
	return nil
}
