package restore_test

import (
	"context"
	"fmt"
	"iter"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/audit"
	"github.com/tokenworker/tokenworker/dynamo"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/kmsenc"
	"github.com/tokenworker/tokenworker/localstack"
	"github.com/tokenworker/tokenworker/restore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// store is what the tests ask of one.
type store interface {
	restore.Store
	audit.KeyStore
	kmsenc.KeyStore
	Acquire(ctx context.Context, a *tokenworker.Acquisition) (tokenworker.Verdict, error)
}

// rig is a store as it was at a backup, and the trail of what came after.
type rig struct {
	t       *testing.T
	db      store
	sealer  *kmsenc.Sealer
	keys    *audit.Keys
	records []audit.Record
	next    uint64 // sequence of the next event
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	db, err := embedded.OpenStore(t.Context(), filepath.Join(dir, "store.db"))
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	service, err := embedded.CreateKeyFile(filepath.Join(dir, "key.json"))
	must(t, err)
	return rigOn(t, db, service)
}

func rigOn(t *testing.T, db store, service tokenworker.KeyService) *rig {
	t.Helper()
	keys, err := audit.OpenKeys(t.Context(), db, service)
	must(t, err)
	return &rig{t: t, db: db, sealer: kmsenc.New(service, db, kmsenc.Config{}), keys: keys, next: 1}
}

func (r *rig) Keys() *audit.Keys { return r.keys }

func (r *rig) Records(context.Context, uint64, string) iter.Seq2[audit.Record, error] {
	return func(yield func(audit.Record, error) bool) {
		for _, rec := range r.records {
			if !yield(rec, nil) {
				return
			}
		}
	}
}

func key(company string) tokenworker.Key {
	return tokenworker.Key{OrgID: "acme", ProviderID: "strict", CompanyID: company}
}

// event is the next event of the stream, which came an hour before now.
func (r *rig) event(k tokenworker.Key) tokenworker.Event {
	e := tokenworker.Event{
		Key: k, Stamp: tokenworker.Stamp{Epoch: 1, Sequence: r.next}, Entered: now.Add(-time.Hour),
		ID: tokenworker.NewEventID("test", fmt.Sprint("event ", r.next), now.Add(-time.Hour)),
	}
	r.next++
	return e
}

// acquire stores a token set, before the backup.
func (r *rig) acquire(k tokenworker.Key) tokenworker.Event {
	r.t.Helper()
	e := r.event(k)
	must(r.t, r.tryAcquire(e))
	return e
}

// tryAcquire handles an event that brings the refresh token "refresh-<company>".
func (r *rig) tryAcquire(e tokenworker.Event) error {
	r.t.Helper()
	set := tokenworker.TokenSet{
		AccessToken: tokenworker.SecretString("access"), RefreshToken: tokenworker.SecretString("refresh-" + e.Key.CompanyID),
	}
	plain, err := tokenworker.EncodeTokenSet(set)
	must(r.t, err)
	sealed, err := r.sealer.Seal(r.t.Context(), e.Key, tokenworker.Fence{Stamp: e.Stamp}, plain)
	must(r.t, err)
	_, err = r.db.Acquire(r.t.Context(), &tokenworker.Acquisition{
		Event: e, Sealed: sealed, Spendable: tokenworker.NewFingerprint(e.Key, set.RefreshToken),
	})
	return err
}

// recorded is on record, and the store does not know of it.
func (r *rig) recorded(action tokenworker.AuditAction, e tokenworker.Event) {
	rec := audit.Record{
		Action: action, Connection: r.keys.Pseudonym(e.Key), Outcome: tokenworker.AuditDone, Time: e.Entered.Add(time.Second),
		StampEpoch: e.Stamp.Epoch, StampSeq: e.Stamp.Sequence,
	}
	if e.ID != (tokenworker.EventID{}) {
		rec.Event, rec.EventTime = fmt.Sprintf("%x", e.ID.Hash), time.Unix(e.ID.Time, 0)
	}
	r.records = append(r.records, rec)
}

func (r *rig) restore(named []tokenworker.Key, change ...func(*restore.Config)) restore.Report {
	r.t.Helper()
	cfg := restore.Config{
		Process: "restore", Rotates: func(id string) bool { return id != "static" },
		Narrow: func(id string) bool { return id != "wide" }, Tombstone: 90 * 24 * time.Hour,
		Now: func() time.Time { return now },
	}
	for _, c := range change {
		c(&cfg)
	}
	restorer, err := restore.New(cfg, r.db, r, r.sealer)
	must(r.t, err)
	report, err := restorer.Run(r.t.Context(), named)
	must(r.t, err)
	return report
}

func (r *rig) get(k tokenworker.Key) tokenworker.Record {
	r.t.Helper()
	rec, err := r.db.Get(r.t.Context(), k)
	must(r.t, err)
	return rec
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestADisconnectOnRecordIsReplayed(t *testing.T) {
	r := newRig(t)
	k := key("left")
	r.acquire(k)
	again := r.event(k) // acquired anew after the backup, and stored
	gone := r.event(k)
	r.recorded(tokenworker.AuditWrite, again)
	r.recorded(tokenworker.AuditDisconnect, gone)

	report := r.restore(nil)
	rec := r.get(k)
	if rec.Status != tokenworker.Disconnecting || rec.Stamp != gone.Stamp || rec.Disconnected != gone.Stamp || len(rec.Revoke) != 1 {
		t.Errorf("the record is %s at %s, with %d sets to revoke", rec.Status, rec.Stamp, len(rec.Revoke))
	}
	if report != (restore.Report{Rows: 1, Disconnected: 1, Remembered: 1}) {
		t.Errorf("report %+v", report)
	}
	// The outbox repeats what the store no longer knew: under a newer stamp, and still it changes nothing.
	for _, repeat := range []tokenworker.Event{again, gone} {
		repeat.Stamp = r.event(k).Stamp
		must(t, r.tryAcquire(repeat))
	}
	if rec := r.get(k); rec.Status != tokenworker.Disconnecting {
		t.Errorf("a repeat makes the record %s", rec.Status)
	}
	// A customer who comes back is let in.
	must(t, r.tryAcquire(r.event(k)))
	if rec := r.get(k); rec.Status != tokenworker.Active {
		t.Errorf("a new grant leaves the record %s", rec.Status)
	}
}

func TestASetThatEndedAtItsProviderIsNotServed(t *testing.T) {
	r := newRig(t)
	k, claimed := key("ended"), key("claimed")
	for _, k := range []tokenworker.Key{k, claimed} {
		e := r.acquire(k)
		e.ID = tokenworker.EventID{} // nobody asked for it
		r.recorded(tokenworker.AuditDisconnect, e)
	}
	_, _, err := r.db.Update(t.Context(), r.get(claimed), tokenworker.Claiming(r.get(claimed).Fence,
		tokenworker.Claim{Attempt: tokenworker.NewAttemptID()}, tokenworker.Fingerprint{1}, tokenworker.AttemptID{}))
	must(t, err)
	if report := r.restore(nil); report.Disconnected != 2 || report.Unsettled != 0 {
		t.Errorf("report %+v", report)
	}
	for _, k := range []tokenworker.Key{k, claimed} {
		if rec := r.get(k); rec.Status != tokenworker.Disconnecting || rec.Sealed != nil {
			t.Errorf("the record is %s", rec.Status)
		}
	}
}

func TestWhatTheStoreNeverHeardOfStaysGone(t *testing.T) {
	r := newRig(t)
	k, other := key("came-and-went"), key("came")
	came, gone := r.event(k), r.event(k)
	r.recorded(tokenworker.AuditWrite, came)
	r.recorded(tokenworker.AuditDisconnect, gone)
	r.recorded(tokenworker.AuditWrite, r.event(other))

	if report := r.restore([]tokenworker.Key{k, other}); report.Rows != 1 || report.Disconnected != 1 {
		t.Errorf("report %+v, want a row for what went alone", report)
	}
	came.Stamp = r.event(k).Stamp
	must(t, r.tryAcquire(came))
	if rec := r.get(k); rec.Status != tokenworker.Disconnected {
		t.Errorf("a repeat makes the record %s", rec.Status)
	}
}

func TestErasedRowsStayErased(t *testing.T) {
	for _, c := range []struct {
		name   string
		erased tokenworker.Key
	}{
		{"a connection", key("erased")},
		{"an organization", tokenworker.Key{OrgID: "acme"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			k, other := key("erased"), tokenworker.Key{OrgID: "other", ProviderID: "strict", CompanyID: "erased"}
			r.acquire(k)
			r.acquire(other)
			e := r.event(c.erased)
			r.recorded(tokenworker.AuditErase, e)
			r.recorded(tokenworker.AuditDisconnect, r.event(k)) // and was disconnected after that

			report := r.restore(nil)
			rec := r.get(k)
			if rec.Status != tokenworker.Disconnected || rec.Sealed != nil || rec.Revoke != nil || rec.Details != (tokenworker.Details{}) {
				t.Errorf("the erased record is %s, holds %d sets to revoke and %+v", rec.Status, len(rec.Revoke), rec.Details)
			}
			if rec.Stamp.Sequence != e.Stamp.Sequence+1 {
				t.Errorf("its stamp is %s", rec.Stamp)
			}
			if rec := r.get(other); rec.Status != tokenworker.Active {
				t.Errorf("another organization's record is %s", rec.Status)
			}
			if report.Erased != 1 || report.Disconnected != 2 {
				t.Errorf("report %+v", report)
			}
		})
	}
}

func TestErasuresOfNothingThatIsStoredAreCounted(t *testing.T) {
	r := newRig(t)
	k, gone := key("erased"), tokenworker.Key{OrgID: "gone"}
	r.acquire(k)
	r.recorded(tokenworker.AuditErase, r.event(k))
	r.recorded(tokenworker.AuditErase, r.event(gone))
	r.recorded(tokenworker.AuditDisconnect, r.event(key("never-heard-of")))
	if report := r.restore(nil); report.Unmatched != 1 || report.Erased != 1 {
		t.Errorf("report %+v, want the erasure of %s unmatched", report, gone.OrgID)
	}
}

func TestAnErasureThatWasUnderWayAtTheBackupIsFinished(t *testing.T) {
	r := newRig(t)
	k := key("erased")
	r.acquire(k)
	e := r.event(k)
	_, _, err := r.db.Update(t.Context(), r.get(k), func(rec *tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error) {
		return rec.Disconnect(&tokenworker.Disconnection{Event: e})
	})
	must(t, err)
	r.recorded(tokenworker.AuditErase, e)
	if report := r.restore(nil); report != (restore.Report{Rows: 1, Erased: 1}) {
		t.Errorf("report %+v", report)
	}
	if rec := r.get(k); rec.Status != tokenworker.Disconnected || rec.Revoke != nil {
		t.Errorf("the erased record is %s and holds %d sets to revoke", rec.Status, len(rec.Revoke))
	}
}

func TestAnErasureLeavesWhatCameAfterItAlone(t *testing.T) {
	r := newRig(t)
	k := key("came-back")
	e := r.event(k)
	r.acquire(k)
	r.recorded(tokenworker.AuditErase, e)
	r.restore(nil)
	if rec := r.get(k); rec.Status != tokenworker.Active || rec.Disconnected != e.Stamp {
		t.Errorf("the record is %s, last disconnected at %s", rec.Status, rec.Disconnected)
	}
}

func TestASetThatMayBeSpentIsUnresolved(t *testing.T) {
	r := newRig(t)
	strict, static := key("strict"), tokenworker.Key{OrgID: "acme", ProviderID: "static", CompanyID: "1"}
	r.acquire(strict)
	r.acquire(static)
	if report := r.restore(nil); report != (restore.Report{Rows: 2, Unsettled: 1}) {
		t.Errorf("report %+v", report)
	}
	rec := r.get(strict)
	if rec.Status != tokenworker.Active || rec.Claim == nil || !rec.Claim.Until.Equal(now) || rec.Claim.LastResort ||
		!rec.Claim.At.Equal(rec.AcquiredAt) {
		t.Fatalf("the record is %s and claimed as %+v", rec.Status, rec.Claim)
	}
	if rec := r.get(static); rec.Claim != nil {
		t.Error("a token that does not rotate is taken for spent")
	}
	// An upstream's resync of the token that may be spent is stale.
	must(t, r.tryAcquire(r.event(strict)))
	if again := r.get(strict); again.Stamp != rec.Stamp {
		t.Error("a resync brings the spent token back")
	}
	// Again, nothing changes: the attempt that is unresolved stays.
	if report := r.restore(nil); report != (restore.Report{Rows: 2}) {
		t.Errorf("the second time it reports %+v", report)
	}
	if again := r.get(strict); again.Claim.Attempt != rec.Claim.Attempt {
		t.Error("the second time it claims anew")
	}
}

func TestWhatIsLostIsCounted(t *testing.T) {
	r := newRig(t)
	k := key("acquired-again")
	r.acquire(k)
	r.recorded(tokenworker.AuditWrite, r.event(k))
	rotated := key("refreshed")
	e := r.acquire(rotated)
	r.recorded(tokenworker.AuditWrite, e)
	r.records = append(r.records, audit.Record{
		Action: tokenworker.AuditRefresh, Connection: r.keys.Pseudonym(rotated), Outcome: tokenworker.AuditDone,
		StampEpoch: 1, StampSeq: e.Stamp.Sequence, Generation: 1,
	}, audit.Record{ // a failure says nothing of a newer set
		Action: tokenworker.AuditRefresh, Connection: r.keys.Pseudonym(key("same")), Outcome: tokenworker.AuditFailed,
		StampEpoch: 1, StampSeq: 99, Generation: 9,
	})
	r.acquire(key("same"))
	_, _, err := r.db.Update(t.Context(), r.get(rotated), tokenworker.Claiming(r.get(rotated).Fence, // posted as the backup was taken
		tokenworker.Claim{Attempt: tokenworker.NewAttemptID()}, tokenworker.Fingerprint{}, tokenworker.AttemptID{}))
	must(t, err)
	if report := r.restore(nil); report.Superseded != 2 || report.Unsettled != 1 {
		t.Errorf("report %+v, want two sets superseded and one unsettled", report)
	}
	for _, k := range []tokenworker.Key{k, rotated} {
		rec := r.get(k)
		if rec.Status != tokenworker.ReauthRequired || rec.Claim != nil || rec.FailureCode != "superseded" || len(rec.Acquired) != 1 {
			t.Errorf("the superseded %s is %s, claimed as %+v, with %d tokens spent", k, rec.Status, rec.Claim, len(rec.Acquired))
		}
		if len(rec.Owed) != 1 || rec.Owed[0].Kinds[0] != "reauth_required" || !rec.DueAt.Equal(now) {
			t.Errorf("it owes %+v and is due at %s", rec.Owed, rec.DueAt)
		}
	}
}

func TestARevocationThatCouldEndALostGrantIsNotSent(t *testing.T) {
	for _, c := range []struct {
		provider string
		want     tokenworker.Status
	}{{"wide", tokenworker.Disconnected}, {"strict", tokenworker.Disconnecting}} {
		r := newRig(t)
		k := tokenworker.Key{OrgID: "acme", ProviderID: c.provider, CompanyID: "came-back"}
		r.acquire(k)
		r.recorded(tokenworker.AuditDisconnect, r.event(k))
		again := r.event(k)
		r.recorded(tokenworker.AuditWrite, again)
		left := k
		left.CompanyID = "left"
		r.acquire(left)
		r.recorded(tokenworker.AuditDisconnect, r.event(left))
		r.restore(nil)
		if rec := r.get(k); rec.Status != c.want || (len(rec.Revoke) > 0) != (c.want == tokenworker.Disconnecting) {
			t.Errorf("at %s it is %s and holds %d sets to revoke", c.provider, rec.Status, len(rec.Revoke))
		}
		if rec := r.get(left); len(rec.Revoke) != 1 {
			t.Errorf("at %s, what did not come back holds %d sets to revoke", c.provider, len(rec.Revoke))
		}
		again.Stamp = r.event(k).Stamp
		must(t, r.tryAcquire(again)) // published again
		if rec := r.get(k); rec.Status != tokenworker.Active {
			t.Errorf("at %s the grant that came back is %s", c.provider, rec.Status)
		}
	}
}

func TestADryRunSaysTheSameAndWritesNothing(t *testing.T) {
	r := newRig(t)
	gone, erased, never := key("gone"), key("erased"), key("never-heard-of")
	r.acquire(gone)
	r.acquire(erased)
	r.acquire(key("stays"))
	r.recorded(tokenworker.AuditDisconnect, r.event(gone))
	r.recorded(tokenworker.AuditErase, r.event(erased))
	r.recorded(tokenworker.AuditDisconnect, r.event(never))

	dry := r.restore([]tokenworker.Key{never}, func(c *restore.Config) { c.DryRun = true })
	for _, k := range []tokenworker.Key{gone, erased, key("stays")} {
		if rec := r.get(k); rec.Status != tokenworker.Active || rec.Claim != nil {
			t.Errorf("a dry run makes %s %s", k, rec.Status)
		}
	}
	if _, err := r.db.Get(t.Context(), never); err == nil {
		t.Error("a dry run makes a row")
	}
	if wet := r.restore([]tokenworker.Key{never}); wet != dry {
		t.Errorf("a dry run says %+v, and what is done is %+v", dry, wet)
	}
}

func TestATableIsRestoredAsAFileIs(t *testing.T) {
	client, config := dynamo.NewClient(localstack.Config(t)), dynamo.Config{TableName: localstack.UniqueName(t, "restore")}
	must(t, dynamo.Setup(t.Context(), client, config))
	table, err := dynamo.Open(t.Context(), client, config)
	must(t, err)
	service, err := embedded.CreateKeyFile(filepath.Join(t.TempDir(), "key.json"))
	must(t, err)

	r := rigOn(t, table, service)
	gone, erased, never, stays := key("gone"), key("erased"), key("never-heard-of"), key("stays")
	for _, k := range []tokenworker.Key{gone, erased, stays} {
		r.acquire(k)
	}
	came := r.event(never)
	r.recorded(tokenworker.AuditWrite, came)
	r.recorded(tokenworker.AuditDisconnect, r.event(never))
	r.recorded(tokenworker.AuditDisconnect, r.event(gone))
	r.recorded(tokenworker.AuditErase, r.event(erased))

	want := restore.Report{Rows: 4, Erased: 1, Disconnected: 3, Remembered: 1, Unsettled: 1}
	dry := r.restore([]tokenworker.Key{never}, func(c *restore.Config) { c.DryRun = true })
	if wet := r.restore([]tokenworker.Key{never}); wet != want || dry != want {
		t.Errorf("report %+v, dry %+v; want %+v", wet, dry, want)
	}
	came.Stamp = r.event(never).Stamp
	must(t, r.tryAcquire(came)) // an outbox's repeat
	for k, status := range map[tokenworker.Key]tokenworker.Status{
		gone: tokenworker.Disconnecting, erased: tokenworker.Disconnected, never: tokenworker.Disconnected, stays: tokenworker.Active,
	} {
		if rec := r.get(k); rec.Status != status || (rec.Claim != nil) != (k == stays) {
			t.Errorf("%s is %s, claimed as %+v", k, rec.Status, rec.Claim)
		}
	}
}
