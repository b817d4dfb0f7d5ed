package rotator

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tokenworker/tokenworker"
)

// agenda knows which connections fall due before the next sweep, and looks at each at its moment: a short lifetime would be
// over by the sweep. What it knows it knows of what this process has read or written. It is a help and no more: what it has
// no room for, or loses with the process, the next sweep finds.
//
// Waiting takes a few words of memory, and no job, goroutine or slot. Connections of one provider have room of their own and
// are looked at a few at once, so that none waits for another provider's.
type agenda struct {
	now     func() time.Time
	changed chan struct{} // holds one: something was added, or somebody is done

	mu    sync.Mutex
	ahead time.Duration // how far ahead to look; zero: nobody waits, and nothing is kept
	lines map[string]*line
}

// line is what the agenda holds of one provider.
type line struct {
	waiting []appointment // soonest first
	looking int
}

type appointment struct {
	key tokenworker.Key
	at  time.Time
}

// agendaRoom is for how many connections of one provider there is room: some minutes of the usual rate of requests.
const agendaRoom = 4096

func newAgenda(now func() time.Time) *agenda {
	return &agenda{now: now, changed: make(chan struct{}, 1), lines: make(map[string]*line)}
}

// expect keeps an appointment, if it is later than now and soon enough. One that the connection has already and that comes
// first stands for both: when it is looked at, it is seen when it is due next.
func (a *agenda) expect(k tokenworker.Key, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := a.now(); !at.After(now) || at.After(now.Add(a.ahead)) {
		return
	}
	l := a.lines[k.ProviderID]
	if l == nil {
		l = &line{}
		a.lines[k.ProviderID] = l
	}
	if len(l.waiting) >= agendaRoom ||
		slices.ContainsFunc(l.waiting, func(w appointment) bool { return w.key == k && !w.at.After(at) }) {
		return
	}
	i, _ := slices.BinarySearchFunc(l.waiting, at, func(w appointment, at time.Time) int { return w.at.Compare(at) })
	l.waiting = slices.Insert(l.waiting, i, appointment{k, at})
	if i == 0 {
		a.wake()
	}
}

func (a *agenda) wake() {
	select {
	case a.changed <- struct{}{}:
	default: // it is about to look
	}
}

// run looks at what falls due until ctx ends, and returns when all looks have.
func (a *agenda) run(ctx context.Context, ahead time.Duration, look func(context.Context, tokenworker.Key)) {
	a.open(ahead)
	defer a.open(0)
	var looking sync.WaitGroup
	defer looking.Wait()
	timer := time.NewTimer(ahead)
	defer timer.Stop()
	for ctx.Err() == nil {
		due, next := a.take()
		for _, k := range due {
			looking.Go(func() {
				defer a.done(k.ProviderID)
				look(ctx, k)
			})
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
		case <-a.changed:
		case <-timer.C:
		}
	}
}

func (a *agenda) open(ahead time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ahead = ahead
	clear(a.lines)
}

// reach is how far ahead a sweep looks.
func (a *agenda) reach() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ahead
}

// take takes what is due and there is a place for, and says how long to wait for more.
func (a *agenda) take() (due []tokenworker.Key, wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	wait = a.ahead
	for id, l := range a.lines {
		for l.looking < concurrency && len(l.waiting) > 0 && !l.waiting[0].at.After(now) {
			due = append(due, l.waiting[0].key)
			l.waiting = l.waiting[1:]
			l.looking++
		}
		switch {
		case len(l.waiting) == 0 && l.looking == 0:
			delete(a.lines, id)
		case len(l.waiting) > 0 && l.looking < concurrency:
			wait = min(wait, l.waiting[0].at.Sub(now))
		}
	}
	return due, wait
}

func (a *agenda) done(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l := a.lines[id]; l != nil { // else all is over
		l.looking--
	}
	a.wake()
}

// Expect is told of a set that was stored and when it is due: should that be before the next sweep, it is refreshed then.
func (r *Rotator) Expect(k tokenworker.Key, due time.Time) { r.agenda.expect(k, due) }

// expecting is a store that puts on the agenda what it reads and writes.
type expecting struct {
	Store
	agenda *agenda
}

func (s expecting) Get(ctx context.Context, k tokenworker.Key) (tokenworker.Record, error) {
	rec, err := s.Store.Get(ctx, k)
	if err == nil {
		s.agenda.expect(k, rec.Due())
	}
	return rec, err //nolint:wrapcheck // as the store says
}

func (s expecting) Update(
	ctx context.Context, rec tokenworker.Record, rule tokenworker.Rule,
) (tokenworker.Record, tokenworker.Verdict, error) {
	next, verdict, err := s.Store.Update(ctx, rec, rule)
	if err == nil {
		s.agenda.expect(next.Key, next.Due())
	}
	return next, verdict, err //nolint:wrapcheck // as the store says
}
