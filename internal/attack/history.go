package main

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tokenworker/tokenworker"
)

// history is a recorded stream of events: what in-order, exactly-once delivery would hand out, one after another.
type history struct {
	spent    []spending // first of all, in order
	messages []message
}

// spending is an acquisition whose refresh token was posted: a resync that brings it again later changes nothing.
type spending struct {
	acquire *tokenworker.Acquisition
	claim   tokenworker.Claim
}

// message is one event in the stream: exactly one of acquire and disconnect.
type message struct {
	acquire    *tokenworker.Acquisition
	disconnect *tokenworker.Disconnection

	// earlier are the positions of the messages of the same subject before this one, if this one entered so long after
	// its time that it may be a repeat: the worker holds it back until they are settled.
	earlier []int
}

func (m message) event() *tokenworker.Event {
	if m.acquire != nil {
		return &m.acquire.Event
	}
	return &m.disconnect.Event
}

const (
	historyDays = 10

	// holdBackAfter is the duplicate window less the clock skew: the age at which the worker looks for earlier messages.
	holdBackAfter = 15 * time.Minute

	// maxLate is how many acquisitions a connection may have before its last disconnect, so that its revoke list holds
	// them all in whatever order they come. More are parked until something has been revoked.
	maxLate = tokenworker.MaxRevoke
)

// connection is what the generator remembers of one connection.
type connection struct {
	key      tokenworker.Key
	narrow   bool // revocations reach no further than their family
	rotates  bool
	acquires bool // has no disconnects, and many more events than others
	past     []int
	acquired int
}

// newHistory records a stream of n events, spread evenly over ten days: acquisitions, disconnects, an outbox's repeats
// (the same event under a later sequence, up to the window after its time) and an upstream's resyncs (an old token set
// in a new event), for many connections, one of which has far more than the store remembers.
func newHistory(rng *rand.Rand, n int, org string) *history {
	h := &history{}
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	step := historyDays * 24 * time.Hour / time.Duration(n)
	connections := make([]*connection, n/12+2)
	sequence := uint64(0)
	for i := range connections {
		c := &connection{
			key: tokenworker.Key{
				OrgID: fmt.Sprintf("%s-%d", org, i%7), ProviderID: fmt.Sprintf("p%d", i%4), CompanyID: fmt.Sprintf("c:%d", i),
			},
			narrow: i%4 < 2, rotates: i%2 == 0, acquires: i == 0,
		}
		connections[i] = c
		if c.rotates && i%3 == 0 { // its first token set was refreshed, or may have been
			sequence++
			c.acquired++
			a := newAcquisition(c, tokenworker.Stamp{Epoch: 1, Sequence: sequence}, start, tokenworker.EventID{
				Hash: [16]byte{1, byte(i), byte(i >> 8)}, Time: start.Unix(),
			}, firstToken(i))
			h.spent = append(h.spent, spending{a, tokenworker.Claim{
				Owner: "another worker", Attempt: tokenworker.AttemptID{byte(i), byte(i >> 8), 1}, Until: start,
			}})
		}
	}
	for i := range n {
		which := 0
		if rng.IntN(100) >= 3 {
			which = 1 + rng.IntN(len(connections)-1)
		}
		c := connections[which]
		stamp := tokenworker.Stamp{Epoch: 1, Sequence: sequence + 1 + uint64(i)}
		m := h.next(rng, c, which, stamp, start.Add(time.Duration(i)*step))
		for _, p := range c.past {
			earlier := h.messages[p]
			if isOld := m.event().Entered.Sub(time.Unix(m.event().ID.Time, 0)) > holdBackAfter; isOld &&
				(m.acquire != nil) == (earlier.acquire != nil) {
				m.earlier = append(m.earlier, p)
			}
		}
		c.past = append(c.past, i)
		h.messages = append(h.messages, m)
	}
	return h
}

func firstToken(connection int) string { return fmt.Sprintf("first token of %d", connection) }

