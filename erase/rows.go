package erase

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/provider"
	"github.com/tokenworker/tokenworker/streams"
)

// atOnce is how many connections of one erasure are handled at the same time.
const atOnce = 8

// Pauses between two rounds of revocations, doubling.
const (
	firstPause = 250 * time.Millisecond
	lastPause  = 10 * time.Second
)

// rows yields the rows that the request is about.
func (r *erasure) rows(ctx context.Context) iter.Seq2[tokenworker.Record, error] {
	if r.Key.ProviderID == "" {
		return r.store.Records(ctx, r.Key.OrgID)
	}
	return func(yield func(tokenworker.Record, error) bool) {
		rec, err := r.store.Get(ctx, r.Key)
		if !errors.Is(err, tokenworker.ErrNotFound) {
			yield(rec, err)
		}
	}
}

// each does something for every row that is wanted, some at the same time.
func (r *erasure) each(
	ctx context.Context, wanted func(*tokenworker.Record) bool, do func(context.Context, tokenworker.Record) error,
) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for rec, err := range r.rows(gctx) {
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		if wanted(&rec) {
			g.Go(func() error { return do(gctx, rec) })
		}
	}
	return g.Wait()
}

// disconnectAll disconnects every connection that the request is about, and those first that may be known by a message
// alone.
func (r *erasure) disconnectAll(ctx context.Context) error {
	named, err := r.named(ctx)
	if err != nil {
		return err
	}
	for k := range named {
		if err := r.disconnect(ctx, k); err != nil {
			return err
		}
	}
	return r.each(ctx, func(rec *tokenworker.Record) bool {
		return rec.Status != tokenworker.Disconnected && rec.Disconnected.Compare(r.Stamp) < 0
	}, func(ctx context.Context, rec tokenworker.Record) error { return r.disconnect(ctx, rec.Key) })
}

// disconnect disconnects one connection under the request's stamp, and says so to whoever listens.
func (r *erasure) disconnect(ctx context.Context, k tokenworker.Key) error {
	event := r.Event
	event.Key = k
	verdict, err := r.store.Disconnect(ctx, &tokenworker.Disconnection{
		Event: event, SiblingsUntil: r.revoker.SiblingsUntil(k.ProviderID),
	})
	switch {
	case err != nil:
		return err
	case verdict == tokenworker.Full:
		return fmt.Errorf("%w: the record has no room to remember the request", tokenworker.ErrUnavailable)
	case verdict == tokenworker.Stale:
		return nil // the connection was granted anew since
	}
	rec, err := r.store.Get(ctx, k)
	if err != nil {
		return err
	}
	return r.announce(ctx, k, events.DisconnectedData{Cause: r.cause, Reason: r.reason, ToRevoke: len(rec.Revoke)})
}

// pending tells a row that may hold something from before the request: one that a disconnect, be it a later one, has not made
// a tombstone yet, and a newer grant beside which an older set waits for its revocation.
func (r *erasure) pending(rec *tokenworker.Record) bool {
	return rec.Status == tokenworker.Disconnecting || slices.ContainsFunc(rec.Waiting(), r.isOlderSet)
}

// isOlderSet tells a sealed set from before the request. One that does not say is: nobody can revoke it.
func (r *erasure) isOlderSet(sealed []byte) bool {
	fence, err := r.cfg.FenceOf(sealed)
	return err != nil || fence.Stamp.Compare(r.Stamp) <= 0
}

