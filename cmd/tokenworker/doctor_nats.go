package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/streams"
)

// askTimeout bounds the wait for answers that may never come, for want of rights.
const askTimeout = 2 * time.Second

// examineTransport looks at what protects the way to NATS.
func (d *deployment) examineTransport(ctx context.Context, t *target) []finding {
	js, err := t.jetStream(ctx)
	if err != nil {
		return nil // said before
	}
	if _, err := js.Conn().TLSConnectionState(); err == nil {
		return []finding{{Level: ok, What: "NATS transport: TLS"}}
	}
	if u, err := url.Parse(js.Conn().ConnectedUrl()); err == nil && net.ParseIP(u.Hostname()).IsLoopback() {
		return []finding{{Level: ok, What: "NATS transport: in clear, on loopback"}}
	}
	return []finding{{warn, "NATS transport: in clear",
		"the NATS password and the ids of connections can be read on the way, and events be dropped or replaced"}}
}

// examineDurability looks at when NATS syncs to disk, which only the system account may see.
func examineDurability(ctx context.Context, t *target) []finding {
	js, err := t.jetStream(ctx)
	if err != nil {
		return nil // said before
	}
	const unseen = "NATS durability: cannot be seen by this user; look for `sync_interval: always` in the configuration of every server"
	const why = "the default acknowledges up to two minutes before it syncs: a power cut of all servers loses acknowledged events"
	if r, err := askRights(ctx, js); err == nil && !r.Publish.allows(askStorage) {
		return []finding{{warn, unseen, why}}
	}
	var answer struct {
		Data struct {
			Config struct {
				SyncInterval time.Duration `json:"sync_interval"`
				SyncAlways   bool          `json:"sync_always"`
			} `json:"config"`
		} `json:"data"`
	}
	if err := ask(ctx, js, askStorage, &answer); err != nil {
		return []finding{{warn, unseen, why}}
	}
	if !answer.Data.Config.SyncAlways {
		return []finding{{warn, fmt.Sprintf("NATS durability: syncs every %s, want `sync_interval: always`",
			answer.Data.Config.SyncInterval), why}}
	}
	return []finding{{Level: ok, What: "NATS durability: syncs before it acknowledges, on the server that answered"}}
}

// ask sends an empty request and decodes the first answer.
func ask(ctx context.Context, js jetstream.JetStream, subject string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	msg, err := js.Conn().RequestWithContext(ctx, subject, nil)
	if err != nil {
		return fmt.Errorf("asking %s: %w", subject, err)
	}
	if err := json.Unmarshal(msg.Data, answer); err != nil {
		return fmt.Errorf("reading the answer of %s: %w", subject, err)
	}
	return nil
}

// examineStreams compares streams and consumers with the table, and looks at their replicas.
func examineStreams(ctx context.Context, t *target) []finding {
	js, err := t.jetStream(ctx)
	if err != nil {
		return nil // said before
	}
	in, err := js.Stream(ctx, streams.In)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return []finding{{bad, "streams: " + streamError(streams.In, err).Error(), "events have nowhere to go"}}
	} else if err != nil {
		return []finding{{bad, "streams: " + streamError(streams.In, err).Error(), "whether events can be handled is not known"}}
	}
	replicas := in.CachedInfo().Config.Replicas
	differences, err := streams.Check(ctx, js, replicas)
	if err != nil {
		return []finding{{bad, "streams: " + err.Error(), "whether events can be handled is not known"}}
	}
	fs := asFindings(differences)
	for _, name := range streams.Names() {
		if s, err := js.Stream(ctx, name); err == nil {
			fs = append(fs, examineStream(name, s.CachedInfo())...)
			if n, err := streams.Misplaced(ctx, s); err == nil && n > 0 {
				misplaced := count(int(n), "message", "messages") //nolint:gosec // fits
				fs = append(fs, finding{warn, fmt.Sprintf("stream %s: %s of other streams", name, misplaced),
					"somebody who may pull had them delivered there; workers delete them from " + streams.In + ", " + streams.Parked +
						" and " + streams.Rescue + ", elsewhere they go with their age"})
			}
		}
	}
	if replicas < t.replicas() {
		fs = append(fs, finding{warn, fmt.Sprintf("streams: kept by %s, want %d", count(replicas, "server", "servers"), t.replicas()),
			"while that server is away no event is taken; if its disk is lost, so are the events on it"})
	}
	if len(fs) == 0 {
		fs = []finding{{Level: ok, What: "streams: as `tokenworker setup` leaves them, kept by " +
			count(replicas, "server", "servers")}}
	}
	return fs
}

