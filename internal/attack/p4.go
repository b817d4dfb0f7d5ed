package main

// P4 A spent refresh token is never used again: not by a replica, a paused process, a crash or an event that brings it back.
//
// Breaks that were tried, and what the attack said:
//
//	plan: an expired claim frees a strict provider's token        "token 0 was posted again 3.25s after an attempt that ended
//	                                                              unknown, 748ms before a last resort may"

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/internal/attack/process"
	"github.com/tokenworker/tokenworker/streams"
)

var p4 = promise{
	name: "P4", unit: "connections", usual: 500, full: 10_000,
	attacks: []attack{
		{"a fleet over one store at a strict provider: kill -9, pauses, outages of the store, lost answers, 429, 5xx, spent tokens " +
			"published again", func(ctx context.Context, e *env, n int) error { return wearOut(ctx, e, n, false) }},
		{"the same with pauses, of processes and of requests on their way, beyond the margin of the last resort: what that costs is " +
			"declared, and shown (a fifth)",
			func(ctx context.Context, e *env, n int) error { return wearOut(ctx, e, max(1, n/5), true) }},
		{"1,000 readers at once of a token that expires, over two workers on LocalStack; an oauth2 client through three expiries",
			func(ctx context.Context, e *env, _ int) error { return readExpiring(ctx, e, 1000) }},
	},
}

// The times of the fleet: those of a deployment, some forty times as fast.
const (
	fleetClaim  = 5 * time.Second
	fleetMargin = 15 * time.Second
)

// What an attempt met that may be lost to it.
const (
	byKill  = "killed"
	byPause = "paused"
)

// fleet is the processes of P4, with what was done to them.
type fleet struct {
	*env
	*site
	n        int
	lifetime time.Duration
	children []*process.Process
	names    []string
	started  int

	mu      sync.Mutex // guards the next three: pauses end by themselves, whatever the attack waits for meanwhile
	paused  []bool     // processes that are
	resumed []time.Time
	pauses  []*time.Timer // each ends one

	excused    map[tokenworker.Key]map[tokenworker.Fence]string // attempts that a kill or a pause met, by what it was
	kills, out int
	again      int // spent tokens published again
}

// wearOut lets a fleet refresh n connections again and again while everything around it fails, and then asks the
// provider's ledger.
func wearOut(ctx context.Context, e *env, n int, beyond bool) error {
	const processes = 8
	rotations := 5
	if n > 1000 {
		rotations = 20
	}
	if beyond { // each costs the connections that it meets
		rotations = 3
	}
	// Slow enough that two cores get through all connections in the time of one token.
	lifetime := max(9*time.Second, time.Duration(n)*10*time.Millisecond).Truncate(time.Second)
	s, err := openSite(ctx, e, siteConfig{
		policy: demoprovider.Policy{AccessLifetime: lifetime}, providers: 4, seed: e.rand.Uint64(),
		settings: fmt.Sprintf("    rotation: strict\n    revocation_scope: family\n    margin: %s\n", fleetMargin),
	})
	if err != nil {
		return err
	}
	defer s.close()
	f := &fleet{
		env: e, site: s, n: n, lifetime: lifetime, excused: map[tokenworker.Key]map[tokenworker.Fence]string{},
		children: make([]*process.Process, processes), names: make([]string, processes),
		paused: make([]bool, processes),
	}
	defer f.killAll()
	for i := range n {
		if err := s.acquire(ctx, s.key(i)); err != nil {
			return err
		}
	}
	for i := range f.children {
		if err := f.start(ctx, i); err != nil {
			return err
		}
	}
	if err := f.misbehave(beyond); err != nil {
		return err
	}
	// A set is refreshed after two thirds of its lifetime; a fleet that is held up gets twice as long.
	limit := time.Now().Add(time.Duration(rotations) * lifetime * 4 / 3)
	for round := 1; time.Now().Before(limit); round++ {
		if round%10 == 0 && f.leastRotations() >= rotations {
			break
		}
		if err := f.disturb(ctx, beyond); err != nil {
			return err
		}
	}
	s.server.ClearFaults()
	if err := f.awaitResumed(ctx); err != nil {
		return err
	}
	if beyond { // until what is on its way has come, and every connection has been refreshed since
		if err := sleep(ctx, f.beyond()+f.lifetime); err != nil {
			return err
		}
	}
	if err := f.settle(ctx); err != nil {
		return err
	}
	return f.judge(ctx, beyond)
}

