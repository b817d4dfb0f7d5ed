package storetest

import (
	"crypto/rand"
	"slices"
	"testing"
)

func testProviders(t *testing.T, store Store) {
	unique := rand.Text()
	odd := []string{"b " + unique, "a:" + unique, "ü" + unique, "#" + unique}
	for _, id := range odd {
		k := uniqueKey()
		k.ProviderID = id
		for range 2 {
			if err := store.NoteProvider(t.Context(), id); err != nil {
				t.Fatalf("NoteProvider: %v", err)
			}
		}
		a := acquired(event(1))
		a.Key = k
		if _, err := store.Acquire(t.Context(), a); err != nil {
			t.Fatalf("Acquire: %v", err)
		}
	}
	ids, err := store.Providers(t.Context())
	if err != nil {
		t.Fatalf("Providers: %v", err)
	}
	for _, id := range odd {
		if !slices.Contains(ids, id) {
			t.Errorf("%q is not listed", id)
		}
	}
	if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
		t.Errorf("not sorted, or listed twice: %q", ids)
	}
}
