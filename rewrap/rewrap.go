package rewrap

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/tokenworker/tokenworker"
)

// Store is where everything lies; the contract is that of internal/storetest.
type Store interface {
	Records
	Keys
}

// Records are the store's part that holds token sets.
type Records interface {
	AllRecords(ctx context.Context) iter.Seq2[tokenworker.Record, error]
	Update(ctx context.Context, rec tokenworker.Record, rule tokenworker.Rule) (tokenworker.Record, tokenworker.Verdict, error)
	Retained(ctx context.Context, k tokenworker.Key) ([]tokenworker.RetainedSet, error)
	RewrapRetained(ctx context.Context, k tokenworker.Key, f tokenworker.Fence, set tokenworker.Rewrapped) error
}

// Keys are the store's part that holds wrapped keys.
type Keys interface {
	AllWrappedKeys(ctx context.Context) iter.Seq2[tokenworker.WrappedKey, error]
	PutWrappedKey(ctx context.Context, k tokenworker.WrappedKey, replaces []byte) (tokenworker.WrappedKey, error)
}

// Wrapper knows how data keys are wrapped; kmsenc.Rewrapper is one. What it returns for something that the current key wraps
// already is what it was given, and its former key is empty. Errors that match [tokenworker.ErrSealBroken],
// [tokenworker.ErrKeyRefused], [tokenworker.ErrTooLarge] or [tokenworker.ErrMisconfigured] concern that one thing alone.
type Wrapper interface {
	FormerSetKey(k tokenworker.Key, sealed []byte) (keyID string, err error)
	FormerKey(k tokenworker.WrappedKey) (keyID string, err error)
	Set(ctx context.Context, k tokenworker.Key, sealed []byte) ([]byte, error)
	Key(ctx context.Context, k tokenworker.WrappedKey) (tokenworker.WrappedKey, error)
}

// Config is how [Run] works. Zero values mean the defaults.
type Config struct {
	Rate   float64      // records and keys wrapped again in a second, at most; default 100
	Logger *slog.Logger // of progress and of what fails; default: discards
}

const (
	defaultRate = 100

	// concurrency is how many records are handled at once: enough to reach a rate of a thousand a second and more where a
	// write takes some milliseconds.
	concurrency = 16

	// progressEvery is after how many records one line says how far it is.
	progressEvery = 1000

	// maxRounds is how often a record is read anew because something under a former key was written to it meanwhile. That
	// takes a worker that still seals under one.
	maxRounds = 3
)

// Result is what a [Run] has done.
type Result struct {
	Records int `json:"records"` // looked at
	Sets    int `json:"sets"`    // wrapped again
	Keys    int `json:"keys"`    // wrapped again
	Waiting int `json:"waiting"` // records left for another time: a revocation is under way, or workers still seal under a former key
	Failed  int `json:"failed"`  // records and keys that cannot be wrapped again; the log says why
}

// Run wraps everything again that a former key wraps. It ends with ctx's error when ctx ends, and with another when store or
// key service fail; begun again it goes on from there. The result is true in any case.
func Run(ctx context.Context, store Store, wrapper Wrapper, config Config) (Result, error) {
	if config.Rate == 0 {
		config.Rate = defaultRate
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	r := &run{
		store: store, wrapper: wrapper, log: config.Logger,
		turns: rate.NewLimiter(rate.Limit(config.Rate), max(1, int(config.Rate/10))), // at most a tenth of a second's at once
	}
	err := r.keys(ctx)
	if err == nil {
		err = r.records(ctx)
	}
	return r.result, err
}

type run struct {
	store   Store
	wrapper Wrapper
	log     *slog.Logger
	turns   *rate.Limiter

	mu     sync.Mutex
	result Result
}

func (r *run) count(f func(*Result)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.result)
}

