package restore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/audit"
	"github.com/tokenworker/tokenworker/events"
)

// Store is the store that was restored. No worker runs on it.
type Store interface {
	AllRecords(ctx context.Context) iter.Seq2[tokenworker.Record, error]
	Get(ctx context.Context, k tokenworker.Key) (tokenworker.Record, error)
	Update(ctx context.Context, rec tokenworker.Record, rule tokenworker.Rule) (tokenworker.Record, tokenworker.Verdict, error)
	NoteProvider(ctx context.Context, id string) error
}

// Trail is the audit trail.
type Trail interface {
	// Records yields the records from a sequence on, of a pseudonym unless that is empty.
	Records(ctx context.Context, from uint64, pseudonym string) iter.Seq2[audit.Record, error]

	// Keys name connections as the trail does.
	Keys() *audit.Keys
}

// Sealer opens token sets.
type Sealer interface {
	Open(ctx context.Context, k tokenworker.Key, f tokenworker.Fence, sealed []byte) ([]byte, error)
}

// Config is how a [Restorer] is set up. Zero values mean the defaults.
type Config struct {
	Process string // that makes the claims; required

	// Rotates reports whether the provider's refresh tokens change when they are used; required.
	Rotates func(providerID string) bool

	// Narrow reports whether revoking a token at the provider leaves newer grants alone; required.
	Narrow func(providerID string) bool

	Tombstone time.Duration // how long a tombstone is kept; required
	DryRun    bool          // decide and count, and write nothing

	Logger *slog.Logger     // of progress and of what is lost; default: discards
	Now    func() time.Time // default: time.Now
}

// Validate reports what cannot work.
func (c Config) Validate() error {
	if c.Process == "" || c.Rotates == nil || c.Narrow == nil || c.Tombstone <= 0 {
		return errors.New("restore: the process, the providers' policies and the age of tombstones are required")
	}
	return nil
}

// codeSuperseded is why a set is not posted, and its customer must log in again.
const codeSuperseded = "superseded"

// Report is what a restore has done, or with DryRun would do.
type Report struct {
	Rows         int `json:"rows"`         // looked at, those that were made included
	Erased       int `json:"erased"`       // tombstones left for erasures
	Disconnected int `json:"disconnected"` // disconnects replayed, those of erasures included
	Remembered   int `json:"remembered"`   // rows that got back ids of events
	Unsettled    int `json:"unsettled"`    // sets that may be spent and are not posted before the last resort
	Superseded   int `json:"superseded"`   // active rows that hold an older set than was stored: acquired or refreshed since
	Spared       int `json:"spared"`       // rows whose sets are not revoked: that could end a newer grant, which is lost
	Unmatched    int `json:"unmatched"`    // erasures on record, of connections or organizations, that no row and no announced key is of
	Unreadable   int `json:"unreadable"`   // sets that could not be opened: a resync of their tokens is not recognized
}

// Restorer replays what the audit trail knows.
type Restorer struct {
	cfg    Config
	store  Store
	trail  Trail
	sealer Sealer
	report Report
}

// New makes a restorer.
func New(cfg Config, store Store, trail Trail, sealer Sealer) (*Restorer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Restorer{cfg: cfg, store: store, trail: trail, sealer: sealer}, nil
}

// progressEvery is after how many rows one line says how far it is.
const progressEvery = 1000

// Run goes through every row, and then through the keys that announcements name and no row has. The report is true in any
// case. Run again it goes on where it ended.
func (r *Restorer) Run(ctx context.Context, named []tokenworker.Key) (Report, error) {
	known, err := r.read(ctx)
	if err != nil {
		return r.report, err
	}
	for rec, err := range r.store.AllRecords(ctx) {
		if err != nil {
			return r.report, fmt.Errorf("listing the records: %w", err)
		}
		if err := r.row(ctx, rec, known); err != nil {
			return r.report, fmt.Errorf("restoring %s: %w", rec.Key, err)
		}
	}
	for _, k := range named {
		_, err := r.store.Get(ctx, k)
		if err == nil {
			continue // a row of its own
		}
		if errors.Is(err, tokenworker.ErrNotFound) {
			err = r.row(ctx, tokenworker.Record{Key: k}, known)
		}
		if err != nil {
			return r.report, fmt.Errorf("restoring %s: %w", k, err)
		}
	}
	for _, h := range known {
		if !h.matched && !h.erased.Stamp.IsZero() {
			r.report.Unmatched++
		}
	}
	return r.report, nil
}

// row restores one row; one without a status is not there.
func (r *Restorer) row(ctx context.Context, rec tokenworker.Record, known map[string]*history) error {
	own, org := known[r.trail.Keys().Pseudonym(rec.Key)], known[r.trail.Keys().Pseudonym(tokenworker.Key{OrgID: rec.Key.OrgID})]
	var h history
	if own != nil {
		own.matched = true
		h = *own
	}
	if org != nil {
		org.matched = true
		h.erased = newest(h.erased, org.erased)
	}
	if rec.Status == "" && h.erased.Stamp.IsZero() && h.gone.Stamp.IsZero() {
		return nil
	}
	if r.report.Rows++; r.report.Rows%progressEvery == 0 {
		r.cfg.Logger.InfoContext(ctx, "restoring", slog.Any("so_far", r.report))
	}
	if rec.Status == "" && !r.cfg.DryRun {
		if err := r.store.NoteProvider(ctx, rec.Key.ProviderID); err != nil {
			return err
		}
	}
	rec, err := r.replay(ctx, rec, &h)
	if err != nil {
		return err
	}
	again := h.acquired.Compare(rec.Stamp) > 0
	lost := again || h.refreshed.Stamp == rec.Stamp && h.refreshed.Generation > rec.Generation
	switch {
	case rec.Status == tokenworker.Disconnecting && again && !r.cfg.Narrow(rec.Key.ProviderID):
		_, err = r.apply(ctx, rec, tokenworker.Sparing(rec.Stamp, r.cfg.Now().Add(r.cfg.Tombstone)), &r.report.Spared)
		return err
	case rec.Status != tokenworker.Active:
		return nil
	case lost:
		r.report.Superseded++
		r.cfg.Logger.WarnContext(ctx, "a newer token set of the connection is lost", slog.String("key", rec.Key.String()))
	}
	return r.unsettle(ctx, rec, lost)
}