func asFindings(differences []tokenworker.Difference) []finding {
	var fs []finding
	for _, d := range differences {
		fs = append(fs, finding{bad, fmt.Sprintf("%s is %s, want %s", d.What, d.Have, d.Want), d.Why})
	}
	return fs
}

// examineStream looks at what the table of settings does not know.
func examineStream(name string, info *jetstream.StreamInfo) []finding {
	var fs []finding
	if info.Config.Mirror != nil || len(info.Config.Sources) > 0 {
		fs = append(fs, finding{bad, "stream " + name + ": mirrors or sources another",
			"copies have sequences of their own, and the order of events is lost"})
	}
	if info.Cluster == nil {
		return fs
	}
	for _, peer := range info.Cluster.Replicas {
		if peer.Offline || !peer.Current {
			fs = append(fs, finding{warn, fmt.Sprintf("stream %s: the copy on %s is not current", name, peer.Name),
				"the next server to fail may take acknowledged events with it"})
		}
	}
	return fs
}

// examineBacklog looks at what waits for somebody to act.
func examineBacklog(ctx context.Context, t *target) []finding {
	js, err := t.jetStream(ctx)
	if err != nil {
		return nil // said before
	}
	var fs []finding
	for _, q := range []struct{ stream, what, why string }{
		{streams.DLQ, "dead letters", "each is an event that had no effect; see `tokenworker dlq list`"},
		{streams.Parked, "parked events", "each waits for a key that is refused or a record that is full; the log says which"},
		{streams.Rescue, "rescued token sets", "each is a provider's answer that the store has not taken yet; the store is or was down"},
	} {
		s, err := js.Stream(ctx, q.stream)
		if err != nil {
			continue // said before
		}
		if n := s.CachedInfo().State.Msgs; n > 0 {
			fs = append(fs, finding{warn, fmt.Sprintf("%s: %d", q.what, n), q.why})
		}
	}
	last, err := streams.Last(ctx, js)
	if err != nil {
		return fs // said before
	}
	fs = append(fs, examineLeftovers(ctx, js, last.Epoch)...)
	for _, of := range [...][2]string{
		{streams.In, streams.Durable(streams.Acquired, last.Epoch)}, {streams.In, streams.Durable(streams.Disconnect, last.Epoch)},
		{streams.In, streams.Durable(streams.Refresh, last.Epoch)}, {streams.In, streams.Durable(streams.Replay, last.Epoch)},
		{streams.Out, streams.Auditor}, // what it does not get is not on record
	} {
		c, err := js.Consumer(ctx, of[0], of[1])
		if err != nil {
			continue // said before
		}
		if info := c.CachedInfo(); info.NumPending > 0 && info.NumWaiting == 0 {
			fs = append(fs, finding{warn, fmt.Sprintf("consumer %s: %d events wait and no worker asks for them", of[1],
				info.NumPending), "no worker runs, or all are stuck: see their logs"})
		}
	}
	return fs
}

