package rewrap_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/dynamo"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/kmsenc"
	"github.com/tokenworker/tokenworker/localstack"
	"github.com/tokenworker/tokenworker/rewrap"
)

// store is what traffic and wrapping ask of a store.
type store interface {
	rewrap.Store
	kmsenc.KeyStore
	events
}

type events interface {
	Acquire(ctx context.Context, a *tokenworker.Acquisition) (tokenworker.Verdict, error)
	Disconnect(ctx context.Context, d *tokenworker.Disconnection) (tokenworker.Verdict, error)
	Get(ctx context.Context, k tokenworker.Key) (tokenworker.Record, error)
}

// site is a store and the three ways to see its keys: as before the change of the wrapping key, during it, and when the
// former key is given up.
type site struct {
	store
	former, both, current tokenworker.KeyService
}

func openEmbedded(t *testing.T) site {
	t.Helper()
	dir := t.TempDir()
	s, err := embedded.OpenStore(t.Context(), filepath.Join(dir, "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	keyFile := func(name string, keys ...string) tokenworker.KeyService {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(`{"version":1,"keys":[`+strings.Join(keys, ",")+`]}`), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := embedded.OpenKeyFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	// 32 bytes each, in base64.
	one := `{"id":"former","key":"` + strings.Repeat("AAAA", 10) + `AAA="}`
	two := `{"id":"current","key":"` + strings.Repeat("BBBB", 10) + `BBA="}`
	return site{s, keyFile("former.json", one), keyFile("both.json", two, one), keyFile("current.json", two)}
}

func openLocalStack(t *testing.T) site {
	t.Helper()
	client, config := dynamo.NewClient(localstack.Config(t)), dynamo.Config{TableName: localstack.UniqueName(t, "rewrap")}
	if err := dynamo.Setup(t.Context(), client, config); err != nil {
		t.Fatal(err)
	}
	s, err := dynamo.Open(t.Context(), client, config)
	if err != nil {
		t.Fatal(err)
	}
	service := func(keys ...string) tokenworker.KeyService {
		k, err := kmsenc.OpenKMS(t.Context(), localstack.Config(t), kmsenc.KMSKeys{Shared: keys})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	one, two := localstack.Key(t), localstack.Key(t)
	return site{s, service(one), service(two, one), service(two)}
}

// orgs is over how many organizations connections are spread.
const orgs = 10

func connection(i int) tokenworker.Key {
	return tokenworker.Key{OrgID: fmt.Sprintf("org-%d", i%orgs), ProviderID: "gusto", CompanyID: fmt.Sprintf("company-%d", i)}
}

// retainEvery: of every so many connections one keeps its last sets.
const retainEvery = 5

func retain(k tokenworker.Key) int {
	if k.CompanyID[len(k.CompanyID)-1]%retainEvery == 0 { // of ten digits two
		return 3
	}
	return 0
}

func event(k tokenworker.Key, sequence uint64) tokenworker.Event {
	at := time.Unix(1_795_000_000+int64(sequence), 0)
	return tokenworker.Event{
		Key: k, Stamp: tokenworker.Stamp{Epoch: 1, Sequence: sequence}, Entered: at,
		ID: tokenworker.NewEventID("rewrap", fmt.Sprint(sequence), at),
	}
}

// acquire stores a set whose plaintext names its connection.
func (s site) acquire(ctx context.Context, sealer *kmsenc.Sealer, k tokenworker.Key, sequence uint64) error {
	e := event(k, sequence)
	sealed, err := sealer.Seal(ctx, k, tokenworker.Fence{Stamp: e.Stamp}, []byte(k.String()))
	if err == nil {
		_, err = s.Acquire(ctx, &tokenworker.Acquisition{
			Event: e, Sealed: sealed, DueAt: e.Entered, KeepRevocations: true, Retain: retain(k),
		})
	}
	return err
}

// fill stores so many connections under the former key.
func (s site) fill(t *testing.T, n int) {
	t.Helper()
	sealer := kmsenc.New(s.former, s, kmsenc.Config{})
	var g errgroup.Group
	g.SetLimit(32)
	for i := range n {
		g.Go(func() error { return s.acquire(t.Context(), sealer, connection(i), uint64(i+1)) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

func (s site) sealed(t *testing.T, k tokenworker.Key) []byte {
	t.Helper()
	rec, err := s.Get(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	return rec.Sealed
}

// refresh replaces the set as a refresh does.
func (s site) refresh(ctx context.Context, sealer *kmsenc.Sealer, rec tokenworker.Record) error {
	claim := tokenworker.Claim{Owner: "traffic", Attempt: tokenworker.NewAttemptID()}
	rec, _, err := s.Update(ctx, rec, tokenworker.Claiming(rec.Fence, claim, tokenworker.Fingerprint{}, tokenworker.AttemptID{}))
	if err != nil {
		return err
	}
	sealed, err := sealer.Seal(ctx, rec.Key, rec.Next(), []byte(rec.Key.String()))
	if err != nil {
		return err
	}
	_, verdict, err := s.Update(ctx, rec, tokenworker.Committing(&tokenworker.Refresh{
		Key: rec.Key, From: rec.Fence, Sealed: sealed, Attempt: claim.Attempt, RefreshedAt: rec.Entered, DueAt: rec.Entered,
		Retain: retain(rec.Key),
	}))
	if err == nil && verdict == tokenworker.Stale {
		err = errors.New("a refresh was fenced off")
	}
	return err
}

// open opens every set of a record, and every one beside it.
func (s site) open(ctx context.Context, sealer *kmsenc.Sealer, rec tokenworker.Record) error {
	kept, err := s.Retained(ctx, rec.Key)
	if err != nil {
		return err
	}
	for _, set := range kept {
		if _, err := sealer.Open(ctx, rec.Key, set.Fence, set.Sealed); err != nil {
			return err
		}
	}
	if rec.Sealed != nil {
		plain, err := sealer.Open(ctx, rec.Key, rec.Fence, rec.Sealed)
		if err != nil {
			return err
		}
		if string(plain) != rec.Key.String() {
			return errors.New("another set")
		}
	}
	for _, sealed := range rec.Waiting() {
		if _, err := sealer.OpenListed(ctx, rec.Key, sealed); err != nil {
			return err
		}
	}
	return nil
}

// traffic reads and opens connections at random until ctx ends, and with it refreshes, replaces and disconnects some. Each
// worker has connections of its own, so that only wrapping again could be in its way.
func (s site) traffic(ctx context.Context, n int, opened *atomic.Int64) func() error {
	const workers = 4
	g, _ := errgroup.WithContext(ctx)
	for w := range workers {
		g.Go(func() error {
			sealer := kmsenc.New(s.both, s, kmsenc.Config{})
			for sequence := uint64(1_000_000); ctx.Err() == nil; sequence++ {
				k := connection(rand.IntN(n/workers)*workers + w)
				rec, err := s.Get(context.WithoutCancel(ctx), k)
				if err == nil {
					err = s.open(context.WithoutCancel(ctx), sealer, rec)
				}
				opened.Add(1)
				if err == nil {
					err = s.change(context.WithoutCancel(ctx), sealer, rec, sequence)
				}
				if err != nil {
					return fmt.Errorf("%s: %w", k, err)
				}
			}
			return nil
		})
	}
	return g.Wait
}

// change does to a connection what workers do, once in a while.
func (s site) change(ctx context.Context, sealer *kmsenc.Sealer, rec tokenworker.Record, sequence uint64) error {
	switch rand.IntN(12) {
	case 0, 1:
		if rec.Status == tokenworker.Active {
			return s.refresh(ctx, sealer, rec)
		}
	case 2:
		return s.acquire(ctx, sealer, rec.Key, sequence)
	case 3:
		_, err := s.Disconnect(ctx, &tokenworker.Disconnection{Event: event(rec.Key, sequence)})
		return err
	}
	return nil
}
