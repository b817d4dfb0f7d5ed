package audit

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokenworker/tokenworker/internal/pull"
)

// metrics count records and show the chain. No label ever holds an id of a connection.
type metrics struct {
	records  *prometheus.CounterVec // by action and outcome
	failures prometheus.Counter     // records that the stream did not take
	waiting  prometheus.Gauge       // announcements that are not on record yet
	chained  prometheus.Gauge       // sequence of the newest checkpoint
	broken   prometheus.Gauge       // 1 while the chain cannot be extended
	foreign  *prometheus.CounterVec // by stream
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenworker_audit_records_total",
			Help: "Records of the audit trail, by action and outcome (done, asked, refused, failed).",
		}, []string{"action", "outcome"}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokenworker_audit_failures_total",
			Help: "Records that the stream of the audit trail did not acknowledge. Reads are refused then; announcements wait.",
		}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tokenworker_audit_waiting",
			Help: "Announcements that are not on record yet. They are lost to the trail after 7 days.",
		}),
		chained: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tokenworker_audit_chained_sequence",
			Help: "Sequence of the newest checkpoint of the audit trail.",
		}),
		broken: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tokenworker_audit_broken",
			Help: "1 while the audit trail is broken, so that its chain cannot be extended.",
		}),
	}
	var err error
	if m.foreign, err = pull.NewForeign(reg); err != nil {
		return nil, err
	}
	for _, c := range []prometheus.Collector{m.records, m.failures, m.waiting, m.chained, m.broken} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
