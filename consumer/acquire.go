package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// acquire stores the token set on the wire, sealed for the store, and says what to announce.
func (w *Worker) acquire(
	ctx context.Context, e *events.Event, ev tokenworker.Event, cause events.Cause,
) (tokenworker.Verdict, events.NoticeData, error) {
	a, err := w.seal(ctx, e, ev)
	if err != nil {
		return 0, nil, err
	}
	verdict, err := w.put(ctx, a)
	if err != nil {
		return 0, nil, err
	}
	if verdict == tokenworker.Applied {
		w.rotator.Expect(a.Key, a.DueAt)
		if !a.Refreshable && !a.ExpiresAt.IsZero() {
			w.cfg.Logger.WarnContext(ctx, "a set without a refresh token was stored: somebody must log in again when it expires",
				slog.String("key", a.Key.String()), slog.String("stamp", a.Stamp.String()), slog.Time("expires_at", a.ExpiresAt))
		}
	}
	return verdict, events.StoredData{
		Cause: cause, ExpiresAt: a.ExpiresAt, GrantExpiresAt: a.GrantExpiresAt, Refreshable: a.Refreshable,
	}, nil
}

// seal opens the token set on the wire, checks it, and seals it for the store.
func (w *Worker) seal(ctx context.Context, e *events.Event, ev tokenworker.Event) (*tokenworker.Acquisition, error) {
	set, err := w.open(ctx, e)
	if err != nil {
		return nil, err
	}
	if !set.IDToken.IsEmpty() {
		err = w.asking.do(ctx, e.Key.ProviderID, func() (err error) {
			set, err = w.cfg.VerifyIDToken(ctx, e.Key, set, e.Time)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	set.Nonce = ""
	plaintext, err := tokenworker.EncodeTokenSet(set)
	if err != nil {
		return nil, events.CodeInvalidTokenSet
	}
	sealed, err := w.sealer.Seal(ctx, e.Key, tokenworker.Fence{Stamp: ev.Stamp}, plaintext)
	clear(plaintext)
	if err != nil {
		return nil, err
	}
	policy := w.cfg.Policy(e.Key.ProviderID)
	a := &tokenworker.Acquisition{
		Event: ev, Sealed: sealed, Token: set.Fingerprint(e.Key), Details: set.Details(), DueAt: w.cfg.Due(e.Key, e.Time, set),
		KeepRevocations: policy.NarrowRevocation, Retain: policy.Retain, CheckAt: w.cfg.Now().Add(policy.CheckAfter),
		SiblingsUntil: w.rotator.SiblingsUntil(e.Key.ProviderID),
	}
	if !policy.Static {
		a.Spendable = tokenworker.NewFingerprint(e.Key, set.RefreshToken)
	}
	return a, nil
}

// open opens the token set on the wire.
func (w *Worker) open(ctx context.Context, e *events.Event) (tokenworker.TokenSet, error) {
	set, err := w.keys.Open(ctx, e)
	if refusal := events.Code(""); err != nil && !errors.As(err, &refusal) {
		err = fmt.Errorf("%w: %w", errKeyring, err)
	}
	return set, err
}

// put stores the set. Where that depends on an attempt at its refresh token, it asks whether the attempt is over.
func (w *Worker) put(ctx context.Context, a *tokenworker.Acquisition) (tokenworker.Verdict, error) {
	end, err := w.turns.take(ctx, a.Key)
	if err != nil {
		return 0, err
	}
	defer end()
	verdict, err := w.store.Acquire(ctx, a)
	if err != nil || verdict != tokenworker.Undecided {
		return verdict, err
	}
	if a.Over, err = w.attemptOver(ctx, a); err != nil {
		return 0, err
	}
	return w.store.Acquire(ctx, a)
}

// attemptOver returns the latest attempt at the refresh token of a set, which is over; zero: none is noted any more.
func (w *Worker) attemptOver(ctx context.Context, a *tokenworker.Acquisition) (tokenworker.AttemptID, error) {
	rec, err := w.store.Get(ctx, a.Key)
	if err != nil {
		return tokenworker.AttemptID{}, err
	}
	at := rec.AttemptAt(a.Spendable)
	if at == nil {
		return tokenworker.AttemptID{}, nil
	}
	if over, err := w.rotator.Over(ctx, a.Key, *at); err != nil {
		return tokenworker.AttemptID{}, err
	} else if !over {
		return tokenworker.AttemptID{}, errAttempt
	}
	return at.ID, nil
}

// drop says that an acquired set was not stored.
func (w *Worker) drop(ctx context.Context, ev tokenworker.Event, cause events.Cause) error {
	w.cfg.Logger.WarnContext(ctx, "an acquired set is dropped: its refresh token may be spent", slog.String("key", ev.Key.String()),
		slog.String("stamp", ev.Stamp.String()), slog.String("code", events.ReusedRefreshToken))
	return w.tell(ctx, ev.Key, events.DroppedData{Cause: cause, Request: events.Acquired, Code: events.ReusedRefreshToken})
}
