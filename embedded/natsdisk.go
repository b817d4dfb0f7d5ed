package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// room is how much of the disk must be free: the largest message, and as much for the rest.
	room = 2 * maxPayload

	// Delays between looks for a full disk, and after a try to recover, doubling.
	lookEvery         = time.Second
	lastRecoveryDelay = time.Minute
)

// ErrDiskFull says that there is no room left where the streams are kept.
var ErrDiskFull = errors.New("the disk is full")

// Healthy returns an error that matches [ErrDiskFull] while there is no room for messages, and another while a stream cannot be
// written to. A stream is in that state from its first failure on, and [NATS.Recover] brings it back.
func (n *NATS) Healthy() error {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(n.dir, &disk); err != nil {
		return fmt.Errorf("looking at the disk: %w", err)
	}
	if free := disk.Bavail * uint64(disk.Bsize); free < room { //nolint:gosec // a block's size is positive
		return fmt.Errorf("%w: %d bytes are free", ErrDiskFull, free)
	}
	if health := n.server.Healthz(&server.HealthzOptions{}); health.Error != "" {
		return fmt.Errorf("the NATS server says: %s", health.Error)
	}
	return nil
}

// Recover waits until a stream cannot be written to, and has JetStream opened anew when there is room again, until ctx ends.
// Nothing that was acknowledged is lost by that. The server does not do so by itself: what has failed once fails until it is
// restarted.
func (n *NATS) Recover(ctx context.Context) {
	for delay := lookEvery; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
		switch err := n.Healthy(); {
		case err == nil:
			delay = lookEvery
		case errors.Is(err, ErrDiskFull):
			n.log.WarnContext(ctx, "no event can be taken", slog.Any("error", err))
			delay = min(2*delay, 16*lookEvery)
		default:
			n.log.WarnContext(ctx, "opening the streams anew", slog.Any("because", err))
			if err := n.reopen(); err != nil {
				n.log.ErrorContext(ctx, "opening the streams anew failed", slog.Any("error", err))
			}
			delay = min(2*delay, lastRecoveryDelay)
		}
	}
}

func (n *NATS) reopen() error {
	config := n.server.JetStreamConfig()
	if config == nil {
		return errors.New("JetStream is not open")
	}
	config.StoreDir = n.dir // below which it makes a directory of its own
	if err := n.server.ShutdownJetStream(); err != nil {
		return fmt.Errorf("closing JetStream: %w", err)
	}
	if err := n.server.EnableJetStream(config); err != nil {
		return fmt.Errorf("opening JetStream: %w", err)
	}
	return nil
}
