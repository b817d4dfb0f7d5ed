package kmsenc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/tokenworker/tokenworker"
	"pgregory.net/rapid"
)

// fixture is a replica with its surroundings. It is made inside a synctest bubble, whose clock it follows.
type fixture struct {
	service *stubService
	store   *memoryStore
	sealer  *Sealer
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{service: newStubService(t), store: newMemoryStore()}
	f.sealer = f.replica()
	return f
}

// replica is one more worker over the same store and key service, its cache empty.
func (f *fixture) replica() *Sealer { return New(f.service, f.store, Config{}) }

// asked returns how often the key service was asked since the last call.
func (f *fixture) asked() (generated, decrypted int64) {
	return f.service.generated.Swap(0), f.service.decrypted.Swap(0)
}

func (f *fixture) wantAsked(t *testing.T, when string, generated, decrypted int64) {
	t.Helper()
	if g, d := f.asked(); g != generated || d != decrypted {
		t.Errorf("%s: %d data keys generated and %d unwrapped, want %d and %d", when, g, d, generated, decrypted)
	}
}

func inBubble(t *testing.T, test func(*testing.T, *fixture)) {
	t.Helper()
	// FIPS mode takes its entropy from the jitter of a clock that stands still in a bubble, and would panic.
	cryptotest.SetGlobalRandom(t, 1)
	synctest.Test(t, func(t *testing.T) { test(t, newFixture(t)) })
}

func wrappedIn(t *testing.T, sealed []byte) string {
	t.Helper()
	e, err := parseEnvelope(sealed)
	if err != nil {
		t.Fatal(err)
	}
	return string(e.wrapped)
}

func TestInSteadyStateNeitherStoreNorKeyServiceIsAsked(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		sealed := mustSeal(t, f.sealer, acme, first, "plaintext")
		f.wantAsked(t, "the first seal", 1, 0)
		reads, writes := f.store.reads, f.store.writes
		for range 100 {
			mustSeal(t, f.sealer, acme, first, "plaintext")
			if _, err := f.sealer.Open(t.Context(), acme, first, sealed); err != nil {
				t.Fatal(err)
			}
		}
		f.wantAsked(t, "the next hundred", 0, 0)
		if f.store.reads != reads || f.store.writes != writes {
			t.Errorf("the store was read %d times, written %d times", f.store.reads-reads, f.store.writes-writes)
		}
		if got, want := f.sealer.Calls(), (Calls{Generate: 1}); got != want {
			t.Errorf("calls %+v, want %+v", got, want)
		}
	})
}

func TestAReplicaSealsUnderTheKeyThatAnotherMade(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		one := mustSeal(t, f.sealer, acme, first, "plaintext")
		two := mustSeal(t, f.replica(), acme, first, "plaintext")
		if wrappedIn(t, one) != wrappedIn(t, two) {
			t.Error("two replicas, two data keys")
		}
		f.wantAsked(t, "two replicas", 1, 1)
	})
}

func TestAnUnwrappedKeyIsForgottenAfterFifteenMinutes(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		sealed := mustSeal(t, f.sealer, acme, first, "plaintext")
		f.asked()
		for _, c := range []struct {
			after     time.Duration
			decrypted int64
		}{{14 * time.Minute, 0}, {2 * time.Minute, 1}, {14 * time.Minute, 0}, {2 * time.Minute, 1}} {
			later(c.after)
			if _, err := f.sealer.Open(t.Context(), acme, first, sealed); err != nil {
				t.Fatal(err)
			}
			f.wantAsked(t, fmt.Sprintf("%s later", c.after), 0, c.decrypted)
		}
	})
}

