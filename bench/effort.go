package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// effort is what some operations took.
type effort struct {
	Took time.Duration
	CPU  time.Duration // user and system time of the process
}

// measure runs work on a heap that is free of others' garbage.
func measure(work func() error) (effort, error) {
	runtime.GC()
	before, err := cpuTime()
	if err != nil {
		return effort{}, err
	}
	start := time.Now()
	if err := work(); err != nil {
		return effort{}, err
	}
	took := time.Since(start)
	after, err := cpuTime()
	return effort{took, after - before}, err
}

// cpuTime is the user and system time that this process has used so far.
func cpuTime() (time.Duration, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0, err
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), nil
}

// contestant does the same as others in another way, a number of operations at a time.
type contestant func(ctx context.Context, operations int) (effort, error)

// efforts are medians for one operation, in microseconds.
type efforts struct{ took, cpu float64 }

// race lets contestants take turns, in rounds, so that whatever else the machine does meets all of them. The round
// before the first warms them up.
func race(ctx context.Context, rounds, operations int, contestants ...contestant) ([]efforts, error) {
	took, cpu := make([][]float64, len(contestants)), make([][]float64, len(contestants))
	for round := range 1 + rounds {
		for i, c := range contestants {
			e, err := c(ctx, operations)
			if err != nil {
				return nil, fmt.Errorf("round %d, contestant %d: %w", round, i, err)
			}
			if round > 0 {
				took[i] = append(took[i], micros(e.Took, operations))
				cpu[i] = append(cpu[i], micros(e.CPU, operations))
			}
		}
	}
	medians := make([]efforts, len(contestants))
	for i := range medians {
		medians[i] = efforts{median(took[i]), median(cpu[i])}
	}
	return medians, nil
}

// micros is a duration for one operation.
func micros(d time.Duration, operations int) float64 {
	return float64(d.Nanoseconds()) / float64(operations) / 1e3
}

// median is the middle one of an odd number of figures, which it sorts.
func median(figures []float64) float64 {
	slices.Sort(figures)
	return figures[len(figures)/2]
}

// slope is that of the straight line which fits the points best, by least squares.
func slope(x, y []float64) float64 {
	var meanX, meanY, products, squares float64
	for i := range x {
		meanX += x[i] / float64(len(x))
		meanY += y[i] / float64(len(x))
	}
	for i := range x {
		products += (x[i] - meanX) * (y[i] - meanY)
		squares += (x[i] - meanX) * (x[i] - meanX)
	}
	return products / squares
}
