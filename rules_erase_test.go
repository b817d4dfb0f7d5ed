package tokenworker_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

func TestATombstoneSaysWhyItsProviderDidNotConfirm(t *testing.T) {
	for _, c := range []struct {
		name   string
		record tokenworker.Record
		want   string
	}{
		{"nothing waits", tokenworker.Record{Status: tokenworker.Disconnecting}, ""},
		{"never tried", tokenworker.Record{Status: tokenworker.Disconnecting, Revoke: listed([]byte{1}), RevokeAt: event(2).Entered}, "erased"},
		{"failed before", tokenworker.Record{Status: tokenworker.Disconnecting, Revoke: listed([]byte{1}), RevokeAt: event(2).Entered, FailureCode: "timeout"}, "timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			next, v, err := tokenworker.Erasing(event(1).Stamp, nil, event(1).Entered, event(3).Entered)(&c.record)
			if err != nil || v != tokenworker.Applied || next.Status != tokenworker.Disconnected || next.FailureCode != c.want {
				t.Errorf("%s, %v: %s because of %q", v, err, next.Status, next.FailureCode)
			}
			if next.Revoke != nil || next.Sealed != nil {
				t.Error("a set is left")
			}
		})
	}
}

func TestAnErasureOfWhatIsNewerDropsOnlyOlderSets(t *testing.T) {
	older := func(sealed []byte) bool { return bytes.Equal(sealed, []byte{1}) }
	at, now := event(1).Stamp, event(3).Entered
	details := tokenworker.Details{Subject: "user-1"}
	for _, c := range []struct {
		name    string
		record  tokenworker.Record
		verdict tokenworker.Verdict
		status  tokenworker.Status
		subject string
		code    string
		left    [][]byte
	}{
		{
			"a later disconnect that waits for older sets alone ends", tokenworker.Record{
				Status: tokenworker.Disconnecting, Details: details, Revoke: listed([]byte{1}), FailureCode: "timeout",
			}, tokenworker.Applied, tokenworker.Disconnected, "", "timeout", nil,
		}, {
			"one that waits for nothing ends", tokenworker.Record{Status: tokenworker.Disconnecting, Details: details},
			tokenworker.Applied, tokenworker.Disconnected, "", "", nil,
		}, {
			"one that waits for newer sets goes on without the person", tokenworker.Record{
				Status: tokenworker.Disconnecting, Details: details, Revoke: listed([]byte{1}, []byte{2}),
			}, tokenworker.Applied, tokenworker.Disconnecting, "", "", [][]byte{{2}},
		}, {
			"a newer grant stays", tokenworker.Record{Status: tokenworker.Active, Details: details, Revoke: listed([]byte{1})},
			tokenworker.Applied, tokenworker.Active, "user-1", "", nil,
		}, {
			"with its own revocations", tokenworker.Record{Status: tokenworker.Active, Details: details, Revoke: listed([]byte{2})},
			tokenworker.Stale, tokenworker.Active, "user-1", "", [][]byte{{2}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := c.record
			r.Stamp = event(2).Stamp
			if len(r.Revoke) > 0 {
				r.RevokeAt, r.RevokeSince = now.Add(time.Second), now
			}
			next, v, err := tokenworker.Erasing(at, older, now, now)(&r)
			if err != nil || v != c.verdict || next.Status != c.status || next.Subject != c.subject || next.FailureCode != c.code {
				t.Errorf("%s, %v: %s of %q because of %q", v, err, next.Status, next.Subject, next.FailureCode)
			}
			if !slices.EqualFunc(next.Waiting(), c.left, bytes.Equal) || next.RevokeAt.IsZero() != (len(c.left) == 0) {
				t.Errorf("%d sets are left, due %s", len(next.Revoke), next.RevokeAt)
			}
			if slices.ContainsFunc(r.Waiting(), older) {
				r.RevokeAt = now
				if _, _, err := tokenworker.Erasing(at, older, now, now)(&r); !errors.Is(err, tokenworker.ErrFenced) {
					t.Errorf("an older set that was never tried: %v", err)
				}
			}
		})
	}
}
