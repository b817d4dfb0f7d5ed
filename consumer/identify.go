package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"

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
	id, err := w.cfg.Identify(ctx, e.Key, e.EventID(), set)
	if err != nil {
		return nil, providerError(err)
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
