package erase_test

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
	"github.com/tokenworker/tokenworker/erase"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/kmsenc"
	"github.com/tokenworker/tokenworker/streams"
)

// receipt reads the last receipt about a key.
func (r *rig) receipt(k tokenworker.Key) (data events.ErasedData) {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), streams.Out)
	must(r.t, err)
	m, err := s.GetLastMsgForSubject(r.t.Context(), events.Erased.Subject(k))
	must(r.t, err)
	n, err := events.ParseNotice(events.Message{Subject: m.Subject, Body: m.Data})
	must(r.t, err)
	must(r.t, json.Unmarshal(n.Data, &data))
	return data
}

// expectTombstone fails unless the row holds nothing but what late events are measured against.
func (r *rig) expectTombstone(k tokenworker.Key, at tokenworker.Stamp) {
	r.t.Helper()
	rec := r.get(k)
	want := tokenworker.Record{
		Key: k, Status: tokenworker.Disconnected, Fence: tokenworker.Fence{Stamp: at}, Disconnected: at, Entered: rec.Entered,
		Seen: rec.Seen, Acquired: rec.Acquired, Spent: rec.Spent, Attempts: rec.Attempts, Owed: rec.Owed, DueAt: rec.DueAt, RemoveAt: rec.RemoveAt, FailureCode: rec.FailureCode,
		Revision: rec.Revision,
	}
	got, err1 := json.Marshal(rec)
	wanted, err2 := json.Marshal(want)
	must(r.t, errors.Join(err1, err2))
	if string(got) != string(wanted) || rec.RemoveAt.IsZero() {
		r.t.Errorf("%s is\n%s, want a tombstone at %s", k, got, at)
	}
	retained, err := r.db.Retained(r.t.Context(), k)
	must(r.t, err)
	if len(retained) > 0 {
		r.t.Errorf("%d older sets of %s are retained", len(retained), k)
	}
}

func (r *rig) expectOnlyAbout(k tokenworker.Key, want ...string) {
	r.t.Helper()
	if got := r.about(k); !slices.Equal(got, want) {
		r.t.Errorf("messages about %s: %v, want %v", events.KeyText(k), got, want)
	}
}

func TestAnErasedConnectionLeavesATombstoneAndAReceipt(t *testing.T) {
	r, k, other := newRig(t), key("acme", "1"), key("acme", "2")
	r.acquire(other)
	r.acquire(k)
	seq := r.acquire(k) // beside which the one before is retained
	r.letter(k, seq)
	r.park(k, seq)
	late, _ := r.acquired(k)
	r.publish(late) // never to be settled, as an orphan of the work queue
	const token = "canary-token-in-clear"
	e, err := events.NewAcquired(k, "test", tokenworker.TokenSet{AccessToken: tokenworker.SecretString(token)}, time.Now())
	must(t, err)
	inClear, err := e.PlainMessage()
	must(t, err)
	r.publish(inClear) // which a worker has yet to refuse
	if !r.onDisk(late.Body[200:300]) || !r.onDisk([]byte(token)) {
		t.Fatal("the messages are not found on disk to begin with")
	}

	if retained, err := r.db.Retained(t.Context(), k); err != nil || len(retained) != 2 {
		t.Fatalf("%d sets are retained to begin with, %v", len(retained), err)
	}

	before := time.Now()
	ev, cause := r.erase(r.eraser(func(c *erase.Config) { c.RevokeFor = time.Second }), k)
	r.expectTombstone(k, ev.Stamp)
	r.expectOnlyAbout(k, events.Erase.Subject(k), events.Erased.Subject(k))
	if r.onDisk([]byte(token)) {
		t.Error("a token in clear is still on disk")
	}
	if !r.onDisk(late.Body[200:300]) {
		t.Error("what is sealed was overwritten too, which costs up to 4 MB for each message")
	}
	got := r.receipt(k)
	until := got.BackupsUntil
	got.BackupsUntil = time.Time{}
	want := events.ErasedData{
		Cause: cause, Reason: "gdpr", Connections: 1, Messages: 8, Unrevoked: 4, EventKeys: []string{r.public.KeyID},
		EventKeysUntil: r.public.CreatedAt.Add((90 + 35) * 24 * time.Hour).UTC(),
	}
	if g, w := mustJSON(t, got), mustJSON(t, want); g != w {
		t.Errorf("receipt %s, want %s", g, w)
	}
	if d := until.Sub(before); d < 35*24*time.Hour-time.Minute || d > 35*24*time.Hour+time.Minute {
		t.Errorf("backups are kept until %s", until)
	}
	if revoked := r.server.Totals().RevokedByClient; revoked != 1 {
		t.Errorf("%d grants were revoked, want that of the row", revoked)
	}
	if rec := r.get(other); rec.Status != tokenworker.Active || len(r.about(other)) != 1 {
		t.Errorf("the other connection is %s, with messages %v", rec.Status, r.about(other))
	}
}

