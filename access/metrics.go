package access

import (
	"cmp"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokenworker/tokenworker/events"
)

// Outcomes beside the codes of replies.
const (
	outcomeServed  = "served"
	outcomeNoInbox = "no_inbox" // the reply was asked for elsewhere than in the caller's account or inboxes, and not sent
)

// metrics counts reads. No label ever holds an id of a connection or a caller.
type metrics struct {
	reads   *prometheus.CounterVec // by outcome
	seconds prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenworker_reads_total", Help: "Requests for a token by outcome.",
		}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tokenworker_read_seconds", Help: "Time from taking a request for a token to answering it.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 8), // 0.5 ms to 8 s
		}),
	}
	for _, c := range []prometheus.Collector{m.reads, m.seconds} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) count(outcome string) { m.reads.WithLabelValues(outcome).Inc() }

func (m *metrics) done(code events.GetCode, took time.Duration) {
	m.count(cmp.Or(string(code), outcomeServed))
	m.seconds.Observe(took.Seconds())
}
