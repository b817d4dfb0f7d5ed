package main

import (
	"math/rand/v2"
	"sync"

	"github.com/tokenworker/tokenworker/internal/attack/proxy"
)

// faultPlan makes each of its faults in one call of oneIn, at random. It is safe for concurrent use.
type faultPlan struct {
	oneIn  int
	faults []proxy.Fault

	mu   sync.Mutex
	rand *rand.Rand
	made int
}

func newFaultPlan(seed uint64, oneIn int, faults ...proxy.Fault) *faultPlan {
	return &faultPlan{oneIn: oneIn, faults: faults, rand: rand.New(rand.NewPCG(seed, 0))}
}

func (f *faultPlan) next(proxy.Call) proxy.Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if dice := f.rand.IntN(f.oneIn); dice < len(f.faults) {
		f.made++
		return f.faults[dice]
	}
	return proxy.None
}

// count is how many faults were made.
func (f *faultPlan) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.made
}
