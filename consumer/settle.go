package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// verb is what becomes of a delivery.
type verb uint8

const (
	ack        verb = iota + 1 // its effect is committed, or there is none
	retry                      // deliver again after a delay
	release                    // deliver again at once, to another replica: this one is shutting down
	park                       // keep it aside with its stamp; give its slot back
	deadLetter                 // refused: keep it sealed, then terminate it
	halt                       // leave it where it is and stop the worker
)

func (v verb) String() string {
	return [...]string{"", "ack", "retry", "release", "park", "dead_letter", "halt"}[v]
}

// settlement is a verb and what it needs.
type settlement struct {
	verb  verb
	delay time.Duration // of retry
	code  events.Code   // of deadLetter
}

// Errors that handling a delivery can end with, besides those of the root package and refusals.
var (
	errHeldBack = errors.New("an earlier message of the subject is unsettled")
	errAside    = errors.New("an earlier message of the subject is parked")
	errFull     = errors.New("the record has no room to remember the event")
	errAttempt  = errors.New("an attempt at its refresh token may still end either way")
	errNoEraser = errors.New("requests to erase are left to other replicas")
	errPanicked = errors.New("handling the delivery panicked")
	errKeyring  = errors.New("event keys cannot be used") // all organizations' events wait, so none is parked
)

// Delays between tries. A live event is tried again within seconds, since what failed is usually all of a service and
// comes back as a whole; a parked one within minutes, since somebody must act first.
const (
	firstRetry, lastRetry       = time.Second, time.Minute
	firstHoldBack, lastHoldBack = 500 * time.Millisecond, 30 * time.Second
	firstParked, lastParked     = 15 * time.Second, 10 * time.Minute
)

// maxHoldBacks is how often a live event is held back before it is parked, some two minutes altogether.
const maxHoldBacks = 10

// settle decides what becomes of a delivery that ended with err (nil: done). Deliveries counts the tries so far, this
// one included; parked says that the event already waits aside; stopping that the worker is shutting down.
//
// It is the only place that decides. Delays are without jitter.
func settle(err error, deliveries uint64, parked, stopping bool) settlement {
	var refusal events.Code
	switch {
	case err == nil:
		return settlement{verb: ack}
	case errors.As(err, &refusal):
		return settlement{verb: deadLetter, code: refusal}
	case errors.Is(err, tokenworker.ErrTooLarge):
		return settlement{verb: deadLetter, code: events.CodeTooLarge}
	case errors.Is(err, tokenworker.ErrRolledBack):
		return settlement{verb: halt}
	case stopping && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)):
		return settlement{verb: release} // not a failed try
	case errors.Is(err, errHeldBack) && !parked && deliveries > maxHoldBacks:
		return settlement{verb: park} // what it waits for takes long
	case errors.Is(err, errHeldBack):
		return settlement{verb: retry, delay: backoff(firstHoldBack, lastHoldBack, deliveries)}
	case errors.Is(err, errKeyring) && !parked:
		return settlement{verb: retry, delay: backoff(firstRetry, lastRetry, deliveries)}
	case parked:
		return settlement{verb: retry, delay: backoff(firstParked, lastParked, deliveries)}
	case errors.Is(err, tokenworker.ErrKeyRefused), errors.Is(err, tokenworker.ErrSealBroken),
		errors.Is(err, errAside), errors.Is(err, errFull), errors.Is(err, errAttempt), errors.Is(err, errPanicked), errors.Is(err, errProvider),
		errors.Is(err, errEarly):
		return settlement{verb: park} // concerns one organization, connection, provider or event, and waits for somebody to act
	default:
		return settlement{verb: retry, delay: backoff(firstRetry, lastRetry, deliveries)}
	}
}

// backoff doubles from first to last.
func backoff(first, last time.Duration, tries uint64) time.Duration {
	d := first
	for i := uint64(1); i < tries && d < last; i++ {
		d *= 2
	}
	return min(d, last)
}
