package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/events"
)

// granted is a connection of the demo provider.
type granted struct {
	key tokenworker.Key
	set tokenworker.TokenSet // of the last grant
}

func (s *story) newGranted() *granted {
	return &granted{key: tokenworker.Key{OrgID: s.key.OrgID, ProviderID: demoProviderID, CompanyID: "company-" + rand.Text()}}
}

// login makes a user log in, some time ago, and publishes what the client was given.
func (s *story) login(ctx context.Context, g *granted, ago time.Duration) error {
	var err error
	at := time.Now().Add(-ago)
	if g.set, err = demoGrant(s.dev.provider, g.key, at); err != nil {
		return err
	}
	e, err := events.NewAcquired(g.key, "demo", g.set, at)
	if err != nil {
		return err
	}
	if err := s.seal(ctx, e); err != nil {
		return err
	}
	m, err := e.Message()
	if err == nil {
		_, err = s.publish(ctx, m, events.Stored)
	}
	return err
}

// ask publishes a request without tokens, and waits for the worker's answer.
func (s *story) ask(ctx context.Context, g *granted, want events.Kind,
	request func(key tokenworker.Key, source, reason string, at time.Time) (*events.Event, error),
) error {
	e, err := request(g.key, "demo", "", time.Now())
	if err != nil {
		return err
	}
	m, err := e.Message()
	if err == nil {
		_, err = s.publish(ctx, m, want)
	}
	return err
}

// sweepUntil handles what is due until a record is as it should be.
func (s *story) sweepUntil(
	ctx context.Context, g *granted, holds func(tokenworker.Record) bool,
) (tokenworker.Record, error) {
	for {
		if _, _, err := s.dev.sweepAll(ctx); err != nil {
			return tokenworker.Record{}, err
		}
		r, err := s.dev.store.Get(ctx, g.key)
		if err != nil || holds(r) {
			return r, err
		}
		select {
		case <-ctx.Done():
			return r, fmt.Errorf("the record is %s at %s, generation %d: %w", r.Status, r.Stamp, r.Generation, ctx.Err())
		case <-time.After(lookAgain):
		}
	}
}

// ledger is what the provider knows of the connection's last grant. Its tokens are remembered for the scan.
func (s *story) ledger(g *granted) (demoprovider.Family, error) {
	f, err := s.dev.provider.Family(string(g.set.RefreshToken.Reveal()))
	if err != nil {
		return f, fmt.Errorf("asking the provider: %w", err)
	}
	for _, t := range f.Refresh {
		s.secrets[fmt.Sprintf("refresh token %d.%d", f.Number, t.Number)] = t.Token
	}
	for _, t := range f.LiveAccess {
		s.secrets["access token "+t] = t
	}
	return f, nil
}

// holdsLive makes sure that the stored refresh token is the one that works at the provider.
func (s *story) holdsLive(ctx context.Context, r tokenworker.Record, f demoprovider.Family) error {
	plaintext, err := s.dev.sealer.Open(ctx, r.Key, r.Fence, r.Sealed)
	if err != nil {
		return err
	}
	set, err := tokenworker.DecodeTokenSet(plaintext)
	if err != nil {
		return err
	}
	return expect(len(f.Live) == 1 && set.RefreshToken.Equal(tokenworker.SecretString(f.Live[0])),
		"the stored refresh token is not the one that works")
}

func (s *story) refreshDue(ctx context.Context) (string, error) {
	s.due = s.newGranted()
	if err := s.login(ctx, s.due, demoLifetime*4/5); err != nil {
		return "", err
	}
	r, err := s.sweepUntil(ctx, s.due, func(r tokenworker.Record) bool { return r.Generation == 1 })
	if err != nil {
		return "", err
	}
	f, err := s.ledger(s.due)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("generation %d, expires %s later", r.Generation, r.ExpiresAt.Sub(s.due.set.ExpiresAt)),
		errors.Join(expect(r.Status == tokenworker.Active && r.ExpiresAt.After(s.due.set.ExpiresAt), "the record is %s", r.Status),
			s.holdsLive(ctx, r, f))
}

