package kmsenc

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/tokenworker/tokenworker"
	"pgregory.net/rapid"
)

// change is a change of the wrapping key: replicas that still have the former one, and a Rewrapper and replicas that have
// the current one and unwrap both.
type change struct {
	former, current *stubService
	before, after   *memoryStore
	again           *Rewrapper
}

func newChange(t *testing.T) *change {
	t.Helper()
	c := &change{former: newStubService(t), current: newStubService(t), before: newMemoryStore(), after: newMemoryStore()}
	c.current.former = []*stubService{c.former}
	c.again = NewRewrapper(c.current, map[string]func(string) map[string]string{
		"event": func(rest string) map[string]string { return map[string]string{"event_key": rest} },
	})
	return c
}

// alone is a replica that has the current key alone.
func (c *change) alone() *Sealer {
	return New(&stubService{keyID: c.current.keyID, aead: c.current.aead}, newMemoryStore(), Config{})
}

func (c *change) set(t *testing.T, key tokenworker.Key, sealed []byte) []byte {
	t.Helper()
	again, err := c.again.Set(t.Context(), key, sealed)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func TestASetThatIsWrappedAgainOpensUnderTheCurrentKeyAlone(t *testing.T) {
	c := newChange(t)
	for _, scope := range scopes {
		t.Run(scope, func(t *testing.T) {
			sealer := New(c.former, c.before, Config{Scope: mustScope(t, scope)})
			alone := c.alone()
			rapid.Check(t, func(rt *rapid.T) {
				key, fence := drawKey(rt, "its"), drawFence(rt, "its")
				plaintext := rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(rt, "plaintext")
				sealed, err := sealer.Seal(t.Context(), key, fence, plaintext)
				if err != nil {
					rt.Fatal(err)
				}
				again := c.set(t, key, sealed)
				got, err := alone.Open(t.Context(), key, fence, again)
				if err != nil || !bytes.Equal(got, plaintext) {
					rt.Fatalf("opened %x, %v; want %x", got, err, plaintext)
				}
				if former, err := c.again.FormerSetKey(key, again); err != nil || former != "" {
					rt.Errorf("afterwards it counts as wrapped under %q, %v", former, err)
				}
				if twice := c.set(t, key, again); !bytes.Equal(twice, again) {
					rt.Error("what is done is done again")
				}
				doesNotOpen(t, alone, key, fence, sealed, "the set as it was")
			})
		})
	}
}

func TestWrappingAgainChangesNothingButTheWrapping(t *testing.T) {
	c := newChange(t)
	sealed := mustSeal(t, New(c.former, c.before, Config{}), acme, first, "plaintext")
	before, err := parseEnvelope(sealed)
	if err != nil {
		t.Fatal(err)
	}
	after, err := parseEnvelope(c.set(t, acme, sealed))
	if err != nil {
		t.Fatal(err)
	}
	if string(after.keyID) != c.current.keyID || bytes.Equal(after.wrapped, before.wrapped) {
		t.Errorf("wrapped under %s", after.keyID)
	}
	after.keyID, after.wrapped = before.keyID, before.wrapped
	if !bytes.Equal(encode(after), sealed) {
		t.Error("something else has changed")
	}
}

func TestASetIsNotWrappedAgainForAnotherOrganization(t *testing.T) {
	c := newChange(t)
	sealed := mustSeal(t, New(c.former, c.before, Config{}), acme, first, "plaintext")
	globex := tokenworker.Key{OrgID: "globex", ProviderID: acme.ProviderID, CompanyID: acme.CompanyID}
	if again, err := c.again.Set(t.Context(), globex, sealed); !errors.Is(err, tokenworker.ErrSealBroken) || again != nil {
		t.Errorf("%d bytes, error %v; want none and ErrSealBroken", len(again), err)
	}
	moved := c.set(t, acme, sealed)
	doesNotOpen(t, c.alone(), globex, first, moved, "in another organization's row")
}

func TestWhatSharedADataKeySharesItAfterwards(t *testing.T) {
	c := newChange(t)
	sealer := New(c.former, c.before, Config{})
	one, two := mustSeal(t, sealer, acme, first, "one"), mustSeal(t, sealer, acme, first.Next(), "two")
	item, err := c.before.WrappedKey(t.Context(), "org/acme")
	if err != nil {
		t.Fatal(err)
	}
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() { c.set(t, acme, one) })
	}
	calls.Wait()
	again, err := c.again.Key(t.Context(), item)
	if err != nil {
		t.Fatal(err)
	}
	w := wrappedIn(t, c.set(t, acme, one))
	if w != wrappedIn(t, c.set(t, acme, two)) || w != string(again.Wrapped) || again.KeyID != c.current.keyID {
		t.Error("what shared a data key has several wrapped ones now")
	}
	if n := c.current.reEncrypted.Load(); n != 1 {
		t.Errorf("the key service was asked %d times, want once", n)
	}
}