func TestTheCurrentKeyIsRenewedAfterSevenDays(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		other := f.replica()
		before := mustSeal(t, f.sealer, acme, first, "plaintext")
		mustSeal(t, other, acme, first, "plaintext")
		later(renewAfter - time.Minute)
		if wrappedIn(t, mustSeal(t, f.sealer, acme, first, "plaintext")) != wrappedIn(t, before) {
			t.Error("renewed before seven days")
		}
		later(time.Minute)
		after := mustSeal(t, f.sealer, acme, first, "plaintext")
		if wrappedIn(t, after) == wrappedIn(t, before) {
			t.Error("not renewed after seven days")
		}
		f.asked()
		if wrappedIn(t, mustSeal(t, other, acme, first, "plaintext")) != wrappedIn(t, after) {
			t.Error("the other replica went on under the old key, or made a third")
		}
		f.wantAsked(t, "the other replica", 0, 1)
		for _, sealed := range [][]byte{before, after} {
			if _, err := other.Open(t.Context(), acme, first, sealed); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestAKeyFromTheFutureIsRenewed(t *testing.T) {
	for _, c := range []struct {
		ahead   time.Duration
		renewed bool
	}{{tokenworker.ClockSkew, false}, {tokenworker.ClockSkew + time.Second, true}, {100 * 365 * 24 * time.Hour, true}} {
		t.Run(c.ahead.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				fast := New(f.service, f.store, Config{Now: func() time.Time { return time.Now().Add(c.ahead) }})
				theirs := mustSeal(t, fast, acme, first, "plaintext")
				mine := mustSeal(t, f.sealer, acme, first, "plaintext")
				if renewed := wrappedIn(t, mine) != wrappedIn(t, theirs); renewed != c.renewed {
					t.Errorf("renewed %t, want %t", renewed, c.renewed)
				}
			})
		})
	}
}

func TestTheLoserOfARaceToRenewUsesTheWinnersKey(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		var winner []byte
		f.store.beforePut = func() {
			f.store.beforePut = nil
			winner = mustSeal(t, f.replica(), acme, first, "plaintext")
		}
		loser := mustSeal(t, f.sealer, acme, first, "plaintext")
		if wrappedIn(t, loser) != wrappedIn(t, winner) {
			t.Error("the loser sealed under its own key")
		}
		f.wantAsked(t, "the race", 2, 1)
		if _, err := f.replica().Open(t.Context(), acme, first, loser); err != nil {
			t.Error(err)
		}
	})
}

func TestTheLoserOfARaceToAReplicaWithAFormerKeyReplacesTheWinners(t *testing.T) {
	c, store := newChange(t), newMemoryStore()
	sealer, behind := New(c.current, store, Config{}), New(c.former, store, Config{})
	store.beforePut = func() {
		store.beforePut = nil
		mustSeal(t, behind, acme, first, "plaintext")
	}
	for range 2 {
		sealed := mustSeal(t, sealer, acme, first, "plaintext")
		if former, err := c.again.FormerSetKey(acme, sealed); err != nil || former != "" {
			t.Errorf("sealed under a data key that a former key wraps: %q, %v", former, err)
		}
		if wrappedIn(t, sealed) != string(store.keys["org/acme"].Wrapped) {
			t.Error("the store does not hold the key that was sealed under")
		}
	}
	if n := c.current.generated.Load(); n != 1 {
		t.Errorf("%d data keys were generated, want one", n)
	}
}

