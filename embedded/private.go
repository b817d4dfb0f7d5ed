package embedded

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/tokenworker/tokenworker"
)

// checkPrivate refuses a file or directory that others than its owner may use.
func checkPrivate(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("checking permissions: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%w: %s is open to others (mode %04o): run chmod go-rwx on it", tokenworker.ErrMisconfigured,
			path, mode)
	}
	return nil
}

// createNew opens a private file that is to get its content and the name path by nameNew. Only the process that holds
// the directory does so, hence the fixed name, which a killed process leaves for the next to overwrite.
func createNew(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) //nolint:gosec // the operator names it
	if err != nil {
		return nil, fmt.Errorf("creating a file: %w", err)
	}
	return f, nil
}

// nameNew writes the content of a file that createNew opened and gives it its name: whoever opens path gets all of it.
func nameNew(f *os.File, path string, content []byte) error {
	if _, err := f.Write(content); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("naming: %w", err)
	}
	return nil
}

// writeNew makes a private file with that content, whole or not at all.
func writeNew(path string, content []byte) error {
	f, err := createNew(path)
	if err != nil {
		return err
	}
	return errors.Join(nameNew(f, path, content), f.Close())
}

// tryLock takes a lock, syscall.LOCK_EX or LOCK_SH, that lasts until the open file is closed or the process ends. It
// reports false when a lock of another open file is in the way.
func tryLock(f *os.File, how int) (bool, error) {
	for {
		switch err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB); {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, syscall.EINTR):
			return false, fmt.Errorf("locking: %w", err)
		}
	}
}
