package streams

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
)

// The streams.
const (
	In     = "TOKENS_IN"     // events from upstream
	Out    = "TOKENS_OUT"    // what the worker did
	DLQ    = "TOKENS_DLQ"    // refused input, sealed
	Parked = "TOKENS_PARKED" // settled neither way yet
	Rescue = "TOKENS_RESCUE" // providers' answers that could not be stored, sealed
	Sweep  = "TOKENS_SWEEP"  // jobs: look at what is due
	Audit  = "TOKENS_AUDIT"  // who did what, chained
)

// Names are those of all streams.
func Names() []string { return []string{In, Out, DLQ, Parked, Rescue, Sweep, Audit} }

// The kinds of messages of In. Each has a durable consumer, which [Durable] names; they do not overlap.
const (
	Acquired   = "acquired"
	Disconnect = "disconnect"
	Replay     = "replay"
	Refresh    = "refresh"
	Erase      = "erase"
)

// The durable consumers of the other streams, whose messages bear their stamps with them.
const (
	ParkedRetry = "parked"
	Rescuer     = "rescue"
	Sweeper     = "sweep"
	Auditor     = "audit"
)

// Durable names the durable consumer of a kind of messages of In: acquired-e3. The epoch is part of the name, so that a worker
// which holds another is given nothing.
func Durable(kind string, epoch uint64) string { return fmt.Sprintf("%s-e%d", kind, epoch) }

// DuplicateWindow is how long a stream knows a message id. A message that may be a repeat from before it is held back
// while an earlier message of its subject is unsettled.
const DuplicateWindow = 20 * time.Minute

// AckWait is how long a message may go without an acknowledgement or a heartbeat before it is delivered again.
const AckWait = 30 * time.Second

// SweepAckWait is AckWait of sweep jobs. A job stands in the way of the next one of its shard, so when its replica dies the
// shard waits for so long; what it finds again is fenced record by record, so a job that two replicas have does no harm.
const SweepAckWait = 10 * time.Second

// DeadLetterAge is how long dead letters are kept.
const DeadLetterAge = 14 * 24 * time.Hour

// AuditAge is how long records of the audit trail are kept: a year, and a month to look at it.
const AuditAge = 400 * 24 * time.Hour

// setting is one field of a jetstream.StreamConfig or jetstream.ConsumerConfig.
type setting struct {
	field string
	value any
	why   string
}

type stream struct {
	name      string
	purpose   string
	settings  []setting
	consumers []consumer
}

type consumer struct {
	name     string // of those of In, the kind
	purpose  string
	settings []setting
}

// durable is what the server calls a consumer of the stream.
func (s stream) durable(c consumer, epoch uint64) string {
	if s.name == In {
		return Durable(c.name, epoch)
	}
	return c.name
}

// common to every stream.
func common(replicas int) []setting {
	return []setting{
		{"Storage", jetstream.FileStorage, "memory would not survive a restart"},
		{"Replicas", replicas, "3 in production: one server may be lost without losing an acknowledged message"},
		{"Discard", jetstream.DiscardNew, "a full stream refuses the publisher, who knows, instead of dropping what was acknowledged"},
		{"MaxMsgs", int64(-1), "nothing that was acknowledged is dropped for want of room"},
		{"MaxBytes", int64(-1), "as for MaxMsgs; watch the disk instead"},
		{"MaxMsgsPerSubject", int64(-1), "a connection may have many unsettled events"},
		{"Duplicates", DuplicateWindow, "a publisher that did not see the acknowledgement may publish again"},
		{"DenyPurge", true, "nobody empties a stream with one request; single messages are deleted by sequence"},
		{"AllowRollup", false, "a rollup header would be a purge"},
		{"NoAck", false, "publishers need the acknowledgement"},
		{"AllowMsgTTL", false, "a publisher could make a message vanish before it is handled"},
		{"PersistMode", jetstream.DefaultPersistMode, "acknowledged means written"},
		{"RePublish", (*jetstream.RePublish)(nil), "it publishes what others wrote on any subject of the account, with the server's rights"},
		{"SubjectTransform", (*jetstream.SubjectTransformConfig)(nil), "an event would be kept as another"},
	}
}

// without leaves out fields, to be set otherwise.
func without(settings []setting, fields ...string) []setting {
	return slices.DeleteFunc(settings, func(s setting) bool { return slices.Contains(fields, s.field) })
}

