package kmsenc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokenworker/tokenworker"
	"golang.org/x/sync/singleflight"
)

const (
	// renewAfter is how old a scope's current data key may become. Younger, and the rows of an organization would lie
	// under ever more keys, each to be unwrapped anew with every cache window; doc.go has the figures.
	renewAfter = 7 * 24 * time.Hour

	// loadTimeout bounds one load: a key service call and two store calls, each retried by its client.
	loadTimeout = 30 * time.Second

	// maxPuts is how often one load tries to put its data key in place of what replicas with a former wrapping key have put
	// meanwhile. Each of them does so once, so the next load finds fewer.
	maxPuts = 8
)

// KeyStore is where the wrapped current key of each scope lives, shared by all replicas. Both methods are safe for
// concurrent use.
type KeyStore interface {
	// WrappedKey returns the key of that name. The error matches [tokenworker.ErrNotFound] when there is none.
	WrappedKey(ctx context.Context, name string) (tokenworker.WrappedKey, error)

	// PutWrappedKey stores k if the stored one's Wrapped equals replaces (nil: there is none yet) and returns the one
	// stored afterwards: k, or that of another replica which was faster.
	PutWrappedKey(ctx context.Context, k tokenworker.WrappedKey, replaces []byte) (tokenworker.WrappedKey, error)
}

// keyRef names a wrapped data key and all that unwrapping it depends on.
type keyRef struct {
	scope   keyScope
	orgID   string
	keyID   string
	wrapped []byte
}

// id is the reference as a map key. It is injective, and two references share it exactly when the key service would be
// asked the same: so one organization never meets another's key in the cache, and an altered key id meets none.
func (r keyRef) id() string {
	b := make([]byte, 0, 1+2+2+len(r.orgID)+2+len(r.keyID)+len(r.wrapped))
	if r.scope.kind == poolKind {
		b = append(b, 'p')
		b = binary.BigEndian.AppendUint16(b, r.scope.pool)
	} else {
		b = append(b, 'o')
		b = append(appendLength(b, 2, len(r.orgID)), r.orgID...)
	}
	b = append(appendLength(b, 2, len(r.keyID)), r.keyID...)
	return string(append(b, r.wrapped...))
}

// dataKeys finds data keys: the current one of a scope, and the plaintext of any. In steady state it answers from
// memory and asks neither store nor key service.
type dataKeys struct {
	service tokenworker.KeyService
	store   KeyStore
	now     func() time.Time

	unwrapped  *keyCache
	unwrapping singleflight.Group // by keyRef.id

	mu       sync.Mutex
	current  *lru[string, tokenworker.WrappedKey] // by name
	renewing singleflight.Group                   // by name and unusable key

	generated, decrypted atomic.Uint64 // calls of service
}

// pinCurrent returns the scope's current key, renewed when it is due. The caller releases the key.
//
// A current key that does not unwrap, because its item was damaged or swapped or names a wrapping key that is no longer
// configured, is replaced at once, and so is one that another wrapping key wraps than would today: nothing depends on the
// item, since what the key sealed carries its own copy.
func (d *dataKeys) pinCurrent(ctx context.Context, scope keyScope, orgID string) (keyRef, *dataKey, error) {
	ref, err := d.currentRef(ctx, scope, orgID, nil)
	if err != nil {
		return keyRef{}, nil, err
	}
	key, err := d.pin(ctx, ref)
	if errors.Is(err, tokenworker.ErrSealBroken) {
		if ref, err = d.currentRef(ctx, scope, orgID, ref.wrapped); err != nil {
			return keyRef{}, nil, err
		}
		key, err = d.pin(ctx, ref)
	}
	return ref, key, err
}

// currentRef returns the scope's current key, still wrapped. It is never the unusable one.
func (d *dataKeys) currentRef(ctx context.Context, scope keyScope, orgID string, unusable []byte) (keyRef, error) {
	name := scope.name(orgID)
	k, ok := d.remembered(name, unusable)
	if !ok {
		var err error
		id := name + "\n" + string(unusable)
		k, err = once(ctx, &d.renewing, id, func(ctx context.Context) (tokenworker.WrappedKey, error) {
			return d.loadCurrent(ctx, scope, orgID, unusable)
		})
		if err != nil {
			return keyRef{}, fmt.Errorf("finding current data key: %w", err)
		}
	}
	return keyRef{scope, orgID, k.KeyID, k.Wrapped}, nil
}

