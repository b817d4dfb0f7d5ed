package main

// P3, the part of the refresh: a disconnect or a new acquisition while a refresh is on its way.
//
// Breaks that were tried, and what the attack said:
//
//	Commit: an answer that comes after the disconnect is stale   16 of 40: "was disconnected, and a token of 2 lives"
//	  rather than put on the revoke list
//	Commit: any newer acquisition is overwritten                  13 of 40: "the store holds the old grant"

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/provider"
	"github.com/tokenworker/tokenworker/rotator"
)

// overtakeFor is within what a disconnect or an acquisition meets a refresh: before it is claimed, while the provider
// works, while the answer is on its way, while it is saved, after all.
const overtakeFor = 120 * time.Millisecond

// disconnectRefreshing disconnects n connections while they are refreshed. Revocation reaches the one token: whichever
// set is forgotten stays alive at the provider.
func disconnectRefreshing(ctx context.Context, e *env, n int) error {
	s, r, err := openOvertaken(ctx, e, demoprovider.ReachToken)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.overtake(ctx, r, n, s.disconnect); err != nil {
		return err
	}
	records, err := s.records(ctx, n)
	if err != nil {
		return err
	}
	for _, rec := range records {
		if rec.Status != tokenworker.Disconnected || rec.Sealed != nil || len(rec.Revoke) > 0 || rec.Claim != nil {
			e.broke("%s: was disconnected, and is %s (%s) with %d sets to revoke", rec.Key, rec.Status, rec.FailureCode, len(rec.Revoke))
		}
	}
	inFlight := 0
	for f := range s.server.Families() {
		if f.RefreshMinted > 1 {
			inFlight++
		}
		if len(f.Live) > 0 {
			e.broke("%s: was disconnected, and a token of %d lives", f.Subject, f.RefreshMinted)
		}
	}
	if inFlight == 0 || inFlight == n {
		e.broke("%d of %d refreshes reached the provider: the offsets try one order only", inFlight, n)
	}
	e.did("%d disconnects, %d of them with a refresh that rotated, %d revocations", n, inFlight, s.server.Totals().Revocations)
	return nil
}

// acquireRefreshing acquires n connections anew while their old sets are refreshed, at a provider whose revocations reach
// one token and at one where they reach everything that the user has granted.
func acquireRefreshing(ctx context.Context, e *env, n int) error {
	for _, reach := range []demoprovider.Reach{demoprovider.ReachToken, demoprovider.ReachGrant} {
		inner, err := e.below(string(reach))
		if err != nil {
			return err
		}
		if err := acquireRefreshingAt(ctx, inner, n, reach); err != nil {
			return err
		}
	}
	return nil
}

func acquireRefreshingAt(ctx context.Context, e *env, n int, reach demoprovider.Reach) error {
	s, r, err := openOvertaken(ctx, e, reach)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.overtake(ctx, r, n, s.acquire); err != nil {
		return err
	}
	records, err := s.records(ctx, n)
	if err != nil {
		return err
	}
	usable := 0
	for _, rec := range records {
		token, err := s.held(ctx, rec)
		if err != nil {
			return err
		}
		set := tokenworker.TokenSet{RefreshToken: tokenworker.SecretString(token)}
		if a := s.gate.Refresh(ctx, rec.Key, set); a.Outcome != provider.OK {
			e.broke("%s: the new grant does not work: %s (%s, %s)", rec.Key, a.Code, rec.Status, rec.Stamp)
			continue
		}
		family, err := s.server.Family(token)
		if err != nil {
			return fmt.Errorf("looking a family up: %w", err)
		}
		if family.Number < n { // the first n are the old ones
			e.broke("%s: the store holds the old grant", rec.Key)
			continue
		}
		usable++
	}
	e.did("%d new grants during a refresh, revocations reach the %s: %d usable, %d reuses", n, reach, usable, s.server.Totals().Reuses)
	return nil
}

func openOvertaken(ctx context.Context, e *env, reach demoprovider.Reach) (*site, *rotator.Rotator, error) {
	s, err := openSite(ctx, e, siteConfig{
		policy: demoprovider.Policy{Revocation: reach}, providers: 8,
		settings: fmt.Sprintf("    rotation: strict\n    revocation_scope: %s\n", reach),
	})
	if err != nil {
		return nil, nil, err
	}
	r, err := s.rotator(s.store, slog.New(slog.DiscardHandler))
	if err != nil {
		s.close()
		return nil, nil, err
	}
	return s, r, nil
}

// overtake refreshes n fresh connections, a few at a time, and does something to each at a random moment meanwhile. Then it
// lets the rotator do what is left to do.
func (s *site) overtake(
	ctx context.Context, r *rotator.Rotator, n int, event func(context.Context, tokenworker.Key) error,
) error {
	for i := range n {
		if err := s.acquire(ctx, s.key(i)); err != nil {
			return err
		}
	}
	if err := s.server.Inject(
		demoprovider.Fault{Kind: demoprovider.Slow, Probability: 0.5, Delay: overtakeFor / 4, AnswerDelay: overtakeFor / 4},
		demoprovider.Fault{Kind: demoprovider.Slow, Probability: 0.5, AnswerDelay: overtakeFor / 2},
	); err != nil {
		return fmt.Errorf("slowing the provider down: %w", err)
	}
	var g errgroup.Group
	g.SetLimit(16)
	for i := range n {
		k, offset := s.key(i), time.Duration(rand.Int64N(int64(overtakeFor)))
		if i%10 == 0 {
			offset = 0 // some come before the claim
		}
		g.Go(func() error {
			refreshed := make(chan error, 1)
			start := func() { refreshed <- r.Do(ctx, k, true) }
			if offset > 0 {
				go start()
				if err := sleep(ctx, offset); err != nil {
					return err
				}
			}
			err := event(ctx, k)
			if offset == 0 {
				go start()
			}
			if refused := <-refreshed; err == nil {
				err = refused
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("refreshing what is overtaken: %w", err)
	}
	s.server.ClearFaults()
	for range 4 { // a revocation, and what came to be revoked meanwhile
		for i := range n {
			if err := r.Do(ctx, s.key(i), false); err != nil {
				return fmt.Errorf("revoking: %w", err)
			}
		}
	}
	return nil
}
