package consumer

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

func TestSettle(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("doing something: %w", err) }
	for _, c := range []struct {
		name             string
		err              error
		tries            uint64
		parked, stopping bool
		want             settlement
	}{
		{name: "a committed event is acknowledged", want: settlement{verb: ack}},
		{name: "a committed parked event is acknowledged", parked: true, want: settlement{verb: ack}},
		{name: "a committed event is acknowledged while stopping", stopping: true, want: settlement{verb: ack}},

		{name: "a refusal becomes a dead letter with its code", err: events.CodeTooDeep,
			want: settlement{verb: deadLetter, code: events.CodeTooDeep}},
		{name: "a wrapped refusal becomes a dead letter too", err: wrap(events.CodeSealBroken),
			want: settlement{verb: deadLetter, code: events.CodeSealBroken}},
		{name: "a refusal of a parked event becomes a dead letter", err: events.CodeUnknownKey, parked: true,
			want: settlement{verb: deadLetter, code: events.CodeUnknownKey}},
		{name: "a set that the store takes for too large becomes a dead letter", err: wrap(tokenworker.ErrTooLarge),
			want: settlement{verb: deadLetter, code: events.CodeTooLarge}},

		{name: "an event from before its time is parked", err: wrap(errEarly), tries: 1, want: settlement{verb: park}},
		{name: "a parked one waits for its time", err: wrap(errEarly), tries: 1, parked: true,
			want: settlement{verb: retry, delay: 15 * time.Second}},

		{name: "a store that does not answer is tried again after a second", err: wrap(tokenworker.ErrUnavailable), tries: 1,
			want: settlement{verb: retry, delay: time.Second}},
		{name: "the delay doubles", err: wrap(tokenworker.ErrUnavailable), tries: 4,
			want: settlement{verb: retry, delay: 8 * time.Second}},
		{name: "the delay ends at a minute", err: wrap(tokenworker.ErrUnavailable), tries: 1000,
			want: settlement{verb: retry, delay: time.Minute}},
		{name: "what is misconfigured is waited out", err: wrap(tokenworker.ErrMisconfigured), tries: 1,
			want: settlement{verb: retry, delay: time.Second}},
		{name: "an unknown error is tried again", err: errors.New("unheard of"), tries: 2,
			want: settlement{verb: retry, delay: 2 * time.Second}},
		{name: "a deadline that passes while running is a failed try", err: wrap(context.DeadlineExceeded), tries: 1,
			want: settlement{verb: retry, delay: time.Second}},

		{name: "a refused key parks the event at once", err: wrap(tokenworker.ErrKeyRefused), tries: 1,
			want: settlement{verb: park}},
		{name: "an event key that is refused stops all alike, and parks nothing", tries: 1,
			err: fmt.Errorf("%w: %w", errKeyring, tokenworker.ErrKeyRefused), want: settlement{verb: retry, delay: time.Second}},
		{name: "a data key that does not open parks the event", err: wrap(tokenworker.ErrSealBroken),
			want: settlement{verb: park}},
		{name: "a full record parks the event", err: errFull, want: settlement{verb: park}},
		{name: "a panic parks the event", err: errPanicked, want: settlement{verb: park}},
		{name: "a parked event that fails again waits", err: wrap(tokenworker.ErrKeyRefused), tries: 1, parked: true,
			want: settlement{verb: retry, delay: 15 * time.Second}},
		{name: "a parked event waits ten minutes at most", err: errFull, tries: 50, parked: true,
			want: settlement{verb: retry, delay: 10 * time.Minute}},

		{name: "a possible repeat waits for its original", err: errHeldBack, tries: 1,
			want: settlement{verb: retry, delay: 500 * time.Millisecond}},
		{name: "a possible repeat does not hold a slot for ever", err: errHeldBack, tries: maxHoldBacks + 1,
			want: settlement{verb: park}},
		{name: "a possible repeat whose original is parked is parked at once", err: errAside, tries: 1, want: settlement{verb: park}},
		{name: "a parked possible repeat goes on waiting", err: errHeldBack, tries: maxHoldBacks + 1, parked: true,
			want: settlement{verb: retry, delay: lastHoldBack}},

		{name: "cancellation by shutdown is no failed try", err: wrap(context.Canceled), tries: 7, stopping: true,
			want: settlement{verb: release}},
		{name: "a deadline cut short by shutdown is no failed try", err: wrap(context.DeadlineExceeded), stopping: true,
			want: settlement{verb: release}},
		{name: "a failure while stopping is a failure", err: wrap(tokenworker.ErrUnavailable), tries: 1, stopping: true,
			want: settlement{verb: retry, delay: time.Second}},
		{name: "a rolled-back stream stops the worker", err: wrap(tokenworker.ErrRolledBack),
			want: settlement{verb: halt}},
		{name: "a rolled-back stream stops the worker, found by a parked event", err: wrap(tokenworker.ErrRolledBack),
			parked: true, want: settlement{verb: halt}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := settle(c.err, c.tries, c.parked, c.stopping); got != c.want {
				t.Errorf("settle = %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestJitterStaysWithinAFifth(t *testing.T) {
	lo, hi := time.Hour, time.Duration(0)
	for range 1000 {
		d := jitter(time.Minute)
		lo, hi = min(lo, d), max(hi, d)
	}
	if lo < 48*time.Second || hi > 72*time.Second || hi-lo < 10*time.Second {
		t.Errorf("jitter of a minute ranges from %s to %s", lo, hi)
	}
}
