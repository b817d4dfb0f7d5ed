package events

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hpke"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tokenworker/tokenworker"
)

// KeyStore keeps wrapped keys. Every store of the worker's does. Errors match [tokenworker.ErrUnavailable] where
// trying again may help.
type KeyStore interface {
	// WrappedKeys lists the keys whose name begins with prefix, consistently: a key that was put before is among them.
	WrappedKeys(ctx context.Context, prefix string) ([]tokenworker.WrappedKey, error)

	// PutWrappedKey stores k if the stored key of that name is wrapped as replaces says, nil for none, and returns the
	// one that is stored afterwards.
	PutWrappedKey(ctx context.Context, k tokenworker.WrappedKey, replaces []byte) (tokenworker.WrappedKey, error)

	// DeleteWrappedKey destroys a key. It is no error if there is none.
	DeleteWrappedKey(ctx context.Context, name string) error
}

// KeyService is what a [Keyring] asks of a [tokenworker.KeyService], whose contract it keeps.
type KeyService interface {
	GenerateDataKey(ctx context.Context, encryptionContext map[string]string) (tokenworker.DataKey, error)
	Decrypt(ctx context.Context, keyID string, wrapped []byte, encryptionContext map[string]string) (tokenworker.Secret, error)
}

// Errors of a [Keyring].
var (
	// ErrTwoKeys: two keys are live already, and the older has to be retired before there can be a third.
	ErrTwoKeys = errors.New("two event keys are live")

	// ErrKeyInUse: the key is the current one, or was until so recently that replicas may not have noticed.
	ErrKeyInUse = errors.New("event key is in use")
)

// KeyKind is the kind of wrapped key that event keys are: they are stored under the name event/<kid>.
const KeyKind = "event"

// How long an event key lives. Nothing ends it by itself, because publishers have to be told of the next: `tokenworker doctor` asks
// the operator for it, and receipts of erasures name the day.
const (
	// KeyRotateAfter is the age at which the current key is to be followed by another.
	KeyRotateAfter = 60 * 24 * time.Hour

	// KeyLifetime is the age by which a key is to be destroyed. Dead letters sealed to it, which are kept for 14 days, are
	// gone by then if it was followed in time.
	KeyLifetime = 90 * 24 * time.Hour
)

const (
	keyNamePrefix = KeyKind + "/"

	// keyCacheTTL is how long a replica may use a key without asking the store and the key service again, and so how
	// long a rotated, retired or disabled key lives on in memory.
	keyCacheTTL = 15 * time.Minute

	// relistAfter bounds how often events that name unknown keys make the store list keys. A key must be this old
	// before the first event is sealed to it, or a flood of bad events could hide it.
	relistAfter = 2 * time.Second
)

// KeyringConfig configures a [Keyring]. The zero value is good for production.
type KeyringConfig struct {
	Suite Suite            // of new keys; empty: SuiteHybrid
	Now   func() time.Time // nil: time.Now
}

// Keyring holds the private keys that events are sealed to. They are derived (RFC 9180 DeriveKeyPair) from data keys
// of the key service, which rest wrapped in the store under the name event/<kid>, and are unwrapped when first needed.
//
// Two keys at most are live: the current one, which is the newest, and the one before, to which publishers may still
// seal. The public half in the store is believed only after it was compared with the private one: whoever could write
// the store could otherwise have publishers seal to a key of their own.
//
// All methods are safe for concurrent use. Their errors match [tokenworker.ErrUnavailable], [tokenworker.ErrKeyRefused]
// or [tokenworker.ErrSealBroken] (a stored key was altered) where the store or the key service is the reason.
type Keyring struct {
	store   KeyStore
	service KeyService
	suite   Suite
	now     func() time.Time

	loading chan struct{} // holds one token while somebody asks the store or the key service

	mu       sync.Mutex // guards what follows, never held while waiting
	listed   []tokenworker.WrappedKey
	listedAt time.Time
	opened   map[string]openedKey // by kid
}

