package tokenworker_test

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

func TestStampsAreOrderedByEpochThenSequence(t *testing.T) {
	ordered := []tokenworker.Stamp{{}, {Sequence: 1}, {Sequence: 9}, {Epoch: 1}, {Epoch: 1, Sequence: 3}, {Epoch: 2, Sequence: 1}}
	for i, s := range ordered {
		for j, o := range ordered {
			want := min(1, max(-1, i-j))
			if got := s.Compare(o); got != want {
				t.Errorf("%s compared to %s: %d, want %d", s, o, got, want)
			}
		}
		if s.IsZero() != (i == 0) {
			t.Errorf("%s IsZero: %t", s, s.IsZero())
		}
	}
	if got := ordered[4].String(); got != "1/3" {
		t.Errorf("text form %q, want 1/3", got)
	}
}

func TestARefreshKeepsTheStampAndCountsTheGeneration(t *testing.T) {
	f := tokenworker.Fence{Stamp: stamp(7), Generation: 3}
	if got, want := f.Next(), (tokenworker.Fence{Stamp: stamp(7), Generation: 4}); got != want {
		t.Errorf("next fence %+v, want %+v", got, want)
	}
}

func TestEventIDs(t *testing.T) {
	base := tokenworker.NewEventID("crm", "42", noon)
	if again := tokenworker.NewEventID("crm", "42", noon.Add(time.Millisecond)); again != base {
		t.Error("a repeat of the event has another id")
	}
	for name, other := range map[string]tokenworker.EventID{
		"another source":         tokenworker.NewEventID("mail", "42", noon),
		"another id":             tokenworker.NewEventID("crm", "43", noon),
		"another split of both":  tokenworker.NewEventID("crm4", "2", noon),
		"another second of time": tokenworker.NewEventID("crm", "42", noon.Add(time.Second)),
	} {
		if other == base {
			t.Errorf("%s, the same id", name)
		}
	}
	// Stores keep ids, so the hash must not change: printf 'tokenworker/event-id/v1\ncrm\n42' | sha256sum | head -c 32
	if got, want := hex.EncodeToString(base.Hash[:]), "f5838955754d02955208ce3d2c7117e0"; got != want {
		t.Errorf("hash %s, want %s", got, want)
	}
}

func TestFingerprints(t *testing.T) {
	key, secret := testKey, tokenworker.SecretString
	base := tokenworker.NewFingerprint(key, secret("refresh-1"))
	if base != tokenworker.NewFingerprint(key, secret("refresh-1")) {
		t.Error("the same token, another fingerprint")
	}
	if base == tokenworker.NewFingerprint(key, secret("refresh-2")) {
		t.Error("another token, the same fingerprint")
	}
	other := key
	other.CompanyID = "c-2"
	if base == tokenworker.NewFingerprint(other, secret("refresh-1")) {
		t.Error("the same token of another connection has the same fingerprint: connections could be linked")
	}
	if tokenworker.NewFingerprint(key, tokenworker.Secret{}) != (tokenworker.Fingerprint{}) {
		t.Error("no token, yet a fingerprint")
	}
	// Stores keep fingerprints: printf 'tokenworker/fingerprint/v1\nacme:finch:c-1\nrefresh-1' | sha256sum
	if got, want := hex.EncodeToString(base[:]), "1ffc73455defad85e6b4bbf61bbf9910"; got != want {
		t.Errorf("fingerprint %s, want %s", got, want)
	}
}

func TestAttemptsAreDistinct(t *testing.T) {
	a, b := tokenworker.NewAttemptID(), tokenworker.NewAttemptID()
	if a == b || a == (tokenworker.AttemptID{}) {
		t.Errorf("attempts %s and %s", a, b)
	}
	if got := (tokenworker.AttemptID{0xAB, 15: 1}).String(); got != "ab000000000000000000000000000001" {
		t.Errorf("text form %s", got)
	}
}

func TestVerdictsHaveNames(t *testing.T) {
	want := map[tokenworker.Verdict]string{
		tokenworker.Applied: "applied", tokenworker.Repeated: "repeated", tokenworker.Stale: "stale",
		tokenworker.Spent: "spent", tokenworker.Undecided: "undecided", tokenworker.Revoking: "revoking", tokenworker.Full: "full",
		0: "verdict(0)", tokenworker.Full + 1: "verdict(8)",
	}
	for v, name := range want {
		if v.String() != name {
			t.Errorf("verdict %d is called %q, want %q", uint8(v), v, name)
		}
	}
}
