package embedded

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenworker/tokenworker"
)

var update = flag.Bool("update", false, "write the golden files anew") //nolint:gochecknoglobals // a flag

const goldenRecord = "testdata/record.golden.json"

// fullRecord has a value in every field but the revision: the store's transactions need none.
func fullRecord() tokenworker.Record {
	at := func(day int) time.Time { return time.Date(2026, 11, day, 12, 0, 0, 0, time.UTC) }
	var id tokenworker.EventID
	var spent tokenworker.Fingerprint
	var attempt tokenworker.AttemptID
	for _, b := range [][]byte{id.Hash[:], spent[:], attempt[:]} {
		for i := range b {
			b[i] = byte(i)
		}
	}
	id.Time = at(1).Unix()
	return tokenworker.Record{
		Key:     tokenworker.Key{OrgID: "acme", ProviderID: "finch", CompanyID: "globex"},
		Status:  tokenworker.Active,
		Fence:   tokenworker.Fence{Stamp: tokenworker.Stamp{Epoch: 1, Sequence: 1<<64 - 1}, Generation: 3},
		Entered: at(1), Disconnected: tokenworker.Stamp{Epoch: 1, Sequence: 41},
		Sealed: []byte("sealed"), Token: tokenworker.Fingerprint{11}, Rotated: true,
		Details: tokenworker.Details{
			ExpiresAt: at(2), GrantExpiresAt: at(30), Scope: "read write", Subject: "user-1",
			Issuer: "https://issuer.example", ProviderConnectionID: "conn-1", ConsentRef: "consent-1", Refreshable: true,
		},
		DueAt: at(3), RevokeAt: at(4), RevokeSince: at(1), Revoke: []tokenworker.Listed{
			{Sealed: []byte("older"), Token: tokenworker.Fingerprint{12}}, {Sealed: []byte("oldest")},
		},
		Siblings: &tokenworker.Siblings{Stamp: tokenworker.Stamp{Epoch: 1, Sequence: 40}, Entered: at(10), At: at(11), Until: at(12), Ask: true},
		Claim:    &tokenworker.Claim{Owner: "replica-1", Attempt: attempt, At: at(4), Until: at(5), LastResort: true},
		Revoking: &tokenworker.Claim{Owner: "replica-2", Attempt: attempt, At: at(6), Until: at(7)},
		Failures: 3, FailureCode: "temporarily_unavailable", Warned: true, Retained: true,
		Owed: []tokenworker.Owed{{
			Attempt: attempt, By: "replica-1", Kinds: []string{"refreshed", "recovered"},
			Fence: tokenworker.Fence{Stamp: tokenworker.Stamp{Epoch: 1, Sequence: 17}, Generation: 2}, Code: "because", At: at(9),
		}, {By: "another", Kinds: []string{"revoked"}, At: at(10)}},
		Seen:       []tokenworker.EventID{id, {Time: -1}},
		Acquired:   []tokenworker.Fingerprint{spent, {2}},
		Spent:      []tokenworker.Fingerprint{spent, {1}},
		Attempts:   []tokenworker.Attempt{{ID: attempt, Token: spent, Sole: true, Until: at(9)}, {Token: tokenworker.Fingerprint{2}, Until: at(10)}},
		AcquiredAt: at(6), RefreshedAt: at(7), RemoveAt: at(8),
	}
}

func TestTheStoredFormOfARecordStaysAsItIs(t *testing.T) {
	r := fullRecord()
	for i, v := 0, reflect.ValueOf(r); i < v.NumField(); i++ {
		if name := v.Type().Field(i).Name; v.Field(i).IsZero() && name != "Revision" && name != "Retain" {
			t.Fatalf("the full record lacks %s", name)
		}
	}
	got, err := encodeRecord(&r)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(goldenRecord, append(got, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenRecord)
	if err != nil {
		t.Fatal(err)
	}
	if want = bytes.TrimSpace(want); !bytes.Equal(got, want) {
		t.Errorf("stored form\n%s\nwant\n%s", got, want)
	}
	back, err := decodeRecord(r.Key, r.Sealed, want)
	if err != nil || !reflect.DeepEqual(back, r) {
		t.Errorf("decoded %+v, error %v; want %+v", back, err, r)
	}
}

func TestWhatIsEncodedComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawRecord(t)
		b, err := encodeRecord(&want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeRecord(want.Key, want.Sealed, b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("decoded %+v, error %v; want %+v", got, err, want)
		}
	})
}

