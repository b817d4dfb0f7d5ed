package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

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

// identify asks the provider which company an acquired event without one is about, and publishes the event again under the
// full key. From there it is an event like any other: its order, too, is that in which it was published again. A crash
// before the acknowledgement repeats all of it, and yields the same event.
//
// The age of the event counts at this moment, because what is published now enters the stream now.
func (w *Worker) identify(ctx context.Context, e *events.Event) error {
	if w.cfg.Identify == nil {
		return events.CodeUnsupported
	}
	if w.cfg.Now().After(e.Time.Add(tokenworker.Window)) {
		return events.CodeTooOld
	}
	set, err := w.open(ctx, e)
	if err != nil {
		return err
	}
	id, err := w.cfg.Identify(ctx, e.Key, set)
	if err != nil {
		return providerError(err)
	}
	named, err := e.Identified(id.CompanyID, completed(set, id))
	switch refusal := events.Code(""); {
	case errors.As(err, &refusal):
		return refusal // of what the provider said
	case err != nil:
		return events.CodeNoCompany
	}
	if err := w.keys.Seal(ctx, named); err != nil {
		return fmt.Errorf("%w: %w", errKeyring, err)
	}
	m, err := named.Message()
	if err != nil {
		return events.CodeTooLarge // by what the provider said
	}
	msg := nats.NewMsg(m.Subject)
	msg.Data = m.Body
	if _, err := w.js.PublishMsg(ctx, msg, jetstream.WithMsgID(m.ID)); err != nil {
		return fmt.Errorf("publishing the event under its full key: %w", err)
	}
	return nil
}

// completed is the set with what its publisher has left out and the provider says.
func completed(set tokenworker.TokenSet, said Identity) tokenworker.TokenSet {
	set.Scope = cmp.Or(set.Scope, said.Scope)
	set.Subject = cmp.Or(set.Subject, said.Subject)
	set.ProviderConnectionID = cmp.Or(set.ProviderConnectionID, said.ProviderConnectionID)
	return set
}
