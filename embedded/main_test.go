package embedded_test

import (
	"context"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/tokenworker/tokenworker/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func storePath(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "store.db")
}

// openStore opens the store at path until the test ends.
func openStore(t testing.TB, path string) *embedded.Store {
	t.Helper()
	s, err := embedded.OpenStore(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return s
}
