package events_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// wrongTokenSets are refused, by the code want.
var wrongTokenSets = []struct {
	name, set string
	want      events.Code
}{
	{"no access token", `{"refresh_token":"r"}`, events.CodeInvalidTokenSet},
	{"an empty access token", `{"access_token":""}`, events.CodeInvalidTokenSet},
	{"a null access token", `{"access_token":null}`, events.CodeInvalidTokenSet},
	{"an access token that is a number", `{"access_token":1}`, events.CodeInvalidTokenSet},
	{"an access token with a newline, which could end a header", `{"access_token":"a\r\nHost: x"}`, events.CodeInvalidTokenSet},
	{"an access token beyond ASCII", `{"access_token":"é"}`, events.CodeInvalidTokenSet},
	{"an access token of 16 KiB and a byte", `{"access_token":` + long(16<<10+1) + `}`, events.CodeInvalidTokenSet},
	{"an empty refresh token", `{"access_token":"a","refresh_token":""}`, events.CodeInvalidTokenSet},
	{"a refresh token with a tab", `{"access_token":"a","refresh_token":"\t"}`, events.CodeInvalidTokenSet},
	{"an ID token that is an object", `{"access_token":"a","id_token":{}}`, events.CodeInvalidTokenSet},
	{"an expiry in seconds", `{"access_token":"a","expires_at":3600}`, events.CodeInvalidTokenSet},
	{"an expiry that is no time", `{"access_token":"a","expires_at":"soon"}`, events.CodeInvalidTokenSet},
	{"a null expiry", `{"access_token":"a","grant_expires_at":null}`, events.CodeInvalidTokenSet},
	{"a scope that is a list", `{"access_token":"a","scope":["x"]}`, events.CodeInvalidTokenSet},
	{"a scope of 4 KiB and a byte", `{"access_token":"a","scope":` + long(4<<10+1) + `}`, events.CodeInvalidTokenSet},
	{"a token type of 65 bytes", `{"access_token":"a","token_type":` + long(65) + `}`, events.CodeInvalidTokenSet},
	{"a subject of 513 bytes", `{"access_token":"a","subject":` + long(513) + `}`, events.CodeInvalidTokenSet},
	{"an issuer with a control character", `{"access_token":"a","issuer":"\u0007"}`, events.CodeInvalidTokenSet},
	{"an empty consent reference", `{"access_token":"a","consent_ref":""}`, events.CodeInvalidTokenSet},
	{"a connection id that is a number", `{"access_token":"a","provider_connection_id":42}`, events.CodeInvalidTokenSet},
	{"a field of another contract", `{"access_token":"a","expires_in":3600}`, events.CodeUnknownField},
	{"a field in another case", `{"Access_Token":"a"}`, events.CodeUnknownField},
	{"one field twice", `{"access_token":"a","access_token":"b"}`, events.CodeDuplicateField},
}

func long(n int) string { return `"` + strings.Repeat("x", n) + `"` }

func TestTokenSetsAreRefusedByCode(t *testing.T) {
	for _, c := range wrongTokenSets {
		t.Run(c.name, func(t *testing.T) {
			a := validAttrs()
			a["data"] = c.set
			refused(t, events.Decoder{AllowPlain: true}, a.message(acquiredSubject), c.want)
		})
	}
}

func TestATokenSetWithEveryFieldIsRead(t *testing.T) {
	want := tokenworker.TokenSet{
		AccessToken:  tokenworker.SecretString(`vis!ble "ASCII" \ ~`),
		RefreshToken: tokenworker.SecretString("refresh"),
		IDToken:      tokenworker.SecretString("header.claims.signature"),
		TokenType:    "bearer", Scope: "a b", Subject: "sub-1", Issuer: "https://issuer.example", ConsentRef: "c-1",
		ProviderConnectionID: "conn-1", Nonce: "n-1",
		ExpiresAt: noon.Add(time.Hour), GrantExpiresAt: noon.Add(24 * time.Hour),
	}
	e, err := events.NewAcquired(acme, source, want, noon)
	if err != nil {
		t.Fatal(err)
	}
	m, err := e.PlainMessage()
	if err != nil {
		t.Fatal(err)
	}
	if e, err = (events.Decoder{AllowPlain: true}).Decode(m); err != nil {
		t.Fatal(err)
	}
	sameSet(t, *e.Plain, want)
}

func sameSet(t *testing.T, got, want tokenworker.TokenSet) {
	t.Helper()
	if !got.AccessToken.Equal(want.AccessToken) || !got.RefreshToken.Equal(want.RefreshToken) || !got.IDToken.Equal(want.IDToken) {
		t.Error("the tokens are not those of the set")
	}
	if !got.ExpiresAt.Equal(want.ExpiresAt) || !got.GrantExpiresAt.Equal(want.GrantExpiresAt) {
		t.Errorf("expiries are %v and %v, want %v and %v", got.ExpiresAt, got.GrantExpiresAt, want.ExpiresAt, want.GrantExpiresAt)
	}
	if got.TokenType != want.TokenType || got.Scope != want.Scope || got.Subject != want.Subject || got.Issuer != want.Issuer ||
		got.ProviderConnectionID != want.ProviderConnectionID || got.ConsentRef != want.ConsentRef || got.Nonce != want.Nonce {
		t.Errorf("details are %+v, want %+v", got, want)
	}
}

