package consumer

import (
	"errors"
	"fmt"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// maxEarly is how far ahead the time of an event may be of the stream's clock and of a worker's. Clocks that are further apart
// than that are a publisher's mistake.
const maxEarly = 15 * time.Minute

var errEarly = fmt.Errorf("the event entered the stream more than %s before its time: a clock is wrong", tokenworker.ClockSkew)

// checkAge refuses what entered the stream too long after its time. What entered it before its time is parked: the clock of the
// server that led the stream may have been behind, and that alone refuses nothing. From there it goes on as soon as its time has
// come by a worker's clock, and is refused when that is far ahead by both.
func (w *Worker) checkAge(d *delivery, at time.Time) error {
	err := events.CheckAge(d.entered, at)
	if !errors.Is(err, events.CodeFromFuture) {
		return err
	}
	early := func(by time.Time, than time.Duration) bool { return by.Before(at.Add(-than)) }
	switch now := w.cfg.Now(); {
	case !d.refused.IsZero():
		if early(d.refused, tokenworker.ClockSkew) {
			return err
		}
		return nil
	case !d.parked:
		w.metrics.early.Inc()
		return errEarly
	case early(now, maxEarly):
		return err
	case early(now, tokenworker.ClockSkew):
		return errEarly
	}
	return nil
}
