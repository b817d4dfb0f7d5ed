package embedded

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tokenworker/tokenworker"
)

const (
	keyFileVersion  = 1
	maxKeyFileBytes = 1 << 20
)

// keyFileJSON is the content of a key file. The first key wraps new data keys; the others only unwrap what they once
// wrapped. To change the key, put a new one before it; a former one may go when nothing is wrapped under it any more.
type keyFileJSON struct {
	Version int           `json:"version"` // 1
	Keys    []fileKeyJSON `json:"keys"`    // at least one, no id twice
}

type fileKeyJSON struct {
	ID  string `json:"id"`  // 1 to 255 bytes; stands in all that the key wraps
	Key []byte `json:"key"` // 32 random bytes, in base64
}

// KeyFile opens the directory's key file. It makes one when the directory holds no store either: call it before the
// store is opened. A store without its key file is refused with [tokenworker.ErrMisconfigured], because under a new
// key nothing in it would ever open again.
func (d *Dir) KeyFile() (*KeyFile, error) {
	f, err := OpenKeyFile(KeyPath(d.path))
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	switch _, storeErr := os.Stat(StorePath(d.path)); {
	case errors.Is(storeErr, fs.ErrNotExist):
		return CreateKeyFile(KeyPath(d.path))
	case storeErr != nil:
		return nil, fmt.Errorf("looking for a store: %w", storeErr)
	}
	return nil, fmt.Errorf("%w: %s has a store but not the key file that it was written under: bring back %s",
		tokenworker.ErrMisconfigured, d.path, keyName)
}

// CreateKeyFile makes a key file with one random key and opens it. The file appears whole and synced, with mode 0600,
// or not at all. The error matches [fs.ErrExist] when there is one already, which stays as it is.
func CreateKeyFile(path string) (*KeyFile, error) {
	if err := createKeyFile(path); err != nil {
		return nil, fmt.Errorf("creating key file: %w", err)
	}
	return OpenKeyFile(path)
}

func createKeyFile(path string) (err error) {
	key := make([]byte, fileKeyBytes)
	_, _ = rand.Read(key) // never fails: crypto/rand.Read
	defer clear(key)
	content, err := json.MarshalIndent(keyFileJSON{
		Version: keyFileVersion,
		Keys:    []fileKeyJSON{{ID: "file/" + rand.Text(), Key: key}},
	}, "", "  ")
	if err != nil {
		return err
	}
	content = append(content, '\n')
	defer clear(content)

	temporary, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600, and never one that was there
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(temporary.Name())) }()
	_, err = temporary.Write(content)
	if err := errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	// A link, where a rename would replace a key file that another process has just made.
	if err := os.Link(temporary.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory durable.
func syncDir(path string) error {
	dir, err := os.Open(path) //nolint:gosec // G304: the operator names the directory
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// OpenKeyFile reads a key file. A file that anybody but this process's user may read or owns, a symbolic link, and
// content that is not a key file are refused with an error that matches [tokenworker.ErrMisconfigured] and shows
// nothing of the content. The error matches [fs.ErrNotExist] when there is no file.
func OpenKeyFile(path string) (*KeyFile, error) {
	content, err := readPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("opening key file: %w", err)
	}
	defer clear(content)
	f, err := parseKeyFile(content)
	if err != nil {
		return nil, fmt.Errorf("opening key file %s: %w: %w", path, tokenworker.ErrMisconfigured, err)
	}
	return f, nil
}

// readPrivate reads a file after making sure, on the open file itself, that it is this user's own.
func readPrivate(path string) ([]byte, error) {
	// Not through a link, and not waiting for somebody to write into a pipe.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0) //nolint:gosec // G304: the operator names it
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%w: %s is a symbolic link: name the file itself", tokenworker.ErrMisconfigured, path)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := checkOwn(info, os.Geteuid()); err != nil {
		return nil, fmt.Errorf("%w: %s %w", tokenworker.ErrMisconfigured, path, err)
	}
	return io.ReadAll(io.LimitReader(f, maxKeyFileBytes))
}

// checkOwn refuses all but a regular file that only the given user may use.
func checkOwn(info fs.FileInfo, user int) error {
	if !info.Mode().IsRegular() {
		return errors.New("is not a regular file")
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != user {
		return fmt.Errorf("belongs to another user than this process's (%d)", user)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("is open to others (mode %04o): run chmod 600 on it, and change the key if they may have read it", mode)
	}
	return nil
}

// parseKeyFile reads the content. The JSON library's own errors are dropped: they may quote it.
func parseKeyFile(content []byte) (*KeyFile, error) {
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	var file keyFileJSON
	if err := decoder.Decode(&file); err != nil {
		return nil, errors.New("not valid JSON of a key file")
	}
	defer func() {
		for _, k := range file.Keys {
			clear(k.Key)
		}
	}()
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the key file's JSON")
	}
	if file.Version != keyFileVersion {
		return nil, fmt.Errorf("version %d, want %d", file.Version, keyFileVersion)
	}
	if len(file.Keys) == 0 {
		return nil, errors.New("no keys")
	}
	f := &KeyFile{}
	for i, k := range file.Keys {
		if n := len(k.ID); n < 1 || n > maxKeyIDBytes {
			return nil, fmt.Errorf("key %d: its id has %d bytes, want 1 to %d", i+1, n, maxKeyIDBytes)
		}
		if n := len(k.Key); n != fileKeyBytes {
			return nil, fmt.Errorf("key %d: has %d bytes, want %d", i+1, n, fileKeyBytes)
		}
		if _, twice := f.keys[k.ID]; twice {
			return nil, fmt.Errorf("key %d: its id stands there twice", i+1)
		}
		if err := f.add(k.ID, k.Key); err != nil {
			return nil, err
		}
	}
	return f, nil
}
