package storetest

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tokenworker/tokenworker"
)

// printable is every ASCII character that is not a control character.
const printable = " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"

func testSpellings(t *testing.T, store Store) {
	org := uniqueOrg()
	odd := []string{
		strings.Repeat("x", tokenworker.MaxPartBytes), strings.Repeat("ü", tokenworker.MaxPartBytes/2),
		strings.Repeat("%", tokenworker.MaxPartBytes), "é", "e\u0301", "日本", "🔑", "\u200b", "a b", "a:b", "a%3Ab", "%25",
		"#key", "#meta", "org/acme", "NULL", "default", "..",
	}
	for _, c := range printable {
		odd = append(odd, string(c))
	}
	// Every odd spelling as company, provider and organization; the latter two with neighbours that differ in one byte.
	var keys []tokenworker.Key
	for _, s := range odd {
		keys = append(keys, tokenworker.Key{OrgID: org, ProviderID: "p", CompanyID: s})
	}
	for _, s := range odd[:16] {
		keys = append(keys, tokenworker.Key{OrgID: org, ProviderID: s, CompanyID: "company"})
	}
	for _, s := range []string{"", ":", ":p", "%3A", "#", "#key", "ü", " "} {
		keys = append(keys, tokenworker.Key{OrgID: org + s, ProviderID: "p", CompanyID: "company"})
	}
	longest := longestPart()
	keys = append(keys, tokenworker.Key{OrgID: longest, ProviderID: longest, CompanyID: longest})

	for _, k := range keys {
		a := acquired(event(1))
		a.Key = k
		if v, err := store.Acquire(t.Context(), a); err != nil || v != tokenworker.Applied {
			t.Fatalf("acquiring %s: %v, %v", k, v, err)
		}
	}
	for _, k := range keys {
		if r, err := store.Get(t.Context(), k); err != nil || r.Key != k {
			t.Errorf("Get(%s) gives the record of %s, error %v", k, r.Key, err)
		}
	}
	var own []tokenworker.Key
	for _, k := range keys {
		if k.OrgID == org {
			own = append(own, k)
		}
	}
	requireListed(t, store, org, own)
}

// longestPart returns a unique part of the greatest length, most of it bytes that are escaped.
func longestPart() string {
	unique := rand.Text()
	return unique + strings.Repeat("%", tokenworker.MaxPartBytes-len(unique))
}

func testListing(t *testing.T, store Store) {
	t.Run("an organization without connections has none", func(t *testing.T) {
		requireListed(t, store, uniqueOrg(), nil)
	})

	t.Run("more than DynamoDB puts on a page is listed whole, and nobody else's", func(t *testing.T) {
		org := uniqueOrg()
		if _, err := store.PutWrappedKey(t.Context(), wrapped("org/"+tokenworker.EscapePart(org), 1), nil); err != nil {
			t.Fatalf("PutWrappedKey: %v", err)
		}
		var keys []tokenworker.Key
		for i := range 40 {
			k := tokenworker.Key{OrgID: org, ProviderID: fmt.Sprintf("provider-%d", i%3), CompanyID: fmt.Sprintf("company-%d", i)}
			a := acquired(event(1), ofBytes(tokenworker.MaxSealedBytes/2)) // 1.3 MB in all, pages are of 1 MB
			a.Key = k
			if _, err := store.Acquire(t.Context(), a); err != nil {
				t.Fatalf("Acquire: %v", err)
			}
			keys = append(keys, k)
		}
		requireListed(t, store, org, keys)

		t.Run("and the listing can be left early", func(t *testing.T) {
			listed := 0
			for _, err := range store.Records(t.Context(), org) {
				if err != nil {
					t.Fatalf("Records: %v", err)
				}
				if listed++; listed == 2 {
					break
				}
			}
			if listed != 2 {
				t.Errorf("%d records before leaving, want 2", listed)
			}
		})
	})

	t.Run("records are listed whole", func(t *testing.T) {
		m, key := newMirror(store), uniqueKey()
		m.follow(t, key, acquired(event(1)), claimed(set(1, 0), 1, "r0", 0), disconnected(event(2)), acquired(event(3), keeping))
		for r, err := range store.Records(t.Context(), key.OrgID) {
			if err != nil {
				t.Fatalf("Records: %v", err)
			}
			requireSame(t, "the listed record", r, *m.records[key])
		}
	})
}

// requireListed fails unless Records yields exactly these keys, in the order of their text.
func requireListed(t *testing.T, store Store, org string, want []tokenworker.Key) {
	t.Helper()
	want = slices.SortedFunc(slices.Values(want), func(a, b tokenworker.Key) int { return strings.Compare(a.String(), b.String()) })
	var got []tokenworker.Key
	for r, err := range store.Records(t.Context(), org) {
		if err != nil {
			t.Fatalf("Records: %v", err)
		}
		got = append(got, r.Key)
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %d keys:\n\t%v\nwant %d:\n\t%v", len(got), got, len(want), want)
	}
}
