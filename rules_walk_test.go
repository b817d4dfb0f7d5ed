package tokenworker_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenworker/tokenworker"
)

// This file walks docs/model/Connection.tla at random with the rules of this package in the place of the model's: one
// connection, two workers, a provider that rotates strictly and revokes the family when a used token comes back.
// It is stricter than the model in two points: revoking a spent token does nothing at this provider, and an attempt to
// revoke is not one step, so that anything may happen between its claim, its requests and its end.

// token is a refresh token: one generation of a family, which is a grant.
type token struct{ family, generation int }

func (k token) fingerprint() tokenworker.Fingerprint {
	return tokenworker.NewFingerprint(testKey, tokenworker.SecretString(fmt.Sprint(k)))
}

// said is a message of the log, its token, and whether somebody has logged in for it.
type said struct {
	message
	token
	login bool
}

// attempt is what one worker knows of its attempt to refresh.
type attempt struct {
	pc     string // "", read, claimed, sent, answered, refused, busy
	id     tokenworker.AttemptID
	from   tokenworker.Fence
	spends token
	before *tokenworker.Claim // of a last resort
	minted token              // the same as what it spends, if the provider kept that
}

func (a *attempt) lastResort() bool { return a.before != nil }

// sweep is what one attempt to revoke knows.
type sweep struct {
	id   tokenworker.AttemptID
	sets [][]byte // as it has claimed them
	done [][]byte
	left [][]byte
	sent bool
}

// request is a POST on the wire, and then its answer.
type request struct {
	attempt
	fresh bool   // its token had not been posted before
	state string // "", minted, refused, busy
}

type world struct {
	*rapid.T
	fold
	log      []said
	pending  []int
	sets     map[string]token // what is sealed in a set
	current  map[int]int      // the generation that the provider takes, by family
	dead     map[int]bool     // families revoked
	lost     map[int]bool     // families with an answer that was lost
	doubted  map[token]bool   // tokens that were rotated away, or of which nobody knows whether they were
	posted   map[token]bool
	workers  [2]attempt
	wire     []request
	rescue   []attempt
	sweeps   []*sweep
	tried    map[string]bool    // sets that somebody has tried to revoke
	owed     []tokenworker.Owed // what was written and is not yet announced
	attempts byte
	swept    byte
	trace    []string
}

const (
	walkMessages = 5
	walkAttempts = 6
)

func (w *world) must(ok bool, what string) {
	if !ok {
		w.Fatalf("%s after\n  %s\nrecord %+v", what, strings.Join(w.trace, "\n  "), *w.record)
	}
}

func (w *world) token() token { return w.sets[string(w.record.Sealed)] }

func (w *world) seal(k token, f tokenworker.Fence) []byte {
	set := fmt.Sprintf("%v of %s generation %d", k, f.Stamp, f.Generation)
	w.sets[set] = k
	return []byte(set)
}

// step is something that may happen now.
type step struct {
	name string
	do   func()
}

func (w *world) steps() []step {
	var steps []step
	may := func(ok bool, do func(), format string, args ...any) {
		if ok {
			steps = append(steps, step{fmt.Sprintf(format, args...), do})
		}
	}
	w.publishing(may)
	for _, i := range w.pending {
		held := slices.ContainsFunc(w.pending, func(j int) bool { return j < i && w.log[j].ID == w.log[i].ID })
		may(!held && !w.undecided(w.log[i]), func() { w.deliverOne(i) }, "deliver %d", i+1)
	}
	for i := range w.workers {
		w.working(i, may)
	}
	for i := range w.wire {
		may(w.wire[i].state == "", func() { w.provider(i) }, "provider answers %x", w.wire[i].id[:1])
	}
	for _, a := range w.rescue {
		may(true, func() { w.rescueCommit(a) }, "commit %x from the rescue stream", a.id[:1])
	}
	w.revoking(may)
	for i, o := range w.owed {
		may(true, func() { w.announce(i) }, "announce %x", o.Attempt[:1])
	}
	return steps
}

