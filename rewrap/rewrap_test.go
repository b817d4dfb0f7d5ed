package rewrap_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/kmsenc"
	"github.com/tokenworker/tokenworker/rewrap"
)

var rows = flag.Int("rows", 1000, "how many connections are wrapped again under traffic; a tenth of them on LocalStack")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quick is a rate that holds nothing up.
var quick = rewrap.Config{Rate: 1e6}

func TestWrappingAgainUnderTraffic(t *testing.T) {
	t.Run("SQLite and a key file", func(t *testing.T) { wrapUnderTraffic(t, openEmbedded(t), *rows) })
	t.Run("DynamoDB and KMS", func(t *testing.T) { wrapUnderTraffic(t, openLocalStack(t), max(*rows/10, 100)) })
}

func wrapUnderTraffic(t *testing.T, s site, n int) {
	t.Helper()
	ctx := t.Context()
	s.fill(t, n)
	wrapper := kmsenc.NewRewrapper(s.both, nil)
	requireLeft(t, s, wrapper, rewrap.Left{KeyID: s.former.WrappingKey(nil), Records: n, Sets: n + n/retainEvery, Keys: min(n, orgs)})

	busy, rest := context.WithCancel(ctx)
	defer rest()
	var opened atomic.Int64
	ended := s.traffic(busy, n, &opened)

	stopping, stop := context.WithCancel(ctx)
	defer stop()
	first, err := rewrap.Run(stopping, s, &stopped{Wrapper: wrapper, after: int64(n / 2), stop: stop}, quick)
	if !errors.Is(err, context.Canceled) || first.Sets == 0 || first.Sets >= n+n/retainEvery {
		t.Errorf("stopped halfway: %+v, %v", first, err)
	}
	second, err := rewrap.Run(ctx, s, wrapper, quick)
	if err != nil || second.Failed+second.Waiting > 0 || second.Records != n {
		t.Errorf("gone on: %+v, %v", second, err)
	}
	rest()
	if err := ended(); err != nil {
		t.Errorf("traffic: %v", err)
	}
	requireLeft(t, s, wrapper)
	third, err := rewrap.Run(ctx, s, wrapper, quick)
	if err != nil || third != (rewrap.Result{Records: n}) {
		t.Errorf("once more, with nothing to do: %+v, %v", third, err)
	}
	alone := kmsenc.New(s.current, s, kmsenc.Config{})
	for rec, err := range s.AllRecords(ctx) {
		if err == nil {
			err = s.open(ctx, alone, rec)
		}
		if err != nil {
			t.Fatalf("with the current key alone: %v", err)
		}
	}
	t.Logf("%d connections: %d sets wrapped again before the stop, %d after it, %d reads meanwhile", n, first.Sets, second.Sets,
		opened.Load())
}

// stopped ends a run after so many sets.
type stopped struct {
	rewrap.Wrapper

	wrapped atomic.Int64
	after   int64
	stop    context.CancelFunc
}

func (s *stopped) Set(ctx context.Context, k tokenworker.Key, sealed []byte) ([]byte, error) {
	if s.wrapped.Add(1) == s.after {
		s.stop()
	}
	return s.Wrapper.Set(ctx, k, sealed)
}

func requireLeft(t *testing.T, s site, wrapper rewrap.Wrapper, want ...rewrap.Left) {
	t.Helper()
	if left, err := rewrap.Check(t.Context(), s, wrapper); err != nil || !slices.Equal(left, want) {
		t.Errorf("left: %+v, %v; want %+v", left, err, want)
	}
}

func TestWhatCannotBeWrappedAgainIsPassedOver(t *testing.T) {
	s := openEmbedded(t)
	s.fill(t, 5)
	damaged := connection(3)
	rec, err := s.Get(t.Context(), damaged)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := s.Get(t.Context(), connection(4))
	if err != nil {
		t.Fatal(err)
	}
	for k, sealed := range map[tokenworker.Key][]byte{damaged: rec.Sealed[:10], connection(2): foreign.Sealed} {
		rule := tokenworker.Rewrapping([]tokenworker.Rewrapped{{Old: s.sealed(t, k), New: sealed}})
		if _, _, err := s.Update(t.Context(), tokenworker.Record{Key: k}, rule); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	wrapper := kmsenc.NewRewrapper(s.both, nil)
	done, err := rewrap.Run(t.Context(), s, wrapper, rewrap.Config{Rate: 1e6, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil || done != (rewrap.Result{Records: 5, Sets: 4, Keys: 5, Failed: 2}) {
		t.Errorf("%+v, %v", done, err)
	}
	if !strings.Contains(log.String(), damaged.String()) || !strings.Contains(log.String(), connection(2).String()) {
		t.Errorf("the log does not name what failed: %s", &log)
	}
	requireLeft(t, s, wrapper,
		rewrap.Left{KeyID: s.former.WrappingKey(nil), Records: 1, Sets: 1}, rewrap.Left{KeyID: rewrap.Unreadable, Records: 1, Sets: 1})
}

func TestARecordWhoseRevocationIsUnderWayWaits(t *testing.T) {
	s := openEmbedded(t)
	s.fill(t, 1)
	k := connection(0)
	if _, err := s.Disconnect(t.Context(), &tokenworker.Disconnection{Event: event(k, 2)}); err != nil {
		t.Fatal(err)
	}
	claim := tokenworker.Claim{Owner: "sweep", Attempt: tokenworker.NewAttemptID()}
	rec, _, err := s.Update(t.Context(), tokenworker.Record{Key: k}, tokenworker.ClaimRevocations(claim, event(k, 2).Entered))
	if err != nil {
		t.Fatal(err)
	}
	wrapper := kmsenc.NewRewrapper(s.both, nil)
	if done, err := rewrap.Run(t.Context(), s, wrapper, quick); err != nil || done.Waiting != 1 || done.Sets != 0 {
		t.Errorf("%+v, %v", done, err)
	}
	_, _, err = s.Update(t.Context(), rec, tokenworker.Revoked(tokenworker.Revocation{Attempt: claim.Attempt, Code: "later"}))
	if err != nil {
		t.Fatal(err)
	}
	if done, err := rewrap.Run(t.Context(), s, wrapper, quick); err != nil || done.Waiting != 0 || done.Sets != 1 {
		t.Errorf("afterwards: %+v, %v", done, err)
	}
}

func TestARunEndsWithWhatDoesNotConcernOneRecordAlone(t *testing.T) {
	s := openEmbedded(t)
	s.fill(t, 5)
	_, err := rewrap.Run(t.Context(), s, unavailable{kmsenc.NewRewrapper(s.both, nil)}, quick)
	if !errors.Is(err, tokenworker.ErrUnavailable) {
		t.Errorf("error %v, want ErrUnavailable", err)
	}
}

// unavailable is a key service that does not answer.
type unavailable struct{ rewrap.Wrapper }

func (unavailable) Set(context.Context, tokenworker.Key, []byte) ([]byte, error) {
	return nil, tokenworker.ErrUnavailable
}

func TestTwoRunsAtOnceAreHarmless(t *testing.T) {
	s := openEmbedded(t)
	s.fill(t, 200)
	var g errgroup.Group
	for range 2 {
		g.Go(func() error {
			_, err := rewrap.Run(t.Context(), s, kmsenc.NewRewrapper(s.both, nil), quick)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	requireLeft(t, s, kmsenc.NewRewrapper(s.both, nil))
}
