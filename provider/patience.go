package provider

import (
	"context"
	"errors"
	"time"
)

// beats is how many a patience has.
const beats = 20

// patient returns a context that ends when this process has run for d, or when ctx is canceled. Its clock has beats, and a pause
// (SIGSTOP, a suspended machine, a starved one) is no more than one of them: an answer that came meanwhile lies in the
// socket, and is read. By a deadline it would be thrown away, and with it the only successor of a refresh token.
//
// The deadline of ctx does not end it; what must not happen after that is to send (countingConn.sendBy).
func patient(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	waiting, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	unhook := context.AfterFunc(ctx, func() {
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			cancel(ctx.Err())
		}
	})
	go func() {
		beat := time.NewTicker(max(d/beats, 1))
		defer beat.Stop()
		for range beats {
			select {
			case <-waiting.Done():
				return
			case <-beat.C:
			}
		}
		cancel(context.DeadlineExceeded)
	}()
	return waiting, func() {
		unhook()
		cancel(context.Canceled)
	}
}
