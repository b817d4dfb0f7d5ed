package demoprovider_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker/demoprovider"
)

func TestAConfigurationThatMakesNoSenseIsRefused(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public := func(p demoprovider.Policy) demoprovider.Client {
		return demoprovider.Client{ID: "a", Auth: demoprovider.AuthNone, Policy: p}
	}
	for name, clients := range map[string][]demoprovider.Client{
		"no client":                     nil,
		"a client without id":           {{Auth: demoprovider.AuthNone}},
		"two clients of one id":         {public(demoprovider.Policy{}), public(demoprovider.Policy{})},
		"no secret":                     {{ID: "a"}},
		"no key":                        {{ID: "a", Auth: demoprovider.AuthPrivateKeyJWT}},
		"a key on another curve":        {{ID: "a", Auth: demoprovider.AuthPrivateKeyJWT, Key: &p384.PublicKey}},
		"an unknown authentication":     {{ID: "a", Auth: "client_secret_jwt", Secret: secret}},
		"an unknown rotation":           {public(demoprovider.Policy{Rotation: "sometimes"})},
		"a rotation with no grace":      {public(demoprovider.Policy{Rotation: demoprovider.Grace})},
		"a grace without its rotation":  {public(demoprovider.Policy{Grace: time.Minute})},
		"an unknown reach":              {public(demoprovider.Policy{Revocation: "world"})},
		"a negative lifetime":           {public(demoprovider.Policy{IdleLifetime: -1})},
		"an access token of an instant": {public(demoprovider.Policy{AccessLifetime: time.Millisecond})},
	} {
		if _, err := demoprovider.New(demoprovider.Config{Clients: clients}); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	good := []demoprovider.Client{public(demoprovider.Policy{})}
	if _, err := demoprovider.New(demoprovider.Config{Clients: good, History: -1}); err == nil {
		t.Error("a negative history is accepted")
	}
	if _, err := demoprovider.New(demoprovider.Config{Clients: good}); err != nil {
		t.Error(err)
	}
}

func TestTheServerListensOnLoopbackAlone(t *testing.T) {
	s, err := demoprovider.New(demoprovider.Config{Clients: []demoprovider.Client{{ID: "a", Auth: demoprovider.AuthNone}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{"0.0.0.0:0", "[::]:0", ":0", "no address"} {
		if err := s.Start(context.Background(), addr); err == nil {
			t.Errorf("it listens on %s", addr)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
