package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/provider"
)

// overtaken is a store whose one record somebody else always claims first.
type overtaken struct {
	Store
	rec tokenworker.Record
}

func (s overtaken) Get(context.Context, tokenworker.Key) (tokenworker.Record, error) {
	return s.rec, nil
}

func (s overtaken) Update(
	context.Context, tokenworker.Record, tokenworker.Rule,
) (tokenworker.Record, tokenworker.Verdict, error) {
	return tokenworker.Record{}, 0, tokenworker.ErrFenced
}

func (overtaken) ClockOff() time.Duration { return 0 }

// inClear seals nothing.
type inClear struct{ Sealer }

func (inClear) Open(_ context.Context, _ tokenworker.Key, _ tokenworker.Fence, sealed []byte) ([]byte, error) {
	return slices.Clone(sealed), nil
}

func (inClear) Prepare(context.Context, tokenworker.Key, tokenworker.Fence) (func([]byte) ([]byte, error), error) {
	return func(plain []byte) ([]byte, error) { return slices.Clone(plain), nil }, nil
}

// prepared are providers that Prepare ends with an answer for.
type prepared struct {
	Providers
	answer provider.Answer
}

func (prepared) Policy(string) (provider.Policy, bool) {
	return provider.Policy{Rotation: provider.Strict, Margin: provider.DefaultMargin}, true
}
func (p prepared) Prepare(context.Context, tokenworker.Key) provider.Answer { return p.answer }

func TestDeadGrantsOfSomePauseNobody(t *testing.T) {
	r, err := New(Config{Process: "one"}, nil, overtaken{}, inClear{}, prepared{})
	if err != nil {
		t.Fatal(err)
	}
	for _, answer := range []provider.Answer{
		{Outcome: provider.Reauth, Code: provider.CodeInvalidGrant, Status: 400},
		{Outcome: provider.Unknown, Code: provider.CodeGrantDoubted, Status: 400, Doubted: true},
		{Outcome: provider.Unknown, Code: provider.CodeServerError, Status: 500, Doubted: true},
	} {
		for i := range 2 * tripAfter {
			k := tokenworker.Key{OrgID: "acme", ProviderID: "demo", CompanyID: fmt.Sprint(answer.Code, i)}
			done, err := r.limits.enter(t.Context(), cause{key: k}, provider.Policy{})
			if err != nil {
				t.Fatalf("after %d answers of %s: %v", i, answer.Code, err)
			}
			done(answer)
		}
	}
}

func TestACircuitIsClosedByAnAnswerOnly(t *testing.T) {
	k := tokenworker.Key{OrgID: "acme", ProviderID: "demo", CompanyID: "1"}
	plain, err := tokenworker.EncodeTokenSet(tokenworker.TokenSet{
		AccessToken: tokenworker.SecretString("a"), RefreshToken: tokenworker.SecretString("r"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]provider.Answer{
		"another process has the claim":      {Outcome: provider.OK},
		"the issuer's metadata is not there": {Outcome: provider.NotSpent, Code: provider.CodeDiscoveryFailed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				due := tokenworker.Record{Key: k, Status: tokenworker.Active, Sealed: plain, DueAt: time.Now().Add(-time.Second)}
				r, err := New(Config{Process: "one"}, nil, overtaken{rec: due}, inClear{}, prepared{answer: answer})
				if err != nil {
					t.Fatal(err)
				}
				policy, _ := r.providers.Policy(k.ProviderID)
				for i := range tripAfter {
					other := tokenworker.Key{OrgID: "acme", ProviderID: "demo", CompanyID: fmt.Sprint("other", i)}
					done, err := r.limits.enter(t.Context(), cause{key: other}, policy)
					if err != nil {
						t.Fatal(err)
					}
					done(provider.Answer{Outcome: provider.Unknown, Code: provider.CodeTimeout})
				}
				if err := r.Do(t.Context(), k, false); !errors.Is(err, errPaused) {
					t.Fatalf("after %d connections without an answer: %v", tripAfter, err)
				}
				pass(circuitOpen + time.Second)
				for range 3 {
					_ = r.Do(t.Context(), k, false) // it is fenced off, or put off: nothing is sent
				}
				done, err := r.limits.enter(t.Context(), cause{key: k}, policy)
				if err != nil {
					t.Fatalf("the try of the half-open circuit was used up by what was not sent: %v", err)
				}
				if _, err := r.limits.enter(t.Context(), cause{key: k}, policy); !errors.Is(err, errPaused) {
					t.Errorf("a second request at once: %v; the provider counts as healthy though nothing was sent to it", err)
				}
				done(provider.Answer{Outcome: provider.OK})
				again, err := r.limits.enter(t.Context(), cause{key: k}, policy)
				if err != nil {
					t.Fatalf("after an answer: %v", err)
				}
				again(provider.Answer{Outcome: provider.OK})
			})
		})
	}
}
