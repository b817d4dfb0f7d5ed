package main

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
)

// Room on the disk, in bytes: the embedded NATS server and SQLite refuse to write when there is none.
const (
	littleRoom = 1 << 30
	noRoom     = 64 << 20
)

// examineFiles looks at a data directory: who may open its files, and whether there is room for more.
func examineFiles(_ context.Context, t *target) []finding {
	dir, isDir := t.backend.(dataDir)
	if !isDir {
		return nil
	}
	if err := dir.inUse(); err != nil {
		return []finding{{bad, err.Error(), "there is nothing to look at"}}
	}
	return []finding{examineModes(string(dir)), examineRoom(string(dir))}
}

func examineModes(dir string) finding {
	const why = "other users of this machine can read keys or take over NATS"
	open := ""
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		// Below a private directory nobody gets, so that only its own files and the directory itself count.
		if d.IsDir() && path != dir {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			open = path
		}
		return err
	})
	switch {
	case err != nil:
		return finding{warn, "files: " + err.Error(), why}
	case open != "":
		return finding{bad, fmt.Sprintf("files: %s is open to others; run `chmod go-rwx`", open), why}
	}
	return finding{Level: ok, What: "files: open to their owner alone"}
}

func examineRoom(dir string) finding {
	const why = "without room nothing is stored, and every event waits"
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil {
		return finding{warn, "disk: its room cannot be seen: " + err.Error(), why}
	}
	room := disk.Bavail * uint64(disk.Bsize) //nolint:gosec // a block's size is positive
	f := finding{Level: ok, What: fmt.Sprintf("disk: %d MiB free", room>>20)}
	switch {
	case room < noRoom:
		f.Level, f.Why = bad, why
	case room < littleRoom:
		f.Level, f.Why = warn, why
	}
	return f
}
