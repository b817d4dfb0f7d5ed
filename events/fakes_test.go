package events_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// keyStore is an [events.KeyStore] in memory that counts and can fail.
type keyStore struct {
	mu    sync.Mutex
	keys  map[string]tokenworker.WrappedKey
	lists int
	fail  error
	onPut func() // called before a put, without the lock
}

func newKeyStore() *keyStore { return &keyStore{keys: make(map[string]tokenworker.WrappedKey)} }

func (s *keyStore) WrappedKeys(_ context.Context, prefix string) ([]tokenworker.WrappedKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists++
	var found []tokenworker.WrappedKey
	for _, name := range slices.Sorted(maps.Keys(s.keys)) {
		if strings.HasPrefix(name, prefix) {
			found = append(found, s.keys[name])
		}
	}
	return found, s.fail
}

func (s *keyStore) PutWrappedKey(_ context.Context, k tokenworker.WrappedKey, replaces []byte) (tokenworker.WrappedKey, error) {
	if s.onPut != nil {
		hook := s.onPut
		s.onPut = nil
		hook()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return tokenworker.WrappedKey{}, s.fail
	}
	if bytes.Equal(s.keys[k.Name].Wrapped, replaces) {
		s.keys[k.Name] = k
	}
	return s.keys[k.Name], nil
}

func (s *keyStore) DeleteWrappedKey(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail == nil {
		delete(s.keys, name)
	}
	return s.fail
}

// keyService is a [tokenworker.KeyService] that keeps what it wrapped, under its context, and counts and can fail.
type keyService struct {
	mu        sync.Mutex
	plain     map[string][]byte
	generated int
	decrypts  int
	fail      error
	onUnwrap  func() // called before an unwrapping, without the lock
}

func newKeyService() *keyService { return &keyService{plain: make(map[string][]byte)} }

func (s *keyService) GenerateDataKey(_ context.Context, ec map[string]string) (tokenworker.DataKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return tokenworker.DataKey{}, s.fail
	}
	s.generated++
	plain := make([]byte, 32)
	_, _ = rand.Read(plain)
	wrapped := rand.Text()
	s.plain[wrapped+fmt.Sprint(ec)] = bytes.Clone(plain)
	return tokenworker.DataKey{Plain: tokenworker.NewSecret(plain), Wrapped: []byte(wrapped), KeyID: "master"}, nil
}

func (s *keyService) Decrypt(_ context.Context, keyID string, wrapped []byte, ec map[string]string) (tokenworker.Secret, error) {
	if s.onUnwrap != nil {
		s.onUnwrap()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.decrypts++
	if s.fail != nil {
		return tokenworker.Secret{}, s.fail
	}
	plain, ok := s.plain[string(wrapped)+fmt.Sprint(ec)]
	if !ok || keyID != "master" {
		return tokenworker.Secret{}, tokenworker.ErrSealBroken
	}
	return tokenworker.NewSecret(bytes.Clone(plain)), nil
}

// clock is a time that moves when told to.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// ring is a keyring over fakes, with one key.
type ring struct {
	*events.Keyring
	store   *keyStore
	service *keyService
	clock   *clock
	key     events.PublicKey
}

func newRing(t testing.TB, suite events.Suite) *ring {
	t.Helper()
	r := &ring{store: newKeyStore(), service: newKeyService(), clock: newClock()}
	var err error
	if r.Keyring, err = events.NewKeyring(r.store, r.service, events.KeyringConfig{Suite: suite, Now: r.clock.now}); err != nil {
		t.Fatal(err)
	}
	if r.key, err = r.Make(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// another is a second replica over the same store and key service.
func (r *ring) another(t testing.TB) *ring {
	t.Helper()
	other := *r
	var err error
	if other.Keyring, err = events.NewKeyring(r.store, r.service, events.KeyringConfig{Now: r.clock.now}); err != nil {
		t.Fatal(err)
	}
	return &other
}

var (
	acme   = tokenworker.Key{OrgID: "acme", ProviderID: "finch", CompanyID: "c-17"}
	noon   = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	source = "//onboarding.example/connect"
)

func tokenSet() tokenworker.TokenSet {
	return tokenworker.TokenSet{
		AccessToken:  tokenworker.SecretString("access-4f1c"),
		RefreshToken: tokenworker.SecretString("refresh-9a2b"),
		TokenType:    "Bearer",
		Scope:        "company directory",
		ExpiresAt:    noon.Add(time.Hour),
	}
}

func acquired(t testing.TB) *events.Event {
	t.Helper()
	e, err := events.NewAcquired(acme, source, tokenSet(), noon)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// sealed is an acquired event sealed to key, ready to be received.
func sealed(t testing.TB, key events.PublicKey) events.Message {
	t.Helper()
	e := acquired(t)
	if err := e.Seal(key); err != nil {
		t.Fatal(err)
	}
	return message(t, e)
}

func message(t testing.TB, e *events.Event) events.Message {
	t.Helper()
	m, err := e.Message()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func decode(t testing.TB, m events.Message) *events.Event {
	t.Helper()
	e, err := events.Decoder{}.Decode(m)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
