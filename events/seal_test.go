package events_test

import (
	"testing"

	"github.com/tokenworker/tokenworker/events"
)

func TestASealedEventOpensAsTheSetThatWasSealed(t *testing.T) {
	for _, suite := range []events.Suite{events.SuiteHybrid, events.SuiteX25519} {
		t.Run(string(suite), func(t *testing.T) {
			r := newRing(t, suite)
			got, err := r.Open(t.Context(), decode(t, sealed(t, r.key)))
			if err != nil {
				t.Fatal(err)
			}
			want := tokenSet()
			if !got.AccessToken.Equal(want.AccessToken) || !got.RefreshToken.Equal(want.RefreshToken) ||
				got.Scope != want.Scope || !got.ExpiresAt.Equal(want.ExpiresAt) {
				t.Errorf("opened another set than was sealed")
			}
		})
	}
}