func TestAReceiptNamesNoDayThatHasPassed(t *testing.T) {
	r, k := newRig(t), key("acme", "1")
	r.acquire(k)
	r.erase(r.eraser(func(c *erase.Config) {
		c.Now = func() time.Time { return time.Now().Add(events.KeyLifetime + time.Hour) } // and nobody has rotated
	}), k)
	if got := r.receipt(k); len(got.EventKeys) != 1 || !got.EventKeysUntil.IsZero() {
		t.Errorf("the keys %v are said to be destroyed by %s", got.EventKeys, got.EventKeysUntil)
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	return string(b)
}

func TestAnErasedOrganizationIsGoneWithWhatOnlyMessagesName(t *testing.T) {
	r := newRig(t)
	org, stays := tokenworker.Key{OrgID: "acme"}, key("too_old", "1")
	rows := []tokenworker.Key{key("acme", "1"), key("acme", "2"), key("acme", "3")}
	var seq uint64
	for _, k := range rows {
		seq = r.acquire(k)
	}
	parked, refused, live := key("acme", "parked"), key("acme", "refused"), key("acme", "live")
	r.park(parked, seq)
	r.letter(refused, seq)
	unsettled, _ := r.acquired(live)
	r.publish(unsettled)
	// Another organization, whose name is spelled like a code.
	r.acquire(stays)
	r.letter(stays, seq)
	replay, err := events.Replay(r.letter(key("other", "1"), seq)) // tokens.v1.replay.too_old.acquired.other.…
	must(t, err)
	r.publish(replay)

	ev, _ := r.erase(r.eraser(func(c *erase.Config) { c.RevokeFor = time.Second }), org)
	for _, k := range append(rows, parked, refused, live) {
		r.expectTombstone(k, ev.Stamp)
	}
	r.expectOnlyAbout(org, events.Erase.Subject(org), events.Erased.Subject(org))
	if got := r.receipt(org); got.Connections != 6 || got.Unconfirmed != 0 {
		t.Errorf("receipt: %+v", got)
	}
	if n := len(r.about(key("other", "1"))); n != 2 {
		t.Errorf("%d messages about another organization, want 2", n)
	}

	r.erase(r.eraser(func(c *erase.Config) { c.RevokeFor = time.Second }), tokenworker.Key{OrgID: "too_old"})
	if n := len(r.about(key("other", "1"))); n != 2 {
		t.Errorf("after an organization is erased that is named like a code, %d messages about another one, want 2", n)
	}
}

func TestWhatIsLateBringsNothingBack(t *testing.T) {
	r, k := newRig(t), key("acme", "1")
	r.acquire(k)
	before := r.get(k)
	late, set := r.acquired(k)
	lateSeq := r.publish(late)
	e := r.eraser(func(c *erase.Config) { c.RevokeFor = time.Second })
	ev, _ := r.erase(e, k)

	// An event that a worker had in hand, and a refresh that was on its way.
	if v := r.store(k, lateSeq, set); v != tokenworker.Revoking {
		t.Errorf("the late event was %s", v)
	}
	sealed, err := r.sealer.Seal(t.Context(), k, before.Next(), []byte("{}"))
	must(t, err)
	_, v, err := r.db.Update(t.Context(), tokenworker.Record{Key: k}, tokenworker.Committing(&tokenworker.Refresh{
		Key: k, From: before.Fence, Sealed: sealed, Attempt: tokenworker.NewAttemptID(), KeepRevocations: true,
		RefreshedAt: time.Now(),
	}))
	must(t, err)
	if v != tokenworker.Revoking {
		t.Errorf("the refresh was %s", v)
	}
	// A repeat of the erased acquisition, which has a new place in the stream.
	repeat := r.event(k, ev.Stamp.Sequence+1)
	repeat.ID = before.Seen[0]
	if _, err := r.db.Acquire(t.Context(), &tokenworker.Acquisition{Event: repeat, Sealed: sealed}); err != nil {
		t.Fatal(err)
	}
	rec := r.get(k)
	if rec.Status != tokenworker.Disconnecting || rec.Sealed != nil || rec.Subject != "" {
		t.Fatalf("the row is %s and holds a set of %d bytes, subject %q", rec.Status, len(rec.Sealed), rec.Subject)
	}
	must(t, r.rot.Do(t.Context(), k, false))
	rec = r.get(k)
	if rec.Status != tokenworker.Disconnected || len(rec.Revoke) > 0 {
		t.Errorf("after its revocation the row is %s", rec.Status)
	}
}

func TestWhatIsNewerThanTheRequestStays(t *testing.T) {
	r, k := newRig(t), key("acme", "1")
	r.acquire(k)
	ev, cause := r.request(k)
	seq := r.acquire(k)
	r.letter(k, seq)
	e := r.eraser()
	must(t, e.Erase(t.Context(), ev, cause, ""))
	rec := r.get(k)
	if rec.Status != tokenworker.Active || rec.Stamp.Sequence != seq || rec.Disconnected != ev.Stamp {
		t.Errorf("the connection is %s at %s, disconnected at %s", rec.Status, rec.Stamp, rec.Disconnected)
	}
	dead := events.DeadLetterSubject(events.CodeTooOld, events.Acquired.Subject(k))
	r.expectOnlyAbout(k, events.Erase.Subject(k), dead, events.Stored.Subject(k), events.Erased.Subject(k))
	if got := r.receipt(k); got.Connections != 0 {
		t.Errorf("the receipt counts %d connections", got.Connections)
	}
}

func TestARepeatOfTheRequestDoesNotTakeWhatCameAfterIt(t *testing.T) {
	r, org, k := newRig(t), tokenworker.Key{OrgID: "acme"}, key("acme", "1")
	e := r.eraser()
	_, cause := r.erase(e, org)
	r.acquire(k)
	repeat, _ := r.request(org) // the same event under a newer stamp
	cause.Sequence = repeat.Stamp.Sequence
	must(t, e.Erase(t.Context(), repeat, cause, ""))
	if rec := r.get(k); rec.Status != tokenworker.Active {
		t.Errorf("the connection that came after the request is %s", rec.Status)
	}
}

func TestAnErasureThatBreaksOffIsTakenUpAgain(t *testing.T) {
	for calls := 0; ; calls++ {
		r, org := newRig(t), tokenworker.Key{OrgID: "acme"}
		keys := []tokenworker.Key{key("acme", "1"), key("acme", "2")}
		for _, k := range keys {
			r.acquire(k)
		}
		var made atomic.Int64
		lost := errors.New("lost")
		r.fault = func() error {
			if made.Add(1) > int64(calls) {
				return lost
			}
			return nil
		}
		ev, cause := r.request(org)
		e := r.eraser()
		err := e.Erase(t.Context(), ev, cause, "")
		if err == nil {
			if calls < 2 {
				t.Fatalf("nothing failed after %d calls", calls)
			}
			return
		}
		if !errors.Is(err, lost) {
			t.Fatal(err)
		}
		r.fault = nil
		must(t, e.Erase(t.Context(), ev, cause, ""))
		for _, k := range keys {
			r.expectTombstone(k, ev.Stamp)
		}
		r.expectOnlyAbout(org, events.Erase.Subject(org), events.Erased.Subject(org))
		if got := r.receipt(org); got.Connections != 2 {
			t.Errorf("broken off after %d calls: receipt %+v", calls, got)
		}
	}
}

func TestAProviderThatIsDownDoesNotKeepWhatIsToBeErased(t *testing.T) {
	r, k := newRig(t), key("acme", "1")
	r.acquire(k)
	must(t, r.server.Inject(demoprovider.Fault{Kind: demoprovider.Unavailable, Endpoint: demoprovider.RevokeEndpoint}))
	ev, _ := r.erase(r.eraser(func(c *erase.Config) { c.RevokeFor = time.Second }), k)
	r.expectTombstone(k, ev.Stamp)
	if got := r.receipt(k); got.Connections != 1 || got.Unconfirmed != 1 {
		t.Errorf("receipt: %+v", got)
	}
	r.expectOnlyAbout(k, events.Erase.Subject(k), events.Erased.Subject(k))
}

func TestALaterDisconnectKeepsNothingOfWhatIsErased(t *testing.T) {
	r, k := newRig(t), key("acme", "1")
	r.acquire(k)
	ev, cause := r.request(k)
	seq := ev.Stamp.Sequence + 1
	_, err := r.db.Disconnect(t.Context(), &tokenworker.Disconnection{Event: r.event(k, seq)})
	must(t, err)
	must(t, r.server.Inject(demoprovider.Fault{Kind: demoprovider.Unavailable, Endpoint: demoprovider.RevokeEndpoint}))
	must(t, r.eraser(func(c *erase.Config) { c.RevokeFor = time.Second }).Erase(t.Context(), ev, cause, ""))
	r.expectTombstone(k, tokenworker.Stamp{Epoch: epoch, Sequence: seq})
	if got := r.receipt(k); got.Connections != 1 || got.Unconfirmed != 1 {
		t.Errorf("receipt: %+v", got)
	}
}

func TestANewerGrantKeepsNothingOfWhatIsErased(t *testing.T) {
	r, k := newRig(t), key("acme", "1")
	r.acquire(k)
	ev, cause := r.request(k)
	_, err := r.db.Disconnect(t.Context(), &tokenworker.Disconnection{Event: r.event(k, ev.Stamp.Sequence)})
	must(t, err)
	newer := r.acquire(k)
	if n := len(r.get(k).Revoke); n != 1 {
		t.Fatalf("%d older sets wait beside the newer grant to begin with", n)
	}
	must(t, r.server.Inject(demoprovider.Fault{Kind: demoprovider.Unavailable, Endpoint: demoprovider.RevokeEndpoint}))
	must(t, r.eraser(func(c *erase.Config) { c.RevokeFor = time.Second }).Erase(t.Context(), ev, cause, ""))
	if rec := r.get(k); rec.Status != tokenworker.Active || rec.Stamp.Sequence != newer || len(rec.Revoke) != 0 || !rec.RevokeAt.IsZero() {
		t.Errorf("the newer grant is %s at %s, beside %d sets", rec.Status, rec.Stamp, len(rec.Revoke))
	}
	if kept, err := r.db.Retained(t.Context(), k); err != nil || len(kept) != 1 || kept[0].Stamp.Sequence != newer {
		t.Errorf("%d sets are retained beside it, %v", len(kept), err)
	}
	if got := r.receipt(k); got.Connections != 0 || got.Unconfirmed != 1 {
		t.Errorf("receipt: %+v", got)
	}
}

func TestWhatAWorkerHadInHandIsGoneBeforeTheReceipt(t *testing.T) {
	r, k := newRig(t), key("acme", "1")
	first := r.acquire(k)
	late, set := r.acquired(k)
	lateSeq := r.publish(late)
	ev, cause := r.request(k)
	in, err := r.js.Stream(t.Context(), streams.In)
	must(t, err)
	overwritten := func() {
		for {
			if _, err := in.GetMsg(t.Context(), lateSeq); errors.Is(err, jetstream.ErrMsgNotFound) {
				return
			}
			runtime.Gosched()
		}
	}
	// The worker lets go of it once it is overwritten.
	worker := make(chan struct{})
	go func() {
		defer close(worker)
		overwritten()
		r.store(k, lateSeq, set)
		r.park(k, lateSeq)
		r.letter(k, first)
	}()
	must(t, r.eraser(func(c *erase.Config) { c.RevokeFor, c.InHand = time.Second, 3*time.Second }).Erase(t.Context(), ev, cause, ""))
	<-worker
	r.expectOnlyAbout(k, events.Erase.Subject(k), events.Erased.Subject(k))
	r.expectTombstone(k, ev.Stamp)
}

func TestALateRequestLeavesWorkersTheTimeToSettleWhatIsParked(t *testing.T) {
	r, k := newRig(t), key("acme", "1")
	r.acquire(k)
	late, set := r.acquired(k)
	seq := r.publish(late)
	in, err := r.js.Stream(t.Context(), streams.In)
	must(t, err)
	must(t, in.DeleteMsg(t.Context(), seq))
	r.park(k, seq)
	parked, err := r.js.Stream(t.Context(), streams.Parked)
	must(t, err)
	last, err := parked.GetLastMsgForSubject(t.Context(), events.ParkedSubject(late.Subject))
	must(t, err)
	ev, cause := r.request(k)
	ev.Entered = ev.Entered.Add(-time.Minute)
	// The worker lets go of it when the eraser has looked twice after the row's own token was revoked.
	looks := 0
	now := func() time.Time {
		if r.server.Totals().RevokedByClient > 0 {
			looks++
		}
		if looks == 2 {
			r.store(k, seq, set)
			must(t, parked.DeleteMsg(t.Context(), last.Sequence))
		}
		return time.Now()
	}
	e := r.eraser(func(c *erase.Config) { c.InHand, c.Now = 20*time.Second, now })
	must(t, e.Erase(t.Context(), ev, cause, ""))
	if n := r.server.Totals().RevokedByClient; n != 2 {
		t.Errorf("%d grants were revoked, want that of the row and the parked one", n)
	}
}

// anew makes the stream of events anew while the first message of an erasure is looked at, and fills it again.
type anew struct {
	*events.Keyring
	make func()
}

func (a anew) HoldsNothingInClear(ctx context.Context, m events.Message) bool {
	a.make()
	return a.Keyring.HoldsNothingInClear(ctx, m)
}

func TestWhatIsInAStreamThatWasMadeAnewMeanwhileStays(t *testing.T) {
	r, k := newRig(t), key("acme", "1")
	ctx := t.Context()
	publish := func() {
		for range 3 {
			m, _ := r.acquired(k)
			r.publish(m)
		}
	}
	publish()
	ev, cause := r.request(k)
	keys := anew{r.keys, sync.OnceFunc(func() {
		must(t, r.js.DeleteStream(ctx, streams.In))
		must(t, streams.Setup(ctx, r.js, 1, func(context.Context) (uint64, error) { return epoch + 1, nil }))
		publish()
	})}
	cfg := erase.Config{FenceOf: kmsenc.FenceOf, RevokeFor: time.Second, InHand: 100 * time.Millisecond}
	e, err := erase.New(cfg, r.js, r.db, r.rot, keys)
	must(t, err)
	must(t, e.Erase(ctx, ev, cause, "gdpr"))
	in, err := r.js.Stream(ctx, streams.In)
	must(t, err)
	if got := in.CachedInfo().State.Msgs; got != 3 {
		t.Errorf("%d of 3 newer events are left", got)
	}
	r.receipt(k)
}