// table is the one place that says what JetStream must look like.
func table(replicas int) []stream {
	all := []stream{
		{
			name: In, purpose: "Events from upstream, until their effect is committed.",
			settings: append(common(replicas),
				setting{"Subjects", []string{"tokens.v1.acquired.>", "tokens.v1.disconnect.>", "tokens.v1.refresh.>", "tokens.v1.erase.>", "tokens.v1.replay.>"}, "what the worker handles; anything else has no stream, and its publisher is told so"},
				setting{"Retention", jetstream.WorkQueuePolicy, "holds exactly the unsettled events, which the hold-back of possible repeats relies on"},
				setting{"MaxAge", time.Duration(0), "an event waits out any outage"},
				setting{"MaxMsgSize", int32(256 << 10), "events are refused above 64 KiB and kept as dead letters; this bounds what a dead letter, twice as large, must hold"},
				setting{"AllowDirect", false, "the hold-back needs a leader's answer: a replica may lag"},
				setting{"DenyDelete", false, "a refused plain event is securely deleted by its sequence"},
			),
			consumers: []consumer{
				pull(Acquired, "Stores acquired token sets.", "tokens.v1.acquired.>", 1024),
				pull(Disconnect, "Honours disconnects; apart, so that a flood of acquisitions does not delay them.", "tokens.v1.disconnect.>", 256),
				pull(Refresh, "Refreshes connections on request.", "tokens.v1.refresh.>", 256),
				pull(Erase, "Erases connections and organizations; a large one takes long, under heartbeats.", "tokens.v1.erase.>", 64),
				pull(Replay, "Applies dead letters that an operator replays.", "tokens.v1.replay.>", 64),
			},
		},
		{
			name: Out, purpose: "What the worker did, for whoever wants to know.",
			settings: append(without(common(replicas), "RePublish"),
				setting{"Subjects", []string{"tokens.v1.event.>"}, "the worker's own events"},
				setting{"RePublish", &jetstream.RePublish{Source: "tokens.v1.event.>", Destination: "tokens.v1.notice.>"}, "other accounts hear these: what the worker publishes comes from an account of its own, and goes to no third"},
				setting{"Retention", jetstream.LimitsPolicy, "any number of readers, each at its own pace"},
				setting{"MaxAge", 7 * 24 * time.Hour, "readers may be down for a week"},
				setting{"MaxMsgSize", int32(64 << 10), "the worker's events are small"},
				setting{"AllowDirect", false, "a direct get publishes a message, as it is, on whatever subject the asker names; and a replica may lag"},
				setting{"DenyDelete", false, "an erasure deletes the events of a connection"},
			),
			consumers: []consumer{
				pull(Auditor, "Puts what the worker announces on record in TOKENS_AUDIT.", "tokens.v1.event.>", 256),
			},
		},
		{
			name: DLQ, purpose: "Refused input, sealed by the worker, for an operator to look at and replay.",
			settings: append(common(replicas),
				setting{"Subjects", []string{"tokens.v1.dlq.>"}, "one subject token holds the error code"},
				setting{"Retention", jetstream.LimitsPolicy, "kept until an operator replays or deletes it"},
				setting{"MaxAge", DeadLetterAge, "the time to act on it; tombstones outlive it"},
				setting{"MaxMsgSize", int32(1 << 20), "the largest message of TOKENS_IN, sealed and in base64"},
				setting{"AllowDirect", false, "an operator's look-up must not miss the newest"},
				setting{"DenyDelete", false, "an operator deletes what is dealt with"},
			),
		},
		{
			name: Parked, purpose: "Events that can be settled neither way yet for one organization or connection alone, with their stamp.",
			settings: append(common(replicas),
				setting{"Subjects", []string{"tokens.v1.parked.>"}, "the worker publishes here, nobody else"},
				setting{"Retention", jetstream.WorkQueuePolicy, "holds exactly the unsettled ones"},
				setting{"MaxAge", time.Duration(0), "waits until the cause is mended"},
				setting{"MaxMsgSize", int32(256 << 10), "as TOKENS_IN"},
				setting{"AllowDirect", false, "the hold-back looks here too"},
				setting{"DenyDelete", false, "an erasure deletes the messages of a connection"},
			),
			consumers: []consumer{
				pull(ParkedRetry, "Tries parked events again, minutes apart.", "tokens.v1.parked.>", 100_000),
			},
		},
	}
	return append(append(all, refreshing(replicas)...), auditing(replicas))
}

// auditing is the stream of the audit trail. Workers chain it (package audit); it needs no durable consumer.
func auditing(replicas int) stream {
	return stream{
		name: Audit, purpose: "The audit trail: who did what to which connection, under a pseudonym; its sequence orders it.",
		settings: append(common(replicas),
			setting{"Subjects", []string{"tokens.v1.audit.>"}, "the worker and operators' commands publish here"},
			setting{"Retention", jetstream.LimitsPolicy, "nothing is removed before its time"},
			setting{"MaxAge", AuditAge, "a year, and a month to look at it"},
			setting{"MaxMsgSize", int32(4 << 10), "a record is a few hundred bytes"},
			setting{"AllowDirect", false, "a record that a lagging replica lacks would look removed"},
			setting{"DenyDelete", true, "no record is removed, not even for an erasure: they name pseudonyms"},
		),
	}
}

