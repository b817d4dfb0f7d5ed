package events

import (
	"fmt"

	"github.com/tokenworker/tokenworker"
)

// Identified is e, which names no company, under its full key, once the provider has said which company it is about. It
// keeps e's identity and time, so a repeat of e counts once, whatever the provider says. It holds set in clear, to be
// applied at once. The error matches [ErrInvalidEvent].
func (e *Event) Identified(companyID string, set tokenworker.TokenSet) (*Event, error) {
	key := e.Key
	key.CompanyID = companyID
	if e.Kind != Acquired || e.Key.CompanyID != "" || key.Validate() != nil {
		return nil, fmt.Errorf("%w: it does not lack this company", ErrInvalidEvent)
	}
	if err := validateTokenSet(set); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidEvent, err)
	}
	named := *e
	named.Key, named.Sealed, named.Plain = key, nil, &set
	return &named, nil
}