// examineLeftovers looks for settled messages that a server brought back when it was killed.
func examineLeftovers(ctx context.Context, js jetstream.JetStream, epoch uint64) []finding {
	var fs []finding
	for _, q := range streams.Queues(epoch) {
		n := 0
		for _, err := range streams.Leftovers(ctx, js, q) {
			if err != nil {
				break // said before, or not for this user to see
			}
			n++
		}
		if n > 0 {
			fs = append(fs, finding{warn, fmt.Sprintf("consumer %s: %s left of what is settled", q.Durable, count(n, "message is", "messages are")),
				"a server was killed. Workers delete them within a minute; until then event keys may not be retired, and a shard is not swept"})
		}
	}
	return fs
}

// examineRights compares what the connected NATS user may do with what a worker needs.
func (d *deployment) examineRights(ctx context.Context, t *target) []finding {
	js, err := t.jetStream(ctx)
	if err != nil {
		return nil // said before
	}
	r, err := askRights(ctx, js)
	switch {
	case err != nil:
		return []finding{{warn, "NATS rights: cannot be seen; allow this user to publish on " + askUser,
			"a right that the worker lacks shows only when it is needed"}}
	case r.unlimited():
		return []finding{{warn, "NATS rights: this user may do everything in its account",
			"whoever steals its credentials can forge, read and delete events"}}
	}
	return r.examine(d.flags.natsInbox)
}

// Subjects on which NATS servers answer.
const (
	askUser    = "$SYS.REQ.USER.INFO"       // who is connected, and its rights
	askStorage = "$SYS.REQ.SERVER.PING.JSZ" // how JetStream is configured; for the system account
)

// askRights returns what the connected user may do.
func askRights(ctx context.Context, js jetstream.JetStream) (rights, error) {
	var answer struct {
		Data struct {
			Permissions rights `json:"permissions"` // absent when there are none to limit the user
		} `json:"data"`
	}
	err := ask(ctx, js, askUser, &answer)
	return answer.Data.Permissions, err
}

// examineClocks compares this machine's clock with those of AWS and of every NATS server that leads a stream: it stamps what comes.
func (d *deployment) examineClocks(ctx context.Context, t *target) []finding {
	var fs []finding
	if js, err := t.jetStream(ctx); err == nil {
		fs = examineLeaders(ctx, js)
	}
	before := time.Now()
	if at, err := d.awsTime(ctx); err == nil {
		// An HTTP date is cut to the second.
		fs = append(fs, examineSkew("AWS", at, before.Add(-time.Second), time.Now()))
	}
	return fs
}

// examineLeaders looks at the clock of each stream's leader, each server once.
func examineLeaders(ctx context.Context, js jetstream.JetStream) (fs []finding) {
	looked := make(map[string]bool)
	for _, name := range streams.Names() {
		before := time.Now()
		s, err := js.Stream(ctx, name)
		if err != nil || s.CachedInfo().TimeStamp.IsZero() {
			continue // said before
		}
		leader, after := js.Conn().ConnectedServerName(), time.Now()
		if c := s.CachedInfo().Cluster; c != nil && c.Leader != "" {
			leader = c.Leader
		}
		if looked[leader] {
			continue
		}
		looked[leader] = true
		fs = append(fs, examineSkew("NATS server "+leader+" (leader of "+name+")", s.CachedInfo().TimeStamp, before, after))
	}
	return fs
}

// warnSkew is far more than clocks that are kept by NTP differ.
const warnSkew = time.Second

// examineSkew judges a clock that showed there at some moment between before and after.
func examineSkew(whose string, there, before, after time.Time) finding {
	var skew time.Duration // 0: between the two
	switch {
	case there.Before(before):
		skew = before.Sub(there)
	case there.After(after):
		skew = there.Sub(after)
	}
	what := fmt.Sprintf("clock: %s and this machine differ by %s", whose, skew.Round(time.Millisecond))
	const why = "events are parked or refused when clocks differ by more than 5 minutes"
	switch {
	case skew > tokenworker.ClockSkew:
		return finding{bad, what, why}
	case skew > warnSkew:
		return finding{warn, what, why}
	}
	return finding{Level: ok, What: "clock: agrees with " + whose}
}
