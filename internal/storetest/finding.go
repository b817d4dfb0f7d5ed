package storetest

import (
	"crypto/rand"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

func testSiblings(t *testing.T, store Store) {
	provider := "odd:%" + rand.Text()
	key := func(company string) tokenworker.Key {
		return tokenworker.Key{OrgID: uniqueOrg(), ProviderID: provider, CompanyID: company}
	}
	m, one, two, gone := newMirror(store), key("a:b"), key("a:b"), key("a:b")
	m.follow(t, one, acquired(event(1)))
	m.follow(t, two, acquired(event(2)))
	m.follow(t, gone, acquired(event(1)), disconnected(event(3)), revoking(1, 0), revoked(1))
	m.follow(t, key("a"), acquired(event(1)))
	elsewhere := one
	elsewhere.ProviderID += "2"
	m.follow(t, elsewhere, acquired(event(1)))

	t.Run("other organizations' connections to the company are found, tombstones too", func(t *testing.T) {
		requireFound(t, store, func() iter.Seq2[tokenworker.Key, error] { return store.Siblings(t.Context(), one) }, two, gone)
	})
	t.Run("a connection that is not stored has siblings too", func(t *testing.T) {
		requireFound(t, store, func() iter.Seq2[tokenworker.Key, error] { return store.Siblings(t.Context(), key("a:b")) }, one, two, gone)
	})
	t.Run("a company that nobody else connects to has none", func(t *testing.T) {
		requireFound(t, store, func() iter.Seq2[tokenworker.Key, error] { return store.Siblings(t.Context(), elsewhere) })
	})
}

func testBySubject(t *testing.T, store Store) {
	person := "person " + rand.Text()
	of := func(issuer, subject string) func(*tokenworker.Acquisition) {
		return func(a *tokenworker.Acquisition) { a.Issuer, a.Subject = issuer, subject }
	}
	m, issuer := newMirror(store), "https://issuer.example"
	first, second, gone, other := uniqueKey(), uniqueKey(), uniqueKey(), uniqueKey()
	m.follow(t, first, acquired(event(1), of(issuer, person)))
	m.follow(t, second, acquired(event(1), of(issuer, person)))
	m.follow(t, gone, acquired(event(1), of(issuer, person)), disconnected(event(3)), revoking(1, 0), revoked(1))
	m.follow(t, other, acquired(event(1), of(issuer, person+"2")))

	t.Run("a person's connections are found in every organization, and no tombstone", func(t *testing.T) {
		requireFound(t, store, func() iter.Seq2[tokenworker.Key, error] { return store.BySubject(t.Context(), issuer, person) }, first, second)
	})
	t.Run("a new grant of somebody else is not the person's any more", func(t *testing.T) {
		m.follow(t, first, acquired(event(4), of(issuer, person+"2")))
		requireFound(t, store, func() iter.Seq2[tokenworker.Key, error] { return store.BySubject(t.Context(), issuer, person) }, second)
	})
	t.Run("nobody has no connections", func(t *testing.T) {
		requireFound(t, store, func() iter.Seq2[tokenworker.Key, error] { return store.BySubject(t.Context(), issuer, person+"3") })
	})
}

// requireFound fails unless a listing yields these keys within the lag of the store's indexes.
func requireFound(t *testing.T, store Store, list func() iter.Seq2[tokenworker.Key, error], want ...tokenworker.Key) {
	t.Helper()
	byText := func(a, b tokenworker.Key) int { return strings.Compare(a.String(), b.String()) }
	slices.SortFunc(want, byText)
	for deadline := time.Now().Add(store.IndexLag()); ; {
		var got []tokenworker.Key
		for k, err := range list() {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, k)
		}
		slices.SortFunc(got, byText)
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("found %v, want %v", got, want)
		}
	}
}
