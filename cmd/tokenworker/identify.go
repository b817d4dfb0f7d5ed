package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/consumer"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/provider"
)

// identify asks a provider which company the token set of an event is for.
func (w *worker) identify(
	ctx context.Context, k tokenworker.Key, event tokenworker.EventID, set tokenworker.TokenSet,
) (consumer.Identity, error) {
	answer, err := w.rotator.Introspect(ctx, k, event, set)
	if err != nil {
		return consumer.Identity{}, err
	}
	switch id := answer.Identity; {
	case answer.Outcome == provider.OK && id.CompanyID == "":
		return consumer.Identity{}, events.CodeNoCompany
	case answer.Outcome == provider.OK:
		return consumer.Identity{
			CompanyID: id.CompanyID, Scope: id.Scope, Subject: id.Subject, ProviderConnectionID: id.ConnectionID,
		}, nil
	case answer.Outcome == provider.Reauth:
		return consumer.Identity{}, events.CodeTokenRefused
	case answer.Outcome == provider.Unsupported, answer.Code == provider.CodeNotEnabled:
		return consumer.Identity{}, events.CodeUnsupported
	}
	return consumer.Identity{}, fmt.Errorf("asking the provider: %s: %s", answer.Outcome, answer.Code)
}

// verifier verifies ID tokens where that is possible.
type verifier struct{ *provider.Gateway }

func (v verifier) verify(
	ctx context.Context, k tokenworker.Key, set tokenworker.TokenSet, at time.Time,
) (tokenworker.TokenSet, error) {
	verified, err := v.VerifyIDToken(ctx, k, set, at)
	if errors.Is(err, provider.ErrIDToken) {
		err = events.CodeInvalidIDToken
	}
	return verified, err
}
