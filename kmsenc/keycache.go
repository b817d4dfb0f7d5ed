package kmsenc

import (
	"sync"
	"time"

	"github.com/tokenworker/tokenworker"
)

const (
	// maxKeyAge is how long an unwrapped data key may stay in memory, counted from the key service's answer: a key
	// service that turned off a key has its way with every replica after that time.
	maxKeyAge = 15 * time.Minute

	// maxKeys bounds memory: an entry takes about 1 KB.
	maxKeys = 10_000
)

// keyCache holds unwrapped data keys by what they were unwrapped from and for (see [keyRef.id]), each for at most
// maxAge, and overwrites those that it lets go of.
type keyCache struct {
	maxAge time.Duration

	mu   sync.Mutex
	keys *lru[string, *dataKey]
}

func newKeyCache(limit int, maxAge time.Duration) *keyCache {
	return &keyCache{maxAge: maxAge, keys: newLRU[string, *dataKey](limit)}
}

// dataKey is one unwrapped data key.
type dataKey struct {
	plain  tokenworker.Secret
	users  sync.RWMutex // held for reading while in use, for writing while it is overwritten
	expiry *time.Timer  // guarded by keyCache.mu
}

// pin returns the key, which is not overwritten before it is released.
//
// Pinning never waits. Only a key that has left the map is overwritten, and one that has left it is not found here.
func (c *keyCache) pin(id string) (*dataKey, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.keys.get(id)
	if ok {
		k.users.RLock()
	}
	return k, ok
}

// release ends the use that began with pin.
func (k *dataKey) release() { k.users.RUnlock() }

// overwrite waits for the users of a key that has left the cache, and zeroes it.
func (k *dataKey) overwrite() {
	k.users.Lock()
	defer k.users.Unlock()
	k.plain.Wipe()
}

// has reports whether the key is there.
func (c *keyCache) has(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.keys.get(id)
	return ok
}

// put takes ownership of plain.
func (c *keyCache) put(id string, plain tokenworker.Secret) {
	k := &dataKey{plain: plain}
	if gone := c.swap(id, k); gone != nil {
		gone.overwrite()
	}
}

// swap stores k and returns the key that had to go for it, or nil.
func (c *keyCache) swap(id string, k *dataKey) *dataKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	k.expiry = time.AfterFunc(c.maxAge, func() { c.expire(id, k) })
	gone, ok := c.keys.put(id, k)
	if !ok {
		return nil
	}
	gone.expiry.Stop()
	return gone
}

// expire lets go of k, unless another key stands under its id by now.
func (c *keyCache) expire(id string, k *dataKey) {
	c.mu.Lock()
	if current, ok := c.keys.get(id); ok && current == k {
		c.keys.remove(id)
	}
	c.mu.Unlock()
	k.overwrite()
}
