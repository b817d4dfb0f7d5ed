package storetest

import (
	"crypto/rand"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

func testDue(t *testing.T, store Store) {
	const minute = time.Minute
	provider := "odd:%" + rand.Text()
	m := newMirror(store)
	key := func(company string) tokenworker.Key {
		return tokenworker.Key{OrgID: uniqueOrg(), ProviderID: provider, CompanyID: company}
	}
	due := func(at time.Duration) *tokenworker.Acquisition {
		return acquired(event(1), func(a *tokenworker.Acquisition) { a.DueAt = start.Add(at) })
	}
	keys := make(map[string]tokenworker.Key)
	for company, steps := range map[string][]step{
		"due":           {due(10 * minute)},
		"due earlier":   {due(5 * minute)},
		"due just now":  {due(20 * minute)},
		"due too late":  {due(20*minute + time.Second)},
		"due much too":  {due(time.Hour)},
		"never due":     {acquired(event(1), never)},
		"refreshed":     {due(minute), refreshed(set(1, 0), 1)},
		"postponed":     {due(minute), failed(1)},
		"disconnected":  {acquired(event(1), never), disconnected(event(2))},
		"revoked":       {acquired(event(1)), disconnected(event(2)), revoking(1, 0), revoked(1), announcedLast()},
		"claimed":       {due(2 * minute), claimed(set(1, 0), 1, "r0", 0)},
		"needs a login": {due(minute), claimed(set(1, 0), 1, "r0", 0), ruled(tokenworker.GrantDead(failure(1, neverAgain)))},
	} {
		keys[company] = key(company)
		m.follow(t, keys[company], steps...)
	}
	elsewhere := tokenworker.Key{OrgID: uniqueOrg(), ProviderID: provider + "2", CompanyID: "due"}
	m.follow(t, elsewhere, due(minute))

	list := func(provider string, at time.Duration) map[tokenworker.Key]bool {
		listed := make(map[tokenworker.Key]bool)
		for shard := range store.Shards() {
			var last time.Time
			for k, err := range store.Due(t.Context(), provider, shard, start.Add(at)) {
				if err != nil {
					t.Fatalf("Due: %v", err)
				}
				if listed[k] || m.records[k] == nil {
					t.Fatalf("%s is listed twice, or is nobody's", k)
				}
				if r := m.records[k]; r.Due().Before(last) {
					t.Errorf("%s, due at %s, is listed after one that is due at %s", k, r.Due(), last)
				}
				last, listed[k] = m.records[k].Due(), true
			}
		}
		return listed
	}
	for _, c := range []struct {
		name     string
		provider string
		at       time.Duration
		want     []string
	}{
		{"what is due is listed, and nothing else", provider, 20 * minute, []string{"due", "due earlier", "due just now", "disconnected", "claimed"}},
		{"an hour later more is due", provider, time.Hour, []string{
			"due", "due earlier", "due just now", "due too late", "due much too", "disconnected", "claimed", "postponed",
		}},
		{"before, nothing is", provider, 0, nil},
		{"nothing is due of a provider that has no connections", provider + "3", time.Hour, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			listed := list(c.provider, c.at)
			for company, k := range keys {
				if want := slices.Contains(c.want, company); listed[k] != want {
					t.Errorf("%q listed: %t, want %t", company, listed[k], want)
				}
			}
			if len(listed) != len(c.want) {
				t.Errorf("%d listed, want %d", len(listed), len(c.want))
			}
		})
	}

	t.Run("another provider's are its own", func(t *testing.T) {
		if listed := list(elsewhere.ProviderID, time.Hour); len(listed) != 1 || !listed[elsewhere] {
			t.Errorf("listed %v, want %s", listed, elsewhere)
		}
	})

	t.Run("a listing can be left early", func(t *testing.T) {
		for shard := range store.Shards() {
			listed := 0
			for _, err := range store.Due(t.Context(), provider, shard, start.Add(time.Hour)) {
				if err != nil {
					t.Errorf("Due: %v", err)
				}
				listed++
				break
			}
			if listed > 1 {
				t.Errorf("%d listed before leaving", listed)
			}
		}
	})

	t.Run("many that are due at one time are all listed", func(t *testing.T) {
		provider, want := fmt.Sprint("many ", rand.Text()), make(map[tokenworker.Key]bool)
		org := uniqueOrg()
		race(t, manyDue, func(i int) (tokenworker.Verdict, error) {
			a := due(minute)
			a.Key = tokenworker.Key{OrgID: org, ProviderID: provider, CompanyID: fmt.Sprint(i)}
			return store.Acquire(t.Context(), a)
		})
		for i := range manyDue {
			k := tokenworker.Key{OrgID: org, ProviderID: provider, CompanyID: fmt.Sprint(i)}
			want[k], m.records[k] = true, &tokenworker.Record{Key: k, DueAt: second(start.Add(minute))}
		}
		if listed := list(provider, minute); len(listed) != len(want) {
			t.Errorf("%d listed, want %d", len(listed), len(want))
		}
	})
}

// manyDue is how many connections are due at one time.
const manyDue = 100

// announcedLast crosses off what the revocation of attempt 1 owes.
func announcedLast() *updating { return ruled(tokenworker.Announced(tokenworker.AttemptID{1})) }
