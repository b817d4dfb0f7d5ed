package demoprovider_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/tokenworker/tokenworker/demoprovider"
)

// The client's own work is in the figure: about half of it.
func BenchmarkRefreshOverHTTP(b *testing.B) {
	r := start(b, demoprovider.Policy{})
	b.RunParallel(func(pb *testing.PB) {
		token := r.mustGrant("s").RefreshToken
		for pb.Next() {
			token = r.mustRefresh(token).RefreshToken
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "refreshes/s")
}

func BenchmarkMemoryOfTenThousandFamiliesOfTwentyRotations(b *testing.B) {
	for range b.N {
		r := start(b, demoprovider.Policy{})
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range 10_000 {
			token := r.mustGrant(fmt.Sprint(i)).RefreshToken
			for range 20 {
				token = r.mustRefresh(token).RefreshToken
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
		if r.Totals().Families != 10_000 {
			b.Fatal("the ledger was collected")
		}
	}
}