func TestReplicasWithAFormerKeyThatKeepWinningAreNotFoughtForever(t *testing.T) {
	c, store := newChange(t), newMemoryStore()
	sealer := New(c.current, store, Config{})
	var outrun func()
	outrun = func() {
		store.beforePut = nil
		store.mu.Lock()
		clear(store.keys)
		store.mu.Unlock()
		mustSeal(t, New(c.former, store, Config{}), acme, first, "plaintext")
		store.beforePut = outrun
	}
	store.beforePut = outrun
	if _, err := sealer.Seal(t.Context(), acme, first, nil); !errors.Is(err, tokenworker.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	if store.writes != 2*maxPuts {
		t.Errorf("%d writes, want %d by each", store.writes, maxPuts)
	}
	store.beforePut = nil
	mustSeal(t, sealer, acme, first, "plaintext")
}

func TestACurrentKeyThatDoesNotUnwrapIsReplaced(t *testing.T) {
	for name, damage := range map[string]func(*tokenworker.WrappedKey, *fixture){
		"damaged":        func(k *tokenworker.WrappedKey, _ *fixture) { k.Wrapped = append(bytes.Clone(k.Wrapped), 0) },
		"emptied":        func(k *tokenworker.WrappedKey, _ *fixture) { k.Wrapped = nil },
		"no longer ours": func(k *tokenworker.WrappedKey, _ *fixture) { k.KeyID = "removed" },
		"another organization's": func(k *tokenworker.WrappedKey, f *fixture) {
			k.Wrapped = f.service.wrap(make([]byte, 32), keyScope{kind: orgKind}.encryptionContext("globex"))
		},
		"too short": func(k *tokenworker.WrappedKey, f *fixture) {
			k.Wrapped = f.service.wrap(make([]byte, 16), keyScope{kind: orgKind}.encryptionContext(acme.OrgID))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				mustSeal(t, f.sealer, acme, first, "plaintext")
				k := f.store.keys["org/acme"]
				damage(&k, f)
				f.store.keys["org/acme"] = k
				sealed := mustSeal(t, f.replica(), acme, first, "plaintext")
				if _, err := f.sealer.Open(t.Context(), acme, first, sealed); err != nil {
					t.Error(err)
				}
				if got := wrappedIn(t, sealed); got != string(f.store.keys["org/acme"].Wrapped) || got == string(k.Wrapped) {
					t.Error("the store does not hold the key that was sealed under")
				}
			})
		})
	}
}

func TestConcurrentMissesAreOneCall(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		const callers = 50
		gate := make(chan struct{})
		f.service.intercept = func(context.Context, map[string]string) error { <-gate; return nil }
		sealed := make([][]byte, callers)
		together(t, gate, callers, func(i int) {
			sealed[i] = mustSeal(t, f.sealer, acme, first, "plaintext")
		})
		f.wantAsked(t, "fifty first seals", 1, 0)

		gate = make(chan struct{})
		reader := f.replica()
		together(t, gate, callers, func(i int) {
			if _, err := reader.Open(t.Context(), acme, first, sealed[i]); err != nil {
				t.Error(err)
			}
		})
		f.wantAsked(t, "fifty first opens", 0, 1)
	})
}

// together runs n calls at once and opens the gate when all of them wait.
func together(t *testing.T, gate chan struct{}, n int, call func(i int)) {
	t.Helper()
	var calls sync.WaitGroup
	for i := range n {
		calls.Go(func() { call(i) })
	}
	synctest.Wait()
	close(gate)
	calls.Wait()
}

func TestACancelledCallerFailsAloneAndAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		gate := make(chan struct{})
		f.service.intercept = func(ctx context.Context, _ map[string]string) error {
			select {
			case <-gate:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		leader, follower := make(chan error, 1), make(chan error, 1)
		go func() { _, err := f.sealer.Seal(ctx, acme, first, nil); leader <- err }()
		synctest.Wait()
		go func() { _, err := f.sealer.Seal(t.Context(), acme, first, nil); follower <- err }()
		synctest.Wait()
		cancel()
		if err := <-leader; !errors.Is(err, context.Canceled) {
			t.Errorf("the cancelled caller: %v, want context.Canceled", err)
		}
		close(gate)
		if err := <-follower; err != nil {
			t.Errorf("the other caller: %v", err)
		}
		f.wantAsked(t, "both", 1, 0)
	})
}

func TestAKeyServiceThatHangsIsUnavailable(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.service.intercept = func(ctx context.Context, _ map[string]string) error {
			<-ctx.Done()
			return ctx.Err()
		}
		_, err := f.sealer.Seal(t.Context(), acme, first, nil)
		if !errors.Is(err, tokenworker.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want ErrUnavailable and not the caller's deadline", err)
		}
	})
}

