package process

import (
	"context"
	"fmt"
	"net"
	"time"
)

// FreeAddr is a port of the loopback interface that was free a moment ago, with its host.
func FreeAddr(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	defer l.Close() //nolint:errcheck // nothing was done with it
	return l.Addr().String(), nil
}

// Await asks again, 20 times a second, until the condition holds, fails, or has not held within the limit.
func Await(ctx context.Context, limit time.Duration, what string, condition func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := condition(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s, for up to %s: %w", what, limit, ctx.Err())
		}
	}
}
