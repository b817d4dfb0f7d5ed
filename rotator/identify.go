package rotator

import (
	"context"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/provider"
)

// Introspect asks the provider what a token set is for, within the limits of its requests. The key may lack its company. The
// error says that it is nobody's turn: the provider is paused, or ctx has ended.
func (r *Rotator) Introspect(ctx context.Context, k tokenworker.Key, set tokenworker.TokenSet) (provider.Answer, error) {
	policy, _ := r.providers.Policy(k.ProviderID)
	done, err := r.limits.enter(ctx, k, policy)
	if err != nil {
		return provider.Answer{}, err
	}
	answer := r.providers.Introspect(ctx, k, set)
	done(answer)
	return answer, nil
}
