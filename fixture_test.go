package tokenworker_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

// What the tests of the rules are built from: a stream that hands out one sequence a minute, the events in it, and the
// records that reflect them.

var (
	noon    = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	testKey = tokenworker.Key{OrgID: "acme", ProviderID: "finch", CompanyID: "c-1"}
)

// entered is when the test's stream handed out a sequence: one minute apart.
func entered(seq uint64) time.Time { return noon.Add(time.Duration(seq) * time.Minute) }

func event(seq uint64) tokenworker.Event {
	at := entered(seq)
	return tokenworker.Event{
		Key: testKey, Stamp: stamp(seq), Entered: at,
		ID: tokenworker.NewEventID("test", fmt.Sprint(seq), at),
	}
}

func stamp(seq uint64) tokenworker.Stamp { return tokenworker.Stamp{Epoch: 1, Sequence: seq} }

// listed are sealed sets on the revoke list.
func listed(sets ...[]byte) (all []tokenworker.Listed) {
	for _, set := range sets {
		all = append(all, tokenworker.Listed{Sealed: set})
	}
	return all
}

func sealed(seq uint64) []byte { return fmt.Appendf(nil, "set of %d", seq) }

func fingerprint(n byte) tokenworker.Fingerprint { return tokenworker.Fingerprint{n} }

func acquisition(seq uint64, edits ...func(*tokenworker.Acquisition)) *tokenworker.Acquisition {
	a := &tokenworker.Acquisition{
		Event: event(seq), Sealed: sealed(seq), DueAt: entered(seq).Add(time.Hour),
		Details: tokenworker.Details{ExpiresAt: entered(seq).Add(2 * time.Hour), Scope: "payroll"},
	}
	for _, edit := range edits {
		edit(a)
	}
	return a
}

func keep(a *tokenworker.Acquisition) { a.KeepRevocations = true }

func neverDue(a *tokenworker.Acquisition) { a.DueAt = time.Time{} }

// spends names the refresh token of the set.
func spends(n byte) func(*tokenworker.Acquisition) {
	return func(a *tokenworker.Acquisition) { a.Spendable = fingerprint(n) }
}

// checkAt is when nothing that was revoked before the acquisition can still reach its grant.
func checkAt(at time.Time) func(*tokenworker.Acquisition) {
	return func(a *tokenworker.Acquisition) { a.CheckAt = at }
}

func disconnection(seq uint64) *tokenworker.Disconnection {
	return &tokenworker.Disconnection{Event: event(seq)}
}

// holding is a record that reflects the acquisition at seq.
func holding(seq uint64, edits ...func(*tokenworker.Record)) *tokenworker.Record {
	a := acquisition(seq)
	return edited(tokenworker.Record{
		Key: testKey, Status: tokenworker.Active, Fence: tokenworker.Fence{Stamp: a.Stamp}, Entered: a.Entered,
		Sealed: a.Sealed, Details: a.Details, DueAt: a.DueAt, Seen: []tokenworker.EventID{a.ID}, AcquiredAt: time.Unix(a.ID.Time, 0),
	}, edits...)
}

// revoking is a record that the disconnect at seq took a set from.
func revoking(seq uint64, edits ...func(*tokenworker.Record)) *tokenworker.Record {
	d := disconnection(seq)
	return edited(tokenworker.Record{
		Key: testKey, Status: tokenworker.Disconnecting, Fence: tokenworker.Fence{Stamp: d.Stamp}, Entered: d.Entered,
		Disconnected: d.Stamp, RevokeAt: d.Entered, RevokeSince: d.Entered, Revoke: listed(sealed(1)),
		Seen: []tokenworker.EventID{d.ID},
	}, edits...)
}

// tombstone is what a sweep leaves of revoking(seq).
func tombstone(seq uint64) *tokenworker.Record {
	return revoking(seq, func(r *tokenworker.Record) {
		r.Status, r.Revoke, r.RevokeAt, r.RevokeSince = tokenworker.Disconnected, nil, time.Time{}, time.Time{}
		r.RemoveAt = r.Entered.Add(tokenworker.TombstoneAge)
	})
}

func edited(r tokenworker.Record, edits ...func(*tokenworker.Record)) *tokenworker.Record {
	for _, edit := range edits {
		edit(&r)
	}
	return &r
}

// seen remembers the event at seq.
func seen(seqs ...uint64) func(*tokenworker.Record) {
	return func(r *tokenworker.Record) {
		for _, seq := range seqs {
			r.Seen = append(r.Seen, event(seq).ID)
		}
	}
}

// lastDisconnect is what a stale disconnect at seq leaves, beside its id.
func lastDisconnect(seq uint64) func(*tokenworker.Record) {
	return func(r *tokenworker.Record) { r.Disconnected = stamp(seq) }
}

// spent are refresh tokens that events brought and that may be spent.
func spent(n ...byte) func(*tokenworker.Record) {
	return func(r *tokenworker.Record) {
		for _, b := range n {
			r.Acquired = append(r.Acquired, fingerprint(b))
		}
	}
}

