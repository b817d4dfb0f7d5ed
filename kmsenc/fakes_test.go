package kmsenc

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/internal/keytest"
)

// stubService is a key service in memory that counts calls, refuses when told to and waits when told to. It keeps
// the contract of key services, which a test makes sure of.
type stubService struct {
	keyID  string
	aead   cipher.AEAD
	former []*stubService // whose keys it also unwraps

	generated, decrypted, reEncrypted atomic.Int64

	// intercept, when set, runs before each call and may wait or fail it.
	intercept func(ctx context.Context, encryptionContext map[string]string) error
}

func newStubService(tb testing.TB) *stubService {
	tb.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		tb.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		tb.Fatal(err)
	}
	return &stubService{keyID: "stub/" + rand.Text(), aead: aead}
}

func (s *stubService) before(ctx context.Context, encryptionContext map[string]string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.intercept != nil {
		return s.intercept(ctx, encryptionContext)
	}
	return nil
}

func (s *stubService) GenerateDataKey(ctx context.Context, encryptionContext map[string]string) (tokenworker.DataKey, error) {
	s.generated.Add(1)
	if err := s.before(ctx, encryptionContext); err != nil {
		return tokenworker.DataKey{}, err
	}
	plain := make([]byte, 32)
	_, _ = rand.Read(plain)
	return tokenworker.DataKey{Plain: tokenworker.NewSecret(plain), Wrapped: s.wrap(plain, encryptionContext), KeyID: s.keyID}, nil
}

func (s *stubService) wrap(plain []byte, encryptionContext map[string]string) []byte {
	return s.aead.Seal(nil, nil, plain, contextBytes(encryptionContext))
}

func (s *stubService) Decrypt(
	ctx context.Context, keyID string, wrapped []byte, encryptionContext map[string]string,
) (tokenworker.Secret, error) {
	s.decrypted.Add(1)
	if err := s.before(ctx, encryptionContext); err != nil {
		return tokenworker.Secret{}, err
	}
	return s.unwrap(keyID, wrapped, encryptionContext)
}

func (s *stubService) unwrap(keyID string, wrapped []byte, encryptionContext map[string]string) (tokenworker.Secret, error) {
	for _, f := range s.former {
		if keyID == f.keyID {
			return f.unwrap(keyID, wrapped, encryptionContext)
		}
	}
	if keyID != s.keyID {
		return tokenworker.Secret{}, broken("another key")
	}
	plain, err := s.aead.Open(nil, nil, wrapped, contextBytes(encryptionContext))
	if err != nil {
		return tokenworker.Secret{}, broken("does not unwrap")
	}
	return tokenworker.NewSecret(plain), nil
}

func (s *stubService) WrappingKey(map[string]string) string { return s.keyID }

func (s *stubService) ReEncrypt(
	ctx context.Context, keyID string, wrapped []byte, encryptionContext map[string]string,
) ([]byte, error) {
	s.reEncrypted.Add(1)
	if err := s.before(ctx, encryptionContext); err != nil {
		return nil, err
	}
	plain, err := s.unwrap(keyID, wrapped, encryptionContext)
	if err != nil {
		return nil, err
	}
	return s.wrap(plain.Reveal(), encryptionContext), nil
}

// contextBytes is injective: a map printed with its keys sorted and all strings quoted.
func contextBytes(encryptionContext map[string]string) []byte {
	return fmt.Appendf(nil, "%q", encryptionContext)
}

func TestStubServiceKeepsTheContractOfKeyServices(t *testing.T) {
	keytest.Test(t, func(t *testing.T) tokenworker.KeyService { return newStubService(t) })
	keytest.TestReEncrypt(t, func(t *testing.T) (former, current tokenworker.KeyService) {
		old, next := newStubService(t), newStubService(t)
		next.former = []*stubService{old}
		return old, next
	})
}

// memoryStore is a [KeyStore] in memory that counts reads and writes.
type memoryStore struct {
	mu            sync.Mutex
	keys          map[string]tokenworker.WrappedKey
	reads, writes int

	beforePut func() // when set, runs before each write, outside the lock
	readErr   error  // when set, every read fails with it
	writeErr  error  // when set, every write fails with it
}

func newMemoryStore() *memoryStore {
	return &memoryStore{keys: make(map[string]tokenworker.WrappedKey)}
}

func (s *memoryStore) WrappedKey(_ context.Context, name string) (tokenworker.WrappedKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if s.readErr != nil {
		return tokenworker.WrappedKey{}, s.readErr
	}
	k, ok := s.keys[name]
	if !ok {
		return tokenworker.WrappedKey{}, tokenworker.ErrNotFound
	}
	return k, nil
}

func (s *memoryStore) PutWrappedKey(
	_ context.Context, k tokenworker.WrappedKey, replaces []byte,
) (tokenworker.WrappedKey, error) {
	if s.beforePut != nil {
		s.beforePut()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	if s.writeErr != nil {
		return tokenworker.WrappedKey{}, s.writeErr
	}
	if stored := s.keys[k.Name]; !bytes.Equal(stored.Wrapped, replaces) {
		return stored, nil
	}
	s.keys[k.Name] = k
	return k, nil
}
