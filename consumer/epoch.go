package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/streams"
)

// lookEvery is how often the stream of events is compared with what the store knows of it. For so long at most a worker waits
// for the messages of a new epoch.
const lookEvery = 5 * time.Second

// A stream that seems rolled back is looked at a few times: the server that leads it may just have begun to, and a new one may
// have been made between the two questions that a look asks.
const (
	looks      = 3
	looksApart = 2 * time.Second
)

var errNewEpoch = errors.New("the stream of events is of another epoch")

// hold is what a worker holds of the stream of events, from when it takes an epoch until it takes the next.
type hold struct {
	epoch  uint64
	seen   atomic.Uint64 // the highest sequence that it was given
	looked atomic.Uint64 // how often NATS had been connected to again, at the last look
	mu     sync.Mutex    // one look at a time
}

func (h *hold) durable(kind string) string { return streams.Durable(kind, h.epoch) }

// see notes a sequence that was given.
func (h *hold) see(sequence uint64) {
	for {
		seen := h.seen.Load()
		if sequence <= seen || h.seen.CompareAndSwap(seen, sequence) {
			return
		}
	}
}

// Epoch is the epoch whose messages the worker handles now; 0: it waits for a stream to be there.
func (w *Worker) Epoch() uint64 {
	if h := w.holds.Load(); h != nil {
		return h.epoch
	}
	return 0
}

// follow handles the messages of one epoch after the other until ctx ends.
func (w *Worker) follow(ctx context.Context) error {
	for ctx.Err() == nil {
		h, err := w.takeEpoch(ctx)
		if err != nil || h == nil {
			return err
		}
		w.holds.Store(h)
		w.cfg.Logger.InfoContext(ctx, "handling events", slog.Uint64("epoch", h.epoch))
		err = w.handleAll(ctx, h)
		if !errors.Is(err, errNewEpoch) {
			return err
		}
		w.cfg.Logger.InfoContext(ctx, "the stream of events was made anew", slog.Uint64("former_epoch", h.epoch))
	}
	return nil
}

// takeEpoch waits until there is a stream of events that the store agrees on; nil: ctx has ended.
func (w *Worker) takeEpoch(ctx context.Context) (*hold, error) {
	for delay := firstRetry; ctx.Err() == nil; delay = min(2*delay, lookEvery) {
		h := &hold{}
		epoch, err := w.look(ctx, h)
		switch {
		case err == nil:
			h.epoch = epoch
			return h, nil
		case errors.Is(err, tokenworker.ErrRolledBack):
			return nil, err
		case ctx.Err() == nil:
			w.cfg.Logger.WarnContext(ctx, "waiting for the stream of events", slog.Any("error", err))
			sleep(ctx, delay)
		}
	}
	return nil, nil
}

// watch looks at the stream from time to time, until ctx ends (nil), the stream is of another epoch, or it was rolled back.
func (w *Worker) watch(ctx context.Context, h *hold) error {
	for sleep(ctx, lookEvery); ctx.Err() == nil; sleep(ctx, lookEvery) {
		epoch, err := w.look(ctx, h)
		switch {
		case ctx.Err() != nil: // it was cut short
		case errors.Is(err, tokenworker.ErrRolledBack):
			w.cfg.Logger.ErrorContext(ctx, "the stream of events was rolled back; the worker stops", slog.Any("error", err))
			return err
		case err != nil:
			w.cfg.Logger.WarnContext(ctx, "looking at the stream of events failed", slog.Any("error", err))
		case epoch != h.epoch:
			w.holds.Store(nil) // from now on; what is under way may still take the grace
			return errNewEpoch
		}
	}
	return nil
}

// sound returns when the stream was looked at since NATS was last connected to: a server that was restored is connected to
// anew, and what it hands out must not be handled.
func (w *Worker) sound(ctx context.Context, h *hold) error {
	if h.looked.Load() == w.connections() {
		return nil
	}
	if _, err := w.look(ctx, h); err != nil {
		return fmt.Errorf("looking at the stream of events: %w", err)
	}
	return nil
}

// connections is how often NATS was connected to again.
func (w *Worker) connections() uint64 { return w.js.Conn().Stats().Reconnects }

// look returns the epoch of the stream and raises the store's mark. The error matches [tokenworker.ErrRolledBack] when the
// stream has given less than the store, or this worker, knows of, and has not come back in a few looks.
func (w *Worker) look(ctx context.Context, h *hold) (uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for n := 1; ; n++ {
		connections := w.connections()
		epoch, err := streams.Follow(ctx, w.js, w.store, tokenworker.Stamp{Epoch: h.epoch, Sequence: h.seen.Load()})
		if err == nil {
			h.looked.Store(connections)
		}
		if !errors.Is(err, tokenworker.ErrRolledBack) || n == looks || ctx.Err() != nil {
			return epoch, err
		}
		w.cfg.Logger.WarnContext(ctx, "the stream of events seems rolled back; looking again", slog.Any("error", err))
		sleep(ctx, looksApart)
	}
}

// sleep waits, or less when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
