package dynamo

import (
	"context"

	"github.com/tokenworker/tokenworker"
)

// Claim takes a claim and returns the record as claimed, by a read and a write: the list of spent tokens keeps its order
// and its length, which one expression cannot see to. The error matches [tokenworker.ErrFenced] when the claim is lost.
func (t *Table) Claim(
	ctx context.Context, k tokenworker.Key, from tokenworker.Fence, claim tokenworker.Claim,
	spends tokenworker.Fingerprint, replaces tokenworker.AttemptID,
) (tokenworker.Record, error) {
	at := addressOf(k)
	found, err := t.item(ctx, at)
	if err != nil {
		return tokenworker.Record{}, err
	}
	r, _, err := t.decide(ctx, at, found, tokenworker.NewAttemptID(),
		func(r *tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error) {
			next, err := r.TakeClaim(from, claim, spends, replaces)
			return next, tokenworker.Applied, err
		})
	return r, err
}

// The condition under which a refresh is saved: the set is still the one that was refreshed, and of use.
const current = "stamp_epoch = :stamp_epoch AND stamp_seq = :stamp_seq AND generation = :from_generation" +
	" AND conn_status IN (:conn_status, :reauth_required)"

// Commit saves the outcome of a refresh. Usually it is one write, with no read before it.
func (t *Table) Commit(ctx context.Context, f *tokenworker.Refresh) (tokenworker.Verdict, error) {
	if err := checkSize(f.Sealed); err != nil {
		return 0, err
	}
	refreshed := tokenworker.Record{Key: f.Key, Status: tokenworker.Active, Fence: f.From}
	next, _ := refreshed.Commit(f)
	at, attempt := addressOf(f.Key), tokenworker.NewAttemptID()
	c := newChange(encode(&next, at.dueShard(t.shards)), attempt)
	c.write(fieldStatus, fieldGeneration, fieldRefreshed)
	c.writeSet()
	c.condition = current
	if noRevoke := c.writeDueUnlessRevoking(); noRevoke != "" {
		c.condition += " AND " + noRevoke
	}
	for _, f := range []field{fieldEpoch, fieldSequence} {
		c.values[string(f)] = c.next[f]
	}
	c.values[":from_generation"] = number(f.From.Generation)
	c.values[":reauth_required"] = str(string(tokenworker.ReauthRequired))

	done, found, err := t.apply(ctx, at, c)
	if done || err != nil {
		return tokenworker.Applied, err
	}
	_, verdict, err := t.decide(ctx, at, found, attempt,
		func(r *tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error) {
			next, verdict := r.Commit(f)
			return next, verdict, nil
		})
	return verdict, err
}
