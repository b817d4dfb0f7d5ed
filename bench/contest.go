package main

import (
	"context"
	"time"
)

const (
	rounds = 51 // odd, so that one of them is the median
	turn   = 10 * time.Millisecond
)

// contest times operations that do the same thing in different ways, and returns the median CPU time of each in
// microseconds. They take turns, in rounds, so that whatever else the machine does meets all of them.
func contest(ctx context.Context, operations ...func() error) ([]float64, error) {
	counts := make([]int, len(operations))
	for i, operation := range operations {
		n, err := fill(operation)
		if err != nil {
			return nil, err
		}
		counts[i] = n
	}
	times := make([][]float64, len(operations))
	for range rounds {
		for i, operation := range operations {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			taken, err := repeat(operation, counts[i])
			if err != nil {
				return nil, err
			}
			times[i] = append(times[i], micros(taken, counts[i]))
		}
	}
	medians := make([]float64, len(operations))
	for i := range times {
		medians[i] = median(times[i])
	}
	return medians, nil
}

// fill finds out how often an operation fits into one turn, and warms it up.
func fill(operation func() error) (int, error) {
	for n := 1; ; n *= 2 {
		taken, err := repeat(operation, n)
		if err != nil {
			return 0, err
		}
		if taken >= turn/2 {
			return n, nil
		}
	}
}

// repeat returns the CPU time that an operation takes n times: other work on the machine does not show in it.
func repeat(operation func() error, n int) (time.Duration, error) {
	e, err := measure(func() error {
		for range n {
			if err := operation(); err != nil {
				return err
			}
		}
		return nil
	})
	return e.CPU, err
}
