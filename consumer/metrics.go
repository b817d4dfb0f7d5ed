package consumer

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokenworker/tokenworker/internal/pull"
)

// metrics counts what became of deliveries. No label ever holds an id of a connection.
type metrics struct {
	deliveries  *prometheus.CounterVec   // by consumer and what became of them
	verdicts    *prometheus.CounterVec   // by kind and verdict of the store
	deadLetters *prometheus.CounterVec   // by code
	seconds     *prometheus.HistogramVec // from delivery to settlement, by consumer
	notErased   prometheus.Counter       // refused messages that were not overwritten and may hold a token in clear
	foreign     *prometheus.CounterVec   // by stream
	early       prometheus.Counter       // events that entered the stream before their time
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenworker_deliveries_total",
			Help: "Deliveries by kind of consumer and what became of them (ack, retry, release, park, dead_letter, halt).",
		}, []string{"consumer", "settled"}),
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenworker_events_total",
			Help: "Events that were handled, by kind and what came of them (applied, repeated, stale, spent, revoking, full; of " +
				"requests to refresh: done, due, under_way, lately, backing_off, not_connected).",
		}, []string{"kind", "verdict"}),
		deadLetters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenworker_dead_letters_total",
			Help: "Events refused and kept as dead letters, by code.",
		}, []string{"code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tokenworker_delivery_seconds",
			Help:    "Seconds from delivery to settlement, by kind of consumer.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, []string{"consumer"}),
		notErased: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokenworker_refused_not_erased_total",
			Help: "Refused messages that may hold a token in clear and were left in the stream, for want of the right or the limit's sake.",
		}),
		early: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokenworker_early_events_total",
			Help: "Events parked because they entered the stream over 5 minutes before their time: a NATS server's or publisher's clock is wrong.",
		}),
	}
	var err error
	if m.foreign, err = pull.NewForeign(reg); err != nil {
		return nil, err
	}
	for _, c := range []prometheus.Collector{m.deliveries, m.verdicts, m.deadLetters, m.seconds, m.notErased, m.early} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
