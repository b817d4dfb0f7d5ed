package dynamo

import (
	"sync/atomic"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
)

// clock knows by how much this machine's clock may differ from DynamoDB's. It is looked at with each item that is read, so it
// is as fresh as what was read.
type clock struct{ off atomic.Int64 }

// look compares the time that an answer bears (its Date header, in whole seconds) with this machine's before the request and
// after the answer. The server's time lies between the two; of all differences that this leaves, the largest counts.
func (c *clock) look(answer middleware.Metadata, began, ended time.Time) {
	at, ok := awsmiddleware.GetServerTime(answer)
	if !ok {
		return
	}
	// Without monotonic readings, as claims are compared.
	behind, ahead := at.Add(time.Second).Sub(began.Round(0)), ended.Round(0).Sub(at)
	c.off.Store(int64(max(behind, ahead)))
}

// ClockOff is by how much this machine's clock may differ from DynamoDB's, as the last item that was read showed it; zero
// before the first.
func (t *Table) ClockOff() time.Duration { return time.Duration(t.clock.off.Load()) }