// attempted notes an attempt at token 7.
func attempted(attempt byte, edits ...func(*tokenworker.Attempt)) func(*tokenworker.Record) {
	return func(r *tokenworker.Record) {
		a := tokenworker.Attempt{ID: tokenworker.AttemptID{attempt}, Token: fingerprint(7), Sole: true}
		for _, edit := range edits {
			edit(&a)
		}
		r.Attempts = append(r.Attempts, a)
	}
}

func notSole(a *tokenworker.Attempt) { a.Sole = false }

func claimed(attempt byte) func(*tokenworker.Record) {
	return func(r *tokenworker.Record) { r.Claim = &tokenworker.Claim{Attempt: tokenworker.AttemptID{attempt}} }
}

func lastResort(r *tokenworker.Record) { r.Claim.LastResort = true }

// revokes is a claim of revocations, which ends a minute after noon.
func revokes(attempt byte) func(*tokenworker.Record) {
	return func(r *tokenworker.Record) {
		r.Revoking = &tokenworker.Claim{Attempt: tokenworker.AttemptID{attempt}, Until: noon.Add(time.Minute)}
	}
}

// failedBefore is what earlier failures leave.
func failedBefore(r *tokenworker.Record) { r.Failures, r.FailureCode = 2, "before" }

func owed(attempt byte) *tokenworker.Owed {
	return &tokenworker.Owed{Attempt: tokenworker.AttemptID{attempt}, Kinds: []string{"something"}, At: noon}
}

// owes is an announcement that the attempt's write owes.
func owes(attempt byte) func(*tokenworker.Record) {
	return func(r *tokenworker.Record) { r.Owed = append(slices.Clip(r.Owed), *owed(attempt)) }
}

// onlyOwes leaves that announcement alone.
func onlyOwes(attempt byte) func(*tokenworker.Record) {
	return func(r *tokenworker.Record) { r.Owed = []tokenworker.Owed{*owed(attempt)} }
}

// revision names the last write.
func revision(n byte) func(*tokenworker.Record) {
	return func(r *tokenworker.Record) { r.Revision = tokenworker.AttemptID{n} }
}

func dueAt(at time.Time) func(*tokenworker.Record) {
	return func(r *tokenworker.Record) { r.DueAt = at }
}

func reauthRequired(r *tokenworker.Record) { r.Status = tokenworker.ReauthRequired }

// waiting puts n more sets on the revoke list.
func waiting(n uint64) func(*tokenworker.Record) {
	return func(r *tokenworker.Record) {
		for i := range n {
			r.Revoke = append(r.Revoke, listed(sealed(100+i))...)
		}
		if r.RevokeAt.IsZero() {
			r.RevokeAt, r.RevokeSince = entered(2), entered(2)
		}
	}
}

// verdictCase is one decision. want edits a copy of before into what must come out; a nil before is no record.
type verdictCase struct {
	name    string
	before  *tokenworker.Record
	decide  func(*tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error)
	verdict tokenworker.Verdict
	want    []func(*tokenworker.Record)
}

func (tc verdictCase) run(t *testing.T) {
	t.Helper()
	var before, want tokenworker.Record
	if tc.before != nil {
		before, want = clone(*tc.before), clone(*tc.before)
	}
	for _, edit := range tc.want {
		edit(&want)
	}
	got, verdict, err := tc.decide(tc.before)
	if err != nil {
		t.Fatalf("error: %v", err)
	}
	if verdict != tc.verdict {
		t.Errorf("verdict %s, want %s", verdict, tc.verdict)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("record\n got %+v\nwant %+v", got, want)
	}
	if tc.before != nil && !reflect.DeepEqual(*tc.before, before) {
		t.Errorf("the record that was passed in changed:\n is %+v\nwas %+v", *tc.before, before)
	}
}

func clone(r tokenworker.Record) tokenworker.Record {
	r.Seen, r.Revoke = slices.Clone(r.Seen), slices.Clone(r.Revoke)
	r.Acquired, r.Spent, r.Attempts = slices.Clone(r.Acquired), slices.Clone(r.Spent), slices.Clone(r.Attempts)
	r.Claim, r.Revoking, r.Owed = copied(r.Claim), copied(r.Revoking), slices.Clone(r.Owed)
	return r
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}

type decision = func(*tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error)

func acquire(seq uint64, edits ...func(*tokenworker.Acquisition)) decision {
	return func(r *tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error) {
		return r.Acquire(acquisition(seq, edits...))
	}
}

func disconnect(seq uint64) decision {
	return func(r *tokenworker.Record) (tokenworker.Record, tokenworker.Verdict, error) {
		return r.Disconnect(disconnection(seq))
	}
}

// becomes is an edit that replaces the record by another.
func becomes(r *tokenworker.Record) func(*tokenworker.Record) {
	return func(dst *tokenworker.Record) { *dst = *r }
}