// loadCurrent reads the current key from the store, or makes the next.
func (d *dataKeys) loadCurrent(
	ctx context.Context, scope keyScope, orgID string, unusable []byte,
) (tokenworker.WrappedKey, error) {
	name := scope.name(orgID)
	if k, ok := d.remembered(name, unusable); ok {
		return k, nil // by a load that ended just before this one began
	}
	wrapping := d.service.WrappingKey(scope.encryptionContext(orgID))
	stored, err := d.store.WrappedKey(ctx, name)
	switch {
	case err == nil && stored.KeyID == wrapping && d.usable(stored, unusable):
		d.remember(stored)
		return stored, nil
	case err != nil && !errors.Is(err, tokenworker.ErrNotFound):
		return tokenworker.WrappedKey{}, err
	}

	made, err := d.generate(ctx, scope, orgID)
	if err != nil {
		return tokenworker.WrappedKey{}, err
	}
	next := tokenworker.WrappedKey{Name: name, KeyID: made.KeyID, Wrapped: made.Wrapped, CreatedAt: d.now()}
	for range maxPuts {
		kept, err := d.store.PutWrappedKey(ctx, next, stored.Wrapped)
		switch {
		case err != nil:
			made.Plain.Wipe()
			return tokenworker.WrappedKey{}, err
		case bytes.Equal(kept.Wrapped, made.Wrapped):
			d.unwrapped.put(keyRef{scope, orgID, made.KeyID, made.Wrapped}.id(), made.Plain)
			d.remember(kept)
			return kept, nil
		case kept.KeyID == wrapping && d.usable(kept, unusable): // another replica was faster
			made.Plain.Wipe()
			d.remember(kept)
			return kept, nil
		}
		stored = kept // by a replica that still wraps with a former key
	}
	made.Plain.Wipe()
	return tokenworker.WrappedKey{}, fmt.Errorf("%w: other replicas keep storing data keys under another wrapping key",
		tokenworker.ErrUnavailable)
}

// usable reports whether new token sets may be sealed under k. A key from the future, by more than clocks may disagree,
// is as good as old: it would never become due.
func (d *dataKeys) usable(k tokenworker.WrappedKey, unusable []byte) bool {
	age := d.now().Sub(k.CreatedAt)
	return -tokenworker.ClockSkew <= age && age < renewAfter && !bytes.Equal(k.Wrapped, unusable)
}

func (d *dataKeys) remembered(name string, unusable []byte) (tokenworker.WrappedKey, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k, ok := d.current.get(name)
	return k, ok && d.usable(k, unusable)
}

func (d *dataKeys) remember(k tokenworker.WrappedKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.current.put(k.Name, k)
}

// pin returns the unwrapped key. The caller releases it.
func (d *dataKeys) pin(ctx context.Context, ref keyRef) (*dataKey, error) {
	id := ref.id()
	for {
		if key, ok := d.unwrapped.pin(id); ok {
			return key, nil
		}
		ref.wrapped = bytes.Clone(ref.wrapped) // the load may outlive the caller, whose buffer it is
		// Another turn is needed only when the cache was so full that the key has gone again.
		_, err := once(ctx, &d.unwrapping, id, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, d.unwrap(ctx, ref, id)
		})
		if err != nil {
			return nil, fmt.Errorf("unwrapping data key: %w", err)
		}
	}
}

// unwrap asks the key service for the key and puts it into the cache.
func (d *dataKeys) unwrap(ctx context.Context, ref keyRef, id string) error {
	if d.unwrapped.has(id) {
		return nil // by a load that ended just before this one began
	}
	d.decrypted.Add(1)
	plain, err := d.service.Decrypt(ctx, ref.keyID, ref.wrapped, ref.scope.encryptionContext(ref.orgID))
	if err != nil {
		return err
	}
	if len(plain.Reveal()) != dataKeyBytes {
		plain.Wipe()
		return broken("data key is not 32 bytes")
	}
	d.unwrapped.put(id, plain)
	return nil
}

// generate makes a data key, whose plaintext the caller keeps or wipes.
func (d *dataKeys) generate(ctx context.Context, scope keyScope, orgID string) (tokenworker.DataKey, error) {
	d.generated.Add(1)
	made, err := d.service.GenerateDataKey(ctx, scope.encryptionContext(orgID))
	if err != nil {
		return tokenworker.DataKey{}, fmt.Errorf("generating data key: %w", err)
	}
	k, w := len(made.KeyID), len(made.Wrapped)
	if len(made.Plain.Reveal()) != dataKeyBytes || k < 1 || k > maxKeyIDBytes || w < 1 || w > maxWrappedBytes {
		made.Plain.Wipe()
		return tokenworker.DataKey{}, fmt.Errorf("%w: the key service's data keys do not fit an envelope",
			tokenworker.ErrMisconfigured)
	}
	return made, nil
}

// once lets concurrent callers with the same id share one load. It goes on when the one who began it gives up, so that
// nobody fails for another's cancellation, and ends within loadTimeout.
func once[T any](
	ctx context.Context, group *singleflight.Group, id string, load func(context.Context) (T, error),
) (T, error) {
	result := group.DoChan(id, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
		defer cancel()
		v, err := load(ctx)
		if err != nil && ctx.Err() != nil {
			err = fmt.Errorf("%w: not done within %s", tokenworker.ErrUnavailable, loadTimeout)
		}
		return v, err
	})
	select {
	case r := <-result:
		v, _ := r.Val.(T)
		return v, r.Err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}
