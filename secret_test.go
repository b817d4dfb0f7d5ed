package tokenworker_test

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/tokenworker/tokenworker"
)

const canary = "canary-7Zq-refresh-token"

// spellings are the forms under which the canary could show: raw, hex, base64 in every alignment, and as fmt prints bytes.
func spellings() map[string]string {
	decimal := strings.Trim(fmt.Sprintf("%d", []byte(canary)), "[]")
	all := map[string]string{
		"raw":         canary,
		"hex":         hex.EncodeToString([]byte(canary)),
		"spaced hex":  fmt.Sprintf("% x", canary),
		"Go bytes":    strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", []byte(canary)), "[]byte{"), "}"),
		"decimal":     decimal,
		"JSON array":  strings.ReplaceAll(decimal, " ", ","),
		"octal":       strings.Trim(fmt.Sprintf("%o", []byte(canary)), "[]"),
		"binary":      strings.Trim(fmt.Sprintf("%b", []byte(canary)), "[]"),
		"code points": strings.Trim(fmt.Sprintf("%U", []byte(canary)), "[]"),
		"characters":  strings.Trim(fmt.Sprintf("%c", []byte(canary)), "[]"),
	}
	for lead := range 3 { // the whole groups of three bytes, whatever stands before
		b := []byte(canary)[lead:]
		all[fmt.Sprintf("base64 from byte %d", lead)] = base64.RawStdEncoding.EncodeToString(b[:len(b)/3*3])
	}
	return all
}

var forms = spellings()

func mustNotLeak(t *testing.T, how, out string) {
	t.Helper()
	for form, text := range forms {
		if strings.Contains(out, text) || strings.Contains(strings.ToLower(out), strings.ToLower(text)) {
			t.Errorf("%s shows the secret (%s): %s", how, form, out)
			return
		}
	}
}

type (
	exported   struct{ Secret tokenworker.Secret }
	unexported struct{ secret tokenworker.Secret }
	deep       struct {
		inner struct {
			list    []tokenworker.Secret
			array   [1]tokenworker.Secret
			named   map[string]tokenworker.Secret
			pointer *tokenworker.Secret
			boxed   any
		}
		set *tokenworker.TokenSet
	}
	setHolder struct {
		name string
		set  tokenworker.TokenSet
	}
	embedding struct{ tokenworker.Secret }
	failure   struct{ secret tokenworker.Secret }
)

func (f failure) Error() string { return fmt.Sprintf("refused: %v", f.secret) }

// holders are the places where a secret may sit when somebody prints what is around it.
func holders() map[string]any {
	s := tokenworker.SecretString(canary)
	p := &s
	set := tokenworker.TokenSet{AccessToken: s, RefreshToken: s, IDToken: s, Scope: "payroll"}
	var d deep
	d.inner.list, d.inner.array[0], d.inner.named = []tokenworker.Secret{s}, s, map[string]tokenworker.Secret{"k": s}
	d.inner.pointer, d.inner.boxed, d.set = p, s, &set
	return map[string]any{
		"a value":                          s,
		"a pointer":                        p,
		"a pointer to a pointer":           &p,
		"a slice":                          []tokenworker.Secret{s},
		"a slice of pointers":              []*tokenworker.Secret{p},
		"a slice of any":                   []any{s, p},
		"an array":                         [1]tokenworker.Secret{s},
		"a map value":                      map[string]tokenworker.Secret{"k": s},
		"a map key":                        map[tokenworker.Secret]int{s: 1},
		"an exported field":                exported{s},
		"an unexported field":              unexported{s},
		"an unexported field by pointer":   &unexported{s},
		"an embedded secret":               embedding{s},
		"fields of fields":                 d,
		"fields of fields by pointer":      &d,
		"a token set":                      set,
		"a token set by pointer":           &set,
		"a token set in an unexported one": setHolder{"holder", set},
		"the same by pointer":              &setHolder{"holder", set},
		"a list of holders":                []setHolder{{"holder", set}},
		"a map of holders":                 map[string]*setHolder{"k": {"holder", set}},
		"an error":                         failure{s},
		"a joined error":                   errors.Join(io.EOF, failure{s}),
		"a wrapped error":                  fmt.Errorf("posting %v: %w", s, failure{s}),
		"a reflect.Value":                  reflect.ValueOf(setHolder{"holder", set}).Field(1),
	}
}

func TestNoVerbShowsASecret(t *testing.T) {
	verbs := strings.Split("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ!", "")
	for name, v := range holders() {
		for _, verb := range verbs {
			for _, flags := range []string{"", "+", "#", "-", " ", "0", "# ", "+#", "64", "-64.3", ".100"} {
				format := "%" + flags + verb
				mustNotLeak(t, fmt.Sprintf("%s of %s", format, name), fmt.Sprintf(format, v))
			}
		}
		mustNotLeak(t, "Sprint of "+name, fmt.Sprint(v, v))
		mustNotLeak(t, "Sprintln of "+name, fmt.Sprintln(v))
		for _, format := range []string{"no verb", "%[2]v", "%*d", "%.*f", "%!", "%"} {
			mustNotLeak(t, format+" with "+name, fmt.Sprintf(format, v))
		}
	}
}

