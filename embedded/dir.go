package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/tokenworker/tokenworker"
)

// The names of what a data directory holds.
const (
	storeName     = "store.db"
	keyName       = "key.json"
	natsName      = "nats"
	natsTokenName = "nats.token"
	devName       = "dev.json"
	lockName      = "lock"
)

// StorePath is the store's file in the data directory dir, for [OpenStore].
func StorePath(dir string) string { return filepath.Join(dir, storeName) }

// KeyPath is the key file in the data directory dir.
func KeyPath(dir string) string { return filepath.Join(dir, keyName) }

// NATSPath is where the NATS server keeps its streams in the data directory dir.
func NATSPath(dir string) string { return filepath.Join(dir, natsName) }

// DefaultDir is the data directory of a user who names none: tokenworker under $XDG_DATA_HOME, else under ~/.local/share
// (XDG Base Directory Specification 0.8: a relative XDG_DATA_HOME is ignored).
func DefaultDir() (string, error) {
	base := os.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(base) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("finding a data directory: %w", err)
		}
		base = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(base, "tokenworker"), nil
}

// Dir is a data directory in the hands of this process alone.
type Dir struct {
	path   string
	lock   *os.File
	notice *os.File // dev.json, locked; nil until Announce
}

// OpenDir locks the data directory at path until [Dir.Close], and creates it with mode 0700 when there is none. A
// directory that others than its owner may use, or that another process has locked, is refused with an error that
// matches [tokenworker.ErrMisconfigured]; the latter names the process.
func OpenDir(path string) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("opening the data directory: %w", err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("creating the data directory: %w", err)
	}
	if err := checkPrivate(path); err != nil {
		return nil, err
	}
	lock, err := takeLock(filepath.Join(path, lockName))
	if err != nil {
		return nil, err
	}
	// What a killed process left behind.
	if err := os.Remove(filepath.Join(path, devName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("removing an old notice: %w", err), lock.Close())
	}
	return &Dir{path: path, lock: lock}, nil
}

// Path is the directory, as an absolute path.
func (d *Dir) Path() string { return d.path }

// Close withdraws the notice of [Dir.Announce] and gives the directory free.
func (d *Dir) Close() error {
	var errs []error
	if d.notice != nil {
		errs = append(errs, os.Remove(filepath.Join(d.path, devName)), d.notice.Close())
	}
	errs = append(errs, d.lock.Truncate(0), d.lock.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("closing the data directory: %w", err)
	}
	return nil
}

// takeLock locks the file at path and writes this process's id into it. The kernel frees the lock when the process ends,
// however it ends; the file stays, since removing it could take the lock from under another process.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the operator names the directory
	if err != nil {
		return nil, fmt.Errorf("opening the lock: %w", err)
	}
	locked, err := tryLock(f, syscall.LOCK_EX)
	switch {
	case err != nil:
	case !locked:
		err = fmt.Errorf("%w: %s is in use by process %s", tokenworker.ErrMisconfigured, filepath.Dir(path), holder(path))
	default:
		if err = f.Truncate(0); err == nil {
			_, err = f.WriteAt(strconv.AppendInt(nil, int64(os.Getpid()), 10), 0)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking the data directory: %w", err), f.Close())
	}
	return f, nil
}

// holder is the process id in the lock file at path.
func holder(path string) string {
	b, err := os.ReadFile(path) //nolint:gosec // the operator names the directory
	if b = bytes.TrimSpace(b); err != nil || len(b) == 0 {
		return "(unknown)" // it has the lock and has not written yet
	}
	return string(b)
}
