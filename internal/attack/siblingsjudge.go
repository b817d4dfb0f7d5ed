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
	s.judgeGrants(&sum)
	s.did("%d companies in %d organizations, %d acquisitions, %d of them refused by the provider, %d disconnects, %d kills",
		len(s.all), companyOrgs, sum.acquired, sum.rejected, sum.disconnects, s.kills)
	s.did("%d connections ended with a sibling, %d newer ones kept, %d of which a revocation had met on their way", sum.siblings,
		sum.kept, sum.dead)
	s.did("%d acquisitions held up, %d of them stored when all siblings had been announced as disconnected", sum.heldUp, sum.late)
	s.did("%d companies left with no grant alive, after %d revocations", sum.over, s.server.Totals().Revocations)
	s.did("%d reads served, %d refused, %d unanswered", s.served.Load(), s.refused.Load(), s.unanswered.Load())
	return s.tried(&sum)
}

// verdicts are counts for the report.
type verdicts struct{ acquired, rejected, disconnects, siblings, heldUp, late, kept, dead, over int }

// tried returns an error unless every case was tried that the companies are enough for.
func (s *companies) tried(sum *verdicts) error {
	for _, v := range [...]struct {
		what  string
		count int
	}{
		{"companies are left with nobody connected", sum.over},
		{"connections ended with a sibling", sum.siblings},
		{"reads were served", int(s.served.Load())},
		{"reads were refused", int(s.refused.Load())},
	} {
		if v.count == 0 {
			return fmt.Errorf("no %s: the attack does not try that", v.what)
		}
	}
	switch {
	case len(s.all) > 1 && sum.kept == 0:
		return errors.New("no newer connection was kept: the attack does not try that")
	case len(s.all) > int(endsOvertaken) && sum.late == 0:
		return fmt.Errorf("%d acquisitions were held up, and none came after its siblings' ends: the attack does not try that", sum.heldUp)
	}
	return nil
}

// judgeOrg judges one connection.
func (s *companies) judgeOrg(ctx context.Context, v *view, r *client.Reader, c *company, org string, sum *verdicts) error {
	var first, last uint64 // of its acquisitions that were not rejected
	for _, sequence := range slices.Sorted(maps.Keys(c.grants)) {
		switch {
		case c.grants[sequence].org != org:
		case s.outcomes[sequence].kind == events.Rejected:
			sum.rejected++
			if err := s.judgeRejected(c, sequence); err != nil {
				return err
			}
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
			sum.heldUp++
			if s.outcomes[last].at.After(s.allTold(c, end)) {
				sum.late++
			}
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

// judgeRejected judges an acquisition that was rejected, of which there is one reason: the provider refused its token.
func (s *companies) judgeRejected(c *company, sequence uint64) error {
	o, k := s.outcomes[sequence], c.key(c.grants[sequence].org)
	family, err := s.server.Family(c.grants[sequence].token)
	if err != nil {
		return fmt.Errorf("looking a grant up: %w", err)
	}
	switch ended := family.Revoked; {
	case o.code != events.CodeTokenRefused:
		s.broke("%s: acquisition %d was rejected as %s", k, sequence, o.code)
	case ended.IsZero() || ended.After(o.at):
		s.broke("%s: acquisition %d was rejected as %s, and its grant was good", k, sequence, o.code)
	}
	return nil
}

// allTold is when the last connection of a company, lateOrg's apart, was announced as ended by a disconnect.
func (s *companies) allTold(c *company, disconnect uint64) (at time.Time) {
	for o := range companyOrgs {
		for _, t := range s.told[c.key(companyOrg(o))] {
			if t.sequence == disconnect && t.at.After(at) {
				at = t.at
			}
		}
	}
	return at
}

// shows is within what the index shows a connection to whoever is about to revoke another of its company.
const shows = 10 * time.Second

// reasonSibling is why a connection is disconnected that nobody asked to disconnect.
const reasonSibling = "sibling"

// judgeGrants asks the provider's ledger: where nobody is connected any more, no grant lives.
func (s *companies) judgeGrants(sum *verdicts) {
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
}
