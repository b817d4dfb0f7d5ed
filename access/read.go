package access

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// answer reads, seals the token and has the read recorded. Without one there is a code.
func (s *Service) answer(ctx context.Context, q *events.GetRequest) ([]byte, events.GetCode) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Wait)
	defer cancel()
	token, code := s.read(ctx, q)
	defer token.Value.Wipe()
	var sealed []byte
	if code == "" {
		sealed, code = s.seal(ctx, q, token)
	}
	if err := s.cfg.Audit.Record(ctx, entry(q, token, code, s.cfg.Now())); err != nil {
		s.cfg.Logger.ErrorContext(ctx, "a read cannot be recorded in the audit trail", slog.Any("error", err))
		return nil, events.GetUnavailable
	}
	if code != "" {
		return nil, code
	}
	return sealed, ""
}

// seal seals the token to the reader.
func (s *Service) seal(ctx context.Context, q *events.GetRequest, t events.AccessToken) ([]byte, events.GetCode) {
	sealed, err := q.Reply(t)
	switch {
	case errors.Is(err, events.GetBadRequest):
		return nil, events.GetBadRequest
	case err != nil:
		s.cfg.Logger.ErrorContext(ctx, "a reply cannot be sealed", slog.String("key", q.Key.String()), slog.Any("error", err))
		return nil, events.GetUnavailable
	default:
		return sealed, ""
	}
}

// tokenRefused is the reason of a read whose reader says that the provider's API has refused a token.
const tokenRefused = "token_refused"

// entry is what the audit trail says of a read. The reader's own id for it is left out: it could give two reads one id.
func entry(q *events.GetRequest, t events.AccessToken, code events.GetCode, at time.Time) tokenworker.AuditEntry {
	e := tokenworker.AuditEntry{
		Action: tokenworker.AuditRead, Key: q.Key, Actor: q.Caller, Outcome: tokenworker.AuditDone, Fence: t.Fence, Time: at,
	}
	switch {
	case code == events.GetUnavailable:
		e.Outcome, e.Reason = tokenworker.AuditFailed, string(code)
	case code != "":
		e.Outcome, e.Reason = tokenworker.AuditRefused, string(code)
	case q.Refused != tokenworker.Fence{}:
		e.Reason = tokenRefused
	}
	return e
}

// read decides what the reader gets. Each read looks at the record, so that a disconnect anywhere ends it. For the store and
// for a refresh it waits three quarters of the time that an answer may take: the rest is for opening, sealing and recording,
// so that a provider that hangs keeps nobody from the token that still works.
func (s *Service) read(ctx context.Context, q *events.GetRequest) (events.AccessToken, events.GetCode) {
	waiting, cancel := context.WithTimeout(ctx, s.cfg.Wait*3/4)
	defer cancel()
	rec, err := s.looks.get(waiting, q.Key)
	if errors.Is(err, tokenworker.ErrNotFound) {
		return events.AccessToken{}, events.GetNotFound
	} else if err != nil {
		s.cfg.Logger.WarnContext(ctx, "a record cannot be read", slog.String("key", q.Key.String()), slog.Any("error", err))
		return events.AccessToken{}, events.GetUnavailable
	}
	held, code := s.open(ctx, rec)
	if code != "" || held.satisfies(q, s.cfg.Now()) {
		return held.token, code
	}
	if s.replaceable(q, rec, held) {
		if newer, ok := s.successor(waiting, rec); ok {
			held.token.Value.Wipe()
			if held, code = s.open(ctx, newer); code != "" {
				return events.AccessToken{}, code
			}
		}
	}
	switch { // as long as it may live, it is served for as long as it works
	case held.works(q, s.cfg.Now()):
		return held.token, ""
	case !held.refreshable:
		return events.AccessToken{}, events.GetReauthRequired
	default:
		return events.AccessToken{}, events.GetUnavailable
	}
}

// refusedAgain is how long a set that has been refreshed is not refreshed for being refused, nor the provider asked again about
// one that cannot be: an API may answer 401 for want of a scope, whatever the token.
const refusedAgain = 30 * time.Second

// replaceable reports whether a successor may be asked for of a set that is not what the reader asks for.
func (s *Service) replaceable(q *events.GetRequest, rec tokenworker.Record, h held) bool {
	now := s.cfg.Now()
	switch {
	case h.refreshable:
		return !h.lasts(q, now) || now.Sub(rec.RefreshedAt) >= refusedAgain
	case q.Refused == rec.Fence: // the provider can be asked about it
		return s.doubts.allow(rec.Key.String(), now)
	default:
		return false
	}
}

// held is what a record holds for readers.
type held struct {
	token       events.AccessToken
	begun       time.Time // when it was acquired or refreshed
	refreshable bool
}