func TestEventsThatAWorkerWouldRefuseAreNotMade(t *testing.T) {
	for _, c := range []struct {
		name string
		make func() (*events.Event, error)
	}{
		{"no access token", func() (*events.Event, error) {
			return events.NewAcquired(acme, source, tokenworker.TokenSet{}, noon)
		}},
		{"a token with a newline", func() (*events.Event, error) {
			return events.NewAcquired(acme, source, tokenworker.TokenSet{AccessToken: tokenworker.SecretString("a\nb")}, noon)
		}},
		{"an expiry that JSON cannot spell", func() (*events.Event, error) {
			set := tokenSet()
			set.ExpiresAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
			return events.NewAcquired(acme, source, set, noon)
		}},
		{"no source", func() (*events.Event, error) { return events.NewAcquired(acme, "", tokenSet(), noon) }},
		{"a source with a newline", func() (*events.Event, error) { return events.NewDisconnect(acme, "a\nb", "", noon) }},
		{"a source that is not UTF-8", func() (*events.Event, error) { return events.NewDisconnect(acme, "a\xff", "", noon) }},
		{"no organization", func() (*events.Event, error) { return events.NewAcquired(key("", "finch"), source, tokenSet(), noon) }},
		{"a disconnect without company", func() (*events.Event, error) { return events.NewDisconnect(key("acme", "finch"), source, "", noon) }},
		{"a refresh without company", func() (*events.Event, error) { return events.NewRefresh(key("acme", "finch"), source, "", noon) }},
		{"an erase of a provider", func() (*events.Event, error) { return events.NewErase(key("acme", "finch"), source, "", noon) }},
		{"a company without provider", func() (*events.Event, error) { return events.NewErase(key("acme", "", "c"), source, "", noon) }},
		{"a reason in prose", func() (*events.Event, error) { return events.NewDisconnect(acme, source, "Why not?", noon) }},
		{"the zero time", func() (*events.Event, error) { return events.NewDisconnect(acme, source, "", time.Time{}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if e, err := c.make(); !errors.Is(err, events.ErrInvalidEvent) {
				t.Errorf("made %v, %v", e, err)
			}
		})
	}
}

func TestRequestsAreDecodedAsTheyWereMade(t *testing.T) {
	disconnect, err := events.NewDisconnect(acme, source, "offboarded", noon.Add(1234567*time.Nanosecond))
	if err != nil {
		t.Fatal(err)
	}
	refresh, err := events.NewRefresh(acme, source, "", noon)
	if err != nil {
		t.Fatal(err)
	}
	erase, err := events.NewErase(key("acme"), source, "gdpr", noon)
	if err != nil {
		t.Fatal(err)
	}
	for _, made := range []*events.Event{disconnect, refresh, erase} {
		got := decode(t, message(t, made))
		if got.Kind != made.Kind || got.Key != made.Key || got.Source != made.Source || got.ID != made.ID ||
			!got.Time.Equal(made.Time) || got.Reason != made.Reason || got.EventID() != made.EventID() {
			t.Errorf("made %+v, decoded %+v", made, got)
		}
	}
}

func TestAnUnsealedTokenSetIsPublishedOnlyOnPurpose(t *testing.T) {
	e := acquired(t)
	if _, err := e.Message(); !errors.Is(err, events.ErrInvalidEvent) {
		t.Errorf("Message lets tokens travel in clear: %v", err)
	}
	m, err := e.PlainMessage()
	if err != nil {
		t.Fatal(err)
	}
	refused(t, events.Decoder{}, m, events.CodePlainRefused)
	if _, err := (events.Decoder{AllowPlain: true}).Decode(m); err != nil {
		t.Error(err)
	}
}

func TestAnEventTooLargeForAWorkerIsNotPublished(t *testing.T) {
	huge := tokenworker.SecretString(strings.Repeat("x", 16<<10))
	e, err := events.NewAcquired(acme, source, tokenworker.TokenSet{AccessToken: huge, RefreshToken: huge, IDToken: huge}, noon)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Seal(newRing(t, events.SuiteX25519).key); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Message(); !errors.Is(err, events.CodeTooLarge) {
		t.Errorf("got %v, want %v", err, events.CodeTooLarge)
	}
}

func TestIDsAreRandomUUIDs(t *testing.T) {
	seen := make(map[string]bool)
	for range 100 {
		id := acquired(t).ID
		if len(id) != 36 || id[14] != '4' || !strings.ContainsRune("89ab", rune(id[19])) || seen[id] {
			t.Fatalf("%s is no fresh UUID of version 4", id)
		}
		seen[id] = true
	}
}