func (w *world) publishing(may func(bool, func(), string, ...any)) {
	n := len(w.log)
	room := n < walkMessages
	publish := func(edit func(*said)) func() {
		return func() {
			m := said{message: message{Event: event(uint64(n + 1))}, token: token{n + 1, 0}, login: true}
			edit(&m)
			m.set = w.seal(m.token, tokenworker.Fence{Stamp: m.Stamp})
			w.log, w.pending = append(w.log, m), append(w.pending, n)
		}
	}
	may(room, publish(func(*said) {}), "%d: acquired family %d", n+1, n+1)
	may(room, publish(func(m *said) { m.disconnect = true }), "%d: disconnect", n+1)
	for i, old := range w.log {
		may(room, publish(func(m *said) { m.ID, m.disconnect, m.token = old.ID, old.disconnect, old.token }), "%d: repeat of %d", n+1, i+1)
		may(room && !old.disconnect, publish(func(m *said) { m.token, m.login = old.token, false }), "%d: resync of %d", n+1, i+1)
		may(room && !old.disconnect && !w.dead[old.family], publish(func(m *said) {
			m.token = token{old.family, w.current[old.family]}
		}), "%d: login again as %d, who keeps the token", n+1, i+1)
	}
}

// undecided: an attempt at the token may still end either way.
func (w *world) undecided(m said) bool {
	if w.record == nil || m.disconnect || slices.Contains(w.record.Seen, m.ID) {
		return false
	}
	at := w.record.AttemptAt(m.fingerprint())
	return at != nil && (w.record.Claim != nil && w.record.Claim.Attempt == at.ID || !w.over(at.ID))
}

// over: no process holds the attempt, and no answer of it waits in the rescue stream.
func (w *world) over(id tokenworker.AttemptID) bool {
	return !w.busy(id) && !slices.ContainsFunc(w.rescue, func(a attempt) bool { return a.id == id })
}

func (w *world) deliverOne(i int) {
	m := w.log[i]
	var next tokenworker.Record
	var verdict tokenworker.Verdict
	var err error
	if m.disconnect {
		next, verdict, err = w.record.Disconnect(&tokenworker.Disconnection{Event: m.Event})
	} else {
		next, verdict, err = w.record.Acquire(&tokenworker.Acquisition{
			Event: m.Event, Sealed: m.set, Token: m.fingerprint(), Spendable: m.fingerprint(), Over: w.overAt(m.token),
			KeepRevocations: w.keep, CheckAt: noon,
		})
		w.must(verdict != tokenworker.Undecided, "what can be decided was not")
		unchecked := verdict == tokenworker.Applied && !w.keep && !next.Disconnected.IsZero() && next.DueAt.After(noon)
		w.must(!unchecked, "KnownDead broke: nobody looks whether a revocation has ended the new grant")
	}
	if err != nil {
		w.Fatal(err)
	}
	w.become(w.T, next)
	if verdict != tokenworker.Full && rapid.IntRange(0, 3).Draw(w.T, "again") > 0 {
		w.pending = slices.DeleteFunc(w.pending, func(j int) bool { return j == i })
	}
}

func (w *world) working(i int, may func(bool, func(), string, ...any)) {
	a := &w.workers[i]
	idle := func() { *a = attempt{} }
	r := w.record
	switch a.pc {
	case "":
		may(r != nil && r.Status == tokenworker.Active && w.attempts < walkAttempts, func() {
			w.attempts++
			*a = attempt{pc: "read", id: tokenworker.AttemptID{w.attempts}, from: r.Fence, spends: w.token()}
			a.before = r.Claim
		}, "worker %d reads", i)
	case "read":
		may(!a.lastResort() || !w.busy(a.before.Attempt) && !w.rescued(a.spends), func() { w.claim(a) }, "worker %d claims", i)
	case "claimed":
		may(true, func() { w.send(a) }, "worker %d posts", i)
		may(true, func() { w.fails(a, w.unclaimed(a)); idle() }, "worker %d gives back what it has not posted", i)
	case "sent":
		j := slices.IndexFunc(w.wire, func(q request) bool { return q.id == a.id })
		answered := w.wire[j].state != ""
		take := func() request {
			q := w.wire[j]
			w.wire = slices.Delete(w.wire, j, j+1)
			return q
		}
		may(answered, func() { q := take(); a.pc, a.minted = q.state, q.minted; w.hears(q) }, "worker %d hears", i)
		may(answered, func() {
			take()
			w.lost[a.spends.family], w.doubted[a.spends] = true, true
			if rapid.Bool().Draw(w.T, "says so") {
				w.fails(a, tokenworker.Unresolved)
			}
			idle()
		}, "worker %d hears nothing", i)
	case "minted":
		may(true, func() {
			if w.commit(a) != tokenworker.Full {
				idle()
			}
		}, "worker %d commits", i)
		may(true, func() { w.rescue = append(w.rescue, *a); idle() }, "worker %d rescues", i)
	case "refused":
		may(true, func() { w.fails(a, tokenworker.GrantDead); idle() }, "worker %d was refused", i)
	case "busy":
		may(true, func() { w.fails(a, tokenworker.NothingSpent); idle() }, "worker %d releases", i)
	}
	if a.pc != "" && a.pc != "sent" { // a crash after sending is the reply not heard
		may(true, func() {
			w.doubted[a.spends] = w.doubted[a.spends] || a.pc != "read"
			w.lost[a.spends.family] = w.lost[a.spends.family] || a.pc == "minted"
			idle()
		}, "worker %d crashes", i)
	}
}

