package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
)

// memoryRows send events through `tokenworker dev` and fit a line to its resident memory over the events handled. The
// first half, in which the heap finds its size, does not count.
func memoryRows(ctx context.Context, o options) (rows []row, err error) {
	dir, err := os.MkdirTemp("", "tokenworker-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	program, err := buildWorker(ctx, dir)
	if err != nil {
		return nil, err
	}
	d, err := startDev(ctx, program, filepath.Join(dir, "data"))
	if err != nil {
		return nil, err
	}
	handled, resident, err := d.sampleMemory(ctx, o.size(10_000, 100_000))
	if err := errors.Join(err, d.Stop(stopLimit)); err != nil {
		return nil, err
	}
	half := len(handled) / 2
	return []row{
		{name: "resident memory after the last event", unit: "MB", ours: resident[len(resident)-1] / 1e6},
		{name: "slope of resident memory", unit: "B per event", ours: slope(handled[half:], resident[half:])},
	}, nil
}

// samples is how often memory is looked at. Between two looks so many events are published and handled.
const samples = 100

func (d *dev) sampleMemory(ctx context.Context, operations int) (handled, resident []float64, err error) {
	p, err := d.connect()
	if err != nil {
		return nil, nil, err
	}
	defer p.js.Conn().Close()
	key, err := d.eventKey(ctx)
	if err != nil {
		return nil, nil, err
	}
	for range samples {
		if err := p.publish(ctx, &key, operations/samples); err != nil {
			return nil, nil, err
		}
		if err := p.settled(ctx); err != nil {
			return nil, nil, err
		}
		now, err := d.resident()
		if err != nil {
			return nil, nil, err
		}
		handled, resident = append(handled, float64(p.sent)), append(resident, float64(now))
	}
	return handled, resident, nil
}
