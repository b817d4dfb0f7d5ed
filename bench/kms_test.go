package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/kmsenc"
)

var (
	fleetsFile = flag.String("fleets", "", "simulate the fleets in this JSON `file`")
	callsFile  = flag.String("calls", "", "and write their calls per refresh into this `file`")
)

// TestFleets simulates fleets whose calls are known. Where the command line names others, it is the group kms that asks,
// and it simulates those.
func TestFleets(t *testing.T) {
	if *fleetsFile != "" {
		simulateAsked(t)
		return
	}
	t.Parallel()
	perWeek := func(calls float64) float64 { return calls / week }
	for _, c := range []struct {
		name string
		fleet
		least, most float64
	}{
		{"a key that is used once an hour is unwrapped each time, and made anew once", fleet{"org", 3, 1, 1, week},
			perWeek(week), perWeek(week + 1)},
		{"with a key for each token set one is unwrapped and one made", fleet{"token", 3, 1, 1, week}, 2, 2},
		{"of 100 refreshes within an hour four find no key in memory at most", fleet{"org", 2, 100, 1, week},
			0.03, 0.04 + perWeek(5)/100},
		{"each replica unwraps for itself", fleet{"org", 2, 100, 2, week}, 0.06, 0.08 + perWeek(10)/100},
		{"organizations of a pool share its key", fleet{"pool:1", 100, 1, 1, week}, 0.03, 0.04 + perWeek(5)/100},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if calls := c.callsPerRefresh(t); calls < c.least || calls > c.most {
				t.Errorf("%g calls per refresh, want %g to %g", calls, c.least, c.most)
			}
		})
	}
}

func simulateAsked(t *testing.T) {
	t.Helper()
	b, err := os.ReadFile(*fleetsFile)
	if err != nil {
		t.Fatal(err)
	}
	var fleets []fleet
	if err := json.Unmarshal(b, &fleets); err != nil {
		t.Fatal(err)
	}
	calls := make([]float64, len(fleets))
	t.Run("all", func(t *testing.T) {
		for i, f := range fleets {
			t.Run(fmt.Sprintf("%+v", f), func(t *testing.T) {
				t.Parallel()
				calls[i] = f.callsPerRefresh(t)
			})
		}
	})
	if b, err = json.Marshal(calls); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*callsFile, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// sealedRow is a connection's token set as it lies in the store, and when in each hour it is refreshed.
type sealedRow struct {
	key    tokenworker.Key
	fence  tokenworker.Fence
	sealed []byte
	at     time.Duration
}

// rows are the fleet's connections in the order of their refreshes. Which that is follows from a fixed seed.
func (f fleet) rows(random *rand.Rand) []*sealedRow {
	var rows []*sealedRow
	for o := range f.Organizations {
		for c := range f.Connections {
			rows = append(rows, &sealedRow{
				key: tokenworker.Key{
					OrgID: fmt.Sprintf("org-%d", o), ProviderID: "gusto", CompanyID: fmt.Sprintf("company-%d", c),
				},
				fence: tokenworker.Fence{Stamp: tokenworker.Stamp{Epoch: 1, Sequence: 1}},
				at:    time.Duration(random.Int64N(int64(time.Hour))),
			})
		}
	}
	slices.SortFunc(rows, func(a, b *sealedRow) int { return int(a.at - b.at) })
	return rows
}

// callsPerRefresh simulates the hours. The one before them, in which every connection comes into being, does not count.
func (f fleet) callsPerRefresh(t *testing.T) (calls float64) {
	t.Helper()
	scope, err := kmsenc.ParseScope(f.Scope)
	if err != nil {
		t.Fatal(err)
	}
	file, err := embedded.CreateKeyFile(filepath.Join(t.TempDir(), "key.json"))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		service, store := &countingService{KeyService: file}, keysInMemory{}
		replicas := make([]*kmsenc.Sealer, f.Replicas)
		for i := range replicas {
			replicas[i] = kmsenc.New(service, store, kmsenc.Config{Scope: scope})
		}
		random := rand.New(rand.NewPCG(1, 2))
		rows := f.rows(random)
		start := time.Now()
		for hour := range 1 + f.Hours {
			if hour == 1 {
				service.calls = 0
			}
			for _, r := range rows {
				at := start.Add(time.Duration(hour)*time.Hour + r.at)
				time.Sleep(time.Until(at)) //nolint:forbidigo // on a clock that is wound on
				if err := r.refresh(t.Context(), replicas[random.IntN(f.Replicas)]); err != nil {
					t.Fatal(err)
				}
			}
		}
		calls = float64(service.calls) / float64(f.Hours*len(rows))
	})
	return calls
}

// refresh opens the token set, if there is one yet, and seals the next.
func (r *sealedRow) refresh(ctx context.Context, sealer *kmsenc.Sealer) (err error) {
	if r.sealed != nil {
		if _, err := sealer.Open(ctx, r.key, r.fence, r.sealed); err != nil {
			return err
		}
		r.fence.Generation++
	}
	r.sealed, err = sealer.Seal(ctx, r.key, r.fence, []byte("a token set of any length"))
	return err
}

// countingService counts the calls of a key service. They come one at a time.
type countingService struct {
	tokenworker.KeyService

	calls int
}

func (s *countingService) GenerateDataKey(ctx context.Context, ec map[string]string) (tokenworker.DataKey, error) {
	s.calls++
	return s.KeyService.GenerateDataKey(ctx, ec)
}

func (s *countingService) Decrypt(
	ctx context.Context, keyID string, wrapped []byte, ec map[string]string,
) (tokenworker.Secret, error) {
	s.calls++
	return s.KeyService.Decrypt(ctx, keyID, wrapped, ec)
}

// keysInMemory is a kmsenc.KeyStore of one caller at a time.
type keysInMemory map[string]tokenworker.WrappedKey

func (s keysInMemory) WrappedKey(_ context.Context, name string) (tokenworker.WrappedKey, error) {
	k, ok := s[name]
	if !ok {
		return k, tokenworker.ErrNotFound
	}
	return k, nil
}

func (s keysInMemory) PutWrappedKey(
	_ context.Context, k tokenworker.WrappedKey, _ []byte,
) (tokenworker.WrappedKey, error) {
	s[k.Name] = k
	return k, nil
}
