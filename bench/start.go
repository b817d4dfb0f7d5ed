package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// stopLimit is how long `tokenworker dev` may take to stop.
const stopLimit = 30 * time.Second

// startRows time `tokenworker dev` from its start until it is ready, on a new data directory and once more on the same.
func startRows(ctx context.Context, o options) (rows []row, err error) {
	dir, err := os.MkdirTemp("", "tokenworker-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	program, err := buildWorker(ctx, dir)
	if err != nil {
		return nil, err
	}
	var first, again []float64
	for i := range o.size(5, 21) {
		for _, times := range []*[]float64{&first, &again} {
			d, err := startDev(ctx, program, filepath.Join(dir, strconv.Itoa(i)))
			if err != nil {
				return nil, err
			}
			*times = append(*times, float64(d.started.Microseconds())/1e3)
			if err := d.Stop(stopLimit); err != nil {
				return nil, err
			}
		}
	}
	return []row{
		{name: "cold start, new data directory", unit: "ms", ours: median(first), target: atMost(300)},
		{name: "cold start, existing data directory", unit: "ms", ours: median(again), target: atMost(300)},
	}, nil
}
