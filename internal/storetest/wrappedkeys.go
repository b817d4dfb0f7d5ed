package storetest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

// wrapped is version v of the key of that name.
func wrapped(name string, v int) tokenworker.WrappedKey {
	return tokenworker.WrappedKey{
		Name: name, KeyID: "arn:aws:kms:us-east-1:000000000000:key/1", Wrapped: fmt.Appendf(nil, "wrapped %s, version %d", name, v),
		CreatedAt: start.Add(time.Duration(v) * time.Hour),
	}
}

func testWrappedKeys(t *testing.T, store Store) {
	ctx := t.Context()
	uniqueName := func(kind string) string { return kind + "/" + rand.Text() }

	t.Run("a key that was never put is not found", func(t *testing.T) {
		if _, err := store.WrappedKey(ctx, uniqueName("org")); !errors.Is(err, tokenworker.ErrNotFound) {
			t.Errorf("error %v, want ErrNotFound", err)
		}
	})

	for _, kind := range []string{"org", "pool", "event"} {
		t.Run("a key of kind "+kind+" is put, got, replaced and deleted", func(t *testing.T) {
			name := uniqueName(kind)
			first, second, third := wrapped(name, 1), wrapped(name, 2), wrapped(name, 3)
			second.Suite, second.Public = "X-Wing", []byte("public key")

			requirePut(t, store, first, nil, first)
			requirePut(t, store, second, nil, first)           // there is one: the one that was first stays
			requirePut(t, store, second, third.Wrapped, first) // that is not the one stored
			requirePut(t, store, second, first.Wrapped, second)
			requirePut(t, store, third, first.Wrapped, second) // replaced meanwhile

			for range 2 { // the second time there is nothing to delete
				if err := store.DeleteWrappedKey(ctx, name); err != nil {
					t.Errorf("DeleteWrappedKey: %v", err)
				}
			}
			if _, err := store.WrappedKey(ctx, name); !errors.Is(err, tokenworker.ErrNotFound) {
				t.Errorf("after deleting: error %v, want ErrNotFound", err)
			}
			if _, err := store.PutWrappedKey(ctx, third, second.Wrapped); !errors.Is(err, tokenworker.ErrNotFound) {
				t.Errorf("replacing what is gone: error %v, want ErrNotFound", err)
			}
			requirePut(t, store, third, nil, third)
		})
	}

	t.Run("the key of an organization with an odd name is its own", func(t *testing.T) {
		for _, org := range []string{uniqueOrg() + "a:b", uniqueOrg() + "ü#1", longestPart()} {
			name := "org/" + tokenworker.EscapePart(org)
			requirePut(t, store, wrapped(name, 1), nil, wrapped(name, 1))
		}
	})

	t.Run("keys are listed by prefix, in order", func(t *testing.T) {
		prefix := uniqueName("event")
		var want []string
		for _, rest := range []string{"", "-a", "-b", "-c"} {
			want = append(want, prefix+rest)
		}
		for _, i := range []int{2, 0, 3, 1} {
			requirePut(t, store, wrapped(want[i], i), nil, wrapped(want[i], i))
		}
		requirePut(t, store, wrapped(uniqueName("event"), 1), nil, tokenworker.WrappedKey{})
		requirePut(t, store, wrapped("pool"+strings.TrimPrefix(prefix, "event"), 1), nil, tokenworker.WrappedKey{})

		listed, err := store.WrappedKeys(ctx, prefix)
		if err != nil {
			t.Fatalf("WrappedKeys: %v", err)
		}
		if len(listed) != len(want) {
			t.Fatalf("%d keys listed, want %d", len(listed), len(want))
		}
		for i, k := range listed {
			requireSameKey(t, k, wrapped(want[i], i))
		}
		whole, err := store.WrappedKeys(ctx, "event/")
		if err != nil || len(whole) < len(want)+1 {
			t.Errorf("%d keys of the whole kind listed, error %v; want at least %d", len(whole), err, len(want)+1)
		}
	})

	t.Run("one of many first keys wins, and all learn which", func(t *testing.T) {
		requireOneKey(t, store, uniqueName("org"), nil)
	})

	t.Run("one of many renewals wins, and all learn which", func(t *testing.T) {
		first := wrapped(uniqueName("org"), 100)
		requirePut(t, store, first, nil, first)
		requireOneKey(t, store, first.Name, first.Wrapped)
	})
}

// requirePut puts k and fails unless want is stored afterwards; the zero want stands for k.
func requirePut(t *testing.T, store Store, k tokenworker.WrappedKey, replaces []byte, want tokenworker.WrappedKey) {
	t.Helper()
	if want.Name == "" {
		want = k
	}
	got, err := store.PutWrappedKey(t.Context(), k, replaces)
	if err != nil {
		t.Fatalf("PutWrappedKey: %v", err)
	}
	requireSameKey(t, got, want)
	if got, err = store.WrappedKey(t.Context(), k.Name); err != nil {
		t.Fatalf("WrappedKey: %v", err)
	}
	requireSameKey(t, got, want)
}

// requireOneKey lets many keys of one name race to replace the one that is there.
func requireOneKey(t *testing.T, store Store, name string, replaces []byte) {
	t.Helper()
	got := race(t, racers, func(i int) (tokenworker.WrappedKey, error) {
		return store.PutWrappedKey(t.Context(), wrapped(name, i), replaces)
	})
	stored, err := store.WrappedKey(t.Context(), name)
	if err != nil {
		t.Fatalf("WrappedKey: %v", err)
	}
	if bytes.Equal(stored.Wrapped, replaces) {
		t.Error("nobody won")
	}
	for _, k := range got {
		requireSameKey(t, k, stored)
	}
}

func requireSameKey(t *testing.T, got, want tokenworker.WrappedKey) {
	t.Helper()
	for _, k := range []*tokenworker.WrappedKey{&got, &want} {
		k.CreatedAt = second(k.CreatedAt)
		if len(k.Public) == 0 {
			k.Public = nil
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("key is\n\t%+v, want\n\t%+v", got, want)
	}
}