type openedKey struct {
	private hpke.PrivateKey
	public  PublicKey
	seen    time.Time // when it was last seen in the store
}

// NewKeyring returns a keyring over the keys in store. It asks for none of them yet.
func NewKeyring(store KeyStore, service KeyService, cfg KeyringConfig) (*Keyring, error) {
	r := &Keyring{
		store: store, service: service, suite: cmp.Or(cfg.Suite, SuiteHybrid), now: cfg.Now,
		loading: make(chan struct{}, 1), opened: make(map[string]openedKey),
	}
	if r.now == nil {
		r.now = time.Now
	}
	if r.suite.kem() == nil {
		return nil, fmt.Errorf("%w: unknown HPKE suite", tokenworker.ErrMisconfigured)
	}
	return r, nil
}

// Make makes the first key. If there is one already it changes nothing and returns the current one. Two that run at
// once may leave two live keys.
func (r *Keyring) Make(ctx context.Context) (PublicKey, error) {
	keys, err := r.list(ctx)
	if err != nil {
		return PublicKey{}, err
	}
	if len(keys) == 0 {
		if err := r.create(ctx, time.Time{}); err != nil && !errors.Is(err, ErrTwoKeys) {
			return PublicKey{}, err
		}
	}
	return r.currentPublic(ctx)
}

// Rotate makes a new current key; the one that was current stays live. The error is [ErrTwoKeys] while an older one
// has not been retired, and [tokenworker.ErrNotFound] when there is no key yet.
func (r *Keyring) Rotate(ctx context.Context) (PublicKey, error) {
	keys, err := r.list(ctx)
	switch {
	case err != nil:
		return PublicKey{}, err
	case len(keys) == 0:
		return PublicKey{}, fmt.Errorf("%w: no event key to rotate", tokenworker.ErrNotFound)
	case len(keys) > 1:
		return PublicKey{}, ErrTwoKeys
	}
	if err := r.create(ctx, keys[0].CreatedAt); err != nil {
		return PublicKey{}, err
	}
	return r.currentPublic(ctx)
}

// Retire destroys the private key kid: nothing that is sealed to it can be opened ever again. The caller has made sure
// that no stored message names it. The error is [ErrKeyInUse] for the current key, and until every replica has noticed
// that there is a newer one (20 minutes); [tokenworker.ErrNotFound] if there is no such key.
func (r *Keyring) Retire(ctx context.Context, kid string) error {
	keys, err := r.list(ctx)
	if err != nil {
		return err
	}
	i := indexOfKey(keys, kid)
	switch {
	case i < 0:
		return fmt.Errorf("%w: event key", tokenworker.ErrNotFound)
	case i == 0, r.now().Before(keys[0].CreatedAt.Add(keyCacheTTL + tokenworker.ClockSkew)):
		return ErrKeyInUse
	}
	if err := r.store.DeleteWrappedKey(ctx, keys[i].Name); err != nil {
		return fmt.Errorf("deleting event key: %w", err)
	}
	_, err = r.list(ctx)
	return err
}

// Public lists the live public keys, the current one first.
func (r *Keyring) Public(ctx context.Context) ([]PublicKey, error) {
	keys, err := r.list(ctx)
	if err != nil {
		return nil, err
	}
	public := make([]PublicKey, 0, len(keys))
	for _, k := range keys {
		o, err := r.open(ctx, kidOf(k))
		if err != nil {
			return nil, err
		}
		public = append(public, o.public)
	}
	return public, nil
}

func (r *Keyring) currentPublic(ctx context.Context) (PublicKey, error) {
	k, err := r.current(ctx)
	return k.public, err
}

func kidOf(k tokenworker.WrappedKey) string { return strings.TrimPrefix(k.Name, keyNamePrefix) }

