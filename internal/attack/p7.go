package main

// P7 A sealed token opens only for its own connection: swapping ciphertexts between rows, or data keys between
// organizations, fails.
//
// Breaks that were tried, and what the attack said:
//
//   - kmsenc/envelope.go leaves the company out of the additional data: "another row's ciphertext, stamp and all (scope
//     org) opened, 8 bytes, with a warm cache", 58 of 643 swaps.
//   - kmsenc/sealer.go does not compare the header's fence with the row's: "an older ciphertext of the row (scope token)
//     opened", for each of 30 rows.
//   - kmsenc/scope.go leaves the organization out of the encryption context: "a token of o1 was sealed under the data key
//     of o2", for each of 7 organizations.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/kmsenc"
)

var p7 = promise{
	name: "P7", unit: "rows", usual: 30, full: 1000,
	attacks: []attack{
		{"swapped ciphertexts, older ones, swapped data keys, in SQLite", func(ctx context.Context, e *env, n int) error {
			v, err := openSQLiteVault(ctx, e.dir)
			if err != nil {
				return err
			}
			defer v.close()
			return e.swapAll(ctx, v, n)
		}},
		{"the same in DynamoDB under KMS", func(ctx context.Context, e *env, n int) error {
			v, err := openDynamoDBVault(ctx)
			if err != nil {
				return err
			}
			defer v.close()
			return e.swapAll(ctx, v, n)
		}},
	},
}

// sealedRow is a connection with the row that belongs there, and the sealed set that it had before.
type sealedRow struct {
	key   tokenworker.Key
	scope int
	token string
	own   row
	older []byte
}

// scopes are those that rows are sealed under, in turn.
func scopes() []string { return []string{"org", "token", "pool:2"} }

