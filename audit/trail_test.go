package audit_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/audit"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/streams"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// stored is what the stream holds at a sequence.
func (r *rig) stored(sequence uint64) *jetstream.RawStreamMsg {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), streams.Audit)
	must(r.t, err)
	m, err := s.GetMsg(r.t.Context(), sequence)
	must(r.t, err)
	return m
}

func (r *rig) records(pseudonym string) []audit.Record {
	r.t.Helper()
	var all []audit.Record
	for rec, err := range r.Records(r.t.Context(), 1, pseudonym) {
		must(r.t, err)
		all = append(all, rec)
	}
	return all
}

func TestTheFormOfARecordStaysAsItIs(t *testing.T) {
	ctx, r := t.Context(), newRig(t)
	must(t, r.Record(ctx, tokenworker.AuditEntry{
		Action: tokenworker.AuditDisconnect, Key: acme, Actor: "crm\xff", Reason: "customer_left", Outcome: tokenworker.AuditDone,
		Fence: tokenworker.Fence{Stamp: tokenworker.Stamp{Epoch: 1, Sequence: 9}, Generation: 3},
		Event: tokenworker.EventID{Hash: [16]byte{0xab, 15: 1}, Time: noon.Unix()}, Time: noon.Add(time.Millisecond), ID: "one",
	}))
	m, pseudonym := r.stored(1), r.Keys().Pseudonym(acme)
	if m.Subject != "tokens.v1.audit.disconnect."+pseudonym || m.Header.Get(events.MessageIDHeader) != "audit/one" {
		t.Errorf("subject %s, headers %v", m.Subject, m.Header)
	}
	want := `{"action":"disconnect","connection":"` + pseudonym + `","actor":"crm` + "\uFFFD" + `","reason":"customer_left",` +
		`"outcome":"done","stamp_epoch":1,"stamp_sequence":9,"generation":3,"event":"ab000000000000000000000000000001",` +
		`"event_time":"2026-11-21T12:00:00Z","time":"2026-11-21T12:00:00.001Z"}`
	if string(m.Data) != want {
		t.Errorf("the stream holds\n\t%s, want\n\t%s", m.Data, want)
	}
	got := r.records(pseudonym)
	if len(got) != 1 || got[0].Stamp() != (tokenworker.Stamp{Epoch: 1, Sequence: 9}) || got[0].Sequence != 1 ||
		got[0].EventID() != (tokenworker.EventID{Hash: [16]byte{0xab, 15: 1}, Time: noon.Unix()}) {
		t.Errorf("read back as %+v", got)
	}
}

func TestARecordHasBoundedSize(t *testing.T) {
	r := newRig(t)
	must(t, r.Record(t.Context(), tokenworker.AuditEntry{
		Action: tokenworker.AuditRead, Key: acme, Actor: strings.Repeat("ü", 1<<20), Reason: strings.Repeat("x", 1<<20), Time: noon,
	}))
	if n := len(r.stored(1).Data); n > 1<<10 {
		t.Errorf("a record of %d bytes", n)
	}
}

func TestAnEntryRecordedAgainUnderItsIDIsOne(t *testing.T) {
	r := newRig(t)
	for _, id := range []string{"a", "a", "b", "", ""} {
		must(t, r.Record(t.Context(), tokenworker.AuditEntry{Action: tokenworker.AuditRead, Key: acme, Time: noon, ID: id}))
	}
	if n := len(r.records("")); n != 4 {
		t.Errorf("%d records, want a, b and the two without id", n)
	}
}

