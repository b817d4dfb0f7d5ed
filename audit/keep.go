package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tokenworker/tokenworker"
)

const (
	maxLinks = 4096          // records that one checkpoint covers at most: 16 KiB of links, far below an item's limit
	maxSpan  = agedSlack / 2 // between the first and the last of them: then age removes them together, as Verify sees it
)

// keepChain extends the chain at every interval until ctx ends, and once more then.
func (t *Trail) keepChain(ctx context.Context) {
	every := time.NewTicker(t.cfg.Every)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
			defer cancel()
			t.extend(last, 0)
			return
		case <-every.C:
			t.extend(ctx, t.cfg.Every)
		}
	}
}

// extend extends the chain if there are records of at least an age, and shows whether it could.
func (t *Trail) extend(ctx context.Context, age time.Duration) {
	err := t.Extend(ctx, age)
	var broken *BreakError
	switch {
	case errors.As(err, &broken):
		t.metrics.broken.Set(1)
		t.cfg.Logger.ErrorContext(ctx, "the audit trail is broken and its chain stands still: see `tokenworker audit verify`",
			slog.Uint64("sequence", broken.Sequence), slog.String("what", broken.What))
	case err != nil && ctx.Err() == nil:
		t.cfg.Logger.WarnContext(ctx, "the chain of the audit trail could not be extended; trying again", slog.Any("error", err))
	case err == nil:
		t.metrics.broken.Set(0)
	}
}

// Extend writes checkpoints that cover every record in the stream, unless the oldest record that none covers is younger than
// the given age. The error is a [*BreakError] when the stream does not follow on the newest checkpoint.
func (t *Trail) Extend(ctx context.Context, age time.Duration) error {
	at, err := t.lastLink(ctx)
	if err != nil {
		return err
	}
	_, last, err := t.Sequences(ctx)
	switch {
	case err != nil:
		return err
	case last < at.sequence:
		return &BreakError{last + 1, brokenTail}
	case last == at.sequence:
		t.metrics.chained.Set(float64(at.sequence))
		return nil
	}
	var links []byte
	var since time.Time // when the first of them was recorded
	for m, err := range t.messages(ctx, at.sequence+1, "") {
		if err != nil {
			return err
		}
		if m.sequence != at.sequence+1 {
			return &BreakError{at.sequence + 1, brokenGap}
		}
		if len(links) == maxLinks*tokenworker.AuditLinkBytes || len(links) > 0 && m.entered.Sub(since) > maxSpan {
			if err := t.put(ctx, at, links); err != nil {
				return err
			}
			links = nil
		}
		if len(links) == 0 {
			if since = m.entered; t.cfg.Now().Sub(since) < age {
				return nil
			}
		}
		at = at.next(m)
		links = append(links, at.short()...)
	}
	if len(links) == 0 {
		return nil
	}
	return t.put(ctx, at, links)
}

// lastLink is the chain at its newest checkpoint, or before its first record.
func (t *Trail) lastLink(ctx context.Context) (link, error) {
	c, err := t.store.LastCheckpoint(ctx)
	switch {
	case errors.Is(err, tokenworker.ErrNotFound):
		return firstLink(1, 0), nil
	case err != nil:
		return link{}, fmt.Errorf("reading the newest checkpoint: %w", err)
	case !t.keys.verify(c):
		return link{}, &BreakError{c.Sequence, brokenSignature}
	}
	return linkAt(c), nil
}

// put writes a checkpoint. Another replica that was there first has written the same hash, or the two see different streams.
func (t *Trail) put(ctx context.Context, at link, links []byte) error {
	stored, err := t.store.PutCheckpoint(ctx, t.keys.checkpoint(at, links))
	if err != nil {
		return fmt.Errorf("writing a checkpoint: %w", err)
	}
	if err := at.against(stored); err != nil {
		return err
	}
	t.metrics.chained.Set(float64(at.sequence))
	return nil
}

// Begin begins a new chain after what the stream holds, when the old one is broken for good: the stream was lost and made
// anew. The checkpoints of the old one stay, and so does what [Trail.Verify] can no longer say of records before.
func (t *Trail) Begin(ctx context.Context) (tokenworker.AuditCheckpoint, error) {
	c, err := t.store.LastCheckpoint(ctx)
	if errors.Is(err, tokenworker.ErrNotFound) {
		err = nil
	}
	if err != nil {
		return tokenworker.AuditCheckpoint{}, err
	}
	_, last, err := t.Sequences(ctx)
	if err != nil {
		return tokenworker.AuditCheckpoint{}, err
	}
	at := firstLink(max(c.Chain, 1)+1, last)
	at.recorded = t.cfg.Now()
	return t.store.PutCheckpoint(ctx, t.keys.checkpoint(at, nil))
}