// fails writes how an attempt ended that brought nothing.
func (w *world) fails(a *attempt, as func(tokenworker.Failure) tokenworker.Rule) {
	o := tokenworker.Owed{Attempt: a.id}
	verdict, _ := w.update(w.T, as(tokenworker.Failure{Attempt: a.id, DueAt: noon, Owed: &o}))
	if verdict == tokenworker.Applied {
		w.owed = append(w.owed, o)
	}
}

// announce crosses off what was owed, whatever has become of the record since. Until then it is there (NoneLost).
func (w *world) announce(i int) {
	w.must(w.record.Owes(w.owed[i].Attempt), "NoneLost broke")
	_, _ = w.update(w.T, tokenworker.Announced(w.owed[i].Attempt))
	w.owed = slices.Delete(w.owed, i, i+1)
}

// busy: a process still holds the attempt, or a request of it is on the way. Hours later neither can be.
func (w *world) busy(id tokenworker.AttemptID) bool {
	return slices.ContainsFunc(w.workers[:], func(a attempt) bool { return a.pc != "" && a.pc != "read" && a.id == id }) ||
		slices.ContainsFunc(w.wire, func(q request) bool { return q.id == id && q.state == "" })
}

func (w *world) rescued(k token) bool {
	return slices.ContainsFunc(w.rescue, func(a attempt) bool { return a.spends == k })
}

func (w *world) claim(a *attempt) {
	c := tokenworker.Claim{Attempt: a.id, LastResort: a.lastResort()}
	var replaces tokenworker.AttemptID
	if a.before != nil {
		replaces = a.before.Attempt
	}
	take := func() error {
		_, err := w.update(w.T, tokenworker.Claiming(a.from, c, a.spends.fingerprint(), replaces))
		return err
	}
	if err := take(); errors.Is(err, tokenworker.ErrFenced) {
		*a = attempt{}
		return
	}
	if rapid.Bool().Draw(w.T, "reply lost") {
		w.must(take() == nil, "a claim was not known as one's own")
	}
	a.pc = "claimed"
}

func (w *world) send(a *attempt) {
	w.must(!w.posted[a.spends] || a.lastResort() && !w.rescued(a.spends), fmt.Sprintf("%v was posted twice", a.spends))
	w.wire = append(w.wire, request{attempt: *a, fresh: !w.posted[a.spends]})
	w.posted[a.spends] = true
	a.pc = "sent"
}

func (w *world) provider(i int) {
	q := &w.wire[i]
	f := q.spends.family
	switch {
	case rapid.IntRange(0, 3).Draw(w.T, "busy") == 0:
		q.state = "busy"
	case !w.dead[f] && q.spends.generation == w.current[f] && rapid.IntRange(0, 2).Draw(w.T, "kept") == 0:
		q.state, q.minted = "minted", q.spends
	case !w.dead[f] && q.spends.generation == w.current[f]:
		w.current[f]++
		q.state, q.minted = "minted", token{f, w.current[f]}
	default:
		w.dead[f] = true
		q.state = "refused"
	}
}