func TestThePseudonymOfAConnectionIsItsOwnAndTheWorkers(t *testing.T) {
	r, other := newRig(t), newRig(t)
	keys := []tokenworker.Key{
		acme, {OrgID: "acme", ProviderID: "google"}, {OrgID: "acme"}, {OrgID: "acme", ProviderID: "google", CompanyID: "43"},
		{OrgID: "acme:google:42"},
	}
	seen := map[string]bool{}
	for _, k := range keys {
		p := r.Keys().Pseudonym(k)
		if seen[p] || len(p) != 32 {
			t.Errorf("pseudonym %s of %+v", p, k)
		}
		seen[p] = true
		if again := r.open(r.db).Keys().Pseudonym(k); again != p {
			t.Errorf("another process calls %+v %s and not %s", k, again, p)
		}
		if other.Keys().Pseudonym(k) == p {
			t.Error("the pseudonym does not depend on the key")
		}
	}
}

func TestThePublicKeyInTheStoreIsCompared(t *testing.T) {
	ctx, r := t.Context(), newRig(t)
	stored, err := r.db.WrappedKey(ctx, "audit/key")
	must(t, err)
	if !bytes.Equal(stored.Public, r.Keys().Public()) {
		t.Fatal("the store holds another public key")
	}
	forged := stored
	public, _, err := ed25519.GenerateKey(nil)
	must(t, err)
	forged.Public = public
	_, err = r.db.PutWrappedKey(ctx, forged, stored.Wrapped)
	must(t, err)
	if _, err := audit.OpenKeys(ctx, r.db, r.service); !errors.Is(err, tokenworker.ErrSealBroken) {
		t.Errorf("error %v, want ErrSealBroken", err)
	}
}

func TestOfManyWhoMakeTheKeyAllHaveOne(t *testing.T) {
	r := newRig(t)
	must(t, r.db.DeleteWrappedKey(t.Context(), "audit/key"))
	var wg sync.WaitGroup
	found := make([]string, 8)
	for i := range found {
		wg.Go(func() {
			if keys, err := audit.OpenKeys(t.Context(), r.db, r.service); err == nil {
				found[i] = keys.Pseudonym(acme)
			}
		})
	}
	wg.Wait()
	for _, p := range found {
		if p == "" || p != found[0] {
			t.Fatalf("pseudonyms %q", found)
		}
	}
}

