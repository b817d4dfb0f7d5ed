package tokenworker_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenworker/tokenworker"
)

// message is one message of the stream: an event, or the outbox repeat of an earlier one.
type message struct {
	tokenworker.Event
	disconnect bool
	set        []byte // of an acquisition
}

// drawLog draws what publishers said of one connection, in the stream's order, n messages with the given least gap
// between them. Every message entered within the window of its event's time; servers' clocks disagree.
func drawLog(t *rapid.T, n int, gap time.Duration) []message {
	const skew = tokenworker.ClockSkew
	var log []message
	at := noon
	for seq := range uint64(n) {
		at = at.Add(gap + time.Duration(rapid.Int64Range(0, int64(6*gap)).Draw(t, "gap")))
		m := message{Event: event(seq + 1), disconnect: rapid.Bool().Draw(t, "disconnect"), set: sealed(seq + 1)}
		m.Entered = at.Add(time.Duration(rapid.Int64Range(-int64(skew)/2, int64(skew)/2).Draw(t, "clock")))
		m.ID.Time = m.Entered.Add(-time.Duration(rapid.Int64Range(-int64(skew)+1, int64(tokenworker.Window)).Draw(t, "delay"))).Unix()
		if i := rapid.IntRange(0, 2*len(log)).Draw(t, "repeat"); i < len(log) {
			if original := log[i]; m.Entered.Sub(time.Unix(original.ID.Time, 0)) <= tokenworker.Window {
				m.ID, m.disconnect = original.ID, original.disconnect
			}
		}
		log = append(log, m)
	}
	return log
}

// first reports whether no earlier message of the log is the same event.
func first(log []message, i int) bool {
	return !slices.ContainsFunc(log[:i], func(m message) bool { return m.ID == log[i].ID })
}

// inOrder is what in-order, exactly-once delivery leaves: the last event of the log has its way.
func inOrder(log []message) (live bool, at tokenworker.Stamp, set []byte) {
	for i, m := range log {
		if first(log, i) {
			live, at, set = !m.disconnect, m.Stamp, m.set
		}
	}
	if !live {
		set = nil
	}
	return live, at, set
}

// fold is a record as deliveries and sweeps make it, and what was ever put on its revoke list.
type fold struct {
	record  *tokenworker.Record
	keep    bool // KeepRevocations
	revoked [][]byte
}

func (f *fold) deliver(t *rapid.T, m message) tokenworker.Verdict {
	var next tokenworker.Record
	var verdict tokenworker.Verdict
	var err error
	if m.disconnect {
		next, verdict, err = f.record.Disconnect(&tokenworker.Disconnection{Event: m.Event})
	} else {
		next, verdict, err = f.record.Acquire(&tokenworker.Acquisition{
			Event: m.Event, Sealed: m.set, DueAt: m.Entered.Add(time.Hour), KeepRevocations: f.keep,
		})
	}
	if err != nil {
		t.Fatalf("%s: %v", m.Stamp, err)
	}
	f.become(t, next)
	return verdict
}

func (f *fold) become(t *rapid.T, next tokenworker.Record) {
	mustBeSound(t, &next)
	f.record = &next
	for _, set := range next.Waiting() {
		if !f.wasRevoked(set) {
			f.revoked = append(f.revoked, set)
		}
	}
}

func (f *fold) wasRevoked(set []byte) bool {
	return slices.ContainsFunc(f.revoked, func(b []byte) bool { return bytes.Equal(b, set) })
}

// update does what the rule says of the record, unless it is fenced off.
func (f *fold) update(t *rapid.T, rule tokenworker.Rule) (tokenworker.Verdict, error) {
	next, verdict, err := rule(f.record)
	switch {
	case errors.Is(err, tokenworker.ErrFenced):
		return 0, err
	case err != nil:
		t.Fatal(err)
	case next.Status != "":
		f.become(t, next)
	}
	return verdict, nil
}

// sweep revokes what waits for it.
func (f *fold) sweep(t *rapid.T) {
	c := tokenworker.Claim{Attempt: tokenworker.AttemptID{1}, Until: noon}
	if _, err := f.update(t, tokenworker.ClaimRevocations(c, noon)); err != nil {
		return
	}
	_, _ = f.update(t, tokenworker.Revoked(tokenworker.Revocation{Attempt: c.Attempt, Done: f.record.Waiting()}))
}

