package tokenworker_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/tokenworker/tokenworker"
)

func TestEscapePart(t *testing.T) {
	for _, tc := range []struct{ name, part, want string }{
		{"what stands for itself", "AZaz09_-~", "AZaz09_-~"},
		{"the separators of keys and subjects", ":.*> ", "%3A%2E%2A%3E%20"},
		{"the escape itself", "%41", "%2541"},
		{"UTF-8 byte by byte", "é€", "%C3%A9%E2%82%AC"},
		{"an escape between plain bytes", "a.b", "a%2Eb"},
		{"neighbours of the plain ranges", "@[`{/:^", "%40%5B%60%7B%2F%3A%5E"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tokenworker.EscapePart(tc.part); got != tc.want {
				t.Errorf("escaped %q, want %q", got, tc.want)
			}
			if got, err := tokenworker.UnescapePart(tc.want); err != nil || got != tc.part {
				t.Errorf("unescaped %q, %v; want %q", got, err, tc.part)
			}
		})
	}
}

func TestUnescapePartRefusesEveryOtherSpelling(t *testing.T) {
	for _, tc := range []struct{ name, text string }{
		{"lower-case hex", "a%2eb"},
		{"hex of mixed case", "%C3%a9"},
		{"an escape that was not needed", "%41"},
		{"a tilde escaped", "%7E"},
		{"a byte that needs an escape", "a.b"},
		{"a space", "a b"},
		{"UTF-8 in clear", "é"},
		{"an escape cut off after one digit", "a%2"},
		{"an escape cut off at once", "a%"},
		{"no hex", "%G0"},
		{"no hex in the second digit", "%0G"},
		{"a sign", "%+1"},
		{"nothing", ""},
		{"a NUL", "%00"},
		{"a DEL", "%7F"},
		{"a C1 control character", "%C2%85"},
		{"a lone continuation byte", "%80"},
		{"an overlong encoding", "%C0%AF"},
		{"a surrogate", "%ED%A0%80"},
		{"129 bytes", strings.Repeat("a", 129)},
		{"129 bytes, escaped", strings.Repeat("%2E", 129)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := tokenworker.UnescapePart(tc.text)
			if !errors.Is(err, tokenworker.ErrInvalidKey) || got != "" {
				t.Fatalf("got %q, %v; want ErrInvalidKey", got, err)
			}
		})
	}
}

func TestEveryByteAsAPart(t *testing.T) {
	for b := range 256 {
		part := string([]byte{byte(b)})
		valid := b < utf8.RuneSelf && !unicode.IsControl(rune(b))
		if err := tokenworker.ValidatePart(part); (err == nil) != valid {
			t.Errorf("byte %02X: error %v, valid %t", b, err, valid)
		}
		if valid {
			mustRoundTrip(t, tokenworker.Key{OrgID: part, ProviderID: part, CompanyID: part})
		}
	}
}

func TestEveryControlCharacterIsRefused(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		if err := tokenworker.ValidatePart("a" + string(r)); (err != nil) != unicode.Is(unicode.Cc, r) {
			t.Fatalf("%U: error %v", r, err)
		}
	}
}

func TestLengthsOfParts(t *testing.T) {
	for _, tc := range []struct {
		name string
		part string
		ok   bool
	}{
		{"1 byte", "a", true},
		{"128 bytes", strings.Repeat("a", 128), true},
		{"129 bytes", strings.Repeat("a", 129), false},
		{"128 bytes that triple when escaped", strings.Repeat(".", 128), true},
		{"128 bytes in 64 characters", strings.Repeat("é", 64), true},
		{"130 bytes in 65 characters", strings.Repeat("é", 65), false},
		{"none", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for i, k := range []tokenworker.Key{{tc.part, "p", "c"}, {"o", tc.part, "c"}, {"o", "p", tc.part}} {
				err := k.Validate()
				if tc.ok {
					if err != nil {
						t.Fatalf("part %d: %v", i+1, err)
					}
					mustRoundTrip(t, k)
					continue
				}
				which := [...]string{"organization", "provider", "company"}[i]
				if !errors.Is(err, tokenworker.ErrInvalidKey) || !strings.HasPrefix(err.Error(), which) {
					t.Errorf("part %d: error %v, want ErrInvalidKey of the %s", i+1, err, which)
				}
				if _, err := tokenworker.ParseKey(k.String()); !errors.Is(err, tokenworker.ErrInvalidKey) {
					t.Errorf("part %d parsed: error %v, want ErrInvalidKey", i+1, err)
				}
			}
		})
	}
}

