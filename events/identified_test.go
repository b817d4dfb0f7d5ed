package events_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

func TestAnIdentifiedEventIsTheSameEvent(t *testing.T) {
	r := newRing(t, events.SuiteHybrid)
	public, err := r.Make(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	key := tokenworker.Key{OrgID: "acme", ProviderID: "finch"}
	set := tokenworker.TokenSet{AccessToken: tokenworker.SecretString("token")}
	raw, err := events.NewAcquired(key, "shop", set, time.Date(2026, 11, 21, 8, 0, 0, 123e6, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Seal(public); err != nil {
		t.Fatal(err)
	}
	set.ProviderConnectionID = "conn-9"
	named, err := raw.Identified("Größe", set)
	if err != nil {
		t.Fatal(err)
	}
	if named.Key.CompanyID != "Größe" || named.EventID() != raw.EventID() || named.Source != "shop" || !named.Time.Equal(raw.Time) {
		t.Errorf("it is about %s, with id %s from %s at %s", named.Key, named.ID, named.Source, named.Time)
	}
	if opened, err := r.Open(t.Context(), named); err != nil || opened.ProviderConnectionID != "conn-9" {
		t.Errorf("it opens to another set: %v", err)
	}
	if raw.Sealed == nil || raw.Key.CompanyID != "" {
		t.Error("the raw event has changed")
	}
	for name, company := range map[string]string{"no company": "", "a control character": "a\nb"} {
		if _, err := raw.Identified(company, set); !errors.Is(err, events.ErrInvalidEvent) {
			t.Errorf("%s: %v, want ErrInvalidEvent", name, err)
		}
	}
	if _, err := named.Identified("d", set); !errors.Is(err, events.ErrInvalidEvent) {
		t.Errorf("an event that has a company: %v, want ErrInvalidEvent", err)
	}
}