// mustBeSound checks what holds of every record.
func mustBeSound(t *rapid.T, r *tokenworker.Record) {
	live := r.Status == tokenworker.Active || r.Status == tokenworker.ReauthRequired
	sets := len(r.Revoke)
	if r.Sealed != nil {
		sets++
	}
	switch {
	case !live && r.Sealed != nil:
		t.Fatalf("a %s record holds a set", r.Status)
	case !live && r.Claim != nil:
		t.Fatalf("a %s record holds a claim", r.Status)
	case !live && r.Disconnected != r.Stamp:
		t.Fatalf("a %s record has stamp %s, its last disconnect %s", r.Status, r.Stamp, r.Disconnected)
	case live && r.Sealed == nil:
		t.Fatalf("a %s record holds no set", r.Status)
	case live && r.Disconnected.Compare(r.Stamp) >= 0:
		t.Fatalf("a %s record has stamp %s, its last disconnect %s", r.Status, r.Stamp, r.Disconnected)
	case r.Status == tokenworker.Disconnected && len(r.Revoke) > 0:
		t.Fatal("a tombstone has something to revoke")
	case r.RevokeAt.IsZero() != (len(r.Revoke) == 0 && r.Status != tokenworker.Disconnecting): // NotStuck
		t.Fatalf("a %s record has %d sets to revoke, due at %s", r.Status, len(r.Revoke), r.RevokeAt)
	case r.RevokeAt.IsZero() != r.RevokeSince.IsZero():
		t.Fatalf("revocations are due at %s, and wait since %s", r.RevokeAt, r.RevokeSince)
	case len(r.Owed) > 0 && r.Due().IsZero(): // Found
		t.Fatal("the record owes something, and nobody will look")
	case r.Status != tokenworker.Active && r.Status != tokenworker.Disconnecting && len(r.Owed) == 0 && !r.DueAt.IsZero():
		t.Fatalf("a %s record is due for nothing, and will be for ever", r.Status)
	case sets > tokenworker.MaxRevoke+1, len(r.Seen) > tokenworker.MaxSeen, len(r.Acquired) > tokenworker.MaxAcquired,
		len(r.Spent) > tokenworker.MaxSpent, len(r.Attempts) > len(r.Acquired)+len(r.Spent):
		t.Fatalf("%d sets, %d ids, %d fingerprints", sets, len(r.Seen), len(r.Acquired)+len(r.Spent))
	}
}

// deliverShuffled delivers the log in a drawn order, each message any number of times, until all are settled. A repeat
// waits while an earlier message of its event is unsettled, as the consumer makes it.
func deliverShuffled(t *rapid.T, log []message, keep bool) *fold {
	f := &fold{keep: keep}
	pending := make([]int, len(log))
	for i := range pending {
		pending[i] = i
	}
	var lastDisconnect tokenworker.Stamp
	delivered := make([]bool, len(log))
	for again := len(log); len(pending) > 0; {
		ready := slices.DeleteFunc(slices.Clone(pending), func(i int) bool {
			return slices.ContainsFunc(pending, func(j int) bool { return j < i && log[j].ID == log[i].ID })
		})
		i := rapid.SampledFrom(ready).Draw(t, "deliver")
		m := log[i]
		verdict := f.deliver(t, m)
		if verdict == tokenworker.Full {
			if len(f.record.Revoke) < tokenworker.MaxRevoke {
				t.Fatalf("%s found no room beside %d ids", m.Stamp, len(f.record.Seen))
			}
			f.sweep(t)
			continue
		}
		if m.disconnect && m.Stamp.Compare(lastDisconnect) > 0 && first(log, i) {
			lastDisconnect = m.Stamp
		}
		if late := !m.disconnect && m.Stamp.Compare(lastDisconnect) < 0; late && keep && !delivered[i] && first(log, i) && !f.wasRevoked(m.set) {
			t.Fatalf("%s, older than the disconnect at %s, was not put on the revoke list", m.Stamp, lastDisconnect)
		}
		delivered[i] = true
		if again > 0 && rapid.Bool().Draw(t, "again") {
			again--
		} else {
			pending = slices.DeleteFunc(pending, func(j int) bool { return j == i })
		}
		if rapid.IntRange(0, 4).Draw(t, "sweep") == 0 {
			f.sweep(t)
		}
	}
	return f
}

func mustMatchOrder(t *rapid.T, log []message, f *fold) {
	live, at, set := inOrder(log)
	r := f.record
	if got := r.Status == tokenworker.Active; got != live || r.Fence != (tokenworker.Fence{Stamp: at}) || !bytes.Equal(r.Sealed, set) {
		t.Fatalf("in order: live %t, stamp %s, %q\n     got: %s, stamp %s, %q", live, at, set, r.Status, r.Stamp, r.Sealed)
	}
	if live {
		return
	}
	// Of the grants, the last one at least has lived up to the disconnect; those before it were replaced by it.
	for i, m := range slices.Backward(log) {
		if first(log, i) && !m.disconnect {
			if !f.wasRevoked(m.set) {
				t.Fatalf("the set of %s was never put on the revoke list", m.Stamp)
			}
			return
		}
	}
}

func TestAnyOrderOfDeliveriesGivesTheSameRecord(t *testing.T) {
	for _, tc := range []struct {
		name     string
		messages int
		gap      time.Duration
	}{
		{"a few messages within hours", 12, time.Minute},
		{"days of messages, whose ids are forgotten on the way", 150, 30 * time.Minute},
	} {
		for _, keep := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, revocations kept: %t", tc.name, keep), func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) {
					log := drawLog(t, rapid.IntRange(1, tc.messages).Draw(t, "messages"), tc.gap)
					mustMatchOrder(t, log, deliverShuffled(t, log, keep))
				})
			})
		}
	}
}

func TestAfterAFinalDisconnectNoTokenIsReadable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := drawLog(t, rapid.IntRange(1, 12).Draw(t, "messages"), time.Minute)
		last := message{Event: event(uint64(len(log)) + 1), disconnect: true}
		last.Entered = log[len(log)-1].Entered.Add(tokenworker.ClockSkew)
		last.ID.Time = last.Entered.Unix()
		f := deliverShuffled(t, append(log, last), rapid.Bool().Draw(t, "keep"))
		if r := f.record; r.Sealed != nil || r.Status == tokenworker.Active || r.Status == tokenworker.ReauthRequired {
			t.Fatalf("after the disconnect at %s the record is %s and holds %q", last.Stamp, r.Status, r.Sealed)
		}
	})
}