// rotate asks for a refresh four times. The first spends a token, and those within the next seconds spend none.
func (s *story) rotate(ctx context.Context) (string, error) {
	s.asked = s.newGranted()
	if err := s.login(ctx, s.asked, 0); err != nil {
		return "", err
	}
	wants := []events.Kind{events.Refreshed, events.Dropped, events.Dropped, events.Dropped}
	for _, want := range wants {
		if err := s.ask(ctx, s.asked, want, events.NewRefresh); err != nil {
			return "", err
		}
	}
	f, err := s.ledger(s.asked)
	if err != nil {
		return "", err
	}
	r, err := s.dev.store.Get(ctx, s.asked.key)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("asked %d times in a row: one token spent by one post, %d reused", len(wants), f.Reuses),
		errors.Join(expect(f.RefreshMinted == 2 && f.Refresh[0].Posts == 1 && f.Reuses == 0 && f.Doubtful == 0,
			"%d minted, %d reused, %d in doubt", f.RefreshMinted, f.Reuses, f.Doubtful), s.holdsLive(ctx, r, f))
}

func (s *story) loseAnswer(ctx context.Context) (string, error) {
	s.lost = s.newGranted()
	if err := s.login(ctx, s.lost, 0); err != nil {
		return "", err
	}
	err := s.dev.provider.Inject(demoprovider.Fault{
		Kind: demoprovider.LostAnswer, Client: demoProviderID, Subject: s.lost.key.String(), Count: 1,
	})
	if err != nil {
		return "", err
	}
	if err := s.ask(ctx, s.lost, events.RefreshFailed, events.NewRefresh); err != nil {
		return "", err
	}
	if err := s.ask(ctx, s.lost, events.Dropped, events.NewRefresh); err != nil {
		return "", err
	}
	f, err := s.ledger(s.lost)
	if err != nil {
		return "", err
	}
	r, err := s.dev.store.Get(ctx, s.lost.key)
	if err != nil {
		return "", err
	}
	return r.FailureCode + ": posted once, asked twice; the access token is served on",
		expect(len(f.Attempts) == 1 && f.Doubtful == 0 && r.Status == tokenworker.Active && r.Claim != nil && len(r.Sealed) > 0,
			"%d posts, the record is %s", len(f.Attempts), r.Status)
}

func (s *story) reauthorize(ctx context.Context) (string, error) {
	s.dead = s.newGranted()
	if err := s.login(ctx, s.dead, 0); err != nil {
		return "", err
	}
	f, err := s.ledger(s.dead)
	if err != nil {
		return "", err
	}
	if err := s.dev.provider.Withdraw(f.Refresh[0].Token); err != nil {
		return "", err
	}
	if err := s.ask(ctx, s.dead, events.ReauthRequired, events.NewRefresh); err != nil {
		return "", err
	}
	dead, err := s.dev.store.Get(ctx, s.dead.key)
	if err != nil {
		return "", err
	}
	if err := s.login(ctx, s.dead, 0); err != nil {
		return "", err
	}
	r, err := s.dev.store.Get(ctx, s.dead.key)
	if err != nil {
		return "", err
	}
	if f, err = s.ledger(s.dead); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s after %s; %s after a new login", dead.Status, dead.FailureCode, r.Status),
		errors.Join(expect(dead.Status == tokenworker.ReauthRequired && r.Status == tokenworker.Active,
			"the record was %s and is %s", dead.Status, r.Status), s.holdsLive(ctx, r, f))
}

func (s *story) revoke(ctx context.Context) (string, error) {
	for _, g := range []*granted{s.due, s.asked, s.lost, s.dead} {
		if err := s.ask(ctx, g, events.Disconnected, events.NewDisconnect); err != nil {
			return "", err
		}
		r, err := s.sweepUntil(ctx, g, func(r tokenworker.Record) bool { return r.Status == tokenworker.Disconnected })
		if err != nil {
			return "", err
		}
		f, err := s.ledger(g)
		if err != nil {
			return "", err
		}
		if err := expect(f.Fate == demoprovider.RevokedByClient && r.Sealed == nil && len(r.Revoke) == 0 && len(f.Live) == 0,
			"the provider says %s, and %d sets wait for revocation", f.Fate, len(r.Revoke)); err != nil {
			return "", err
		}
	}
	return "four grants, that of the lost answer too; tombstones without secrets are left", nil
}
