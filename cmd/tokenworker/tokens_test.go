package main

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
)

func obtained() time.Time { return time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC) }

func TestATokenSetIsReadAsProvidersWriteIt(t *testing.T) {
	for name, test := range map[string]struct {
		in                string
		access, refresh   string
		expiresIn         time.Duration
		tokenType, issuer string
	}{
		"an access token alone":            {in: "abc", access: "abc"},
		"with white space around it":       {in: " \n abc \r\n", access: "abc"},
		"a token endpoint's answer":        {in: `{"access_token":"abc","refresh_token":"def","token_type":"Bearer","expires_in":60}`, access: "abc", refresh: "def", expiresIn: time.Minute, tokenType: "Bearer"},
		"a lifetime in quotes":             {in: `{"access_token":"abc","expires_in":"60"}`, access: "abc", expiresIn: time.Minute},
		"a lifetime of nothing is unknown": {in: `{"access_token":"abc","expires_in":0}`, access: "abc"},
		"an expiry outranks a lifetime":    {in: `{"access_token":"abc","expires_in":60,"expires_at":"2026-11-21T11:00:00Z"}`, access: "abc", expiresIn: time.Hour},
		"what we do not know is left out":  {in: `{"access_token":"abc","ext":{"a":[1]}}`, access: "abc"},
		"fields beyond RFC 6749":           {in: `{"access_token":"abc","issuer":"https://idp.example"}`, access: "abc", issuer: "https://idp.example"},
	} {
		t.Run(name, func(t *testing.T) {
			set, err := (&app{stdin: strings.NewReader(test.in)}).readTokens("-", obtained())
			if err != nil {
				t.Fatal(err)
			}
			var expiresAt time.Time
			if test.expiresIn > 0 {
				expiresAt = obtained().Add(test.expiresIn)
			}
			if string(set.AccessToken.Reveal()) != test.access || string(set.RefreshToken.Reveal()) != test.refresh ||
				!set.ExpiresAt.Equal(expiresAt) || set.TokenType != test.tokenType || set.Issuer != test.issuer {
				t.Errorf("access %q, refresh %q, %+v", set.AccessToken.Reveal(), set.RefreshToken.Reveal(), set)
			}
		})
	}
}

func TestATokenSetThatCannotBeReadIsNotRepeated(t *testing.T) {
	for name, in := range map[string]io.Reader{
		"damaged JSON":                 strings.NewReader(`{"access_token":"canary`),
		"a token of another type":      strings.NewReader(`{"access_token":["canary"]}`),
		"a lifetime that is no number": strings.NewReader(`{"access_token":"canary","expires_in":"canary"}`),
		"an expiry that is no time":    strings.NewReader(`{"access_token":"canary","expires_at":"canary"}`),
		"a lifetime beyond all time":   strings.NewReader(`{"access_token":"canary","expires_in":9999999999999}`),
		"JSON of another form":         strings.NewReader(`["canary"]`),
		"an empty list":                strings.NewReader(`[]`),
		"a string":                     strings.NewReader(`"canary"`),
		"a page":                       strings.NewReader("<html>\ncanary</html>"),
		"too much of it":               strings.NewReader(strings.Repeat("canary", 20_000)),
		"a reader that fails":          io.MultiReader(strings.NewReader("canary"), failingReader{}),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := (&app{stdin: in}).readTokens("-", obtained())
			if err == nil || strings.Contains(err.Error(), "canary") {
				t.Errorf("got %v", err)
			}
		})
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("it broke") }

func TestATokenSetOfAFile(t *testing.T) {
	if _, err := (&app{}).readTokens("/nowhere", obtained()); err == nil {
		t.Error("a file that is not there was read")
	}
	var none tokenworker.TokenSet
	if set, err := (&app{}).readTokens("/dev/null", obtained()); err == nil || set != none {
		t.Errorf("an empty file gave %+v, %v", set, err)
	}
}