// leastRotations is how often the tokens were rotated of the living family that was least.
func (f *fleet) leastRotations() int {
	least := math.MaxInt
	for family := range f.server.Families() {
		if family.Fate == demoprovider.Alive {
			least = min(least, family.RefreshMinted-1)
		}
	}
	return least
}

// misbehave makes the provider do so. Beyond the margin means that a request may be on its way for longer than a last
// resort waits: no client can call it back.
func (f *fleet) misbehave(beyond bool) error {
	var faults []demoprovider.Fault
	for _, kind := range []demoprovider.FaultKind{
		demoprovider.GatewayTimeout, demoprovider.LostAnswer, demoprovider.TornAnswer, demoprovider.RateLimited,
		demoprovider.Unavailable, demoprovider.Cut,
	} {
		faults = append(faults, demoprovider.Fault{Kind: kind, Probability: 0.01})
	}
	// Half of all answers come late enough to be on their way when a process is killed or paused.
	faults = append(faults, demoprovider.Fault{Kind: demoprovider.Slow, Probability: 0.5, AnswerDelay: 150 * time.Millisecond})
	if beyond {
		faults = append([]demoprovider.Fault{{Kind: demoprovider.Slow, Probability: 0.1, Delay: f.beyond()}}, faults...)
	}
	if err := f.server.Inject(faults...); err != nil {
		return fmt.Errorf("injecting faults: %w", err)
	}
	return nil
}

// beyond is longer than any last resort waits.
func (f *fleet) beyond() time.Duration { return fleetClaim + fleetMargin + f.lifetime }

func (f *fleet) start(ctx context.Context, i int) error {
	path, err := os.Executable()
	if err != nil {
		return fmt.Errorf("looking for this program: %w", err)
	}
	f.started++
	f.names[i] = fmt.Sprintf("child-%d-%d", i, f.started)
	c := child{Name: f.names[i], NATS: f.nats.Addr, Dir: f.site.dir, Catalogue: f.catalogue(), ClaimFor: fleetClaim}
	for p := range f.providers {
		c.Providers = append(c.Providers, siteProvider(p))
	}
	program, err := c.program(path, f.inDir(fmt.Sprintf("child-%d.log", i)))
	if err != nil {
		return err
	}
	f.children[i], err = process.Start(ctx, program)
	return err //nolint:wrapcheck // our own
}

// killAll ends all processes, and with them their pauses.
func (f *fleet) killAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.pauses {
		p.Stop()
	}
	for _, c := range f.children {
		if c != nil {
			c.Kill()
		}
	}
}

// disturb does one bad thing, and waits a little.
func (f *fleet) disturb(ctx context.Context, beyond bool) error {
	i, err := f.rand.IntN(len(f.children)), error(nil)
	switch f.rand.IntN(6) {
	case 0, 1:
		err = f.kill(ctx, i)
	case 2, 3:
		err = f.pause(ctx, i, beyond)
	case 4:
		err = f.lockStore(ctx)
	case 5:
		for range 5 {
			if err = f.publishSpent(ctx); err != nil {
				break
			}
		}
		if errors.Is(err, tokenworker.ErrUnavailable) {
			err = nil // a process that is paused may hold SQLite's lock
		}
	}
	return errors.Join(err, sleep(ctx, time.Duration(f.rand.Int64N(int64(500*time.Millisecond)))))
}

func (f *fleet) kill(ctx context.Context, i int) error {
	if f.isPaused(i) {
		return nil
	}
	f.kills++
	f.children[i].Kill()
	if err := f.excuse(ctx, f.names[i], byKill); err != nil {
		return err
	}
	return f.start(ctx, i)
}

// excuse notes which attempts a process had under way: those that a kill or a pause may cost.
func (f *fleet) excuse(ctx context.Context, name, what string) error {
	records, err := f.records(ctx, f.n)
	if err != nil {
		return err
	}
	for _, r := range records {
		if r.Claim == nil || r.Claim.Owner != name {
			continue
		}
		if f.excused[r.Key] == nil {
			f.excused[r.Key] = map[tokenworker.Fence]string{}
		}
		if f.excused[r.Key][r.Fence] != byKill { // a last resort that is paused does not undo the kill before it
			f.excused[r.Key][r.Fence] = what
		}
	}
	return nil
}