func TestKeysOfEveryKindAreWrappedAgainUnderTheirOwnContext(t *testing.T) {
	c := newChange(t)
	for name, bound := range map[string]map[string]string{
		"org/a%2Eb": {"app": "tokenworker", "org": "a.b"},
		"pool/7":    {"app": "tokenworker", "pool": "7"},
		"event/2f9": {"event_key": "2f9"},
	} {
		made, err := c.former.GenerateDataKey(t.Context(), bound)
		if err != nil {
			t.Fatal(err)
		}
		k := tokenworker.WrappedKey{Name: name, KeyID: made.KeyID, Wrapped: made.Wrapped, Suite: "suite", Public: []byte("p")}
		if former, err := c.again.FormerKey(k); err != nil || former != c.former.keyID {
			t.Errorf("%s counts as wrapped under %q, %v; want the former key", name, former, err)
		}
		again, err := c.again.Key(t.Context(), k)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		opened, err := c.current.Decrypt(t.Context(), c.current.keyID, again.Wrapped, bound)
		if err != nil || !opened.Equal(made.Plain) {
			t.Errorf("%s does not come back: %v", name, err)
		}
		if again.Suite != k.Suite || !bytes.Equal(again.Public, k.Public) || again.Name != name {
			t.Errorf("%s has become %+v", name, again)
		}
		if former, err := c.again.FormerKey(again); err != nil || former != "" {
			t.Errorf("afterwards %s counts as wrapped under %q, %v", name, former, err)
		}
	}
	for _, name := range []string{"other/1", "org/%zz", "pool/x", "pool/70000", "org"} {
		if _, err := c.again.Key(t.Context(), tokenworker.WrappedKey{Name: name}); !errors.Is(err, tokenworker.ErrMisconfigured) {
			t.Errorf("%s: %v, want ErrMisconfigured", name, err)
		}
	}
}

func TestASetThatWouldBecomeTooLargeStaysAsItIs(t *testing.T) {
	c := newChange(t)
	c.current.keyID += strings.Repeat("x", 100)
	sealer := New(c.former, c.before, Config{})
	room := tokenworker.MaxSealedBytes - len(mustSeal(t, sealer, acme, first, ""))
	sealed := mustSeal(t, sealer, acme, first, strings.Repeat("x", room))
	if _, err := c.again.Set(t.Context(), acme, sealed); !errors.Is(err, tokenworker.ErrTooLarge) {
		t.Errorf("error %v, want ErrTooLarge", err)
	}
}

func TestACurrentKeyUnderAFormerWrappingKeyIsReplaced(t *testing.T) {
	c := newChange(t)
	old := mustSeal(t, New(c.former, c.before, Config{}), acme, first, "plaintext")
	sealer := New(c.current, c.before, Config{})
	if former, err := c.again.FormerSetKey(acme, mustSeal(t, sealer, acme, first, "plaintext")); err != nil || former != "" {
		t.Errorf("a new set is sealed under the former key %s, %v", former, err)
	}
	if _, err := sealer.Open(t.Context(), acme, first, old); err != nil {
		t.Errorf("an older set does not open: %v", err)
	}
	generated := c.current.generated.Load()
	mustSeal(t, sealer, acme, first, "plaintext")
	mustSeal(t, New(c.current, c.before, Config{}), acme, first, "plaintext")
	if n := c.current.generated.Load() - generated; n != 0 {
		t.Errorf("%d more data keys made, want none: the one under the current key is shared", n)
	}
}