func TestASecretSaysThatItIsOne(t *testing.T) {
	s := tokenworker.SecretString(canary)
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c", "%64s"} {
		if got := fmt.Sprintf(format, s); got != tokenworker.Redacted {
			t.Errorf("%s prints %q", format, got)
		}
		if got := fmt.Sprintf(format, &s); got != tokenworker.Redacted {
			t.Errorf("%s of a pointer prints %q", format, got)
		}
	}
	if s.String() != tokenworker.Redacted || s.GoString() != tokenworker.Redacted {
		t.Errorf("String %q, GoString %q", s.String(), s.GoString())
	}
	if got := slog.AnyValue(s).Resolve(); got.Kind() != slog.KindString || got.String() != tokenworker.Redacted {
		t.Errorf("a handler of one's own is given %s %v", got.Kind(), got)
	}
	if got := fmt.Sprintf("%T", s); got != "tokenworker.Secret" {
		t.Errorf("%%T prints %q", got)
	}
	if got, want := fmt.Sprintf("%+v", exported{s}), "{Secret:[redacted]}"; got != want {
		t.Errorf("a field prints %q, want %q", got, want)
	}
}

func TestNoLoggerShowsASecret(t *testing.T) {
	handlers := map[string]func(io.Writer, *slog.HandlerOptions) slog.Handler{
		"text": func(w io.Writer, o *slog.HandlerOptions) slog.Handler { return slog.NewTextHandler(w, o) },
		"JSON": func(w io.Writer, o *slog.HandlerOptions) slog.Handler { return slog.NewJSONHandler(w, o) },
	}
	for kind, handler := range handlers {
		for name, v := range holders() {
			var out bytes.Buffer
			log := slog.New(handler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}))
			log.With(slog.Any("with", v)).WithGroup("group").Debug("message", slog.Any("any", v), slog.Group("inner", slog.Any("any", v)))
			mustNotLeak(t, kind+" handler of "+name, out.String())
		}
		var out bytes.Buffer
		slog.New(handler(&out, nil)).Info("message", slog.Any("token", tokenworker.SecretString(canary)))
		if !strings.Contains(out.String(), tokenworker.Redacted) {
			t.Errorf("the %s handler does not say that it left something out: %s", kind, out.String())
		}
	}
}

func TestNoEncoderShowsASecret(t *testing.T) {
	for name, v := range holders() {
		for kind, encode := range map[string]func(any) ([]byte, error){
			"JSON": json.Marshal,
			"XML":  xml.Marshal,
			"gob": func(v any) ([]byte, error) {
				var out bytes.Buffer
				err := gob.NewEncoder(&out).Encode(v)
				return out.Bytes(), err
			},
		} {
			out, err := encode(v)
			mustNotLeak(t, kind+" of "+name, string(out))
			if err != nil {
				mustNotLeak(t, "the error of "+kind+" of "+name, err.Error())
			}
		}
	}
	s := tokenworker.SecretString(canary)
	if got, err := json.Marshal(exported{s}); err != nil || string(got) != `{"Secret":"[redacted]"}` {
		t.Errorf("JSON %s, %v", got, err)
	}
	if got, err := json.Marshal(map[tokenworker.Secret]int{s: 1}); err != nil || string(got) != `{"[redacted]":1}` {
		t.Errorf("JSON of a map key %s, %v", got, err)
	}
}

func TestASecretIsNotReadFromJSON(t *testing.T) {
	var into exported
	err := json.Unmarshal([]byte(`{"Secret":"`+canary+`"}`), &into)
	if err == nil || !into.Secret.IsEmpty() {
		t.Fatalf("read %q, %v", into.Secret.Reveal(), err)
	}
	mustNotLeak(t, "the error", err.Error())
}

func TestErrorsShowNoSecret(t *testing.T) {
	s := tokenworker.SecretString(canary)
	for _, err := range []error{failure{s}, fmt.Errorf("posting %s: %w", s, io.EOF), errors.Join(failure{s}, io.EOF)} {
		mustNotLeak(t, "an error", err.Error())
		mustNotLeak(t, "an error in detail", fmt.Sprintf("%#v", err))
	}
}

func TestRevealAndEqual(t *testing.T) {
	s := tokenworker.SecretString(canary)
	if string(s.Reveal()) != canary || s.IsEmpty() {
		t.Errorf("reveals %q", s.Reveal())
	}
	var none tokenworker.Secret
	if none.Reveal() != nil || !none.IsEmpty() || !tokenworker.SecretString("").IsEmpty() || !tokenworker.NewSecret(nil).IsEmpty() {
		t.Error("an empty secret is not empty")
	}
	for _, tc := range []struct {
		name string
		a, b tokenworker.Secret
		want bool
	}{
		{"the same value twice", s, tokenworker.SecretString(canary), true},
		{"a copy", s, s, true},
		{"another value", s, tokenworker.SecretString("x" + canary[1:]), false},
		{"a longer value", s, tokenworker.SecretString(canary + "x"), false},
		{"nothing", s, none, false},
		{"nothing twice", none, tokenworker.NewSecret([]byte{}), true},
	} {
		if tc.a.Equal(tc.b) != tc.want || tc.b.Equal(tc.a) != tc.want {
			t.Errorf("%s: equal is not %t", tc.name, tc.want)
		}
	}
}

func TestWipeReachesEveryCopy(t *testing.T) {
	value := []byte(canary)
	s := tokenworker.NewSecret(value)
	copied := s
	holder := setHolder{set: tokenworker.TokenSet{AccessToken: s}}
	s.Wipe()
	if !bytes.Equal(value, make([]byte, len(canary))) {
		t.Errorf("the memory still holds %q", value)
	}
	if !s.IsEmpty() || !copied.IsEmpty() || !holder.set.AccessToken.IsEmpty() {
		t.Error("a copy still reveals something")
	}
	s.Wipe()
	tokenworker.Secret{}.Wipe()
}

func ExampleSecret() {
	s := tokenworker.SecretString("not for logs")
	fmt.Println(s)
	fmt.Printf("%x %+v\n", s, struct{ Token tokenworker.Secret }{s})
	fmt.Println(len(s.Reveal()), "bytes")
	// Output:
	// [redacted]
	// [redacted] {Token:[redacted]}
	// 12 bytes
}
