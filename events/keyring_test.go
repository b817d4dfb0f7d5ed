package events_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// noticed is long enough for every replica to know of a new key.
const noticed = 20 * time.Minute

func kids(t *testing.T, r *events.Keyring) []string {
	t.Helper()
	keys, err := r.Public(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var kids []string
	for _, k := range keys {
		kids = append(kids, k.KeyID)
	}
	return kids
}

func TestMakeMakesOneKeyOnly(t *testing.T) {
	r := newRing(t, events.SuiteHybrid)
	again, err := r.Make(t.Context())
	if err != nil || again.KeyID != r.key.KeyID {
		t.Errorf("a second Make gave %s, %v, want %s", again.KeyID, err, r.key.KeyID)
	}
	if got := kids(t, r.Keyring); len(got) != 1 {
		t.Errorf("keys are %v", got)
	}
}

func TestTwoMakesAtOnceLeaveKeysThatBothOpen(t *testing.T) {
	r := newRing(t, events.SuiteX25519)
	r.store.keys = make(map[string]tokenworker.WrappedKey)
	other := r.another(t)
	var theirs events.PublicKey
	r.store.onPut = func() { // after this one saw no key
		var err error
		if theirs, err = other.Make(t.Context()); err != nil {
			t.Error(err)
		}
	}
	ours, err := r.Make(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []events.PublicKey{ours, theirs} {
		if _, err := r.Open(t.Context(), decode(t, sealed(t, key))); err != nil {
			t.Error(err)
		}
	}
}

func TestRotationKeepsTheKeyBeforeLive(t *testing.T) {
	r := newRing(t, events.SuiteHybrid)
	before := sealed(t, r.key)
	next, err := r.Rotate(t.Context()) // within the second that the store's times resolve
	if err != nil {
		t.Fatal(err)
	}
	if got := kids(t, r.Keyring); len(got) != 2 || got[0] != next.KeyID || got[1] != r.key.KeyID {
		t.Errorf("keys are %v, want %s and %s", got, next.KeyID, r.key.KeyID)
	}
	for _, m := range []events.Message{before, sealed(t, next)} {
		if _, err := r.Open(t.Context(), decode(t, m)); err != nil {
			t.Error(err)
		}
	}
	if _, err := r.Rotate(t.Context()); !errors.Is(err, events.ErrTwoKeys) || r.service.generated != 2 {
		t.Errorf("a third key: %v, want %v; %d keys were generated", err, events.ErrTwoKeys, r.service.generated)
	}
}

func TestOfTwoRotationsAtOnceOneWins(t *testing.T) {
	r := newRing(t, events.SuiteX25519)
	other := r.another(t)
	var won events.PublicKey
	r.store.onPut = func() { // after this one saw one key
		var err error
		if won, err = other.Rotate(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if _, err := r.Rotate(t.Context()); !errors.Is(err, events.ErrTwoKeys) {
		t.Errorf("the loser got %v, want %v", err, events.ErrTwoKeys)
	}
	if got := kids(t, r.Keyring); len(got) != 2 || got[0] != won.KeyID {
		t.Errorf("keys are %v, want %s and one more", got, won.KeyID)
	}
}

func TestRotationNeedsAKey(t *testing.T) {
	r := newRing(t, events.SuiteX25519)
	r.store.keys = make(map[string]tokenworker.WrappedKey)
	if _, err := r.Rotate(t.Context()); !errors.Is(err, tokenworker.ErrNotFound) {
		t.Errorf("got %v, want %v", err, tokenworker.ErrNotFound)
	}
}

func TestARetiredKeyOpensNothing(t *testing.T) {
	r := newRing(t, events.SuiteHybrid)
	replica := r.another(t)
	m := decode(t, sealed(t, r.key))
	if _, err := replica.Open(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.clock.advance(noticed + time.Second) // the new key is dated a second after the old one
	if _, err := r.Open(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if err := r.Retire(t.Context(), r.key.KeyID); err != nil {
		t.Fatal(err)
	}
	if len(r.store.keys) != 1 {
		t.Errorf("the store keeps %d keys", len(r.store.keys))
	}
	for name, ring := range map[string]*events.Keyring{"the keyring that retired it": r.Keyring, "another replica, 15 minutes later": replica.Keyring} {
		if _, err := ring.Open(t.Context(), m); !errors.Is(err, events.CodeUnknownKey) {
			t.Errorf("%s: got %v, want %v", name, err, events.CodeUnknownKey)
		}
	}
	if _, err := r.Rotate(t.Context()); err != nil {
		t.Errorf("no rotation after the retirement: %v", err)
	}
}

func TestAKeyInUseIsNotRetired(t *testing.T) {
	r := newRing(t, events.SuiteX25519)
	if err := r.Retire(t.Context(), r.key.KeyID); !errors.Is(err, events.ErrKeyInUse) {
		t.Errorf("the only key: %v", err)
	}
	r.clock.advance(time.Hour)
	next, err := r.Rotate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.clock.advance(noticed - time.Second)
	if err := r.Retire(t.Context(), r.key.KeyID); !errors.Is(err, events.ErrKeyInUse) {
		t.Errorf("the key before, to which a replica may still seal dead letters: %v", err)
	}
	r.clock.advance(time.Second)
	if err := r.Retire(t.Context(), next.KeyID); !errors.Is(err, events.ErrKeyInUse) {
		t.Errorf("the current key: %v", err)
	}
	if err := r.Retire(t.Context(), "unheard-of"); !errors.Is(err, tokenworker.ErrNotFound) {
		t.Errorf("no key at all: %v", err)
	}
	if err := r.Retire(t.Context(), r.key.KeyID); err != nil {
		t.Errorf("the key before, in time: %v", err)
	}
}

func TestAReplicaFindsAKeyThatWasMadeMeanwhile(t *testing.T) {
	r := newRing(t, events.SuiteHybrid)
	replica := r.another(t)
	if _, err := replica.Open(t.Context(), decode(t, sealed(t, r.key))); err != nil {
		t.Fatal(err)
	}
	next, err := r.Rotate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.clock.advance(2 * time.Second)
	if _, err := replica.Open(t.Context(), decode(t, sealed(t, next))); err != nil {
		t.Error(err)
	}
}

func TestAFloodOfUnknownKeysAsksTheStoreOnceInTwoSeconds(t *testing.T) {
	r := newRing(t, events.SuiteX25519)
	stranger := decode(t, sealed(t, newRing(t, events.SuiteX25519).key))
	r.store.lists = 0
	for range 5 {
		r.clock.advance(2 * time.Second)
		for range 100 {
			if _, err := r.Open(t.Context(), stranger); !errors.Is(err, events.CodeUnknownKey) {
				t.Fatalf("got %v, want %v", err, events.CodeUnknownKey)
			}
		}
	}
	if r.store.lists != 5 {
		t.Errorf("asked the store %d times in 10 seconds, want 5", r.store.lists)
	}
}

func TestAKeyIsUnwrappedOnceInFifteenMinutes(t *testing.T) {
	r := newRing(t, events.SuiteX25519)
	e := decode(t, sealed(t, r.key))
	open := func() {
		t.Helper()
		for range 10 {
			if _, err := r.Open(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.service.decrypts = 0
	open()
	r.clock.advance(15*time.Minute - 1)
	open()
	if r.service.decrypts != 0 { // Make has unwrapped it
		t.Errorf("unwrapped %d times within 15 minutes", r.service.decrypts)
	}
	r.clock.advance(1)
	open()
	if r.service.decrypts != 1 {
		t.Errorf("unwrapped %d times after 15 minutes, want 1", r.service.decrypts)
	}
}

func TestABurstOfEventsUnwrapsTheirKeyOnce(t *testing.T) {
	r := newRing(t, events.SuiteX25519)
	replica := r.another(t)
	e := decode(t, sealed(t, r.key))
	r.service.decrypts = 0
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := replica.Open(t.Context(), e); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if r.service.decrypts != 1 {
		t.Errorf("unwrapped %d times, want 1", r.service.decrypts)
	}
}

func TestWhoeverWaitsForAKeyStopsWithItsContext(t *testing.T) {
	r := newRing(t, events.SuiteX25519)
	replica := r.another(t)
	e := decode(t, sealed(t, r.key))
	entered, release := make(chan struct{}), make(chan struct{})
	r.service.onUnwrap = func() { close(entered); <-release }
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := replica.Open(t.Context(), e); err != nil {
			t.Error(err)
		}
	})
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := replica.Open(ctx, e); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	close(release)
	wg.Wait()
}

func TestAnOutageIsNoRefusal(t *testing.T) {
	for _, c := range []struct {
		name string
		fail func(r *ring)
		want error
	}{
		{"the store is down", func(r *ring) { r.store.fail = tokenworker.ErrUnavailable }, tokenworker.ErrUnavailable},
		{"the key service is down", func(r *ring) { r.service.fail = tokenworker.ErrUnavailable }, tokenworker.ErrUnavailable},
		{"the key service refuses", func(r *ring) { r.service.fail = tokenworker.ErrKeyRefused }, tokenworker.ErrKeyRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRing(t, events.SuiteX25519)
			replica := r.another(t)
			e := decode(t, sealed(t, r.key))
			c.fail(r)
			_, err := replica.Open(t.Context(), e)
			var code events.Code
			if !errors.Is(err, c.want) || errors.As(err, &code) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if _, err := replica.Public(t.Context()); !errors.Is(err, c.want) {
				t.Errorf("Public: got %v, want %v", err, c.want)
			}
			r.store.fail, r.service.fail = nil, nil
			if _, err := replica.Open(t.Context(), e); err != nil {
				t.Errorf("after the outage: %v", err)
			}
		})
	}
}

func TestAPublicKeyThatWasSwappedInTheStoreIsNotUsed(t *testing.T) {
	r := newRing(t, events.SuiteHybrid)
	stranger := newRing(t, events.SuiteHybrid)
	stored := r.store.keys["event/"+r.key.KeyID]
	for _, c := range []struct {
		name string
		swap func(k *tokenworker.WrappedKey)
		want error
	}{
		{"another public half", func(k *tokenworker.WrappedKey) { k.Public = stranger.key.Bytes() }, tokenworker.ErrSealBroken},
		{"another suite", func(k *tokenworker.WrappedKey) { k.Suite = string(events.SuiteX25519) }, tokenworker.ErrSealBroken},
		{"an unknown suite", func(k *tokenworker.WrappedKey) { k.Suite = "none" }, tokenworker.ErrMisconfigured},
		{"another wrapped key", func(k *tokenworker.WrappedKey) { k.Wrapped = []byte("x") }, tokenworker.ErrSealBroken},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := stored
			c.swap(&k)
			r.store.keys[k.Name] = k
			replica := r.another(t)
			if _, err := replica.Public(t.Context()); !errors.Is(err, c.want) {
				t.Errorf("Public: got %v, want %v", err, c.want)
			}
			if _, err := replica.SealDeadLetter(t.Context(), deadLetter(t)); !errors.Is(err, c.want) {
				t.Errorf("SealDeadLetter: got %v, want %v", err, c.want)
			}
		})
	}
}

func TestAKeyringRefusesAnUnknownSuite(t *testing.T) {
	if _, err := events.NewKeyring(newKeyStore(), newKeyService(), events.KeyringConfig{Suite: "none"}); !errors.Is(err, tokenworker.ErrMisconfigured) {
		t.Errorf("got %v, want %v", err, tokenworker.ErrMisconfigured)
	}
}