func drawRecord(t *rapid.T) tokenworker.Record {
	moment := rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.Bool().Draw(t, "no time") {
			return time.Time{}
		}
		return time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "seconds"), 0).UTC()
	})
	stamps := rapid.Custom(func(t *rapid.T) tokenworker.Stamp {
		return tokenworker.Stamp{Epoch: rapid.Uint64().Draw(t, "epoch"), Sequence: rapid.Uint64().Draw(t, "sequence")}
	})
	filled := func(b []byte) {
		copy(b, rapid.SliceOfN(rapid.Byte(), len(b), len(b)).Draw(t, "bytes"))
	}
	text := rapid.String()
	r := tokenworker.Record{
		Key:    tokenworker.Key{OrgID: "o", ProviderID: "p", CompanyID: "c"},
		Status: rapid.SampledFrom([]tokenworker.Status{tokenworker.Active, tokenworker.Disconnected}).Draw(t, "status"),
		Fence:  tokenworker.Fence{Stamp: stamps.Draw(t, "stamp"), Generation: rapid.Uint64().Draw(t, "generation")},
		Details: tokenworker.Details{
			ExpiresAt: moment.Draw(t, "expires"), Scope: text.Draw(t, "scope"), Subject: text.Draw(t, "subject"),
		},
		Entered: moment.Draw(t, "entered"), Disconnected: stamps.Draw(t, "disconnected"),
		DueAt: moment.Draw(t, "due"), RevokeAt: moment.Draw(t, "revoke at"),
		RevokeSince: moment.Draw(t, "revoke since"), RemoveAt: moment.Draw(t, "remove"),
	}
	for _, claim := range []**tokenworker.Claim{&r.Claim, &r.Revoking} {
		if rapid.Bool().Draw(t, "claimed") {
			c := &tokenworker.Claim{
				Owner: text.Draw(t, "owner"), At: moment.Draw(t, "at"), Until: moment.Draw(t, "until"),
				LastResort: rapid.Bool().Draw(t, "last resort"),
			}
			filled(c.Attempt[:])
			*claim = c
		}
	}
	if rapid.Bool().Draw(t, "owes") {
		r.Owed = []tokenworker.Owed{{
			By: text.Draw(t, "by"), Kinds: rapid.SliceOfN(text, 1, 3).Draw(t, "kinds"), Code: text.Draw(t, "code"),
			Fence: tokenworker.Fence{Stamp: stamps.Draw(t, "stamp owed"), Generation: rapid.Uint64().Draw(t, "generation owed")},
			At:    moment.Draw(t, "owed at"),
		}}
		filled(r.Owed[0].Attempt[:])
	}
	r.Failures, r.FailureCode = rapid.IntRange(0, 1<<40).Draw(t, "failures"), text.Draw(t, "failure code")
	r.Warned, r.Retained = rapid.Bool().Draw(t, "warned"), rapid.Bool().Draw(t, "retained")
	for range rapid.IntRange(0, tokenworker.MaxSeen).Draw(t, "seen") {
		id := tokenworker.EventID{Time: rapid.Int64().Draw(t, "time")}
		filled(id.Hash[:])
		r.Seen = append(r.Seen, id)
	}
	prints := func(limit int, label string) (all []tokenworker.Fingerprint) {
		for range rapid.IntRange(0, limit).Draw(t, label) {
			var f tokenworker.Fingerprint
			filled(f[:])
			all = append(all, f)
		}
		return all
	}
	r.Acquired, r.Spent = prints(tokenworker.MaxAcquired, "acquired"), prints(tokenworker.MaxSpent, "spent")
	for _, token := range prints(3, "attempts") {
		a := tokenworker.Attempt{Token: token, Sole: rapid.Bool().Draw(t, "sole"), Until: moment.Draw(t, "attempt until")}
		filled(a.ID[:])
		r.Attempts = append(r.Attempts, a)
	}
	for _, token := range prints(tokenworker.MaxRevoke, "revoke") {
		r.Revoke = append(r.Revoke, tokenworker.Listed{Sealed: rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(t, "set"), Token: token})
	}
	r.Rotated = rapid.Bool().Draw(t, "rotated")
	filled(r.Token[:])
	return r
}

func FuzzADamagedRecordIsRefusedWithoutQuotingIt(f *testing.F) {
	whole := fullRecord()
	b, err := encodeRecord(&whole)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Add([]byte(`{"seen":"AAAA"}`))
	f.Add([]byte(`{"spent":"AAAA"}`))
	f.Add([]byte(`{"claim":{"attempt":"AAAA"}}`))
	f.Add([]byte(`{"owed":{"attempt":"canary"}}`))
	f.Add([]byte(`{"due_at":"canary"}`))
	f.Fuzz(func(t *testing.T, stored []byte) {
		r, err := decodeRecord(whole.Key, nil, stored)
		if err != nil {
			if !errors.Is(err, tokenworker.ErrMisconfigured) || strings.Contains(err.Error(), "canary") {
				t.Errorf("error %v, want ErrMisconfigured and no more", err)
			}
			return
		}
		again, err := encodeRecord(&r)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeRecord(whole.Key, nil, again)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := encodeRecord(&back); err != nil || !bytes.Equal(same, again) {
			t.Errorf("encoded again\n%s, error %v; first\n%s", same, err, again)
		}
	})
}
