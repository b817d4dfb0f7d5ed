package rewrap

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/tokenworker/tokenworker"
)

// Left is what a former key still wraps.
type Left struct {
	KeyID   string `json:"key_id"`
	Records int    `json:"records"` // with at least one set
	Sets    int    `json:"sets"`    // sealed token sets, retained ones included
	Keys    int    `json:"keys"`    // wrapped keys of the store: current data keys and event keys
}

// Check counts what former keys still wrap, by key id. It writes nothing and does not ask the key service.
func Check(ctx context.Context, store Store, wrapper Wrapper) ([]Left, error) {
	left := map[string]*Left{}
	of := func(keyID string) *Left {
		if left[keyID] == nil {
			left[keyID] = &Left{KeyID: keyID}
		}
		return left[keyID]
	}
	for k, err := range store.AllWrappedKeys(ctx) {
		var former string
		if err == nil {
			former, err = wrapper.FormerKey(k)
		}
		if err != nil {
			return nil, err
		}
		if former != "" {
			of(former).Keys++
		}
	}
	for rec, err := range store.AllRecords(ctx) {
		if err != nil {
			return nil, err
		}
		kept, err := retained(ctx, store, rec)
		if err != nil {
			return nil, err
		}
		inRecord := map[string]bool{}
		for _, sealed := range append(setsOf(rec), kept...) {
			former, err := wrapper.FormerSetKey(rec.Key, sealed)
			if err != nil {
				former = Unreadable
			}
			if former != "" {
				of(former).Sets++
				inRecord[former] = true
			}
		}
		for keyID := range inRecord {
			of(keyID).Records++
		}
	}
	return slices.SortedFunc(values(left), func(a, b Left) int { return cmp.Compare(a.KeyID, b.KeyID) }), nil
}

// Unreadable stands in place of a key id for sets whose header cannot be read, which no key opens.
const Unreadable = "unreadable"

func values(left map[string]*Left) func(yield func(Left) bool) {
	return func(yield func(Left) bool) {
		for l := range maps.Values(left) {
			if !yield(*l) {
				return
			}
		}
	}
}

// setsOf are the sealed sets of a record.
func setsOf(rec tokenworker.Record) [][]byte {
	if rec.Sealed == nil {
		return rec.Waiting()
	}
	return append(rec.Waiting(), rec.Sealed)
}

// retained are the sealed sets that are kept beside a record.
func retained(ctx context.Context, store Store, rec tokenworker.Record) ([][]byte, error) {
	if !rec.Retained {
		return nil, nil
	}
	kept, err := store.Retained(ctx, rec.Key)
	if err != nil {
		return nil, fmt.Errorf("listing retained sets: %w", err)
	}
	var sealed [][]byte
	for _, set := range kept {
		sealed = append(sealed, set.Sealed)
	}
	return sealed, nil
}
