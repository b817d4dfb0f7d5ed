package embedded_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/internal/keytest"
)

func createKeyFile(t *testing.T) (*embedded.KeyFile, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.json")
	f, err := embedded.CreateKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return f, path
}

// writeKeyFile writes a key file of the given content, private unless the test changes that.
func writeKeyFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheKeyFileKeepsTheContractOfKeyServices(t *testing.T) {
	keytest.Test(t, func(t *testing.T) tokenworker.KeyService {
		f, _ := createKeyFile(t)
		return f
	})
}

func TestTheKeyFileKeepsTheContractOfWrappingAgain(t *testing.T) {
	keytest.TestReEncrypt(t, func(t *testing.T) (former, current tokenworker.KeyService) {
		open := func(keys ...string) *embedded.KeyFile {
			f, err := embedded.OpenKeyFile(writeKeyFile(t, `{"version":1,"keys":[`+strings.Join(keys, ",")+`]}`))
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		first, second := fileKey("first"), fileKey("second")
		return open(first), open(second, first)
	})
}

// fileKey is a random key of a key file.
func fileKey(id string) string {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return fmt.Sprintf(`{"id":%q,"key":%q}`, id, base64.StdEncoding.EncodeToString(key))
}

func TestTheKeyFileSurvivesARestart(t *testing.T) {
	before, path := createKeyFile(t)
	if got := mode(t, path); got != 0o600 {
		t.Errorf("mode %04o, want 0600", got)
	}
	encryptionContext := map[string]string{"org": "acme"}
	made, err := before.GenerateDataKey(t.Context(), encryptionContext)
	if err != nil {
		t.Fatal(err)
	}
	after, err := embedded.OpenKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := after.Decrypt(t.Context(), made.KeyID, made.Wrapped, encryptionContext)
	if err != nil || !got.Equal(made.Plain) {
		t.Errorf("another key after a restart, error %v", err)
	}
	if names, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); err != nil || len(names) != 1 {
		t.Errorf("left behind %v, %v", names, err)
	}
	if names, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); err != nil || len(names) != 0 {
		t.Errorf("left behind %v, %v", names, err)
	}
}

func TestAKeyFileIsNeverReplaced(t *testing.T) {
	_, path := createKeyFile(t)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.CreateKeyFile(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v, want fs.ErrExist", err)
	}
	after, err := os.ReadFile(path)
	if err != nil || string(after) != string(before) {
		t.Errorf("the file has changed, error %v", err)
	}
}

func TestOfManyWhoCreateOneKeyFileOneSucceeds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.json")
	var creators sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		creators.Go(func() { _, errs[i] = embedded.CreateKeyFile(path) })
	}
	creators.Wait()
	created := 0
	for _, err := range errs {
		switch {
		case err == nil:
			created++
		case !errors.Is(err, fs.ErrExist):
			t.Error(err)
		}
	}
	if created != 1 {
		t.Errorf("%d were told that they had created it", created)
	}
}

// The answer was computed once, by an implementation that shares no code with this one (Python, package cryptography).
func TestAKnownWrappedKeyUnwraps(t *testing.T) {
	const (
		file = `{"version": 1, "keys": [` +
			`{"id": "file/new", "key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}, ` +
			`{"id": "file/known", "key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}]}`
		wrapped = "010a66696c652f6b6e6f776e404142434445464748494a4bc2988c000219a124e5ed3d1db7493d7449f7606f830039144f7e74deab2ed3e4a6e9b4dce290909504a497154e5d652f"
		plain   = "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"
	)
	f, err := embedded.OpenKeyFile(writeKeyFile(t, file))
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(wrapped)
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Decrypt(t.Context(), "file/known", b, map[string]string{"org": "acme", "app": "tokenworker"})
	if err != nil {
		t.Fatal(err)
	}
	if hex.EncodeToString(got.Reveal()) != plain {
		t.Error("another plaintext")
	}
	made, err := f.GenerateDataKey(t.Context(), nil)
	if err != nil || made.KeyID != "file/new" {
		t.Errorf("wraps under %q, %v; want the first key", made.KeyID, err)
	}
}

// KMS keeps such contexts apart too, but LocalStack does not, so this is no part of the contract suite.
func TestContextsThatConcatenateAlikeAreDifferent(t *testing.T) {
	f, _ := createKeyFile(t)
	made, err := f.GenerateDataKey(t.Context(), map[string]string{"a": "bc", "d": "e"})
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []map[string]string{
		{"ab": "c", "d": "e"}, {"a": "b", "cd": "e"}, {"a": "bcde"}, {"a": "bc", "de": ""}, {"a": "bc\x01d\x01e"},
	} {
		if _, err := f.Decrypt(t.Context(), made.KeyID, made.Wrapped, other); !errors.Is(err, tokenworker.ErrSealBroken) {
			t.Errorf("%v: %v, want ErrSealBroken", other, err)
		}
	}
}

func TestAKeyFileThatOthersCouldReachIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, path string) string
		says  string
	}{
		"readable by the group": {chmod(0o640), "mode 0640"},
		"readable by others":    {chmod(0o604), "mode 0604"},
		"writable by others":    {chmod(0o602), "mode 0602"},
		"a symbolic link": {func(t *testing.T, path string) string {
			link := path + ".link"
			if err := os.Symlink(path, link); err != nil {
				t.Fatal(err)
			}
			return link
		}, "symbolic link"},
		"a directory": {func(_ *testing.T, path string) string { return filepath.Dir(path) }, "not a regular file"},
		"a pipe": {func(t *testing.T, path string) string {
			if err := syscall.Mkfifo(path+".pipe", 0o600); err != nil {
				t.Fatal(err)
			}
			return path + ".pipe"
		}, "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, path := createKeyFile(t)
			path = c.spoil(t, path)
			_, err := embedded.OpenKeyFile(path)
			if !errors.Is(err, tokenworker.ErrMisconfigured) {
				t.Fatalf("%v, want ErrMisconfigured", err)
			}
			if !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path) {
				t.Errorf("%q does not name the file and say %q", err, c.says)
			}
		})
	}
}

func chmod(mode fs.FileMode) func(*testing.T, string) string {
	return func(t *testing.T, path string) string {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
}

func TestAKeyFileIsReadOnlyWhenItIsOne(t *testing.T) {
	const canary = "CANARYCANARYCANARYCANARYCANARYCANARYCANARYC="
	key := func(id, key string) string { return fmt.Sprintf(`{"id": %q, "key": %q}`, id, key) }
	file := func(version int, keys ...string) string {
		return fmt.Sprintf(`{"version": %d, "keys": [%s]}`, version, strings.Join(keys, ", "))
	}
	good := key("k", canary)
	for name, content := range map[string]string{
		"empty":               "",
		"no JSON":             canary,
		"an array":            "[]",
		"another version":     file(2, good),
		"no keys":             file(1),
		"a short key":         file(1, key("k", "CANARY==")),
		"a long key":          file(1, key("k", "AAAA"+canary)),
		"no base64":           file(1, key("k", canary+"!")),
		"no id":               file(1, key("", canary)),
		"an id too long":      file(1, key(strings.Repeat("k", 256), canary)),
		"one id twice":        file(1, good, good),
		"an unknown field":    `{"version": 1, "keys": [` + good + `], "` + canary + `": 1}`,
		"something after it":  file(1, good) + canary,
		"another after it":    file(1, good) + file(1, good),
		"cut off":             file(1, good)[:60],
		"a key of wrong type": `{"version": 1, "keys": [{"id": "k", "key": [1]}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := embedded.OpenKeyFile(writeKeyFile(t, content))
			if !errors.Is(err, tokenworker.ErrMisconfigured) {
				t.Fatalf("%v, want ErrMisconfigured", err)
			}
			if strings.Contains(err.Error(), "CANARY") {
				t.Errorf("the error shows the content: %v", err)
			}
		})
	}
	if _, err := embedded.OpenKeyFile(writeKeyFile(t, file(1, good))); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

func TestAMissingKeyFileIsNotFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.json")
	if _, err := embedded.OpenKeyFile(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening: %v, want fs.ErrNotExist", err)
	}
	if _, err := embedded.CreateKeyFile(filepath.Join(path, "key.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("creating in no directory: %v, want fs.ErrNotExist", err)
	}
}

func TestAPrintedKeyFileShowsNoKey(t *testing.T) {
	f, path := createKeyFile(t)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Keys []struct{ Key []byte } }
	if err := json.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	printed := fmt.Sprintf("%v %+v %#v", f, f, f)
	key := file.Keys[0].Key
	for _, form := range []string{
		string(key), hex.EncodeToString(key), base64.StdEncoding.EncodeToString(key), strings.Trim(fmt.Sprintf("%d", key[:8]), "[]"),
	} {
		if strings.Contains(printed, form) {
			t.Errorf("shows the key: %s", printed)
		}
	}
}

func TestADirectoryMakesItsKeyFileBeforeItsStoreOnly(t *testing.T) {
	path := newDirPath(t)
	d := openDir(t, path)
	first, err := d.KeyFile()
	if err != nil {
		t.Fatal(err)
	}
	made, err := first.GenerateDataKey(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := d.KeyFile()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Decrypt(t.Context(), made.KeyID, made.Wrapped, nil); err != nil {
		t.Errorf("the second time: %v", err)
	}

	openStore(t, embedded.StorePath(path))
	if err := os.Remove(embedded.KeyPath(path)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.KeyFile(); !errors.Is(err, tokenworker.ErrMisconfigured) {
		t.Errorf("a store without its key file: %v, want ErrMisconfigured", err)
	}
	if _, err := os.Stat(embedded.KeyPath(path)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key file was made for a store that it does not fit: %v", err)
	}
}
