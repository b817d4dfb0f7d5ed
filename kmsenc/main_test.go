package kmsenc

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// later moves a synctest bubble's clock on, and returns when all that was due by then is done.
func later(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // of the bubble's clock; nothing waits
	synctest.Wait()
}
