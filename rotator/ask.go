package rotator

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

const (
	// askAgain is how long after a refresh another request for one does nothing. Each would spend a rotation.
	askAgain = 30 * time.Second

	// askedAtOnce is how many requests to refresh may be under way at one provider. One that answers slowly, or nothing, holds
	// no more of the handlers that all providers share.
	askedAtOnce = 2

	// postponeWithin bounds making a connection due that could not be refreshed in time.
	postponeWithin = 5 * time.Second
)

// Ask meets a request to refresh a connection although it is not due. It returns why it did not ask the provider, a code of a
// dropped event, or nothing where the provider was asked: that outcome is announced. Like [Rotator.Replace] it
// asks the provider once, however many ask here, and leaves alone what has failed until its next try is due: back-off and
// Retry-After are never anticipated. It does not wait for a provider that is busy or paused: the connection is then made due,
// and refreshed by a sweep. The error says that one of the worker's own services failed.
func (r *Rotator) Ask(ctx context.Context, k tokenworker.Key) (dropped string, err error) {
	rec, err := r.store.Get(ctx, k)
	now := r.cfg.Now()
	switch {
	case errors.Is(err, tokenworker.ErrNotFound):
		return events.NotConnected, nil
	case err != nil:
		return "", err
	case rec.Status != tokenworker.Active:
		return events.NotConnected, nil
	case rec.Failures > 0 && now.Before(rec.DueAt):
		return events.RefreshBackingOff, nil
	case now.Sub(rec.RefreshedAt) < askAgain:
		return events.RefreshedLately, nil
	}
	policy, enabled := r.providers.Policy(k.ProviderID)
	if step, _ := plan(&rec, policy, r.terms(), now, true); step == wait {
		return events.RefreshUnderWay, nil
	}
	if enabled {
		at := r.limits.of(k.ProviderID, policy)
		if at.isBusy() {
			return events.RefreshDeferred, r.makeDue(ctx, rec)
		}
		select {
		case at.asked <- struct{}{}:
			defer func() { <-at.asked }()
		default:
			return events.RefreshDeferred, r.makeDue(ctx, rec)
		}
		if !r.asked.allow(k, now) {
			return events.RefreshedLately, nil
		}
	}
	err = r.do(ctx, rec, true)
	if errors.Is(err, errPaused) || errors.Is(err, context.DeadlineExceeded) {
		return events.RefreshDeferred, r.makeDue(ctx, rec)
	}
	if err != nil {
		r.asked.forget(k) // the request comes again
		return "", err
	}
	if !enabled {
		return events.RefreshNotEnabled, nil
	}
	return "", nil
}

// makeDue makes a connection due that is asked to be refreshed and cannot be at once.
func (r *Rotator) makeDue(ctx context.Context, rec tokenworker.Record) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), postponeWithin)
	defer cancel()
	policy, _ := r.providers.Policy(rec.Key.ProviderID)
	now := r.cfg.Now()
	checked := now.Add(r.SettledAfter(policy) + tokenworker.ClockSkew)
	_, _, err := r.store.Update(ctx, rec, tokenworker.Hastening(rec.Fence, now, checked))
	return err
}

// recently remembers what was asked for within askAgain.
type recently struct {
	mu sync.Mutex
	at map[tokenworker.Key]time.Time
}

// maxRecent bounds what is remembered. More requests than that, within askAgain, are met by sweeps.
const maxRecent = 10_000

// allow reports whether a connection was not asked for lately, and remembers that it was now.
func (s *recently) allow(k tokenworker.Key, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil {
		s.at = make(map[tokenworker.Key]time.Time)
	}
	if last, ok := s.at[k]; ok && now.Sub(last) < askAgain {
		return false
	}
	if len(s.at) >= maxRecent {
		for known, last := range s.at {
			if now.Sub(last) >= askAgain {
				delete(s.at, known)
			}
		}
		if len(s.at) >= maxRecent {
			clear(s.at) // then the record's own times must do
		}
	}
	s.at[k] = now
	return true
}

func (s *recently) forget(k tokenworker.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.at, k)
}
