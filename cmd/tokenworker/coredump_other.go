//go:build unix && !linux

package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// forbidCoreDumps keeps the memory of this process, which holds tokens and keys in clear, out of core files.
func forbidCoreDumps() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbidding core dumps: %w", err)
	}
	return nil
}