// hears is what a process knows of the token once it has the answer.
func (w *world) hears(q request) {
	switch kept := q.state == "minted" && q.minted == q.spends; {
	case kept:
		delete(w.posted, q.spends)
		delete(w.doubted, q.spends)
	case q.state == "minted" || !q.fresh:
		w.doubted[q.spends] = true
	default:
		delete(w.posted, q.spends)
	}
}

// overAt is the attempt at a token that is over; zero: there is none.
func (w *world) overAt(k token) tokenworker.AttemptID {
	if w.record == nil {
		return tokenworker.AttemptID{}
	}
	if at := w.record.AttemptAt(k.fingerprint()); at != nil && w.over(at.ID) {
		return at.ID
	}
	return tokenworker.AttemptID{}
}

// unclaimed ends an attempt that has not posted its token.
func (w *world) unclaimed(a *attempt) func(tokenworker.Failure) tokenworker.Rule {
	return func(f tokenworker.Failure) tokenworker.Rule { return tokenworker.Unclaimed(a.from, f, a.before) }
}

func (w *world) commit(a *attempt) tokenworker.Verdict {
	f := &tokenworker.Refresh{From: a.from, Attempt: a.id, Sealed: w.seal(a.minted, a.from.Next()), RefreshedAt: noon, KeepRevocations: w.keep}
	f.Token, f.Kept = a.minted.fingerprint(), a.minted == a.spends
	f.Owed = &tokenworker.Owed{Attempt: a.id}
	next, verdict := w.record.Commit(f)
	w.become(w.T, next)
	if verdict == tokenworker.Applied {
		w.owed = append(w.owed, *f.Owed)
	}
	if again, verdict := w.record.Commit(f); rapid.Bool().Draw(w.T, "reply lost") {
		w.must(verdict != tokenworker.Applied && verdict != tokenworker.Revoking, "an answer was saved twice")
		w.become(w.T, again)
	}
	return verdict
}

func (w *world) rescueCommit(a attempt) {
	if w.commit(&a) != tokenworker.Full && rapid.Bool().Draw(w.T, "settled") {
		w.rescue = slices.DeleteFunc(w.rescue, func(b attempt) bool { return a.id == b.id })
	}
}

// revoking is what two sweeps may do at once: the later one finds the other's claim expired.
func (w *world) revoking(may func(bool, func(), string, ...any)) {
	r := w.record
	may(r != nil && (len(r.Revoke) > 0 || r.Status == tokenworker.Disconnecting) && len(w.sweeps) < 2, func() {
		w.swept++
		s := &sweep{id: tokenworker.AttemptID{100, w.swept}}
		_, err := w.update(w.T, tokenworker.ClaimRevocations(tokenworker.Claim{Attempt: s.id, Until: noon}, noon))
		w.must(err == nil, "nobody may revoke")
		s.sets, w.sweeps = w.record.Waiting(), append(w.sweeps, s)
	}, "a sweep claims")
	for i, s := range w.sweeps {
		gone := func() { w.sweeps = slices.Delete(w.sweeps, i, i+1) }
		may(!s.sent, func() { w.sendRevocations(s) }, "sweep %d revokes", i)
		may(s.sent, func() { w.endSweep(s); gone() }, "sweep %d ends", i)
		may(true, gone, "sweep %d crashes", i)
	}
}

func (w *world) sendRevocations(s *sweep) {
	s.sent = true
	for _, set := range s.sets {
		w.tried[string(set)] = true
		if rapid.IntRange(0, 3).Draw(w.T, "cannot be revoked") == 0 {
			s.left = append(s.left, set)
			continue
		}
		if k := w.sets[string(set)]; k.generation == w.current[k.family] {
			w.dead[k.family] = true
		}
		s.done = append(s.done, set)
	}
}

func (w *world) endSweep(s *sweep) {
	o := tokenworker.Owed{Attempt: s.id}
	retry := noon.Add(24 * time.Hour)
	verdict, _ := w.update(w.T, tokenworker.Revoked(tokenworker.Revocation{
		Attempt: s.id, Done: s.done, Left: s.left, RetryAt: retry, DueAt: noon, Owed: &o,
	}))
	untried := slices.ContainsFunc(w.record.Waiting(), func(set []byte) bool { return !w.tried[string(set)] })
	w.must(!untried || w.record.RevokeAt.Before(retry), "what joined the list meanwhile has to wait")
	if verdict == tokenworker.Applied {
		w.owed = append(w.owed, o)
	}
}