func indexOfKey(keys []tokenworker.WrappedKey, kid string) int {
	return slices.IndexFunc(keys, func(k tokenworker.WrappedKey) bool { return kidOf(k) == kid })
}

// create stores a new key, dated after the one it follows: stores keep whole seconds, and the newest key is the current
// one. If others made keys meanwhile, so that there are more than two, it takes its own back and the error is
// [ErrTwoKeys]. Whoever stores last sees the keys of all others, so no race leaves more than two.
func (r *Keyring) create(ctx context.Context, after time.Time) error {
	kid := strings.ToLower(rand.Text())
	data, err := r.service.GenerateDataKey(ctx, KeyContext(kid))
	if err != nil {
		return fmt.Errorf("generating event key: %w", err)
	}
	defer data.Plain.Wipe()
	private, err := r.suite.kem().DeriveKeyPair(data.Plain.Reveal())
	if err != nil {
		return fmt.Errorf("deriving event key: %w", err)
	}
	createdAt := r.now().Truncate(time.Second)
	if !createdAt.After(after) {
		createdAt = after.Add(time.Second)
	}
	k := tokenworker.WrappedKey{
		Name: keyNamePrefix + kid, KeyID: data.KeyID, Wrapped: data.Wrapped,
		Suite: string(r.suite), Public: private.PublicKey().Bytes(), CreatedAt: createdAt,
	}
	if _, err := r.store.PutWrappedKey(ctx, k, nil); err != nil {
		return fmt.Errorf("storing event key: %w", err)
	}
	keys, err := r.list(ctx)
	if err != nil {
		return err
	}
	if len(keys) <= 2 {
		return nil
	}
	if err := r.store.DeleteWrappedKey(ctx, k.Name); err != nil {
		return fmt.Errorf("deleting surplus event key: %w", err)
	}
	if _, err := r.list(ctx); err != nil {
		return err
	}
	return ErrTwoKeys
}

// KeyContext is the encryption context of the event key kid.
func KeyContext(kid string) map[string]string {
	return map[string]string{"app": "tokenworker", "event_key": kid}
}

// list asks the store for the live keys, newest first, and forgets those that are gone.
func (r *Keyring) list(ctx context.Context) ([]tokenworker.WrappedKey, error) {
	now := r.now()
	keys, err := r.store.WrappedKeys(ctx, keyNamePrefix)
	if err != nil {
		return nil, fmt.Errorf("listing event keys: %w", err)
	}
	slices.SortFunc(keys, func(a, b tokenworker.WrappedKey) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(b.Name, a.Name))
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listed, r.listedAt = keys, now
	for kid := range r.opened {
		if indexOfKey(keys, kid) < 0 {
			delete(r.opened, kid)
		}
	}
	return keys, nil
}

// unwrap turns a stored key into one that opens.
func (r *Keyring) unwrap(ctx context.Context, k tokenworker.WrappedKey) (openedKey, error) {
	kid := kidOf(k)
	kem := Suite(k.Suite).kem()
	if kem == nil {
		return openedKey{}, fmt.Errorf("%w: event key of an unknown suite", tokenworker.ErrMisconfigured)
	}
	plain, err := r.service.Decrypt(ctx, k.KeyID, k.Wrapped, KeyContext(kid))
	if err != nil {
		return openedKey{}, fmt.Errorf("unwrapping event key: %w", err)
	}
	defer plain.Wipe()
	private, err := kem.DeriveKeyPair(plain.Reveal())
	if err != nil {
		return openedKey{}, fmt.Errorf("deriving event key: %w", err)
	}
	if !bytes.Equal(private.PublicKey().Bytes(), k.Public) {
		return openedKey{}, fmt.Errorf("%w: the stored public half of an event key is not its own", tokenworker.ErrSealBroken)
	}
	public := PublicKey{KeyID: kid, Suite: Suite(k.Suite), CreatedAt: k.CreatedAt, key: private.PublicKey()}
	return openedKey{private: private, public: public}, nil
}
