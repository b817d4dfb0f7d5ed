package rotator

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokenworker/tokenworker/internal/pull"
)

// metrics counts what the rotator did. No label ever holds an id of a connection.
type metrics struct {
	refreshes   *prometheus.CounterVec // by provider, outcome and code
	revocations *prometheus.CounterVec // by provider, outcome and code
	saved       *prometheus.CounterVec // by where a refreshed set went, and the verdict
	swept       *prometheus.CounterVec // by provider: connections looked at by sweeps
	sweepErrors *prometheus.CounterVec // by provider: connections that a sweep failed on
	clockOff    prometheus.Gauge
	foreign     *prometheus.CounterVec // by stream
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tokenworker_" + name, Help: help}, labels)
	}
	m := &metrics{
		refreshes:   counter("refreshes_total", "Refresh requests by provider, outcome and code.", "provider", "outcome", "code"),
		revocations: counter("revocations_total", "Revocations by provider, outcome and code.", "provider", "outcome", "code"),
		saved:       counter("refreshed_sets_total", "Refreshed sets by where they were saved and the verdict.", "where", "verdict"),
		swept:       counter("swept_total", "Due connections that sweeps looked at, by provider.", "provider"),
		sweepErrors: counter("sweep_errors_total", "Due connections that sweeps failed on, by provider.", "provider"),
	}
	m.clockOff = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "tokenworker_clock_off_seconds",
		Help: "By how much this machine's clock may differ from the store's, when a connection was last to be claimed.",
	})
	var err error
	if m.foreign, err = pull.NewForeign(reg); err != nil {
		return nil, err
	}
	for _, c := range []prometheus.Collector{m.refreshes, m.revocations, m.saved, m.swept, m.sweepErrors, m.clockOff} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
