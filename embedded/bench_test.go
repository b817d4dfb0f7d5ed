package embedded_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/embedded"
)

// cpuTime is what this process has used so far, of user and system time.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// benchmarkStore measures op, called with numbers from 1, from so many goroutines.
func benchmarkStore(b *testing.B, callers int, op func(ctx context.Context, s *embedded.Store, n uint64) error) {
	b.Helper()
	s := openStore(b, storePath(b))
	var n, taken atomic.Uint64
	done := make(chan error, callers)
	before := cpuTime(b)
	b.ResetTimer()
	for range callers {
		go func() {
			for taken.Add(1) <= uint64(b.N) {
				if err := op(b.Context(), s, n.Add(1)); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range callers {
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

func BenchmarkStore(b *testing.B) {
	const connections = 10_000
	sealed := make([]byte, 1500)
	acquire := func(ctx context.Context, s *embedded.Store, n uint64) error {
		a := acquisition(fmt.Sprint(n%connections), n)
		a.Sealed = sealed
		v, err := s.Acquire(ctx, a)
		if err == nil && v != tokenworker.Applied {
			err = fmt.Errorf("verdict %s", v)
		}
		return err
	}
	get := func(ctx context.Context, s *embedded.Store, n uint64) error {
		if n == 1 {
			return acquire(ctx, s, connections)
		}
		_, err := s.Get(ctx, key("0"))
		return err
	}
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("acquire/callers=%d", callers), func(b *testing.B) { benchmarkStore(b, callers, acquire) })
	}
	b.Run("get/callers=1", func(b *testing.B) { benchmarkStore(b, 1, get) })
}

// BenchmarkColdStart measures what comes before the first event on a new data directory: lock, NATS server, a connection
// to it, store.
func BenchmarkColdStart(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		path := newDirPath(b)
		b.StartTimer()
		d, err := embedded.OpenDir(path)
		if err != nil {
			b.Fatal(err)
		}
		n, err := embedded.StartNATS(embedded.NATSConfig{Dir: embedded.NATSPath(path), Token: natsToken(b, d)})
		if err != nil {
			b.Fatal(err)
		}
		nc, err := n.Connect()
		if err != nil {
			b.Fatal(err)
		}
		s, err := embedded.OpenStore(b.Context(), embedded.StorePath(path))
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		nc.Close()
		n.Shutdown()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
