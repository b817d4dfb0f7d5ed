package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// countNaks begins to listen to the advisories of refused deliveries, and returns a function that says how often the most
// refused event has been delivered since. NATS counts, not the worker.
func countNaks(admin jetstream.JetStream) (func() int, error) {
	first := map[uint64]int{} // for the subscription's goroutine only
	var most atomic.Int64
	sub, err := admin.Conn().Subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.TOKENS_IN.*", func(m *nats.Msg) {
		var advisory struct {
			Sequence   uint64 `json:"stream_seq"`
			Deliveries int    `json:"deliveries"`
		}
		if json.Unmarshal(m.Data, &advisory) != nil {
			return
		}
		if _, known := first[advisory.Sequence]; !known {
			first[advisory.Sequence] = advisory.Deliveries - 1
		}
		if n := int64(advisory.Deliveries - first[advisory.Sequence]); n > most.Load() {
			most.Store(n)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listening to advisories: %w", err)
	}
	return func() int {
		_ = sub.Unsubscribe() // it ends with the connection at the latest
		return int(most.Load())
	}, nil
}

var errNoMetric = errors.New("the worker's metrics lack process_cpu_seconds_total")

// cpuSeconds is the processor time that the worker has used so far, by its own metrics.
func (r *rig) cpuSeconds(ctx context.Context) (float64, error) {
	_, body, err := r.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(body)); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "process_cpu_seconds_total "); ok {
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, fmt.Errorf("reading the metrics: %w", err)
			}
			return seconds, nil
		}
	}
	return 0, errNoMetric
}
