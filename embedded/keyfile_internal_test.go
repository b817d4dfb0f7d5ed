package embedded

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAKeyFileOfAnotherUserIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkOwn(info, os.Geteuid()); err != nil {
		t.Errorf("its owner: %v", err)
	}
	if err := checkOwn(info, os.Geteuid()+1); err == nil {
		t.Error("another user was let in")
	}
}

func FuzzUnwrappingNeverPanics(f *testing.F) {
	keys := &KeyFile{}
	if err := keys.add("k", make([]byte, fileKeyBytes)); err != nil {
		f.Fatal(err)
	}
	made, err := keys.GenerateDataKey(f.Context(), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(made.Wrapped)
	f.Add([]byte{wrappedVersion, 1, 'k'})
	f.Fuzz(func(t *testing.T, wrapped []byte) {
		if plain, err := keys.Decrypt(t.Context(), "k", wrapped, nil); err == nil && len(plain.Reveal()) != fileKeyBytes {
			t.Errorf("unwrapped to %d bytes", len(plain.Reveal()))
		}
	})
}

func FuzzParsedKeyFilesHaveACurrentKey(f *testing.F) {
	f.Add([]byte(`{"version": 1, "keys": [{"id": "k", "key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		keys, err := parseKeyFile(content)
		if err != nil {
			return
		}
		if _, err := keys.GenerateDataKey(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
}