// open opens the set of a record that may be served.
func (s *Service) open(ctx context.Context, rec tokenworker.Record) (held, events.GetCode) {
	switch rec.Status {
	case tokenworker.Active:
	case tokenworker.ReauthRequired:
		return held{}, events.GetReauthRequired
	default:
		return held{}, events.GetDisconnected
	}
	plain, err := s.sealer.Open(ctx, rec.Key, rec.Fence, rec.Sealed)
	var set tokenworker.TokenSet
	if err == nil {
		set, err = tokenworker.DecodeTokenSet(plain)
		clear(plain)
	}
	if err != nil {
		s.cfg.Logger.WarnContext(ctx, "a set cannot be opened for a reader", slog.String("key", rec.Key.String()), slog.Any("error", err))
		return held{}, events.GetUnavailable
	}
	h := held{
		token: events.AccessToken{
			Value: set.AccessToken, Scheme: s.cfg.Scheme(rec.Key.ProviderID), Type: set.TokenType, Scope: set.Scope,
			ExpiresAt: set.ExpiresAt, Fence: rec.Fence,
		},
		begun: rec.RefreshedAt, refreshable: !set.RefreshToken.IsEmpty(),
	}
	if h.begun.IsZero() {
		h.begun = rec.AcquiredAt
	}
	set.RefreshToken.Wipe()
	set.IDToken.Wipe()
	return h, ""
}

// works reports whether the token may be of use to the reader.
func (h held) works(q *events.GetRequest, now time.Time) bool {
	return h.token.Fence != q.Refused && (h.token.ExpiresAt.IsZero() || now.Before(h.token.ExpiresAt))
}

// lasts reports whether the token lives as long as the reader asks. Nobody can ask for more than half of the lifetime that the
// provider gives its tokens: each read would cost a refresh.
func (h held) lasts(q *events.GetRequest, now time.Time) bool {
	if h.token.ExpiresAt.IsZero() {
		return true
	}
	needs := min(q.MinLifetime, h.token.ExpiresAt.Sub(h.begun)/2)
	return now.Before(h.token.ExpiresAt) && h.token.ExpiresAt.Sub(now) >= needs
}

// satisfies reports whether the token is all that the reader asks for.
func (h held) satisfies(q *events.GetRequest, now time.Time) bool {
	return h.works(q, now) && h.lasts(q, now)
}

// successor has the record's set replaced, and waits for that within ctx. All who ask for the successor of a set share one
// refresh, and one wait where another process is at it. It is false when nothing has come of it, and when too many wait for the
// provider already: one that answers nothing holds no more of the reads that may be under way.
func (s *Service) successor(ctx context.Context, rec tokenworker.Record) (tokenworker.Record, bool) {
	if !s.waits.enter(rec.Key.ProviderID) {
		return tokenworker.Record{}, false
	}
	defer s.waits.leave(rec.Key.ProviderID)
	name := rec.Key.String() + "\n" + rec.Stamp.String() + "\n" + strconv.FormatUint(rec.Generation, 10)
	done := s.flights.DoChan(name, func() (any, error) {
		s.flying.Add(1)
		defer s.flying.Done()
		return s.replace(context.WithoutCancel(ctx), rec)
	})
	select {
	case <-ctx.Done():
		return tokenworker.Record{}, false
	case r := <-done:
		newer, ok := r.Val.(tokenworker.Record)
		if r.Err != nil || !ok {
			s.cfg.Logger.WarnContext(ctx, "a refresh for a reader failed", slog.String("key", rec.Key.String()), slog.Any("error", r.Err))
			return tokenworker.Record{}, false
		}
		return newer, newer.Fence != rec.Fence || newer.Status != tokenworker.Active
	}
}

const (
	firstLook = 20 * time.Millisecond // between looks at a record that another process refreshes, doubling
	lastLook  = 500 * time.Millisecond
)

// replace returns the record once its set has a successor, or there is nothing to wait for.
func (s *Service) replace(ctx context.Context, rec tokenworker.Record) (tokenworker.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Wait)
	defer cancel()
	next, err := s.refresher.Replace(ctx, rec.Key, rec.Fence)
	for delay := firstLook; err == nil && next.Fence == rec.Fence && underWay(&next, s.cfg.Now()); delay = min(2*delay, lastLook) {
		select {
		case <-ctx.Done():
			return next, nil
		case <-time.After(delay):
			next, err = s.looks.get(ctx, rec.Key)
		}
	}
	return next, err
}

// underWay reports whether an attempt to refresh may still bring a set. One that owes an announcement has ended.
func underWay(r *tokenworker.Record, now time.Time) bool {
	return r.Status == tokenworker.Active && r.Claim != nil && now.Before(r.Claim.Until) &&
		!r.Owes(r.Claim.Attempt)
}
