package dynamo

import (
	"context"
	"fmt"

	"github.com/tokenworker/tokenworker"
)

// The conditions under which an event is news: [tokenworker.Record] applies it and forgets no id.
const (
	newer     = "(stamp_epoch < :stamp_epoch OR (stamp_epoch = :stamp_epoch AND stamp_seq < :stamp_seq))"
	unseen    = "NOT contains(seen_ids, :id) AND size(seen_ids) < :usual_seen"
	unspent   = "NOT contains(acquired_prints, :spendable) AND NOT contains(spent_prints, :spendable)"
	noRevokes = "attribute_not_exists(revoke_at)"
	connected = "attribute_not_exists(disc_epoch)"
	nothing   = "attribute_not_exists(owed)"
	alone     = "attribute_not_exists(siblings)"
)

// Acquire applies a token-acquired event. Usually it is one write, with no read before it: the event is news, or the first
// of its connection. The values written are those that [tokenworker.Record.Acquire] gives where there is no record, and
// what lies in the table and must stay there is not named.
//
// Should the reply to the write be lost, and another write come before the SDK's next try, then the verdict is Repeated:
// the record no longer tells who wrote it.
func (t *Table) Acquire(ctx context.Context, a *tokenworker.Acquisition) (tokenworker.Verdict, error) {
	if err := checkSize(a.Sealed); err != nil {
		return 0, err
	}
	first, verdict, err := (*tokenworker.Record)(nil).Acquire(a)
	if err != nil || verdict != tokenworker.Applied {
		return 0, fmt.Errorf("acquisition at stamp %s cannot begin a record", a.Stamp)
	}
	at, attempt := addressOf(a.Key), tokenworker.NewAttemptID()
	c := newChange(encode(&first, at.dueShard(t.shards)), attempt)
	c.write(fieldStatus, fieldEpoch, fieldSequence, fieldGeneration, fieldEntered, fieldAcquired, fieldRefreshed, fieldRemove,
		fieldSealed, fieldExpires, fieldGrantExpires, fieldScope, fieldSubject, fieldIssuer, fieldSubjectHash,
		fieldProviderConnID, fieldConsent, fieldRefreshable, fieldClaim, fieldRotated, fieldFailures, fieldFailureCode, fieldWarned,
		fieldDue, fieldDueShard)
	if a.Retain > 0 {
		c.write(fieldRetained)
		if c.beside, err = t.retains(ctx, at, nil, &first); err != nil {
			return 0, err
		}
	}
	condition := newer + " AND " + unseen + " AND " + alone
	if a.Spendable != (tokenworker.Fingerprint{}) {
		condition += " AND " + unspent
		c.values[":spendable"] = blob(a.Spendable[:])
	}
	if a.KeepRevocations {
		condition += " AND " + noRevokes
	} else { // what a disconnect has led to may reach the new grant: the rule says what then
		condition += " AND " + connected
	}
	if a.DueAt.IsZero() {
		condition += " AND " + nothing
	}
	c.remember(a.ID)
	c.condition = "attribute_not_exists(org) OR (" + condition + ")"

	done, found, err := t.apply(ctx, at, c)
	if done || err != nil {
		return tokenworker.Applied, err
	}
	rule := func(r *tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error) { return r.Acquire(a) }
	_, verdict, err = t.decide(ctx, at, decision{rule: rule, attempt: attempt, current: found})
	return verdict, err
}

// Disconnect applies a disconnect event. Usually it is one write, with no read before it: the event is news and there is
// a set to revoke. Of a lost reply [Table.Acquire] tells.
func (t *Table) Disconnect(ctx context.Context, d *tokenworker.Disconnection) (tokenworker.Verdict, error) {
	last := tokenworker.Record{Key: d.Key, Status: tokenworker.Active, Sealed: []byte{}}
	next, verdict, err := last.Disconnect(d)
	if err != nil || verdict != tokenworker.Applied {
		return 0, fmt.Errorf("disconnect at stamp %s cannot end a record", d.Stamp)
	}
	at, attempt := addressOf(d.Key), tokenworker.NewAttemptID()
	c := newChange(encode(&next, at.dueShard(t.shards)), attempt)
	c.write(fieldStatus, fieldEpoch, fieldSequence, fieldGeneration, fieldEntered, fieldDiscEpoch, fieldDiscSequence,
		fieldSealed, fieldExpires, fieldGrantExpires, fieldDue, fieldDueShard, fieldSetDue, fieldRevokeAt, fieldClaim, fieldRotated,
		fieldRemove, fieldFailures, fieldFailureCode, fieldWarned, fieldSiblings)
	c.assign(fieldRevoke, "list_append(if_not_exists(revoke_list, :revoke_list), sealed)", list(nil))
	c.assign(fieldRevokeSince, "if_not_exists(revoke_since, :revoke_since)", c.next[fieldRevokeSince])
	c.remember(d.ID)
	c.condition = "attribute_exists(sealed) AND " + newer + " AND " + unseen + " AND " + alone

	done, found, err := t.apply(ctx, at, c)
	if done || err != nil {
		return tokenworker.Applied, err
	}
	rule := func(r *tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error) { return r.Disconnect(d) }
	_, verdict, err = t.decide(ctx, at, decision{rule: rule, attempt: attempt, current: found})
	return verdict, err
}

// remember adds an event's id to those seen, while they are so few that none is to be forgotten. The condition must be on unseen.
func (c *change) remember(id tokenworker.EventID) {
	c.add = "seen_ids :seen_ids"
	c.values[string(fieldSeen)] = c.next[fieldSeen]
	c.values[":id"] = blob(idBytes(id))
	c.values[":usual_seen"] = limit(tokenworker.UsualSeen)
}

// checkSize reports a sealed set that is too large to be stored.
func checkSize(sealed []byte) error {
	if len(sealed) > tokenworker.MaxSealedBytes {
		return fmt.Errorf("%w: %d bytes sealed, at most %d", tokenworker.ErrTooLarge, len(sealed), tokenworker.MaxSealedBytes)
	}
	return nil
}

// checkSizes reports a record with a sealed set that is too large to be stored.
func checkSizes(r *tokenworker.Record) error {
	for _, set := range r.Revoke {
		if err := checkSize(set.Sealed); err != nil {
			return err
		}
	}
	return checkSize(r.Sealed)
}
