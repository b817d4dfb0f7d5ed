package consumer_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/consumer"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/streams"
)

// withIDToken is a set whose ID token and nonce are those that verifying wants.
func (r *rig) withIDToken(at time.Time) events.Message {
	r.t.Helper()
	e, err := events.NewAcquired(acme, "test", tokenworker.TokenSet{
		AccessToken: tokenworker.SecretString(secret + "-a"), IDToken: tokenworker.SecretString(secret + "-id"), Nonce: "nonce-1",
		Subject: "claimed", Issuer: "https://claimed.example",
	}, at)
	must(r.t, err)
	must(r.t, e.Seal(r.public))
	m, err := e.Message()
	must(r.t, err)
	return m
}

// verifying fails the first tries with the errors given, and verifies what comes then.
func verifying(at time.Time, first ...error) func(*consumer.Config) {
	var tries atomic.Int64
	return func(c *consumer.Config) {
		c.VerifyIDToken = func(
			_ context.Context, k tokenworker.Key, set tokenworker.TokenSet, obtained time.Time,
		) (tokenworker.TokenSet, error) {
			if n := tries.Add(1); n <= int64(len(first)) {
				return tokenworker.TokenSet{}, first[n-1]
			}
			if k != acme || set.Nonce != "nonce-1" || string(set.IDToken.Reveal()) != secret+"-id" ||
				!obtained.Equal(at.Truncate(time.Millisecond)) {
				return tokenworker.TokenSet{}, errors.New("asked about something else")
			}
			set.Subject, set.Issuer = "verified", "https://issuer.example"
			return set, nil
		}
	}
}

func TestSubjectAndIssuerAreThoseOfTheVerifiedIDToken(t *testing.T) {
	r, at := newRig(t), time.Now()
	r.publish(r.withIDToken(at))
	r.start(verifying(at, errors.New("the issuer does not answer")))
	r.settled(streams.In)
	r.settled(streams.Parked)
	rec, err := r.db.Get(t.Context(), acme)
	must(t, err)
	if rec.Subject != "verified" || rec.Issuer != "https://issuer.example" {
		t.Errorf("stored for %q of %q", rec.Subject, rec.Issuer)
	}
	plain, err := r.sealer.Open(t.Context(), acme, rec.Fence, rec.Sealed)
	must(t, err)
	if strings.Contains(string(plain), "nonce") || !strings.Contains(string(plain), secret+"-id") {
		t.Error("the nonce is stored, or the ID token is not")
	}
	if !strings.Contains(r.logs.String(), `"event parked"`) {
		t.Error("it did not wait aside for the issuer")
	}
}

func TestAnIDTokenThatDoesNotVerifyIsRefused(t *testing.T) {
	r, at := newRig(t), time.Now()
	r.publish(r.withIDToken(at))
	r.start(verifying(at, events.CodeInvalidIDToken))
	r.settled(streams.In)
	letters := r.messages(streams.DLQ)
	if len(letters) != 1 || !strings.HasPrefix(letters[0].Subject, "tokens.v1.dlq.invalid_id_token.acquired.acme") {
		t.Errorf("dead letters: %v", letters)
	}
	if got := r.token(acme); got != "none" {
		t.Errorf("stored: %s", got)
	}
}