// refreshing are the streams of the rotator.
func refreshing(replicas int) []stream {
	return []stream{
		{
			name: Rescue, purpose: "Providers' answers that could not be stored, sealed, until the store is back.",
			settings: append(common(replicas),
				setting{"Subjects", []string{"tokens.v1.rescue.>"}, "the worker publishes here, nobody else"},
				setting{"Retention", jetstream.WorkQueuePolicy, "holds exactly what is not stored yet; a last resort looks here first"},
				setting{"MaxAge", time.Duration(0), "a rotated token waits out any outage"},
				setting{"MaxMsgSize", int32(128 << 10), "a sealed set of 64 KiB in base64"},
				setting{"AllowDirect", false, "a last resort needs a leader's answer: a replica may lag"},
				setting{"DenyDelete", false, "an erasure deletes the messages of a connection"},
			),
			consumers: []consumer{
				pull(Rescuer, "Commits what was rescued.", "tokens.v1.rescue.>", -1),
			},
		},
		{
			name: Sweep, purpose: "Jobs: look at what is due of one provider and shard.",
			settings: append(without(common(replicas), "MaxMsgsPerSubject", "Duplicates"),
				setting{"Subjects", []string{"tokens.v1.sweep.>"}, "the replicas publish here at each tick"},
				setting{"Retention", jetstream.WorkQueuePolicy, "a job is done once"},
				setting{"MaxMsgsPerSubject", int64(1), "a slow sweep is not doubled"},
				setting{"DiscardNewPerSubject", true, "the job that is there stays"},
				setting{"MaxAge", 5 * time.Minute, "a job that nobody takes is made anew by the next tick"},
				setting{"Duplicates", 5 * time.Minute, "all replicas publish the jobs of a tick, and one of each stays; no longer than MaxAge"},
				setting{"MaxMsgSize", int32(1 << 10), "a job is its subject"},
				setting{"AllowDirect", false, "nobody looks jobs up"},
				setting{"DenyDelete", false, "an operator may remove a job"},
			),
			consumers: []consumer{
				pull(Sweeper, "Hands sweep jobs to replicas.", "tokens.v1.sweep.>", 1024),
			},
		},
	}
}

func pull(name, purpose, filter string, maxAckPending int) consumer {
	why := "bounds what one outage can have in flight; a delayed nak stays pending"
	ackWait, ackWhy := AckWait, "a crashed worker's events come back after it; a slow one sends heartbeats at a third of it"
	if name == Sweeper {
		ackWait, ackWhy = SweepAckWait, "a crashed worker's shards wait for it; a slow one sends heartbeats at a third of it"
	}
	if name == ParkedRetry {
		why = "every parked event is pending while it waits for its next try; one organization's must not block another's"
	}
	if name == Rescuer {
		why = "no bound: an answer that has to wait, for a worker of another version say, must not block another"
	}
	return consumer{name, purpose, []setting{
		{"FilterSubject", filter, "consumers of a work queue must not overlap"},
		{"DeliverPolicy", jetstream.DeliverAllPolicy, "nothing is skipped"},
		{"AckPolicy", jetstream.AckExplicitPolicy, "each event is acknowledged after its own commit"},
		{"AckWait", ackWait, ackWhy},
		{"MaxDeliver", -1, "a work queue orphans a message after its last delivery; dead letters are the worker's decision"},
		{"MaxAckPending", maxAckPending, why},
		{"ReplayPolicy", jetstream.ReplayInstantPolicy, "as fast as the worker can"},
		{"InactiveThreshold", time.Duration(0), "a durable consumer is never removed for being idle"},
		{"HeadersOnly", false, "the worker needs the body"},
		{"MemoryStorage", false, "what was acknowledged must survive a restart"},
	}}
}

// fill sets the fields of a config struct. A setting that the struct does not have is a bug in the table.
func fill(config any, settings []setting) {
	v := reflect.ValueOf(config).Elem()
	for _, s := range settings {
		v.FieldByName(s.field).Set(reflect.ValueOf(s.value))
	}
}

// compare reports the settings in which a config struct, as the server returned it, differs from the table.
func compare(what string, config any, settings []setting) []tokenworker.Difference {
	var ds []tokenworker.Difference
	v := reflect.ValueOf(config)
	for _, s := range settings {
		if have := v.FieldByName(s.field).Interface(); !reflect.DeepEqual(have, s.value) {
			ds = append(ds, tokenworker.Difference{
				What: what + ": " + s.field, Have: fmt.Sprint(have), Want: fmt.Sprint(s.value), Why: s.why,
			})
		}
	}
	return ds
}

func (s stream) config() jetstream.StreamConfig {
	c := jetstream.StreamConfig{Name: s.name, Description: s.purpose}
	fill(&c, s.settings)
	return c
}

func (c consumer) config(durable string) jetstream.ConsumerConfig {
	cc := jetstream.ConsumerConfig{Durable: durable, Description: c.purpose}
	fill(&cc, c.settings)
	return cc
}
