package embedded_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/embedded"
)

// execSQL changes a database file behind the store's back.
func execSQL(t *testing.T, path, statements string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statements); err != nil {
		t.Fatal(err)
	}
}

// countRows counts the connections in a store, whatever their keys.
func countRows(t *testing.T, path string) int {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var n int
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM connections").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTheStoresFilesArePrivateAndTheLogGoesWhenItCloses(t *testing.T) {
	path := storePath(t)
	s, err := embedded.OpenStore(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.TakeEpoch(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if got := mode(t, path+suffix); got != 0o600 {
			t.Errorf("store.db%s has mode %04o", suffix, got)
		}
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	if err != nil || len(files) != 1 {
		t.Errorf("after Close: %v, %v; want store.db alone", files, err)
	}
}

func TestAPathMayHoldWhatURLsEscape(t *testing.T) {
	path := filepath.Join(t.TempDir(), "50%20 a?b#c&mode=memory.db")
	s := openStore(t, path)
	if _, err := s.TakeEpoch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + "-wal"); err != nil {
		t.Errorf("the store is not where it should be: %v", err)
	}
}

func TestOpenStoreRefusesWhatIsNotItsOwnAndLeavesItAlone(t *testing.T) {
	for name, c := range map[string]struct {
		make func(t *testing.T, path string)
		says string
	}{
		"a file that others may read": {func(t *testing.T, path string) {
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "chmod"},
		"a store of a newer version": {func(t *testing.T, path string) {
			if err := openStore(t, path).Close(); err != nil {
				t.Fatal(err)
			}
			execSQL(t, path, "PRAGMA user_version = 2")
		}, "schema 2"},
		"a database of another program": {func(t *testing.T, path string) {
			execSQL(t, path, "CREATE TABLE other (x)")
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "another program"},
		"a file that is no database": {func(t *testing.T, path string) {
			if err := os.WriteFile(path, bytes.Repeat([]byte("text "), 1000), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "not a database"},
	} {
		t.Run(name, func(t *testing.T) {
			path := storePath(t)
			c.make(t, path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = embedded.OpenStore(t.Context(), path)
			if !errors.Is(err, tokenworker.ErrMisconfigured) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want ErrMisconfigured that says %q", err, c.says)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, before) {
				t.Errorf("the file was changed, or cannot be read: %v", err)
			}
		})
	}
}

func TestManyMayCreateTheStoreAtOnce(t *testing.T) {
	const n = 8
	path := storePath(t)
	var g errgroup.Group
	for range n {
		g.Go(func() error {
			s, err := embedded.OpenStore(context.Background(), path)
			if err != nil {
				return err
			}
			_, err = s.TakeEpoch(context.Background())
			return errors.Join(err, s.Close())
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if mark, err := openStore(t, path).HighWater(t.Context()); mark.Epoch != n || err != nil {
		t.Errorf("epoch %d, error %v; want %d", mark.Epoch, err, n)
	}
}

func TestADamagedFileIsAnErrorAndNotAnEmptyStore(t *testing.T) {
	path := storePath(t)
	s := openStore(t, path)
	for i := range uint64(200) {
		if _, err := s.Acquire(t.Context(), acquisition(fmt.Sprint(i), i+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 4096; i < len(b); i++ { // the header and the schema stay
		b[i] ^= 0xff
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, path)
	if _, err := s.Get(t.Context(), key("7")); !errors.Is(err, tokenworker.ErrMisconfigured) {
		t.Errorf("Get: error %v, want ErrMisconfigured", err)
	}
	if _, err := s.Acquire(t.Context(), acquisition("7", 900)); !errors.Is(err, tokenworker.ErrMisconfigured) {
		t.Errorf("Acquire: error %v, want ErrMisconfigured", err)
	}
}

func TestDamagedRowsAreNamedAndTheOthersServed(t *testing.T) {
	path := storePath(t)
	s := openStore(t, path)
	for i, company := range []string{"good", "bad"} {
		if _, err := s.Acquire(t.Context(), acquisition(company, uint64(i+1))); err != nil {
			t.Fatal(err)
		}
	}
	execSQL(t, path, `UPDATE connections SET record = '{"due_at":"canary"}' WHERE conn = 'finch:bad'`)
	_, err := s.Get(t.Context(), key("bad"))
	if !errors.Is(err, tokenworker.ErrMisconfigured) || !strings.Contains(err.Error(), "acme:finch:bad") ||
		strings.Contains(err.Error(), "canary") {
		t.Errorf("the damaged row: error %v", err)
	}
	if _, err := s.Get(t.Context(), key("good")); err != nil {
		t.Errorf("the other row: %v", err)
	}
	var listed []error
	for _, err := range s.Records(t.Context(), "acme") {
		listed = append(listed, err)
	}
	if len(listed) != 1 || !errors.Is(listed[0], tokenworker.ErrMisconfigured) { // bad sorts before good
		t.Errorf("the listing's errors: %v", listed)
	}
}

func TestAKeyThatNoKeyMayBeIsRefused(t *testing.T) {
	s := openStore(t, storePath(t))
	if _, err := s.Acquire(t.Context(), acquisition("", 1)); !errors.Is(err, tokenworker.ErrInvalidKey) {
		t.Errorf("error %v, want ErrInvalidKey", err)
	}
}

func TestWhatIsDeletedIsOverwritten(t *testing.T) {
	path, canary := storePath(t), bytes.Repeat([]byte("canary"), 50)
	inFile := func() bool {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Contains(b, canary)
	}
	s := openStore(t, path)
	k := tokenworker.WrappedKey{Name: "event/1", Wrapped: canary}
	if _, err := s.PutWrappedKey(t.Context(), k, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if !inFile() {
		t.Fatal("the key is not in the file to begin with")
	}
	s = openStore(t, path)
	if err := s.DeleteWrappedKey(t.Context(), k.Name); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if inFile() {
		t.Error("the deleted key's bytes are still in the file")
	}
}

func TestARefreshOfNothingStoresNothing(t *testing.T) {
	path := storePath(t)
	s := openStore(t, path)
	_, v, err := s.Update(t.Context(), tokenworker.Record{Key: key("none")},
		tokenworker.Committing(&tokenworker.Refresh{Sealed: []byte("sealed")}))
	if v != tokenworker.Stale || err != nil {
		t.Errorf("verdict %s, error %v; want stale", v, err)
	}
	if got := countRows(t, path); got != 0 {
		t.Errorf("%d rows, want none", got)
	}
}
