package events_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

func TestAnEventIsIdentifiedTheSameWayEachTime(t *testing.T) {
	r := newRing(t, events.SuiteHybrid)
	key := tokenworker.Key{OrgID: "acme", ProviderID: "finch"}
	set := tokenworker.TokenSet{AccessToken: tokenworker.SecretString("token")}
	raw, err := events.NewAcquired(key, "shop", set, time.Date(2026, 11, 21, 8, 0, 0, 123e6, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	raw.ID = "3b1f9a52-0c51-4bb6-8f5e-1f2d7c0a9e44"
	set.ProviderConnectionID = "conn-9"
	var ids [2]string
	for i := range ids {
		e, err := raw.Identified("Größe", set)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Seal(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		m, err := e.Message()
		if err != nil {
			t.Fatal(err)
		}
		got, err := events.Decoder{}.Decode(m)
		if err != nil {
			t.Fatal(err)
		}
		if got.Key.CompanyID != "Größe" || got.Source != "shop" || !got.Time.Equal(raw.Time) {
			t.Errorf("it is about %s, from %s at %s", got.Key, got.Source, got.Time)
		}
		opened, err := r.Open(t.Context(), got)
		if err != nil || opened.ProviderConnectionID != "conn-9" || !opened.AccessToken.Equal(set.AccessToken) {
			t.Errorf("it opens to another set: %v", err)
		}
		ids[i] = m.ID
	}
	// printf 'tokenworker/identified/v1\nshop\n3b1f9a52-0c51-4bb6-8f5e-1f2d7c0a9e44' | sha256sum | cut -c1-32
	const id = "0e056256873772704d30b7d1513294a7"
	if want := events.MessageID("tokens.v1.acquired.acme.finch.Gr%C3%B6%C3%9Fe", "shop", id); ids[0] != want || ids[1] != want {
		t.Errorf("message ids %q, want %s twice", ids, want)
	}
	for name, company := range map[string]string{"no company": "", "a control character": "a\nb"} {
		if _, err := raw.Identified(company, set); !errors.Is(err, events.ErrInvalidEvent) {
			t.Errorf("%s: %v, want ErrInvalidEvent", name, err)
		}
	}
	whole, err := raw.Identified("c", set)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := whole.Identified("d", set); !errors.Is(err, events.ErrInvalidEvent) {
		t.Errorf("an event that has a company: %v, want ErrInvalidEvent", err)
	}
}
