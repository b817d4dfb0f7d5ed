package tokenworker

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxPartBytes is the longest an id inside a [Key] may be, in bytes before escaping.
const MaxPartBytes = 128

// DefaultOrg is the OrgID that publishers without organizations use.
const DefaultOrg = "default"

// Key names one connection: the access that one organization holds to one company's account at one provider.
//
// Each part is opaque UTF-8 of 1 to [MaxPartBytes] bytes without control characters (category Cc), compared byte by
// byte and never normalized. Parts show in NATS subjects, in KMS encryption contexts and so in other people's logs: use
// opaque ids, never e-mail addresses.
type Key struct {
	OrgID      string // whose customer data it is; [DefaultOrg] where there are no organizations
	ProviderID string // the provider's name in the catalogue
	CompanyID  string // the company or account at the provider
}

// Validate reports the first part that is not a valid id, as an error that matches [ErrInvalidKey].
func (k Key) Validate() error {
	for _, p := range [...]struct{ name, value string }{
		{"organization", k.OrgID}, {"provider", k.ProviderID}, {"company", k.CompanyID},
	} {
		if err := ValidatePart(p.value); err != nil {
			return fmt.Errorf("%s id: %w", p.name, err)
		}
	}
	return nil
}

// String is the text form org:provider:company, each part escaped by [EscapePart]. It is injective: two keys are equal
// exactly when their text forms are, and ParseKey(k.String()) == k for every valid key.
func (k Key) String() string {
	return EscapePart(k.OrgID) + ":" + EscapePart(k.ProviderID) + ":" + EscapePart(k.CompanyID)
}

// ParseKey reads the text form that [Key.String] writes. Any other spelling (an escape that was not needed, lower-case
// hex, a missing part) is refused with an error that matches [ErrInvalidKey] and does not repeat the input.
func ParseKey(s string) (Key, error) {
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return Key{}, fmt.Errorf("%w: want org:provider:company, three parts", ErrInvalidKey)
	}
	var k Key
	for i, dst := range []*string{&k.OrgID, &k.ProviderID, &k.CompanyID} {
		part, err := UnescapePart(parts[i])
		if err != nil {
			return Key{}, fmt.Errorf("part %d: %w", i+1, err)
		}
		*dst = part
	}
	return k, nil
}

// ValidatePart reports whether s may be one part of a [Key].
func ValidatePart(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("%w: empty", ErrInvalidKey)
	case len(s) > MaxPartBytes:
		return fmt.Errorf("%w: longer than %d bytes", ErrInvalidKey, MaxPartBytes)
	case !utf8.ValidString(s):
		return fmt.Errorf("%w: not UTF-8", ErrInvalidKey)
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.Is(unicode.Cc, r) }):
		return fmt.Errorf("%w: control character", ErrInvalidKey)
	}
	return nil
}

const upperHex = "0123456789ABCDEF"

// standsForItself reports the bytes that [EscapePart] leaves alone: all of them are harmless in a NATS subject token.
func standsForItself(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '~'
}

// EscapePart escapes one part of a key: A–Z a–z 0–9 _ - ~ stand for themselves, every other byte is %XX in upper-case
// hex. The result is a valid NATS subject token and contains neither ':' nor '.'.
func EscapePart(s string) string {
	plain := 0
	for plain < len(s) && standsForItself(s[plain]) {
		plain++
	}
	if plain == len(s) {
		return s
	}
	b := make([]byte, plain, len(s)+2*(len(s)-plain))
	copy(b, s)
	for i := plain; i < len(s); i++ {
		if c := s[i]; standsForItself(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(b)
}

// UnescapePart undoes [EscapePart] and validates the result. It accepts only the one spelling that EscapePart writes.
func UnescapePart(s string) (string, error) {
	part := s
	if strings.IndexByte(s, '%') >= 0 {
		b := make([]byte, 0, len(s))
		for i := 0; i < len(s); i++ {
			if s[i] != '%' {
				b = append(b, s[i])
				continue
			}
			if i+2 >= len(s) {
				return "", fmt.Errorf("%w: cut-off escape", ErrInvalidKey)
			}
			hi, lo := strings.IndexByte(upperHex, s[i+1]), strings.IndexByte(upperHex, s[i+2])
			if hi < 0 || lo < 0 {
				return "", fmt.Errorf("%w: escape is not upper-case hex", ErrInvalidKey)
			}
			b = append(b, byte(hi<<4|lo))
			i += 2
		}
		part = string(b)
	}
	if err := ValidatePart(part); err != nil {
		return "", err
	}
	if EscapePart(part) != s {
		return "", fmt.Errorf("%w: not in canonical spelling", ErrInvalidKey)
	}
	return part, nil
}