// keys comes before the records, so that what is sealed under a current data key finds it wrapped in the same way.
func (r *run) keys(ctx context.Context) error {
	for k, err := range r.store.AllWrappedKeys(ctx) {
		if err != nil {
			return fmt.Errorf("listing wrapped keys: %w", err)
		}
		if err := r.key(ctx, k); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) key(ctx context.Context, k tokenworker.WrappedKey) error {
	former, err := r.wrapper.FormerKey(k)
	if err == nil && former == "" {
		return nil
	}
	var again tokenworker.WrappedKey
	if err == nil {
		err = r.turns.Wait(ctx)
	}
	if err == nil {
		again, err = r.wrapper.Key(ctx, k)
	}
	if err != nil {
		return r.failed(ctx, k.Name, err)
	}
	// If another is stored by now, or none, this one was renewed or retired meanwhile.
	if _, err := r.store.PutWrappedKey(ctx, again, k.Wrapped); err != nil && !errors.Is(err, tokenworker.ErrNotFound) {
		return fmt.Errorf("storing the key %s: %w", k.Name, err)
	}
	r.count(func(result *Result) { result.Keys++ })
	return nil
}

func (r *run) records(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrency)
	for rec, err := range r.store.AllRecords(ctx) {
		if err != nil {
			return errors.Join(g.Wait(), err)
		}
		g.Go(func() error {
			if err := r.record(ctx, rec); err != nil {
				return err
			}
			return r.retained(ctx, rec)
		})
		r.count(func(result *Result) {
			if result.Records++; result.Records%progressEvery == 0 {
				r.log.InfoContext(ctx, "wrapping again", slog.Int("records", result.Records), slog.Int("sets", result.Sets),
					slog.Int("waiting", result.Waiting), slog.Int("failed", result.Failed))
			}
		})
	}
	return g.Wait()
}

// record wraps the sets of one record again.
func (r *run) record(ctx context.Context, rec tokenworker.Record) error {
	for round := 0; ; round++ {
		sets, err := r.again(ctx, rec.Key, setsOf(rec))
		switch {
		case err != nil:
			return r.failed(ctx, rec.Key.String(), err)
		case len(sets) == 0:
			return nil
		case rec.Revoking != nil || round == maxRounds:
			r.count(func(result *Result) { result.Waiting++ })
			return nil
		}
		var verdict tokenworker.Verdict
		if rec, verdict, err = r.store.Update(ctx, rec, tokenworker.Rewrapping(sets)); err != nil {
			return fmt.Errorf("storing a record: %w", err)
		}
		if verdict == tokenworker.Applied {
			r.count(func(result *Result) { result.Sets += len(sets) })
		}
	}
}

// retained wraps the sets again that are kept beside a record.
func (r *run) retained(ctx context.Context, rec tokenworker.Record) error {
	if !rec.Retained {
		return nil
	}
	kept, err := r.store.Retained(ctx, rec.Key)
	if err != nil {
		return fmt.Errorf("listing retained sets: %w", err)
	}
	for _, set := range kept {
		sets, err := r.again(ctx, rec.Key, [][]byte{set.Sealed})
		if err != nil {
			if err := r.failed(ctx, rec.Key.String(), err); err != nil {
				return err
			}
		}
		for _, s := range sets {
			if err := r.store.RewrapRetained(ctx, rec.Key, set.Fence, s); err != nil {
				return fmt.Errorf("storing a retained set: %w", err)
			}
			r.count(func(result *Result) { result.Sets++ })
		}
	}
	return nil
}

// again wraps again those of a connection's sets that former keys wrap, when it is their turn.
func (r *run) again(ctx context.Context, k tokenworker.Key, all [][]byte) ([]tokenworker.Rewrapped, error) {
	var sets []tokenworker.Rewrapped
	for _, sealed := range all {
		former, err := r.wrapper.FormerSetKey(k, sealed)
		if err != nil {
			return nil, err
		}
		if former == "" {
			continue
		}
		if len(sets) == 0 {
			if err := r.turns.Wait(ctx); err != nil {
				return nil, err
			}
		}
		again, err := r.wrapper.Set(ctx, k, sealed)
		if err != nil {
			return nil, err
		}
		sets = append(sets, tokenworker.Rewrapped{Old: sealed, New: again})
	}
	return sets, nil
}

// failed passes over what concerns one record or key alone.
func (r *run) failed(ctx context.Context, what string, err error) error {
	for _, own := range []error{
		tokenworker.ErrSealBroken, tokenworker.ErrKeyRefused, tokenworker.ErrTooLarge, tokenworker.ErrMisconfigured,
	} {
		if errors.Is(err, own) {
			r.log.WarnContext(ctx, "cannot be wrapped again", slog.String("what", what), slog.Any("error", err))
			r.count(func(result *Result) { result.Failed++ })
			return nil
		}
	}
	return fmt.Errorf("wrapping %s again: %w", what, err)
}
