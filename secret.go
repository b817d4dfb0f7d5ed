package tokenworker

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
)

// Redacted is what a [Secret] shows of itself wherever it is printed.
const Redacted = "[redacted]"

// Secret holds a token or a key in memory and shows [Redacted] wherever it is printed: by fmt under every verb, by
// log/slog, as text or JSON, and inside an error. The value sits inside a closure, where no reflection can look: fmt calls
// no methods on unexported fields, and for a verb it finds wrong there, such as %s, even follows a pointer.
//
// The zero Secret is empty. Copies share the value: [Secret.Wipe] on one empties all.
type Secret struct {
	p *secretValue
}

type secretValue struct{ bytes func() *[]byte }

// NewSecret takes ownership of b. An empty b gives the zero Secret.
func NewSecret(b []byte) Secret {
	if len(b) == 0 {
		return Secret{}
	}
	return Secret{&secretValue{func() *[]byte { return &b }}}
}

// SecretString copies s.
func SecretString(s string) Secret { return NewSecret([]byte(s)) }

// Reveal returns the value itself, not a copy: do not keep or change it. It is nil for an empty Secret. Each call is a
// place where the value could leak, so calls are few and easy to find.
func (s Secret) Reveal() []byte {
	if s.p == nil {
		return nil
	}
	return *s.p.bytes()
}

// IsEmpty reports whether there is no value.
func (s Secret) IsEmpty() bool { return len(s.Reveal()) == 0 }

// Equal compares in time that depends on the lengths only.
func (s Secret) Equal(o Secret) bool { return subtle.ConstantTimeCompare(s.Reveal(), o.Reveal()) == 1 }

// Wipe overwrites the value with zeros, for this and every copy of the Secret. It is best effort: the runtime and the
// libraries that handled the value may have made copies that nobody can reach.
func (s Secret) Wipe() {
	if s.p == nil {
		return
	}
	b := s.p.bytes()
	clear(*b)
	*b = nil
}

// Format implements [fmt.Formatter] for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(Redacted)) }

// String implements [fmt.Stringer] for callers that skip fmt.
func (Secret) String() string { return Redacted }

// GoString implements [fmt.GoStringer] for callers that skip fmt.
func (Secret) GoString() string { return Redacted }

// LogValue implements [slog.LogValuer].
func (Secret) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText implements [encoding.TextMarshaler].
func (Secret) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// MarshalJSON implements [json.Marshaler].
func (Secret) MarshalJSON() ([]byte, error) { return json.Marshal(Redacted) }

// UnmarshalJSON refuses: what could be read back would be [Redacted], and a token read by accident would go unnoticed.
// Token sets are read by [DecodeTokenSet].
func (*Secret) UnmarshalJSON([]byte) error {
	return errors.New("a secret is not read from JSON directly")
}
