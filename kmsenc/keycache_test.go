package kmsenc

import (
	"bytes"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenworker/tokenworker"
	"pgregory.net/rapid"
)

// aKey returns a key and the memory that it lies in.
func aKey(b byte) (tokenworker.Secret, []byte) {
	memory := bytes.Repeat([]byte{b}, dataKeyBytes)
	return tokenworker.NewSecret(memory), memory
}

func isZero(b []byte) bool { return bytes.Equal(b, make([]byte, len(b))) }

func TestAnEvictedKeyIsZeroed(t *testing.T) {
	c := newKeyCache(2, time.Hour)
	var memory [4][]byte
	for i, id := range []string{"a", "b", "a", "c"} {
		var key tokenworker.Secret
		key, memory[i] = aKey(byte(i + 1))
		c.put(id, key)
	}
	for i, c := range []struct {
		what string
		gone bool
	}{{"replaced", true}, {"used longest ago", true}, {"used later", false}, {"used last", false}} {
		if got := isZero(memory[i]); got != c.gone {
			t.Errorf("the key %s: zeroed %t, want %t", c.what, got, c.gone)
		}
	}
}

func TestAKeyIsZeroedWhenItIsTooOldHoweverOftenItIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newKeyCache(10, maxKeyAge)
		key, memory := aKey(1)
		c.put("a", key)
		for range 14 {
			later(time.Minute)
			k, ok := c.pin("a")
			if !ok {
				t.Fatal("gone before its time")
			}
			k.release()
		}
		later(time.Minute)
		if _, ok := c.pin("a"); ok {
			t.Error("still there after 15 minutes")
		}
		if !isZero(memory) {
			t.Error("not zeroed")
		}
	})
}

func TestAReplacedKeysAgeDoesNotEndItsSuccessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newKeyCache(10, maxKeyAge)
		old, _ := aKey(1)
		c.put("a", old)
		k, _ := c.pin("a")
		k.release()
		later(10 * time.Minute)
		key, memory := aKey(2)
		c.put("a", key)
		later(10 * time.Minute)
		c.expire("a", k) // as when it was on its way while the key was replaced
		if !c.has("a") || isZero(memory) {
			t.Error("the successor is gone with its predecessor's age")
		}
		later(5 * time.Minute)
		if c.has("a") || !isZero(memory) {
			t.Error("the successor outlived its own age")
		}
	})
}

func TestAKeyInUseIsZeroedOnlyAfterItsRelease(t *testing.T) {
	c := newKeyCache(1, time.Hour)
	key, memory := aKey(1)
	c.put("a", key)
	user, _ := c.pin("a")
	evicted := make(chan struct{})
	go func() {
		defer close(evicted)
		successor, _ := aKey(2)
		c.put("b", successor)
	}()
	for user.users.TryRLock() { // false once the eviction waits for the user
		user.users.RUnlock()
		runtime.Gosched()
	}
	if c.has("a") {
		t.Error("an evicted key is still found")
	}
	if isZero(memory) {
		t.Error("zeroed under its user")
	}
	user.release()
	<-evicted
	if !isZero(memory) {
		t.Error("not zeroed after the release")
	}
}

// Meant for the race detector as well: a key that changes while it is read shows there.
func TestNoUserEverSeesAZeroedKey(t *testing.T) {
	c := newKeyCache(2, time.Hour)
	var users sync.WaitGroup
	for i := range 8 {
		users.Go(func() {
			for n := range 2000 {
				id := string(rune('a' + (n+i)%4))
				k, ok := c.pin(id)
				if !ok {
					key, _ := aKey(id[0])
					c.put(id, key)
					continue
				}
				if got := k.plain.Reveal(); !bytes.Equal(got, bytes.Repeat([]byte(id[:1]), dataKeyBytes)) {
					t.Errorf("key %s reads %x while pinned", id, got)
				}
				k.release()
			}
		})
	}
	users.Wait()
}

func TestTheCacheForgetsWhatWasUsedLongestAgo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const limit = 3
		l := newLRU[int, int](limit)
		var order []int // the model: used last at the end
		values := make(map[int]int)
		forget := func(key int) {
			for i, k := range order {
				if k == key {
					order = append(order[:i:i], order[i+1:]...)
					delete(values, key)
					return
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"get": func(t *rapid.T) {
				key := rapid.IntRange(0, 5).Draw(t, "key")
				want, found := values[key]
				got, ok := l.get(key)
				if ok != found || got != want {
					t.Fatalf("get(%d) = %d, %t; want %d, %t", key, got, ok, want, found)
				}
				if found {
					forget(key)
					order, values[key] = append(order, key), want
				}
			},
			"put": func(t *rapid.T) {
				key, value := rapid.IntRange(0, 5).Draw(t, "key"), rapid.Int().Draw(t, "value")
				want, leaves := values[key]
				forget(key)
				order, values[key] = append(order, key), value
				if len(order) > limit {
					want, leaves = values[order[0]], true
					forget(order[0])
				}
				if got, ok := l.put(key, value); ok != leaves || got != want {
					t.Fatalf("put(%d) let go of %d, %t; want %d, %t", key, got, ok, want, leaves)
				}
			},
			"remove": func(t *rapid.T) {
				key := rapid.IntRange(0, 5).Draw(t, "key")
				forget(key)
				l.remove(key)
			},
			"": func(t *rapid.T) {
				if len(l.items) != len(order) || l.order.Len() != len(order) {
					t.Fatalf("%d items in a list of %d, want %d", len(l.items), l.order.Len(), len(order))
				}
			},
		})
	})
}
