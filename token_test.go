package tokenworker_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenworker/tokenworker"
)

func drawTokenSet() *rapid.Generator[tokenworker.TokenSet] {
	return rapid.Custom(func(t *rapid.T) tokenworker.TokenSet {
		text := rapid.String()
		at := rapid.Custom(func(t *rapid.T) time.Time {
			return time.Unix(rapid.Int64Range(0, 253402300799).Draw(t, "seconds"), rapid.Int64Range(0, 999999999).Draw(t, "nanoseconds")).UTC()
		})
		return tokenworker.TokenSet{
			AccessToken:  tokenworker.SecretString(rapid.StringN(1, -1, 2048).Draw(t, "access token")),
			RefreshToken: tokenworker.SecretString(text.Draw(t, "refresh token")),
			IDToken:      tokenworker.SecretString(text.Draw(t, "id token")),
			TokenType:    text.Draw(t, "token type"), Scope: text.Draw(t, "scope"),
			ExpiresAt: at.Draw(t, "expires"), GrantExpiresAt: at.Draw(t, "grant expires"),
			Subject: text.Draw(t, "subject"), Issuer: text.Draw(t, "issuer"),
			ProviderConnectionID: text.Draw(t, "provider connection"), ConsentRef: text.Draw(t, "consent"), Nonce: text.Draw(t, "nonce"),
		}
	})
}

// plain is a token set in a form that == compares by value.
type plain struct {
	access, refresh, id, tokenType, nonce string
	tokenworker.Details
}

func inPlain(s tokenworker.TokenSet) plain {
	return plain{string(s.AccessToken.Reveal()), string(s.RefreshToken.Reveal()), string(s.IDToken.Reveal()), s.TokenType, s.Nonce, s.Details()}
}

func TestTokenSetsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawTokenSet().Draw(t, "set")
		b, err := tokenworker.EncodeTokenSet(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := tokenworker.DecodeTokenSet(b)
		if err != nil {
			t.Fatal(err)
		}
		if inPlain(got) != inPlain(want) {
			t.Fatalf("another token set came back: %+v, want %+v", inPlain(got), inPlain(want))
		}
	})
}

// The plaintext of every seal at rest has this form: a change of it is a change of the format.
func TestWireFormOfATokenSet(t *testing.T) {
	secret := tokenworker.SecretString
	for _, tc := range []struct {
		name string
		set  tokenworker.TokenSet
		want string
	}{
		{
			"an access token alone", tokenworker.TokenSet{AccessToken: secret("a")}, `{"access_token":"a"}`,
		},
		{
			"every field",
			tokenworker.TokenSet{
				AccessToken: secret("a"), RefreshToken: secret("r"), IDToken: secret("i"), TokenType: "Bearer", Scope: "read write",
				ExpiresAt: noon, GrantExpiresAt: noon.Add(24 * time.Hour), Subject: "sub", Issuer: "iss",
				ProviderConnectionID: "pc", ConsentRef: "consent", Nonce: "nonce",
			},
			`{"access_token":"a","refresh_token":"r","id_token":"i","token_type":"Bearer","scope":"read write",` +
				`"expires_at":"2026-11-21T12:00:00Z","grant_expires_at":"2026-11-22T12:00:00Z","subject":"sub","issuer":"iss",` +
				`"provider_connection_id":"pc","consent_ref":"consent","nonce":"nonce"}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := tokenworker.EncodeTokenSet(tc.set)
			if err != nil || string(got) != tc.want {
				t.Errorf("encoded %s, %v\nwant %s", got, err, tc.want)
			}
		})
	}
}

func TestWhatIsNoTokenSetIsRefusedWithoutQuotingIt(t *testing.T) {
	for _, tc := range []struct{ name, text string }{
		{"nothing", ""},
		{"no JSON", canary},
		{"JSON that breaks off", `{"access_token":"` + canary},
		{"a list", `["` + canary + `"]`},
		{"no access token", `{"refresh_token":"` + canary + `"}`},
		{"an empty access token", `{"access_token":"","refresh_token":"` + canary + `"}`},
		{"an access token of another type", `{"access_token":["` + canary + `"]}`},
		{"a time that is none", `{"access_token":"a","expires_at":"` + canary + `"}`},
		{"a number for a text", `{"access_token":"a","scope":42,"refresh_token":"` + canary + `"}`},
		{"something after it", `{"access_token":"` + canary + `"}` + canary},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set, err := tokenworker.DecodeTokenSet([]byte(tc.text))
			if err == nil || set != (tokenworker.TokenSet{}) {
				t.Fatalf("accepted, error %v", err)
			}
			mustNotLeak(t, "the error", err.Error())
		})
	}
}

func TestATimeThatHasNoTextIsRefused(t *testing.T) {
	set := tokenworker.TokenSet{AccessToken: tokenworker.SecretString(canary), ExpiresAt: time.Unix(253402300800, 0)} // the year 10000
	b, err := tokenworker.EncodeTokenSet(set)
	if err == nil || b != nil {
		t.Fatalf("encoded %d bytes, error %v", len(b), err)
	}
	mustNotLeak(t, "the error", err.Error())
}

func TestDetailsAreWhatMayStandInClear(t *testing.T) {
	set := tokenworker.TokenSet{
		AccessToken: tokenworker.SecretString(canary), RefreshToken: tokenworker.SecretString(canary), TokenType: "Bearer", Scope: "scope", ExpiresAt: noon, GrantExpiresAt: noon.Add(time.Hour),
		Subject: "subject", Issuer: "issuer", ProviderConnectionID: "connection", ConsentRef: "consent",
	}
	want := tokenworker.Details{
		Scope: "scope", ExpiresAt: noon, GrantExpiresAt: noon.Add(time.Hour),
		Subject: "subject", Issuer: "issuer", ProviderConnectionID: "connection", ConsentRef: "consent", Refreshable: true,
	}
	if got := set.Details(); got != want {
		t.Errorf("details %+v, want %+v", got, want)
	}
	set.RefreshToken = tokenworker.Secret{}
	if set.Details().Refreshable {
		t.Error("without a refresh token it is refreshable")
	}
}

func TestDetailsHoldNoToken(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := drawTokenSet().Draw(t, "set")
		set.AccessToken, set.RefreshToken, set.IDToken = tokenworker.SecretString(canary), tokenworker.SecretString(canary), tokenworker.SecretString(canary)
		b, err := json.Marshal(set.Details())
		if err != nil || strings.Contains(string(b), canary) {
			t.Fatalf("details %s, %v", b, err)
		}
	})
}
