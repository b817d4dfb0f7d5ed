package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// Identity is what a provider says a token set is for. What it does not say is empty.
type Identity struct {
	CompanyID            string // never empty
	Scope, Subject       string
	ProviderConnectionID string
}

// errProvider: a provider could not be asked. That concerns its connections alone, so the event waits aside.
var errProvider = errors.New("the provider cannot be asked")

// providerError tells a refusal, and the end of the delivery's own context, from a provider that could not be asked.
func providerError(err error) error {
	if refusal := events.Code(""); errors.As(err, &refusal) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: %w", errProvider, err)
}

const (
	// askedAtOnce is how many deliveries may be waiting for one provider. It has no more requests under way at once anyway
	// (package rotator), and one that answers nothing holds no more of the handlers that all providers share.
	askedAtOnce = 8

	// patience is how long a delivery waits to be one of them before it is parked.
	patience = 200 * time.Millisecond
)

// asking keeps each provider to its share of the handlers.
type asking struct {
	mu    sync.Mutex
	slots map[string]chan struct{} // by provider; knowProvider has let them pass, so they are few
}

func (a *asking) of(id string) chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.slots == nil {
		a.slots = make(map[string]chan struct{})
	}
	if a.slots[id] == nil {
		a.slots[id] = make(chan struct{}, askedAtOnce)
	}
	return a.slots[id]
}

// do asks a provider, unless too many deliveries are waiting for it already.
func (a *asking) do(ctx context.Context, id string, ask func() error) error {
	slots := a.of(id)
	waiting := time.NewTimer(patience)
	defer waiting.Stop()
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-waiting.C:
		return fmt.Errorf("%w: %d deliveries are waiting for it", errProvider, askedAtOnce)
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := ask(); err != nil {
		return providerError(err)
	}
	return nil
}

// identify asks the provider which company an acquired event without one is about, and returns the event under its full key.
// It stays the event that it is: its id, and its place in the order, are those with which it entered the stream.
func (w *Worker) identify(ctx context.Context, e *events.Event) (*events.Event, error) {
	if w.cfg.Identify == nil {
		return nil, events.CodeUnsupported
	}
	set, err := w.open(ctx, e)
	if err != nil {
		return nil, err
	}
	var id Identity
	err = w.asking.do(ctx, e.Key.ProviderID, func() (err error) {
		id, err = w.cfg.Identify(ctx, e.Key, e.EventID(), set)
		return err
	})
	if err != nil {
		return nil, err
	}
	named, err := e.Identified(id.CompanyID, completed(set, id))
	switch refusal := events.Code(""); {
	case errors.As(err, &refusal):
		return nil, refusal // of what the provider said
	case err != nil:
		return nil, events.CodeNoCompany
	}
	return named, nil
}

// completed is the set with what its publisher has left out and the provider says.
func completed(set tokenworker.TokenSet, said Identity) tokenworker.TokenSet {
	set.Scope = cmp.Or(set.Scope, said.Scope)
	set.Subject = cmp.Or(set.Subject, said.Subject)
	set.ProviderConnectionID = cmp.Or(set.ProviderConnectionID, said.ProviderConnectionID)
	return set
}
