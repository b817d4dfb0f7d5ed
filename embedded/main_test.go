package embedded_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/tokenworker/tokenworker/embedded"
)

// childEnv names the role that this test binary plays when a test starts it as a second process.
const childEnv = "EMBEDDED_TEST_CHILD"

// children are the roles. Each gets the path that the test names, and runs until it is done or killed.
func children() map[string]func(path string) error {
	return map[string]func(path string) error{
		"store under load":  storeUnderLoad,
		"read and count up": readAndCountUp,
		"hold a directory":  holdDirectory,
	}
}

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		if err := children()[role](os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// child is this test binary as another process in the given role.
func child(ctx context.Context, role, path string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], path)
	cmd.Env = append(os.Environ(), childEnv+"="+role)
	cmd.Stderr = os.Stderr
	return cmd
}

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

// openDir opens the data directory at path until the test ends.
func openDir(t testing.TB, path string) *embedded.Dir {
	t.Helper()
	d, err := embedded.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("closing the directory: %v", err)
		}
	})
	return d
}

// newDirPath is a path where no directory is yet.
func newDirPath(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "data")
}

// mode is the permission bits of a file.
func mode(t testing.TB, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}