// replay applies the erasure and the disconnect on record to a row that is older, and puts ids back.
func (r *Restorer) replay(ctx context.Context, rec tokenworker.Record, h *history) (tokenworker.Record, error) {
	for _, step := range []struct {
		event tokenworker.Event
		erase bool
	}{{h.erased, true}, {h.gone, false}} {
		event := step.event
		if event.Stamp.IsZero() {
			continue
		}
		event.Key = rec.Key
		if event.Stamp.Compare(rec.Stamp) <= 0 { // the record knows when it entered at the latest
			event.Entered = rec.Entered
		}
		var err error
		if event.Stamp.Compare(rec.Disconnected) > 0 {
			rec, err = r.apply(ctx, rec, func(rec *tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error) {
				return rec.Disconnect(&tokenworker.Disconnection{Event: event})
			}, &r.report.Disconnected)
		}
		if err == nil && step.erase { // also where the backup, or a restore that was interrupted, has but its disconnect
			rec, err = r.apply(ctx, rec, tokenworker.Erasing(event.Stamp, nil, time.Time{}, r.cfg.Now().Add(r.cfg.Tombstone)), &r.report.Erased)
		}
		if err != nil {
			return rec, err
		}
	}
	if rec.Status != "" && rec.Stamp == h.gone.Stamp {
		var err error
		if rec, err = r.apply(ctx, rec, tokenworker.Leaving(rec.Stamp, r.cfg.Now()), &r.report.Disconnected); err != nil {
			return rec, err
		}
	}
	var ids []tokenworker.EventID
	for _, p := range h.ids {
		if p.at.Compare(newer(h.erased.Stamp, h.gone.Stamp)) <= 0 {
			ids = append(ids, p.id)
		}
	}
	if len(ids) == 0 {
		return rec, nil
	}
	return r.apply(ctx, rec, tokenworker.Remembering(ids), &r.report.Remembered)
}

// unsettle claims a set that may have been spent. One of which a newer set is on record is not posted even as a last resort.
func (r *Restorer) unsettle(ctx context.Context, rec tokenworker.Record, superseded bool) error {
	if rec.Claim != nil && !superseded || !r.cfg.Rotates(rec.Key.ProviderID) {
		return nil
	}
	var spends tokenworker.Fingerprint
	set, err := r.open(ctx, rec)
	switch {
	case errors.Is(err, tokenworker.ErrUnavailable), ctx.Err() != nil:
		return err
	case err != nil:
		r.report.Unreadable++
	case set.RefreshToken.IsEmpty():
		return nil
	default:
		spends = tokenworker.NewFingerprint(rec.Key, set.RefreshToken)
	}
	if superseded {
		var announced int
		_, err = r.apply(ctx, rec, tokenworker.Superseding(rec.Fence, r.superseded(rec), spends), &announced)
		return err
	}
	stored := rec.RefreshedAt // from then on it may have been posted, for providers that take it twice for a while
	if stored.IsZero() {
		stored = rec.AcquiredAt
	}
	claim := tokenworker.Claim{
		Owner: r.cfg.Process, Attempt: tokenworker.NewAttemptID(), At: stored, Until: r.cfg.Now(),
	}
	_, err = r.apply(ctx, rec, tokenworker.Unsettling(rec.Fence, claim, spends), &r.report.Unsettled)
	return err
}

// superseded is announced by the first worker that starts.
func (r *Restorer) superseded(rec tokenworker.Record) tokenworker.Failure {
	now, attempt := r.cfg.Now(), tokenworker.NewAttemptID()
	return tokenworker.Failure{Attempt: attempt, Code: codeSuperseded, DueAt: now, Owed: &tokenworker.Owed{
		Attempt: attempt, By: r.cfg.Process, Kinds: []string{string(events.ReauthRequired)}, Fence: rec.Fence,
		Code: codeSuperseded, At: now,
	}}
}

func (r *Restorer) open(ctx context.Context, rec tokenworker.Record) (tokenworker.TokenSet, error) {
	plain, err := r.sealer.Open(ctx, rec.Key, rec.Fence, rec.Sealed)
	if err != nil {
		return tokenworker.TokenSet{}, err
	}
	defer clear(plain)
	return tokenworker.DecodeTokenSet(plain)
}

var errFull = errors.New("the record has no room to remember the event")

// apply asks a rule, makes its answer true unless this is a dry run, and counts what was applied.
func (r *Restorer) apply(
	ctx context.Context, rec tokenworker.Record, rule tokenworker.Rule, applied *int,
) (tokenworker.Record, error) {
	var next tokenworker.Record
	var verdict tokenworker.Verdict
	var err error
	switch {
	case !r.cfg.DryRun:
		next, verdict, err = r.store.Update(ctx, rec, rule)
	case rec.Status == "":
		next, verdict, err = rule(nil)
	default:
		next, verdict, err = rule(&rec)
	}
	switch {
	case err != nil:
		return rec, err
	case verdict == tokenworker.Full:
		return rec, errFull
	case verdict == tokenworker.Applied:
		*applied++
	}
	return next, nil
}
