package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/client"
	"github.com/tokenworker/tokenworker/events"
)

// last is the last disconnect of the company; 0: there was none.
func (c *company) last() (sequence uint64) {
	for d := range c.disconnects {
		sequence = max(sequence, d)
	}
	return sequence
}

// newer are the grants that are newer than the last disconnect.
func (c *company) newer() map[uint64]grant {
	grants := maps.Clone(c.grants)
	maps.DeleteFunc(grants, func(sequence uint64, _ grant) bool { return sequence < c.last() })
	return grants
}

// settle waits until every event is settled and no record has anything left to do.
func (s *companies) settle(ctx context.Context) error {
	v, err := s.workers[0].open(ctx)
	if err != nil {
		return err
	}
	defer v.close()
	const limit = 8 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		left, err := unsettled(ctx, s.operator)
		if err != nil {
			return err
		}
		busy := ""
		for rec, err := range v.store.AllRecords(ctx) {
			if err != nil {
				return fmt.Errorf("reading the store: %w", err)
			}
			if rec.Status == tokenworker.Disconnecting || !rec.Due().IsZero() {
				busy = fmt.Sprintf("%s is %s and due at %s", rec.Key, rec.Status, rec.Due().Format(time.TimeOnly))
			}
		}
		if left == 0 && busy == "" {
			return nil
		}
		if err := sleep(ctx, time.Second); err != nil {
			return fmt.Errorf("there is no rest within %s: %d events are unsettled, %s", limit, left, busy)
		}
	}
}

// judge compares what is stored, announced, served and alive with what was asked for.
func (s *companies) judge(ctx context.Context) error {
	v, err := s.workers[0].open(ctx)
	if err != nil {
		return err
	}
	defer v.close()
	r, err := s.reader(anyUser, client.ReaderConfig{})
	if err != nil {
		return err
	}
	var sum verdicts
	for _, c := range s.all {
		sum.disconnects += len(c.disconnects)
		sum.acquired += len(c.grants)
		for o := range companyOrgs + 1 { // with lateOrg
			if err := s.judgeOrg(ctx, v, r, c, companyOrg(o), &sum); err != nil {
				return err
			}
		}
	}
	if err := s.judgeGrants(&sum); err != nil {
		return err
	}
	s.did("%d companies in %d organizations, %d acquisitions, %d of them refused by the provider, %d disconnects, %d kills",
		len(s.all), companyOrgs, sum.acquired, sum.rejected, sum.disconnects, s.kills)
	s.did("%d connections ended with a sibling, %d of them stored long after that, %d newer ones kept, %d of which a revocation had met "+
		"on their way", sum.siblings, sum.late, sum.kept, sum.dead)
	s.did("%d companies left with no grant alive, after %d revocations", sum.over, s.server.Totals().Revocations)
	s.did("%d reads served, %d refused, %d unanswered", s.served.Load(), s.refused.Load(), s.unanswered.Load())
	return nil
}

// verdicts are counts for the report.
type verdicts struct{ acquired, rejected, disconnects, siblings, late, kept, dead, over int }

// judgeOrg judges one connection.
func (s *companies) judgeOrg(ctx context.Context, v *view, r *client.Reader, c *company, org string, sum *verdicts) error {
	var first, last uint64 // of its acquisitions that were not rejected
	for _, sequence := range slices.Sorted(maps.Keys(c.grants)) {
		switch {
		case c.grants[sequence].org != org:
		case s.outcomes[sequence].kind == events.Rejected:
			sum.rejected++
		case first == 0:
			first, last = sequence, sequence
		default:
			last = sequence
		}
	}
	k, told := c.key(org), s.told[c.key(org)]
	for _, t := range told {
		who, known := c.disconnects[t.sequence]
		if !known || (who == org) != (t.reason != reasonSibling) || t.sequence < first {
			s.broke("%s: a disconnect %d of %q was announced with the reason %q; its first acquisition is %d", k, t.sequence, who, t.reason, first)
		}
	}
	if last == 0 {
		return nil
	}
	rec, err := v.store.Get(ctx, k)
	if err != nil {
		s.broke("%s: %v", k, err)
		return nil
	}
	t, readErr := r.Token(ctx, k)
	if end := c.last(); last < end {
		if rec.Status != tokenworker.Disconnected || rec.Sealed != nil || len(rec.Revoke) > 0 || rec.Stamp.Sequence != end {
			s.broke("%s: is %s at %s after disconnect %d in %s, and was acquired before it, at %d", k, rec.Status, rec.Stamp, end,
				c.disconnects[end], last)
		}
		if !slices.ContainsFunc(told, func(t telling) bool { return t.sequence > last }) {
			s.broke("%s: was acquired at %d and ended by disconnect %d in %s, and nobody was told", k, last, end, c.disconnects[end])
		}
		if !errors.Is(readErr, events.GetDisconnected) {
			s.broke("%s: has ended, and a read says %v", k, readErr)
		}
		if c.disconnects[end] != org {
			sum.siblings++
		}
		if org == lateOrg {
			sum.late++
		}
		return nil
	}
	family, err := s.server.Family(c.grants[last].token)
	if err != nil {
		return fmt.Errorf("looking a grant up: %w", err)
	}
	sum.kept++
	switch lives := len(family.LiveAccess) > 0; {
	case rec.Stamp.Sequence != last:
		s.broke("%s: was acquired at %d, after disconnect %d, and is %s at %s", k, last, c.last(), rec.Status, rec.Stamp)
	case lives && (readErr != nil || string(t.Value.Reveal()) != c.grants[last].token):
		s.broke("%s: its newer grant lives, and a read gives another token, or %v", k, readErr)
	case lives:
	case family.Revoked.After(s.outcomes[last].at.Add(shows)):
		s.broke("%s: its newer grant was revoked %s after it was stored", k, family.Revoked.Sub(s.outcomes[last].at))
	case !errors.Is(readErr, events.GetReauthRequired):
		s.broke("%s: its newer grant was ended at the provider, and a read says %v", k, readErr)
	default:
		sum.dead++
	}
	return nil
}

// shows is within what the index shows a connection to whoever is about to revoke another of its company.
const shows = 10 * time.Second

// reasonSibling is why a connection is disconnected that nobody asked to disconnect.
const reasonSibling = "sibling"

// judgeGrants asks the provider's ledger: where nobody is connected any more, no grant lives.
func (s *companies) judgeGrants(sum *verdicts) error {
	alive := map[string]int{}
	for f := range s.server.Families() {
		if len(f.Live)+len(f.LiveAccess) > 0 {
			alive[f.Subject]++
		}
	}
	for _, c := range s.all {
		connected := false
		for sequence := range c.newer() {
			connected = connected || s.outcomes[sequence].kind == events.Stored
		}
		if connected {
			continue
		}
		sum.over++
		if alive[c.id] > 0 {
			s.broke("%s: was disconnected everywhere, and %d grants live at the provider", c.id, alive[c.id])
		}
	}
	if sum.over == 0 || sum.over == len(s.all) && len(s.all) > 1 {
		return fmt.Errorf("of %d companies %d have nobody connected: the attack tries one case only", len(s.all), sum.over)
	}
	return nil
}