// next makes the next message of a connection.
func (h *history) next(rng *rand.Rand, c *connection, number int, stamp tokenworker.Stamp, now time.Time) message {
	id := tokenworker.EventID{Time: now.Unix()}
	for i := range id.Hash {
		id.Hash[i] = byte(rng.Uint32())
	}
	token := fmt.Sprintf("token %x", id.Hash)
	if len(c.past) > 0 {
		recent := h.messages[c.past[len(c.past)-1-rng.IntN(min(3, len(c.past)))]]
		old := h.messages[c.past[rng.IntN(len(c.past))]]
		switch dice := rng.IntN(100); {
		case dice < 30 && recent.mayRepeat(now):
			return recent.repeat(stamp, now)
		case dice < 45 && old.acquire != nil:
			c.acquired++
			a := newAcquisition(c, stamp, now, id, "")
			a.Details, a.Spendable = old.acquire.Details, old.acquire.Spendable
			return message{acquire: a}
		case dice < 48:
			token = firstToken(number)
		case dice < 65 && !c.acquires && c.acquired <= maxLate:
			return message{disconnect: &tokenworker.Disconnection{
				Event: tokenworker.Event{Key: c.key, Stamp: stamp, Entered: now, ID: id},
			}}
		}
	}
	c.acquired++
	return message{acquire: newAcquisition(c, stamp, now, id, token)}
}

// mayRepeat reports whether the event could enter the stream once more. Sooner, the stream knows its message id; later,
// it is refused for its age.
func (m message) mayRepeat(now time.Time) bool {
	age := now.Sub(time.Unix(m.event().ID.Time, 0))
	return age > holdBackAfter && age <= tokenworker.Window
}

// repeat is the same event once more, later.
func (m message) repeat(stamp tokenworker.Stamp, entered time.Time) message {
	if m.disconnect != nil {
		d := *m.disconnect
		d.Stamp, d.Entered = stamp, entered
		return message{disconnect: &d}
	}
	a := *m.acquire
	a.Stamp, a.Entered, a.Sealed = stamp, entered, sealedAt(a.ID, stamp)
	return message{acquire: &a}
}

func newAcquisition(
	c *connection, stamp tokenworker.Stamp, now time.Time, id tokenworker.EventID, token string,
) *tokenworker.Acquisition {
	a := &tokenworker.Acquisition{
		Event:  tokenworker.Event{Key: c.key, Stamp: stamp, Entered: now, ID: id},
		Sealed: sealedAt(id, stamp), KeepRevocations: c.narrow,
		Details: tokenworker.Details{Subject: token, ExpiresAt: now.Add(time.Hour)},
		DueAt:   now.Add(40 * time.Minute),
	}
	if c.rotates {
		a.Spendable = tokenworker.NewFingerprint(c.key, tokenworker.SecretString(token))
	}
	return a
}

// sealedAt stands for a sealed set, which is bound to its event's stamp: stores do not look inside.
func sealedAt(id tokenworker.EventID, stamp tokenworker.Stamp) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%x at %s", id.Hash, stamp))
	return sum[:]
}

// expected is the state that in-order, exactly-once delivery leaves, by a reading of the promise that shares no code with
// the worker: of each connection, the last event counts that is not a repeat and does not bring back a spent token.
func (h *history) expected() map[tokenworker.Key]state {
	states := map[tokenworker.Key]state{}
	seen := map[tokenworker.EventID]bool{}
	spent := map[tokenworker.Fingerprint]bool{}
	for _, s := range h.spent {
		a := s.acquire
		states[a.Key] = state{status: tokenworker.Active, stamp: a.Stamp, sealed: string(a.Sealed)}
		seen[a.ID], spent[a.Spendable] = true, true
	}
	for _, m := range h.messages {
		e := m.event()
		if seen[e.ID] {
			continue
		}
		seen[e.ID] = true
		last := states[e.Key]
		if m.disconnect != nil {
			states[e.Key] = state{status: tokenworker.Disconnecting, stamp: e.Stamp, disconnected: e.Stamp}
		} else if !spent[m.acquire.Spendable] {
			states[e.Key] = state{
				status: tokenworker.Active, stamp: e.Stamp, disconnected: last.disconnected, sealed: string(m.acquire.Sealed),
			}
		}
	}
	return states
}

// state is what P2 is about.
type state struct {
	status              tokenworker.Status
	stamp, disconnected tokenworker.Stamp
	sealed              string
}

// stateOf takes what is gone for gone, whether or not there was anything to revoke.
func stateOf(r *tokenworker.Record) state {
	status := r.Status
	if status == tokenworker.Disconnected {
		status = tokenworker.Disconnecting
	}
	return state{status, r.Stamp, r.Disconnected, string(r.Sealed)}
}

// orgs lists the organizations of the connections.
func (h *history) orgs() []string {
	var orgs []string
	for _, m := range h.messages {
		orgs = append(orgs, m.event().Key.OrgID)
	}
	for _, s := range h.spent {
		orgs = append(orgs, s.acquire.Key.OrgID)
	}
	slices.Sort(orgs)
	return slices.Compact(orgs)
}