// swapAll fills a store and tries every kind of swap on every row: with its neighbours in the list, which are of other
// organizations and of the same, and with others at random. Each is read back as the worker reads it, with the sealer
// that sealed (its cache holds every data key) and with one that has cached nothing.
func (e *env) swapAll(ctx context.Context, v *vault, n int) error {
	sealers, err := newSealers(v)
	if err != nil {
		return err
	}
	rows, err := fill(ctx, v, sealers, n)
	if err != nil {
		return fmt.Errorf("filling the store: %w", err)
	}
	var tried atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	const workers = 8
	donors := make([][]int, n)
	for i := range rows {
		donors[i] = []int{(i + 1) % n, (i + n - 1) % n, (i + len(orgs)) % n, e.rand.IntN(n), e.rand.IntN(n)}
	}
	for w := range workers {
		g.Go(func() error {
			for i := w; i < n; i += workers {
				forgeries, err := forge(rows[i], rows, donors[i])
				if err != nil {
					return err
				}
				if err := e.read(gctx, v, sealers, rows[i], forgeries); err != nil {
					return err
				}
				tried.Add(int64(len(forgeries)))
				if err := v.rows.save(gctx, rows[i].key, rows[i].own); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err //nolint:wrapcheck // it is our own
	}
	e.did("%d swaps on %d rows", tried.Load(), n)
	if err := e.checkOwn(ctx, v, sealers, rows); err != nil {
		return err
	}
	return e.swapCurrentKeys(ctx, v)
}

// forgery is a row that is no longer what the worker wrote, and what was done to it.
type forgery struct {
	what string
	row  row
}

// forge lists what somebody who may write the table could put in the victim's row with what it held before, and with
// what is in the donors' rows.
func forge(victim sealedRow, rows []sealedRow, donors []int) ([]forgery, error) {
	own, err := takeApart(victim.own.sealed)
	if err != nil {
		return nil, err
	}
	older, err := takeApart(victim.older)
	if err != nil {
		return nil, err
	}
	older.fence = own.fence
	forgeries := []forgery{
		{"an older ciphertext of the row", row{victim.older, victim.own.rest}},
		{"an older ciphertext of the row, its header altered to fit", row{older.put(), victim.own.rest}},
	}
	for _, d := range donors {
		donor := rows[d]
		if donor.key == victim.key {
			continue
		}
		other, err := takeApart(donor.own.sealed)
		if err != nil {
			return nil, err
		}
		relabelled, rekeyed := other, own
		relabelled.fence = own.fence
		rekeyed.keyID, rekeyed.wrapped = other.keyID, other.wrapped
		forgeries = append(forgeries,
			forgery{"another row's ciphertext", row{donor.own.sealed, victim.own.rest}},
			forgery{"another row's ciphertext, stamp and all", donor.own},
			forgery{"another row's ciphertext, its header altered to fit", row{relabelled.put(), victim.own.rest}})
		if !bytes.Equal(own.wrapped, other.wrapped) { // rows of an organization share one, and so do those of a pool
			forgeries = append(forgeries, forgery{"another's data key", row{rekeyed.put(), victim.own.rest}})
		}
	}
	return forgeries, nil
}

// read puts each forgery in the victim's row and reads it as the worker does.
func (e *env) read(
	ctx context.Context, v *vault, warm []*kmsenc.Sealer, victim sealedRow, forgeries []forgery,
) error {
	cold, err := newSealers(v)
	if err != nil {
		return err
	}
	for _, f := range forgeries {
		if err := v.rows.save(ctx, victim.key, f.row); err != nil {
			return err
		}
		r, err := v.store.Get(ctx, victim.key)
		if err != nil {
			return fmt.Errorf("reading a record: %w", err)
		}
		for name, s := range map[string]*kmsenc.Sealer{"warm": warm[victim.scope], "cold": cold[victim.scope]} {
			switch plain, err := s.Open(ctx, victim.key, r.Fence, r.Sealed); {
			case err == nil:
				e.broke("%s (scope %s) opened, %d bytes, with a %s cache, in the row of %s", f.what, scopes()[victim.scope],
					len(plain), name, victim.key)
			case !errors.Is(err, tokenworker.ErrSealBroken):
				return fmt.Errorf("opening %s: %w", f.what, err)
			}
		}
	}
	return nil
}

// checkOwn opens every row as it belongs, to show that refusals are not for want of opening anything.
func (e *env) checkOwn(ctx context.Context, v *vault, sealers []*kmsenc.Sealer, rows []sealedRow) error {
	for _, r := range rows {
		record, err := v.store.Get(ctx, r.key)
		if err != nil {
			return fmt.Errorf("reading a record: %w", err)
		}
		plain, err := sealers[r.scope].Open(ctx, r.key, record.Fence, record.Sealed)
		if err != nil || string(plain) != r.token {
			e.broke("the row of %s no longer opens by itself: %v", r.key, err)
		}
	}
	return nil
}

// swapCurrentKeys puts the current data key of one organization in the place of another's, and seals: never may a token
// of the one be sealed under the key of the other.
func (e *env) swapCurrentKeys(ctx context.Context, v *vault) error {
	for i, org := range orgs {
		other := orgs[(i+1)%len(orgs)]
		own, err := v.store.WrappedKey(ctx, "org/"+org)
		if err != nil {
			return fmt.Errorf("reading a data key: %w", err)
		}
		theirs, err := v.store.WrappedKey(ctx, "org/"+other)
		if err != nil {
			return fmt.Errorf("reading a data key: %w", err)
		}
		forged := theirs
		forged.Name = own.Name
		if _, err := v.store.PutWrappedKey(ctx, forged, own.Wrapped); err != nil {
			return fmt.Errorf("swapping a data key: %w", err)
		}
		sealers, err := newSealers(v)
		if err != nil {
			return err
		}
		key := tokenworker.Key{OrgID: org, ProviderID: "p", CompanyID: "new"}
		sealed, err := sealers[0].Seal(ctx, key, tokenworker.Fence{}, []byte("a token"))
		if err != nil && !errors.Is(err, tokenworker.ErrSealBroken) {
			return fmt.Errorf("sealing after the swap: %w", err)
		}
		if bytes.Contains(sealed, theirs.Wrapped) {
			e.broke("a token of %s was sealed under the data key of %s", org, other)
		}
	}
	e.did("%d current data keys", len(orgs))
	return nil
}

func newSealers(v *vault) ([]*kmsenc.Sealer, error) {
	var sealers []*kmsenc.Sealer
	for _, name := range scopes() {
		scope, err := kmsenc.ParseScope(name)
		if err != nil {
			return nil, fmt.Errorf("choosing a scope: %w", err)
		}
		sealers = append(sealers, kmsenc.New(v.service, v.store, kmsenc.Config{Scope: scope}))
	}
	return sealers, nil
}

// orgs are those of the rows, in turn; a prime number of them, so that each has rows of every scope.
var orgs = [...]string{"o1", "o2", "o3", "o4", "o5", "o6", "o7"} //nolint:gochecknoglobals // a constant

// fill makes n connections, half of them acquired twice and half refreshed, and returns their rows.
func fill(ctx context.Context, v *vault, sealers []*kmsenc.Sealer, n int) ([]sealedRow, error) {
	rows := make([]sealedRow, n)
	now := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i := range rows {
		g.Go(func() error {
			r := &rows[i]
			r.key = tokenworker.Key{OrgID: orgs[i%len(orgs)], ProviderID: "p", CompanyID: fmt.Sprint("c", i)}
			r.scope = i % len(sealers)
			r.token = fmt.Sprint("token ", i)
			first := tokenworker.Fence{Stamp: tokenworker.Stamp{Epoch: 1, Sequence: uint64(2*i + 1)}}
			second := first.Next()
			if i%2 == 0 {
				second = tokenworker.Fence{Stamp: tokenworker.Stamp{Epoch: 1, Sequence: first.Stamp.Sequence + 1}}
			}
			var err error
			if r.older, err = sealers[r.scope].Seal(ctx, r.key, first, []byte("older "+r.token)); err != nil {
				return fmt.Errorf("sealing: %w", err)
			}
			newer, err := sealers[r.scope].Seal(ctx, r.key, second, []byte(r.token))
			if err != nil {
				return fmt.Errorf("sealing: %w", err)
			}
			acquire := func(f tokenworker.Fence, sealed []byte) error {
				_, err := v.store.Acquire(ctx, &tokenworker.Acquisition{Sealed: sealed, Event: tokenworker.Event{
					Key: r.key, Stamp: f.Stamp, Entered: now, ID: tokenworker.NewEventID("attack", fmt.Sprint(f), now),
				}})
				return err //nolint:wrapcheck // our own
			}
			if err := acquire(first, r.older); err != nil {
				return err
			}
			if i%2 == 0 {
				err = acquire(second, newer)
			} else {
				_, _, err = v.store.Update(ctx, tokenworker.Record{Key: r.key}, tokenworker.Committing(&tokenworker.Refresh{
					Key: r.key, From: first, Sealed: newer, Attempt: tokenworker.NewAttemptID(), RefreshedAt: now,
				}))
			}
			if err != nil {
				return fmt.Errorf("storing: %w", err)
			}
			r.own, err = v.rows.load(ctx, r.key)
			return err
		})
	}
	return rows, g.Wait() //nolint:wrapcheck // our own
}
