package rotator

import (
	"context"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/provider"
)

// Introspect asks the provider what the token set of an event is for, whose key lacks its company, within the limits of its
// requests. The error says that it is nobody's turn: the provider is paused, or ctx has ended.
func (r *Rotator) Introspect(
	ctx context.Context, k tokenworker.Key, event tokenworker.EventID, set tokenworker.TokenSet,
) (provider.Answer, error) {
	policy, _ := r.providers.Policy(k.ProviderID)
	done, err := r.limits.enter(ctx, cause{k, event}, policy)
	if err != nil {
		return provider.Answer{}, err
	}
	answer := r.providers.Introspect(ctx, k, set)
	done(answer)
	return answer, nil
}
