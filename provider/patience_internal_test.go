package provider

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func TestPatienceEndsByItsOwnClockOrByCancellation(t *testing.T) {
	for _, tc := range []struct {
		name     string
		deadline time.Duration // of the caller's context; 0: none
		cancel   time.Duration // when the caller cancels it; 0: never
		want     time.Duration
		cause    error
	}{
		{name: "alone", want: 20 * time.Second, cause: context.DeadlineExceeded},
		{name: "under a deadline that passes before", deadline: time.Second, want: 20 * time.Second, cause: context.DeadlineExceeded},
		{name: "canceled", cancel: time.Second, want: time.Second, cause: context.Canceled},
		{name: "canceled before a deadline", deadline: time.Minute, cancel: time.Second, want: time.Second, cause: context.Canceled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tc.deadline > 0 {
					ctx, cancel = context.WithTimeout(ctx, tc.deadline)
					defer cancel()
				}
				if tc.cancel > 0 {
					time.AfterFunc(tc.cancel, cancel)
				}
				start := time.Now()
				waiting, done := patient(ctx, 20*time.Second)
				defer done()
				<-waiting.Done()
				if got := time.Since(start); got != tc.want || !errors.Is(context.Cause(waiting), tc.cause) {
					t.Errorf("ended after %s by %v, want %s and %v", got, context.Cause(waiting), tc.want, tc.cause)
				}
			})
		})
	}
}

// A process that was paused finds the deadline of its request past.
func TestNothingIsSentTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		c := &countingConn{Conn: ours}
		c.begin(time.Now().Add(time.Second))
		<-time.After(2 * time.Second) // by the test's clock
		if n, err := c.Write([]byte("token")); !errors.Is(err, errTooLate) || n != 0 || c.writes.Load() != 0 {
			t.Errorf("wrote %d bytes in %d writes: %v", n, c.writes.Load(), err)
		}
		c.begin(time.Now().Add(time.Second))
		go func() { _, _ = theirs.Read(make([]byte, 8)) }()
		if _, err := c.Write([]byte("token")); err != nil {
			t.Fatal(err)
		}
		<-time.After(2 * time.Second)
		go func() { _, _ = theirs.Read(make([]byte, 8)) }()
		if _, err := c.Write([]byte("more")); err != nil { // what was begun is ended
			t.Error(err)
		}
	})
}