func TestReplicasThatExtendAtOnceMakeOneChain(t *testing.T) {
	r := newRig(t)
	replicas := []*audit.Trail{r.Trail, r.open(r.db), r.open(r.db)}
	var recording, extending sync.WaitGroup
	done := make(chan struct{})
	for _, replica := range replicas {
		recording.Go(func() { r.record(100) })
		extending.Go(func() {
			for {
				if err := replica.Extend(t.Context(), 0); err != nil {
					t.Errorf("Extend: %v", err)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	recording.Wait()
	close(done)
	extending.Wait()
	r.extend()
	if report := r.requireSound(300, 0); report.Checkpoints < 2 {
		t.Errorf("%d checkpoints", report.Checkpoints)
	}
}

func TestAStoreThatWasRestoredGetsItsCheckpointsAgain(t *testing.T) {
	ctx, r := t.Context(), newRig(t)
	older, err := embedded.OpenStore(ctx, filepath.Join(t.TempDir(), "store.db"))
	must(t, err)
	t.Cleanup(func() { must(t, older.Close()) })
	for i := range 3 {
		r.record(3)
		r.extend()
		if i == 0 {
			c, err := r.db.LastCheckpoint(ctx)
			must(t, err)
			_, err = older.PutCheckpoint(ctx, c)
			must(t, err)
		}
	}
	restored := r.open(older)
	must(t, restored.Extend(ctx, 0))
	report, err := restored.Verify(ctx)
	must(t, err)
	if report.Covered != 9 || report.Checkpoints != 2 {
		t.Errorf("report %+v, want all 9 records covered by the older checkpoint and a new one", report)
	}
}

func TestYoungRecordsAreLeftToGather(t *testing.T) {
	r := newRig(t)
	r.record(2)
	must(t, r.Extend(t.Context(), time.Minute))
	r.requireSound(0, 2)
	r.now = time.Now().Add(2 * time.Minute)
	must(t, r.Extend(t.Context(), time.Minute))
	r.requireSound(2, 0)
}

func TestALongTrailIsCoveredByCheckpointsOfBoundedSize(t *testing.T) {
	r := newRig(t)
	r.record(1)
	m := r.stored(1)
	const more = 4096 + 10
	for range more {
		_, err := r.js.PublishMsgAsync(&nats.Msg{Subject: m.Subject, Data: m.Data})
		must(t, err)
	}
	<-r.js.PublishAsyncComplete()
	r.extend()
	if report := r.requireSound(1+more, 0); report.Checkpoints != 2 {
		t.Errorf("%d checkpoints, want 2", report.Checkpoints)
	}
}

// refuse makes the stream of the trail take no record, or all again.
func (r *rig) refuse(refusing bool) {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), streams.Audit)
	must(r.t, err)
	cfg := s.CachedInfo().Config
	cfg.MaxMsgs = -1
	if refusing {
		cfg.MaxMsgs = max(1, int64(s.CachedInfo().State.Msgs))
	}
	_, err = r.js.UpdateStream(r.t.Context(), cfg)
	must(r.t, err)
}

func TestWhatCannotBeRecordedIsAnError(t *testing.T) {
	r := newRig(t)
	r.record(1)
	r.refuse(true)
	read := tokenworker.AuditEntry{Action: tokenworker.AuditRead, Key: acme, Time: noon}
	if err := r.Record(t.Context(), read); !errors.Is(err, tokenworker.ErrUnavailable) {
		t.Errorf("error %v, want ErrUnavailable", err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Record(canceled, read); !errors.Is(err, context.Canceled) || errors.Is(err, tokenworker.ErrUnavailable) {
		t.Errorf("error %v, want the context's own", err)
	}
	r.refuse(false)
	must(t, r.Record(t.Context(), read))
}

// announce publishes a notice as the worker does.
func (r *rig) announce(data events.NoticeData) {
	r.t.Helper()
	m, err := events.NewNotice(acme, "tokenworker", data, noon)
	must(r.t, err)
	_, err = r.js.PublishMsg(r.t.Context(), &nats.Msg{Subject: m.Subject, Data: m.Body}, jetstream.WithMsgID(m.ID))
	must(r.t, err)
}

// run runs the trail until the test ends or stop is called.
func (r *rig) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); must(r.t, <-ended) })
	r.t.Cleanup(stop)
	return stop
}

// eventually waits until done.
func (r *rig) eventually(what string, done func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited 30 s in vain: %s", what)
		}
		time.Sleep(2 * time.Millisecond) //nolint:forbidigo // between looks at the condition
	}
}

