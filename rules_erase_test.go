package tokenworker_test

import (
	"testing"

	"github.com/tokenworker/tokenworker"
)

func TestATombstoneSaysWhyItsProviderDidNotConfirm(t *testing.T) {
	for _, c := range []struct {
		name   string
		record tokenworker.Record
		want   string
	}{
		{"nothing waits", tokenworker.Record{Status: tokenworker.Disconnecting}, ""},
		{"never tried", tokenworker.Record{Status: tokenworker.Disconnecting, Revoke: [][]byte{{1}}, RevokeAt: event(2).Entered}, "erased"},
		{"failed before", tokenworker.Record{Status: tokenworker.Disconnecting, Revoke: [][]byte{{1}}, RevokeAt: event(2).Entered, FailureCode: "timeout"}, "timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			next, v, err := tokenworker.Erasing(event(1).Stamp, event(1).Entered, event(3).Entered)(&c.record)
			if err != nil || v != tokenworker.Applied || next.Status != tokenworker.Disconnected || next.FailureCode != c.want {
				t.Errorf("%s, %v: %s because of %q", v, err, next.Status, next.FailureCode)
			}
			if next.Revoke != nil || next.Sealed != nil {
				t.Error("a set is left")
			}
		})
	}
}
