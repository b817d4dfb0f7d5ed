package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/tokenworker/tokenworker"
)

// Dev is what a running process tells the commands of the same user: how to reach its NATS server.
type Dev struct {
	NATSURL   string             // without credentials
	NATSToken tokenworker.Secret // the server's authorization token
	PID       int
	StartedAt time.Time
}

// devJSON is the content of dev.json.
type devJSON struct {
	NATSURL   string    `json:"nats_url"`
	NATSToken string    `json:"nats_token"`
	PID       int       `json:"pid"`
	StartedAt time.Time `json:"started_at"`
}

// Announce writes dev.json, readable by its owner alone and complete from the moment it can be seen. It is announced
// once, when the server is ready.
func (d *Dir) Announce(dev Dev) error {
	b, err := json.Marshal(devJSON{dev.NATSURL, string(dev.NATSToken.Reveal()), dev.PID, dev.StartedAt})
	if err != nil {
		return fmt.Errorf("announcing: %w", err)
	}
	path := filepath.Join(d.path, devName)
	f, err := createNew(path)
	if err != nil {
		return fmt.Errorf("announcing: %w", err)
	}
	// Locked before it has its name, and for as long as this process lives: that is how Running tells a notice from what
	// a killed process left behind, without touching the directory's own lock.
	_, err = tryLock(f, syscall.LOCK_EX)
	if err == nil {
		err = nameNew(f, path, b)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("announcing: %w", err), f.Close())
	}
	d.notice = f
	return nil
}

// Running returns the notice of the process that runs on the data directory at path. The error matches
// [tokenworker.ErrNotFound] when there is none.
func Running(path string) (Dev, error) {
	f, err := os.Open(filepath.Join(path, devName)) //nolint:gosec // the operator names the directory
	if errors.Is(err, os.ErrNotExist) {
		return Dev{}, fmt.Errorf("%w: no worker is running on %s", tokenworker.ErrNotFound, path)
	}
	if err != nil {
		return Dev{}, fmt.Errorf("reading dev.json: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	if stale, err := tryLock(f, syscall.LOCK_SH); err != nil {
		return Dev{}, err
	} else if stale {
		return Dev{}, fmt.Errorf("%w: no worker is running on %s any more", tokenworker.ErrNotFound, path)
	}
	var w devJSON
	if err := json.NewDecoder(f).Decode(&w); err != nil {
		return Dev{}, fmt.Errorf("%w: dev.json is damaged", tokenworker.ErrMisconfigured)
	}
	return Dev{w.NATSURL, tokenworker.SecretString(w.NATSToken), w.PID, w.StartedAt}, nil
}
