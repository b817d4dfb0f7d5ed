package rotator

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/provider"
)

func TestARefreshTokenThatDiesUnusedIsUsedByHalfOfItsTime(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	k := tokenworker.Key{OrgID: "acme", ProviderID: "finch", CompanyID: "c-1"}
	for _, c := range []struct {
		name           string
		policy         provider.Policy
		refreshExpires time.Duration
		grantExpires   time.Duration
		from, to       time.Duration
	}{
		{name: "the provider does not say", from: 59 * day, to: 60 * day},
		{name: "it says a day", refreshExpires: day, from: 12 * time.Hour, to: 15 * time.Hour},
		{name: "it says less than the catalogue", policy: provider.Policy{IdleExpiry: 20 * day}, refreshExpires: day, from: 12 * time.Hour, to: 15 * time.Hour},
		{name: "it says more than the catalogue", policy: provider.Policy{IdleExpiry: 20 * day}, refreshExpires: 50 * day, from: 10 * day, to: 13 * day},
		{name: "the time is over already", refreshExpires: -day, from: 59 * day, to: 60 * day},
		{name: "it dies with its grant, which using it does not prolong", refreshExpires: 70 * day, grantExpires: 70 * day, from: 59 * day, to: 60 * day},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer := provider.Answer{Set: tokenworker.TokenSet{RefreshToken: tokenworker.SecretString("r"), ExpiresAt: now.Add(60 * day)}}
			if c.refreshExpires != 0 {
				answer.RefreshExpires = now.Add(c.refreshExpires)
			}
			if c.grantExpires != 0 {
				answer.Set.GrantExpiresAt = now.Add(c.grantExpires)
			}
			due := dueAfterAnswer(c.policy, k, now, answer).Sub(now)
			if due < c.from || due >= c.to {
				t.Errorf("due after %s, want between %s and %s", due, c.from, c.to)
			}
		})
	}
}

func TestTheGuideExplainsTheWorkersOwnCodes(t *testing.T) {
	guide, err := os.ReadFile("../docs/providers.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(guide), "| code of the worker |")
	table, _, _ := strings.Cut(rest, "\n\n")
	var explained []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(table, -1) {
		explained = append(explained, row[1])
	}
	const superseded = "superseded" // package restore's
	own := []string{superseded, codeKeyRefused, codeSealBroken, codeExpired, codeTooLate, codeUnsealable, codeInRescue, codeUnresolved}
	if !slices.Equal(explained, own) {
		t.Errorf("the guide explains %q, the codes are %q", explained, own)
	}
}