func TestParseKeyWantsThreeParts(t *testing.T) {
	for _, s := range []string{"", "o", "o:p", "o:p:c:x", ":p:c", "o::c", "o:p:", "::", "o:p:c\n", " o:p:c", "o%3Ap:c"} {
		if k, err := tokenworker.ParseKey(s); !errors.Is(err, tokenworker.ErrInvalidKey) || k != (tokenworker.Key{}) {
			t.Errorf("%q: got %+v, %v; want ErrInvalidKey", s, k, err)
		}
	}
}

func TestErrorsOfKeysDoNotRepeatTheInput(t *testing.T) {
	const canary = "canary"
	for _, s := range []string{canary, canary + "%2e:p:c", "o:p:" + canary + ".", "o:" + canary + "%:c", canary + ":p:c\x00"} {
		if _, err := tokenworker.ParseKey(s); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("error %v", err)
		}
	}
}

// subjectToken is what NATS takes as one token of a subject, and more than we need of it.
var subjectToken = regexp.MustCompile(`^[^.*>:\x00-\x20\x7f-\xff]+$`)

func drawPart() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		runes := rapid.OneOf(rapid.Rune(), rapid.SampledFrom([]rune(":.%*>_-~ aZ0é\u2028\U0001F511")))
		return rapid.StringOfN(runes, 1, -1, tokenworker.MaxPartBytes).
			Filter(func(s string) bool { return tokenworker.ValidatePart(s) == nil }).Draw(t, "part")
	})
}

func drawKey(t *rapid.T, label string) tokenworker.Key {
	part := drawPart()
	return tokenworker.Key{OrgID: part.Draw(t, label+" org"), ProviderID: part.Draw(t, label+" provider"), CompanyID: part.Draw(t, label+" company")}
}

func mustRoundTrip(t interface{ Fatalf(string, ...any) }, k tokenworker.Key) {
	got, err := tokenworker.ParseKey(k.String())
	if err != nil || got != k {
		t.Fatalf("%+v reads as %s, which parses as %+v, %v", k, k, got, err)
	}
}

func TestEveryKeyReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := drawKey(t, "a")
		mustRoundTrip(t, k)
		for part := range strings.SplitSeq(k.String(), ":") {
			if !subjectToken.MatchString(part) {
				t.Fatalf("%q is no subject token", part)
			}
		}
	})
}

func TestDifferentKeysHaveDifferentTexts(t *testing.T) {
	// The parts are short and of few characters, so that what one separator less could confuse is often drawn.
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.StringOfN(rapid.RuneFrom([]rune("a:%3A.")), 1, 4, -1)
		a := tokenworker.Key{OrgID: part.Draw(t, "a"), ProviderID: part.Draw(t, "a"), CompanyID: part.Draw(t, "a")}
		b := tokenworker.Key{OrgID: part.Draw(t, "b"), ProviderID: part.Draw(t, "b"), CompanyID: part.Draw(t, "b")}
		if (a == b) != (a.String() == b.String()) {
			t.Fatalf("%+v and %+v read as %s and %s", a, b, a, b)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	for _, s := range []string{"default:finch:c-1", "a%2Eb:p:c", "a%2eb:p:c", "%C3%A9:p:c", "%41:p:c", "o:p", "o:p:c%", ":::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := tokenworker.ParseKey(s)
		if err != nil {
			if !errors.Is(err, tokenworker.ErrInvalidKey) || k != (tokenworker.Key{}) {
				t.Fatalf("got %+v, %v", k, err)
			}
			return
		}
		if k.String() != s {
			t.Fatalf("%q parses as %+v, which reads as %q", s, k, k)
		}
		if err := k.Validate(); err != nil {
			t.Fatalf("%q parses as a key that is not valid: %v", s, err)
		}
	})
}

func ExampleKey() {
	k := tokenworker.Key{OrgID: "acme", ProviderID: "finch", CompanyID: "Müller & Co."}
	fmt.Println(k)
	// Output: acme:finch:M%C3%BCller%20%26%20Co%2E
}

func ExampleParseKey() {
	k, err := tokenworker.ParseKey("acme:finch:M%C3%BCller%20%26%20Co%2E")
	fmt.Println(k.CompanyID, err)

	_, err = tokenworker.ParseKey("acme:finch:Co.")
	fmt.Println(errors.Is(err, tokenworker.ErrInvalidKey))
	// Output:
	// Müller & Co. <nil>
	// true
}