func TestARefusedOrganizationLeavesTheOthersUnharmed(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		globex := tokenworker.Key{OrgID: "globex", ProviderID: "gusto", CompanyID: "company-1"}
		theirs := mustSeal(t, f.sealer, globex, first, "plaintext")
		refusing := true
		f.service.intercept = func(_ context.Context, encryptionContext map[string]string) error {
			if refusing && encryptionContext["org"] == "globex" {
				return fmt.Errorf("%w: not now", tokenworker.ErrKeyRefused)
			}
			return nil
		}
		replica := f.replica()
		for range 3 {
			if _, err := replica.Seal(t.Context(), globex, first, nil); !errors.Is(err, tokenworker.ErrKeyRefused) {
				t.Errorf("the refused one's seal: %v, want ErrKeyRefused", err)
			}
			if _, err := replica.Open(t.Context(), globex, first, theirs); !errors.Is(err, tokenworker.ErrKeyRefused) {
				t.Errorf("the refused one's open: %v, want ErrKeyRefused", err)
			}
			sealed := mustSeal(t, replica, acme, first, "plaintext")
			if _, err := replica.Open(t.Context(), acme, first, sealed); err != nil {
				t.Errorf("the other: %v", err)
			}
		}
		refusing = false
		if _, err := replica.Open(t.Context(), globex, first, theirs); err != nil {
			t.Errorf("after the refusal: %v", err)
		}
	})
}

func TestAStoreThatIsDownFailsOnlyWhatNeedsIt(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		sealed := mustSeal(t, f.sealer, acme, first, "plaintext")
		f.asked()
		f.store.readErr = tokenworker.ErrUnavailable
		mustSeal(t, f.sealer, acme, first, "plaintext")
		replica := f.replica()
		if _, err := replica.Seal(t.Context(), acme, first, nil); !errors.Is(err, tokenworker.ErrUnavailable) {
			t.Errorf("a first seal: %v, want ErrUnavailable", err)
		}
		f.wantAsked(t, "while it cannot be read", 0, 0)
		if _, err := replica.Open(t.Context(), acme, first, sealed); err != nil {
			t.Errorf("opening needs no store: %v", err)
		}
		f.store.readErr = nil
		mustSeal(t, replica, acme, first, "plaintext")
	})
}

func TestADataKeyThatCouldNotBeStoredIsNotUsed(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.store.writeErr = tokenworker.ErrUnavailable
		if _, err := f.sealer.Seal(t.Context(), acme, first, nil); !errors.Is(err, tokenworker.ErrUnavailable) {
			t.Errorf("%v, want ErrUnavailable", err)
		}
		f.store.writeErr = nil
		sealed := mustSeal(t, f.sealer, acme, first, "plaintext")
		f.wantAsked(t, "two tries", 2, 0)
		if wrappedIn(t, sealed) != string(f.store.keys["org/acme"].Wrapped) {
			t.Error("sealed under a key that is not in the store")
		}
	})
}

func TestAnUnfitDataKeyIsNotSealedUnder(t *testing.T) {
	fit := vector{KeyID: "k", Wrapped: []byte{1}, DataKey: make([]byte, 32)}
	for name, spoil := range map[string]func(*vector){
		"a short key":           func(v *vector) { v.DataKey = make([]byte, 16) },
		"no key id":             func(v *vector) { v.KeyID = "" },
		"a key id too long":     func(v *vector) { v.KeyID = string(make([]byte, maxKeyIDBytes+1)) },
		"nothing wrapped":       func(v *vector) { v.Wrapped = nil },
		"too long when wrapped": func(v *vector) { v.Wrapped = make([]byte, maxWrappedBytes+1) },
	} {
		t.Run(name, func(t *testing.T) {
			v := fit
			spoil(&v)
			for _, scope := range scopes {
				sealer := newTestSealer(t, fixedService{v: &v}, scope)
				if _, err := sealer.Seal(t.Context(), acme, first, nil); !errors.Is(err, tokenworker.ErrMisconfigured) {
					t.Errorf("%s: %v, want ErrMisconfigured", scope, err)
				}
			}
		})
	}
}