// revokeAll revokes what waits for it, at least once each, again and again until all is revoked or the time for it is over.
// As long it waits for older events that workers have in hand: their tokens are better revoked than forgotten.
func (r *erasure) revokeAll(ctx context.Context) error {
	until := r.Entered.Add(r.cfg.RevokeFor)
	if inHand := r.cfg.Now().Add(r.cfg.InHand); inHand.After(until) { // the request itself was late
		until = inHand
	}
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		if err := r.each(ctx, r.pending, r.revoke); err != nil {
			return err
		}
		left, err := r.left(ctx, until)
		if err != nil || left == 0 || !r.cfg.Now().Before(until) {
			return err
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// revoke makes one attempt. That it fails is no reason not to erase.
func (r *erasure) revoke(ctx context.Context, rec tokenworker.Record) error {
	if err := r.revoker.Do(ctx, rec.Key, false); err != nil {
		r.cfg.Logger.WarnContext(ctx, "revoking before an erasure failed", slog.String("key", rec.Key.String()), slog.Any("error", err))
	}
	return ctx.Err()
}

// left counts what may still be done in time: rows whose next attempt comes before, events not settled, be they parked, answers not
// stored.
// A provider that is not enabled will not be by waiting.
func (r *erasure) left(ctx context.Context, until time.Time) (n int, err error) {
	for rec, err := range r.rows(ctx) {
		if err != nil {
			return n, err
		}
		if r.pending(&rec) && rec.RevokeAt.Before(until) && rec.FailureCode != string(provider.CodeNotEnabled) {
			n++
		}
	}
	for _, name := range []string{streams.In, streams.Parked, streams.Rescue} {
		for _, err := range r.found(ctx, name) {
			if err != nil {
				return n, err
			}
			n++
		}
	}
	return n, nil
}

// entomb leaves a tombstone of each connection, whatever was revoked, drops older sets beside newer ones, and counts both.
// Stores remove retained older sets in the step that makes a row a tombstone; beside a newer grant they are dropped here.
func (r *erasure) entomb(ctx context.Context) error {
	holds := func(rec *tokenworker.Record) bool { return rec.Retained || r.pending(rec) }
	if err := r.each(ctx, holds, func(ctx context.Context, rec tokenworker.Record) error {
		if r.pending(&rec) {
			if err := r.entombOne(ctx, rec); err != nil {
				return err
			}
		}
		if rec.Retained {
			return r.store.DropRetained(ctx, rec.Key, r.Stamp)
		}
		return nil
	}); err != nil {
		return err
	}
	r.connections, r.unconfirmed = 0, int(r.dropped.Load())
	for rec, err := range r.rows(ctx) {
		switch {
		case err != nil:
			return err
		case rec.Status != tokenworker.Disconnected || rec.Disconnected.Compare(r.Stamp) < 0:
			continue // older tombstones, and what came after the request
		case rec.FailureCode != "":
			r.unconfirmed++
		}
		r.connections++
	}
	return nil
}

// entombOne drops what a row still waits to have revoked, once all of it was tried: a refresh that was on its way may have
// added its token at the last moment.
func (r *erasure) entombOne(ctx context.Context, rec tokenworker.Record) error {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		now := r.cfg.Now()
		dropped := false
		erasing := tokenworker.Erasing(r.Stamp, r.isOlderSet, now, now.Add(tokenworker.TombstoneAge))
		_, _, err := r.store.Update(ctx, rec, func(rec *tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error) {
			next, v, err := erasing(rec)
			dropped = next.Status != tokenworker.Disconnected && rec != nil && len(next.Revoke) < len(rec.Revoke)
			return next, v, err
		})
		if !errors.Is(err, tokenworker.ErrFenced) {
			if err == nil && dropped {
				r.dropped.Add(1)
			}
			return err
		}
		if err := r.revoke(ctx, rec); err != nil {
			return err
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// finishInHand does the last steps once more where a worker may have in hand what was deleted before it was settled: until it
// has let go of that, it may store it, park it or leave a dead letter.
func (r *erasure) finishInHand(ctx context.Context) error {
	if !r.unsettled {
		return nil
	}
	if err := sleep(ctx, r.cfg.InHand); err != nil {
		return err
	}
	return errors.Join(r.entomb(ctx), r.deleteAll(ctx))
}

// sleep waits, or less when ctx ends, which is the error.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