// held: the token that the provider takes is somewhere, unless the answer with it was lost.
func (w *world) held(family int) bool {
	k := token{family, w.current[family]}
	return w.lost[family] || w.token() == k ||
		slices.ContainsFunc(w.workers[:], func(a attempt) bool { return a.minted == k }) ||
		slices.ContainsFunc(w.wire, func(q request) bool { return q.minted == k }) ||
		slices.ContainsFunc(w.rescue, func(a attempt) bool { return a.minted == k })
}

// check is the model's invariants that hold at every step; Gone and those of Revocation.tla and Owed.tla are in mustBeSound,
// OneUse in send.
func (w *world) check() {
	if w.record == nil || w.record.Sealed == nil {
		return
	}
	f := w.token().family
	w.must(w.record.Status != tokenworker.Active || w.dead[f] || w.held(f), "NoLostRotation broke")
	w.must(w.record.Status != tokenworker.ReauthRequired || w.dead[f] || w.lost[f], "NoFalseReauth broke")
}

// settle lets everything under way end, with no new attempt and no new message.
func (w *world) settle() {
	w.attempts = walkAttempts
	for range 500 {
		steps := slices.DeleteFunc(w.steps(), func(s step) bool { return strings.Contains(s.name, ":") })
		if len(steps) == 0 {
			return
		}
		w.take(steps)
	}
	w.Fatalf("not settled:\n  %s", strings.Join(w.trace, "\n  "))
}

func (w *world) take(steps []step) {
	s := steps[rapid.IntRange(0, len(steps)-1).Draw(w.T, "step")]
	w.trace = append(w.trace, s.name)
	s.do()
	w.check()
}

// checkSettled is the model's ReloginApplied, and its InOrder and AllRevoked, which are not asked of logs in which a token comes
// again.
func (w *world) checkSettled() {
	if len(w.pending) > 0 {
		return // it waits for the end of an attempt that will not come
	}
	w.checkRelogin()
	log := make([]message, len(w.log))
	families := make(map[int]bool)
	lastFamily := 0
	for i, m := range w.log {
		log[i] = m.message
		if m.disconnect || !first(log[:i+1], i) {
			continue
		}
		if families[m.family] {
			return
		}
		families[m.family], lastFamily = true, m.family
	}
	live, at, _ := inOrder(log)
	r := w.record
	if !live {
		w.must(r.Status == tokenworker.Disconnected && r.Stamp == at, "InOrder broke")
		w.must(lastFamily == 0 || w.dead[lastFamily] || w.lost[lastFamily], "AllRevoked broke")
		return
	}
	w.must(r.Sealed != nil && r.Stamp == at && w.token().family == lastFamily, "InOrder broke")
}

// checkRelogin: what somebody has logged in for last takes effect, unless the provider has rotated its token away or nobody knows
// whether it has.
func (w *world) checkRelogin() {
	log := make([]message, len(w.log))
	last := -1
	for i, m := range w.log {
		log[i] = m.message
		if first(log[:i+1], i) {
			last = i
		}
	}
	m := w.log[last]
	if m.disconnect || !m.login || w.dead[m.family] || w.current[m.family] != m.generation || w.doubted[m.token] {
		return
	}
	w.must(w.record.Stamp == m.Stamp, "ReloginApplied broke")
}

func walk(t *rapid.T) {
	w := &world{
		T: t, fold: fold{keep: rapid.Bool().Draw(t, "keep")}, sets: make(map[string]token),
		current: make(map[int]int), dead: make(map[int]bool), lost: make(map[int]bool), posted: make(map[token]bool),
		tried: make(map[string]bool), doubted: make(map[token]bool),
	}
	for range rapid.IntRange(10, 60).Draw(t, "length") {
		if steps := w.steps(); len(steps) > 0 {
			w.take(steps)
		}
	}
	w.settle()
	if len(w.log) > 0 {
		w.checkSettled()
	}
}

func TestRandomWalksOfTheModel(t *testing.T) {
	for range 30 { // a walk is short, and those that show a missing rule are rare
		rapid.Check(t, walk)
	}
}
