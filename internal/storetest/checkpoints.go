package storetest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"math/big"
	"reflect"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

// checkpoint is one of a chain, with links to all records since the one before it in the tests.
func checkpoint(chain, sequence uint64) tokenworker.AuditCheckpoint {
	c := tokenworker.AuditCheckpoint{
		Chain: chain, Sequence: sequence, Recorded: start.Add(time.Duration(sequence)*time.Second + 7).UTC(),
		Links: bytes.Repeat([]byte{1, 2, 3, 4}, 4096), Signature: bytes.Repeat([]byte{byte(sequence)}, 64),
	}
	c.Hash[0], c.Hash[31] = byte(chain), byte(sequence)
	return c
}

// testCheckpoints takes the highest chain for its own: tests share a store, and the newest checkpoint is of the whole store.
func testCheckpoints(t *testing.T, store Store) {
	ctx := t.Context()
	chain := uint64(1)
	last, err := store.LastCheckpoint(ctx)
	if err == nil {
		chain = last.Chain + 1
	} else if !errors.Is(err, tokenworker.ErrNotFound) {
		t.Fatalf("LastCheckpoint: %v", err)
	}
	put := func(c, want tokenworker.AuditCheckpoint) {
		t.Helper()
		if got, err := store.PutCheckpoint(ctx, c); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("PutCheckpoint gives %+v, error %v; want %+v", got, err, want)
		}
	}
	newest := func(want tokenworker.AuditCheckpoint) {
		t.Helper()
		if got, err := store.LastCheckpoint(ctx); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("LastCheckpoint gives %+v, error %v; want %+v", got, err, want)
		}
	}
	listed := func(want ...tokenworker.AuditCheckpoint) {
		t.Helper()
		var got []tokenworker.AuditCheckpoint
		for c, err := range store.Checkpoints(ctx, chain) {
			if err != nil {
				t.Fatalf("Checkpoints: %v", err)
			}
			got = append(got, c)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%d checkpoints listed, want %d:\n\t%+v\n\t%+v", len(got), len(want), got, want)
		}
	}
	listed()

	beginning := checkpoint(chain, 0) // where a chain begins there are no links
	beginning.Links = nil
	ninth, tenth, far := checkpoint(chain, 9), checkpoint(chain, 10), checkpoint(chain, 1<<40)
	put(tenth, tenth)
	newest(tenth)
	put(ninth, ninth)
	newest(tenth)
	put(beginning, beginning)
	other := checkpoint(chain, 10)
	other.Hash[1] = 1
	put(other, tenth) // the first stays
	put(tenth, tenth) // and is no stranger to itself
	listed(beginning, ninth, tenth)
	put(far, far)
	newest(far)

	t.Run("as many as fill more than a page are listed whole", func(*testing.T) {
		want := []tokenworker.AuditCheckpoint{beginning, ninth, tenth}
		for i := range uint64(150) { // of 16 KiB: 2.4 MB, and pages are of 1 MB
			c := checkpoint(chain, 100+i)
			put(c, c)
			want = append(want, c)
		}
		listed(append(want, far)...)
	})

	t.Run("one of many wins, and all learn which", func(t *testing.T) {
		got := race(t, racers, func(int) (tokenworker.AuditCheckpoint, error) {
			c := checkpoint(chain, 1<<41)
			n, err := rand.Int(rand.Reader, big.NewInt(1<<62))
			if err != nil {
				return c, err
			}
			n.FillBytes(c.Hash[:])
			return store.PutCheckpoint(ctx, c)
		})
		for _, c := range got {
			newest(c)
		}
	})
}