func TestAFreshDataKeyForEachTokenIsNeverStoredOrKept(t *testing.T) {
	f := &fixture{service: newStubService(t), store: newMemoryStore()}
	f.sealer = New(f.service, f.store, Config{Scope: mustScope(t, "token")})
	one, two := mustSeal(t, f.sealer, acme, first, "one"), mustSeal(t, f.sealer, acme, first, "two")
	if wrappedIn(t, one) == wrappedIn(t, two) {
		t.Error("two seals share a data key")
	}
	if f.store.reads+f.store.writes > 0 {
		t.Error("the store was asked")
	}
	if _, err := f.sealer.Open(t.Context(), acme, first, one); err != nil {
		t.Error(err)
	}
	f.wantAsked(t, "two seals and an open", 2, 1)
}

func TestOrganizationsOfAPoolShareItsKey(t *testing.T) {
	f := &fixture{service: newStubService(t), store: newMemoryStore()}
	f.sealer = New(f.service, f.store, Config{Scope: mustScope(t, "pool:4")})
	for i := range 100 {
		key := tokenworker.Key{OrgID: fmt.Sprint("org", i), ProviderID: "gusto", CompanyID: "c"}
		sealed := mustSeal(t, f.sealer, key, first, "plaintext")
		if _, err := f.sealer.Open(t.Context(), key, first, sealed); err != nil {
			t.Error(err)
		}
	}
	f.wantAsked(t, "a hundred organizations in four pools", 4, 0)
}

// With a cache far too small for what is in use every call still ends, and with the right key.
func TestACacheThatIsTooSmallCostsCallsOnly(t *testing.T) {
	f := &fixture{service: newStubService(t), store: newMemoryStore()}
	f.sealer = f.replica()
	f.sealer.keys.unwrapped = newKeyCache(1, maxKeyAge)
	f.sealer.keys.current = newLRU[string, tokenworker.WrappedKey](1)
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			for n := range 50 {
				key := tokenworker.Key{OrgID: fmt.Sprint("org", (i+n)%5), ProviderID: "gusto", CompanyID: "c"}
				sealed, err := f.sealer.Seal(t.Context(), key, first, []byte(key.OrgID))
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := f.sealer.Open(t.Context(), key, first, sealed); err != nil || string(got) != key.OrgID {
					t.Errorf("opened %q, %v", got, err)
				}
			}
		})
	}
	callers.Wait()
}

// Two references share an unwrapped key exactly when the key service would be asked the same.
func TestTheCacheKeepsApartWhatTheKeyServiceKeepsApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) keyRef {
			return keyRef{
				scope:   drawScope(t, label),
				orgID:   rapid.StringMatching("[ab]{1,2}").Draw(t, label+" organization"),
				keyID:   rapid.StringMatching("[ab]{1,2}").Draw(t, label+" key id"),
				wrapped: []byte(rapid.StringMatching("[ab]{1,2}").Draw(t, label+" wrapped")),
			}
		}
		a, b := draw("first"), draw("second")
		if rapid.Bool().Draw(t, "one pool or another") {
			b.scope = a.scope
		}
		same := a.keyID == b.keyID && bytes.Equal(a.wrapped, b.wrapped) &&
			maps.Equal(a.scope.encryptionContext(a.orgID), b.scope.encryptionContext(b.orgID))
		if (a.id() == b.id()) != same {
			t.Fatalf("%+v and %+v: %q and %q", a, b, a.id(), b.id())
		}
	})
}