// pause stops a process until past the end of its claims, by less than the margin or by more. By less means that there is
// time left to save what it holds: beside other pauses, which may hold the store's lock, and on a machine that does much
// else, that takes seconds.
func (f *fleet) pause(ctx context.Context, i int, beyond bool) error {
	if f.isPaused(i) {
		return nil
	}
	length := fleetClaim + time.Duration(f.rand.Int64N(int64(fleetMargin/3)))
	if beyond {
		length = f.beyond()
	}
	c := f.children[i]
	if err := c.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stopping a process: %w", err)
	}
	f.mu.Lock()
	f.paused[i] = true
	f.pauses = append(f.pauses, time.AfterFunc(length, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.resumed, f.paused[i] = append(f.resumed, time.Now()), false
		if err := c.Signal(syscall.SIGCONT); err != nil && !errors.Is(err, os.ErrProcessDone) { // killed with all others
			f.broke("continuing a process: %v", err)
		}
	}))
	f.mu.Unlock()
	return f.excuse(ctx, f.names[i], byPause)
}

func (f *fleet) isPaused(i int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.paused[i]
}

// lockStore keeps everybody from writing for longer than they wait.
func (f *fleet) lockStore(ctx context.Context) error {
	db, err := sql.Open("sqlite", "file:"+embedded.StorePath(f.site.dir)+"?_pragma=busy_timeout(5000)")
	if err != nil {
		return fmt.Errorf("opening the store's file: %w", err)
	}
	defer db.Close() //nolint:errcheck // nothing is written
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("opening the store's file: %w", err)
	}
	defer conn.Close() //nolint:errcheck // nothing is written
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return nil // others were quicker; there will be another time
	}
	f.out++
	err = sleep(ctx, time.Second+time.Duration(f.rand.Int64N(int64(time.Second))))
	_, rollback := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
	return errors.Join(err, rollback)
}

// publishSpent publishes a refresh token once more that was spent not long ago.
func (f *fleet) publishSpent(ctx context.Context) error {
	k := f.key(f.rand.IntN(f.n))
	r, err := f.store.Get(ctx, k)
	if err != nil {
		return fmt.Errorf("reading a record: %w", err)
	}
	token, err := f.held(ctx, r)
	if err != nil || token == "" {
		return err
	}
	family, err := f.server.Family(token)
	if err != nil {
		return fmt.Errorf("looking a family up: %w", err)
	}
	for _, t := range slices.Backward(family.Refresh) {
		if t.Spent.IsZero() {
			continue
		}
		v, err := f.publish(ctx, k, demoprovider.Tokens{AccessToken: "spent", RefreshToken: t.Token, ExpiresIn: 1})
		if err != nil {
			return err
		}
		if f.again++; v != tokenworker.Spent && v != tokenworker.Undecided { // its attempt may not have ended
			f.broke("%s: an event that brings back spent token %d was %s", k, t.Number, v)
		}
		return nil
	}
	return nil
}

// awaitResumed waits until no process is paused.
func (f *fleet) awaitResumed(ctx context.Context) error {
	return process.Await(ctx, time.Minute+f.beyond(), "the last pauses end", func() (bool, error) { //nolint:wrapcheck // our own
		f.mu.Lock()
		defer f.mu.Unlock()
		return !slices.Contains(f.paused, true), nil
	})
}

// settle waits until no attempt is unresolved, and stops the fleet in order.
func (f *fleet) settle(ctx context.Context) error {
	var open int
	err := process.Await(ctx, 2*time.Minute+2*f.lifetime, "every attempt has an end", func() (bool, error) {
		open = 0
		records, err := f.records(ctx, f.n)
		for _, r := range records {
			if r.Claim != nil && time.Since(r.Claim.At) > fleetClaim/2 {
				open++
			}
		}
		left, streamErr := f.waiting(ctx, streams.Rescue)
		time.Sleep(200 * time.Millisecond) //nolint:forbidigo // between looks at the condition: each reads all records
		return err == nil && streamErr == nil && open == 0 && left == 0, nil
	})
	if err != nil {
		f.broke("%v; %d have none", err, open)
	}
	for _, c := range f.children {
		if err := c.Stop(40 * time.Second); err != nil {
			f.broke("%v", err)
		}
	}
	return process.Await(ctx, 20*time.Second+f.beyond(), "the provider is at rest", func() (bool, error) { //nolint:wrapcheck // our own
		return f.server.Totals().InFlight == 0, nil
	})
}
