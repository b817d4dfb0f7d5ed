package rotator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/provider"
)

// Connections of several organizations to one company, at a provider where a disconnect of any of them ends them all.
// docs/model/Siblings.tla is the protocol; the names of its rules stand in the comments.

// Reasons that siblings are disconnected, and why a revocation is not sent.
const (
	reasonSibling  = "sibling"     // the company was disconnected in another organization
	reasonProvider = "provider"    // the company was disconnected at the provider
	codeNewerGrant = "newer_grant" // it would end a sibling's newer grant
)

// siblingsFor is how long a sibling that can be neither read nor marked holds up a revocation.
const siblingsFor = time.Hour

// SiblingsUntil is when the index will show every connection that was stored by now, to whoever was stored by now (twice its
// lag), where a disconnect at the provider ends a company's connections everywhere; zero where it ends one alone.
func (r *Rotator) SiblingsUntil(providerID string) time.Time {
	if policy, _ := r.providers.Policy(providerID); policy.DisconnectScope != provider.DisconnectsCompany {
		return time.Time{}
	}
	return r.cfg.Now().Add(2 * r.store.IndexLag())
}

// siblings reads the records of the same company in other organizations. Beside an error stand those that it could read.
func (r *Rotator) siblings(ctx context.Context, k tokenworker.Key) ([]tokenworker.Record, error) {
	var found []tokenworker.Record
	var failed error
	for sibling, err := range r.store.Siblings(ctx, k) {
		if err != nil {
			return found, errors.Join(failed, fmt.Errorf("looking for siblings: %w", err))
		}
		rec, err := r.store.Get(ctx, sibling)
		switch {
		case errors.Is(err, tokenworker.ErrNotFound):
		case err != nil:
			failed = errors.Join(failed, err)
		default:
			found = append(found, rec)
		}
	}
	return found, failed
}

// markSiblings does the work that a disconnect has left on the record: it disconnects every sibling that is older (Retry), and
// where the provider said so, has it asked about the others: each has a word of the provider's own to be believed by. The
// work ends with a look that cannot have missed one (OutwaitIndex). It returns the record as it then is.
func (r *Rotator) markSiblings(ctx context.Context, rec tokenworker.Record) (tokenworker.Record, error) {
	work, now := *rec.Siblings, r.cfg.Now()
	if work.At.After(now) {
		return rec, nil
	}
	siblings, failed := r.siblings(ctx, rec.Key)
	for _, sibling := range siblings { // one that cannot be marked keeps no other served
		failed = errors.Join(failed, r.mark(ctx, sibling, work.Stamp, work.Entered, work.Until, reasonSibling))
		if work.Ask {
			_, _, err := r.store.Update(ctx, sibling, tokenworker.Checking(sibling.Fence, now))
			failed = errors.Join(failed, err)
		}
	}
	if failed != nil {
		return rec, failed
	}
	var again time.Time
	if now.Before(work.Until) {
		again = work.Until
	}
	next, _, err := r.store.Update(ctx, rec, tokenworker.Marked(work, again))
	if err != nil {
		return rec, err
	}
	return next, nil
}

// mark disconnects a sibling that is older than a disconnect, and announces it.
func (r *Rotator) mark(
	ctx context.Context, sibling tokenworker.Record, at tokenworker.Stamp, entered, revokeAt time.Time, reason string,
) error {
	if sibling.Stamp.Compare(at) >= 0 {
		return nil
	}
	attempt := tokenworker.NewAttemptID()
	next, _, err := r.store.Update(ctx, sibling, tokenworker.Marking(tokenworker.Mark{
		Stamp: at, Entered: entered, RevokeAt: revokeAt, Remove: r.cfg.Now().Add(tokenworker.TombstoneAge),
		Owed: r.owed(attempt, tokenworker.Fence{Stamp: at}, reason, events.Disconnected),
	}))
	if err != nil {
		return err
	}
	return r.announceOwn(ctx, next, attempt)
}

// LookBack is what an acquisition does before it is acknowledged: it looks at its siblings. One that was disconnected after
// it has ended its grant too; one that was disconnected before may have a revocation under way that still will, so the
// grant is checked when that is over. A disconnect that found no grant to end does not count. It does nothing where
// connections end alone.
func (r *Rotator) LookBack(ctx context.Context, k tokenworker.Key, at tokenworker.Stamp) error {
	policy, _ := r.providers.Policy(k.ProviderID)
	if policy.DisconnectScope != provider.DisconnectsCompany {
		return nil
	}
	siblings, err := r.siblings(ctx, k)
	if err != nil {
		return err
	}
	var last tokenworker.Siblings
	for _, s := range siblings {
		if s.Siblings != nil && s.Siblings.Stamp.Compare(last.Stamp) > 0 {
			last = *s.Siblings
		}
	}
	rec, err := r.store.Get(ctx, k)
	switch {
	case err != nil:
		return err
	case last.Stamp.IsZero() || rec.Stamp != at || rec.Status != tokenworker.Active && rec.Status != tokenworker.ReauthRequired:
		return nil
	case last.Stamp.Compare(at) > 0:
		return r.mark(ctx, rec, last.Stamp, last.Entered, r.cfg.Now().Add(2*r.store.IndexLag()), reasonSibling)
	}
	due := r.cfg.Now().Add(r.SettledAfter(policy)) // CheckReturn, CheckShown, CheckAfterEnd
	_, _, err = r.store.Update(ctx, rec, tokenworker.Checking(rec.Fence, due))
	return err
}

// mustSpare reports whether a revocation must not be sent, because it would end the newer grant of a sibling (Spare).
func (r *Rotator) mustSpare(ctx context.Context, rec tokenworker.Record, policy provider.Policy) (bool, error) {
	if policy.DisconnectScope != provider.DisconnectsCompany {
		return false, nil
	}
	siblings, err := r.siblings(ctx, rec.Key)
	for _, s := range siblings {
		if s.Status == tokenworker.Active && s.Stamp.Compare(rec.Disconnected) > 0 {
			return true, nil
		}
	}
	if err != nil && (errors.Is(err, tokenworker.ErrUnavailable) || r.cfg.Now().Before(rec.RevokeSince.Add(siblingsFor))) {
		return false, err
	}
	return false, nil // what no worker can read, nobody is served
}

// ended leaves a tombstone of a set whose provider says that the connection was disconnected there. Where that is a company's,
// its siblings are asked about next; should that break off, the tombstone keeps the work.
func (r *Rotator) ended(ctx context.Context, rec tokenworker.Record) error {
	now, attempt := r.cfg.Now(), tokenworker.NewAttemptID()
	asking := tokenworker.Siblings{Until: r.SiblingsUntil(rec.Key.ProviderID)}
	if !asking.Until.IsZero() {
		asking.At = now
	}
	next, _, err := r.store.Update(ctx, rec, tokenworker.Ended(rec.Fence, now.Add(tokenworker.TombstoneAge),
		r.owed(attempt, rec.Fence, reasonProvider, events.Disconnected), now.Add(announceAgain), asking))
	if err == nil && next.Marks() {
		next, err = r.markSiblings(ctx, next)
	}
	return errors.Join(err, r.announceOwn(ctx, next, attempt))
}