func TestWhatIsAnnouncedIsOnRecord(t *testing.T) {
	r := newRig(t)
	cause := events.Cause{Epoch: 1, Sequence: 7, EventSource: "crm", EventID: "0123456789abcdef01234567"}
	attempt := func(k events.Kind, code string) events.AttemptData {
		return events.AttemptData{Kind: k, Epoch: 1, Sequence: 7, Generation: 2, Attempt: "attempt-" + string(k), Code: code}
	}
	for _, c := range []struct {
		data events.NoticeData
		want string // action, outcome, actor, reason, stamp, generation; empty: no record
	}{
		{events.StoredData{Cause: cause}, "write done crm acquired 1/7 0"},
		{attempt(events.Refreshed, ""), "refresh done tokenworker rotation 1/7 2"},
		{attempt(events.Recovered, ""), ""},
		{attempt(events.Expiring, ""), ""},
		{attempt(events.RefreshFailed, "timeout"), "refresh failed tokenworker timeout 1/7 2"},
		{attempt(events.ReauthRequired, "invalid_grant"), "refresh refused tokenworker invalid_grant 1/7 2"},
		{events.DisconnectedData{Cause: cause, Reason: "customer_left"}, "disconnect done crm customer_left 1/7 0"},
		{attempt(events.Revoked, ""), "revoke done tokenworker disconnected 1/7 2"},
		{attempt(events.RevokeFailed, "unsupported"), "revoke failed tokenworker unsupported 1/7 2"},
		{events.RejectedData{Cause: cause, Request: events.Acquired, Code: events.CodeTooOld}, "write refused crm too_old 1/7 0"},
		{events.DroppedData{Cause: cause, Request: events.Acquired, Code: events.ReusedRefreshToken}, "write refused crm reused_refresh_token 1/7 0"},
		{events.DroppedData{Cause: events.Cause{Epoch: 1, Sequence: 9}, Request: events.Refresh, Code: events.RefreshBackingOff},
			"refresh refused tokenworker backing_off 1/9 0"},
		{events.RejectedData{Cause: events.Cause{Epoch: 1, Sequence: 8}, Request: events.Disconnect, Code: events.CodeNotJSON},
			"disconnect refused tokenworker not_json 1/8 0"},
	} {
		before := len(r.records(""))
		r.announce(c.data)
		stop := r.run()
		r.eventually("the announcement is dealt with", func() bool {
			cons, err := r.js.Consumer(t.Context(), streams.Out, streams.Auditor)
			must(t, err)
			info, err := cons.Info(t.Context())
			must(t, err)
			return info.NumPending == 0 && info.NumAckPending == 0
		})
		stop()
		r.serveTrail()
		var got []string
		for _, rec := range r.records(r.Keys().Pseudonym(acme))[before:] {
			got = append(got, fmt.Sprintf("%s %s %s %s %s %d", rec.Action, rec.Outcome, rec.Actor, rec.Reason, rec.Stamp(), rec.Generation))
		}
		if strings.Join(got, "; ") != c.want {
			t.Errorf("%T %+v is on record as %q, want %q", c.data, c.data, got, c.want)
		}
	}
	if report, err := r.Verify(t.Context()); err != nil || report.Tail != 0 {
		t.Errorf("after a clean end %+v, error %v; want every record covered", report, err)
	}
}

// serveTrail opens the trail again, as another process would.
func (r *rig) serveTrail() { r.Trail = r.open(r.db) }

func TestAnAnnouncementWaitsUntilItCanBeRecorded(t *testing.T) {
	r := newRig(t)
	r.record(1)
	r.refuse(true)
	r.run()
	r.announce(events.StoredData{Cause: events.Cause{Epoch: 1, Sequence: 7}})
	r.eventually("it was tried", func() bool {
		cons, err := r.js.Consumer(t.Context(), streams.Out, streams.Auditor)
		must(t, err)
		return cons.CachedInfo().NumAckPending == 1
	})
	if n := len(r.records("")); n != 1 {
		t.Fatalf("%d records while none is taken", n)
	}
	r.refuse(false)
	r.eventually("it is on record", func() bool {
		s, err := r.js.Stream(t.Context(), streams.Audit)
		must(t, err)
		return s.CachedInfo().State.Msgs == 2
	})
}

func TestCatchingUpRecordsWhatWasAnnounced(t *testing.T) {
	r := newRig(t)
	for i := range uint64(20) {
		r.announce(events.StoredData{Cause: events.Cause{Epoch: 1, Sequence: i + 1}})
	}
	must(t, r.CatchUp(t.Context()))
	must(t, r.CatchUp(t.Context())) // with nothing left
	if n := len(r.records("")); n != 20 {
		t.Errorf("%d records, want 20", n)
	}
	must(t, r.OnRecord(t.Context(), 20))
	r.announce(events.StoredData{Cause: events.Cause{Epoch: 1, Sequence: 21}})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	must(t, r.OnRecord(ctx, 20))
	if err := r.OnRecord(ctx, 21); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("what is not on record is waited for with %v", err)
	}
}
