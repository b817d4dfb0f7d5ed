package events

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/tokenworker/tokenworker"
)

// Identified is the acquired event to be published in place of e, which names no company, once the provider has said
// which it is. It has e's source and time, and an id that follows from e's: the lower-case hex of the first 16 bytes of
// SHA-256 over "tokenworker/identified/v1", source and id with a newline between. So it may be made and published any number
// of times, and counts once. It holds set in clear until it is sealed. The error matches [ErrInvalidEvent].
func (e *Event) Identified(companyID string, set tokenworker.TokenSet) (*Event, error) {
	key := e.Key
	key.CompanyID = companyID
	if e.Kind != Acquired || e.Key.CompanyID != "" || key.Validate() != nil {
		return nil, fmt.Errorf("%w: it does not lack this company", ErrInvalidEvent)
	}
	if err := validateTokenSet(set); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidEvent, err)
	}
	sum := sha256.Sum256([]byte("tokenworker/identified/v1\n" + e.Source + "\n" + e.ID))
	return &Event{
		Kind: Acquired, Key: key, Source: e.Source, ID: hex.EncodeToString(sum[:16]), Time: e.Time,
		Plain: &set, spelledTime: e.spelledTime,
	}, nil
}

// Seal seals an acquired event's token set to the current key, as a publisher does.
func (r *Keyring) Seal(ctx context.Context, e *Event) error {
	k, err := r.currentPublic(ctx)
	if err != nil {
		return err
	}
	return e.Seal(k)
}
