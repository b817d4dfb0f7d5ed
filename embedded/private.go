package embedded

import (
	"fmt"
	"os"

	"github.com/tokenworker/tokenworker"
)

// checkPrivate refuses a file or directory that others than its owner may use.
func checkPrivate(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%w: %s is open to others (mode %04o): chmod go-rwx it", tokenworker.ErrMisconfigured, path, mode)
	}
	return nil
}
