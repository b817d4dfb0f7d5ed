package events

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseJSONRefusesWhatReadersCouldDisagreeOn(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       error
	}{
		{"nothing", "", CodeNotJSON},
		{"white space alone", " \n", CodeNotJSON},
		{"a cut-off object", `{"a":1`, CodeNotJSON},
		{"a cut-off string", `"a`, CodeNotJSON},
		{"a cut-off escape", `"\`, CodeNotJSON},
		{"a cut-off unicode escape", `"\u12"`, CodeNotJSON},
		{"an unknown escape", `"\x41"`, CodeNotJSON},
		{"a raw newline in a string", "\"a\nb\"", CodeNotJSON},
		{"a raw newline in a string after an escape", "\"\\ta\nb\"", CodeNotJSON},
		{"text after the value", `{} {}`, CodeNotJSON},
		{"a zero byte after the value", "{}\x00", CodeNotJSON},
		{"a byte order mark", "\ufeff{}", CodeNotJSON},
		{"bytes that are not UTF-8", "\"\xff\"", CodeNotJSON},
		{"a surrogate in UTF-8", "\"\xed\xa0\x80\"", CodeNotJSON},
		{"a lone high surrogate", `"\ud83d"`, CodeNotJSON},
		{"a lone low surrogate", `"\ude00"`, CodeNotJSON},
		{"a high surrogate before another character", `"\ud83d\u0041"`, CodeNotJSON},
		{"a trailing comma in an object", `{"a":1,}`, CodeNotJSON},
		{"a trailing comma in an array", `[1,]`, CodeNotJSON},
		{"a name that is no string", `{a:1}`, CodeNotJSON},
		{"a comment", `{/**/}`, CodeNotJSON},
		{"a leading zero", `01`, CodeNotJSON},
		{"a leading plus", `+1`, CodeNotJSON},
		{"a bare minus", `-`, CodeNotJSON},
		{"a fraction without digits", `1.`, CodeNotJSON},
		{"an exponent without digits", `1e+`, CodeNotJSON},
		{"NaN", `NaN`, CodeNotJSON},
		{"a capital literal", `True`, CodeNotJSON},
		{"a literal cut off", `tru`, CodeNotJSON},
		{"one name twice", `{"a":1,"a":1}`, CodeDuplicateField},
		{"one name twice, once escaped", `{"a":1,"\u0061":1}`, CodeDuplicateField},
		{"one name twice, deep inside", `[{"x":{"a":1,"b":2,"a":3}}]`, CodeDuplicateField},
		{"one name twice among many", "{" + manyFields(500) + `,"f499":1}`, CodeDuplicateField},
		{"arrays nested too deep", strings.Repeat("[", 17) + strings.Repeat("]", 17), CodeTooDeep},
		{"objects nested too deep", strings.Repeat(`{"a":`, 17) + "1" + strings.Repeat("}", 17), CodeTooDeep},
		{"nesting without end", strings.Repeat("[", 60000), CodeTooDeep},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := parseJSON([]byte(c.text)); err != c.want { //nolint:errorlint // exactly this Code, unwrapped
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestParseJSONAcceptsRFC8259(t *testing.T) {
	for _, text := range []string{
		`{}`, ` { } `, `[]`, `[ ]`, `[1, [2], {"a":[]}]`, `0`, `-0`, `10.25e-3`, `1E5`, `true`, `false`, `null`, `""`,
		"\t{\r\n\"a\" : 1 , \"b\" : null }\n", `{"a":1,"A":1}`, `"\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00"`, "\"é😀\"",
		strings.Repeat("[", 16) + strings.Repeat("]", 16), "{" + manyFields(500) + "}",
	} {
		if _, err := parseJSON([]byte(text)); err != nil {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

func TestParseJSONReadsStringsAsEncodingJSONDoes(t *testing.T) {
	for _, text := range []string{
		`"plain"`, `"\"\\\/\b\f\n\r\t"`, `"\u00e9\uD83D\uDE00\ufffd\u0000"`, "\"é😀\u007f\"", `"a\nb\nc"`,
	} {
		var want string
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		v, err := parseJSON([]byte(text))
		if err != nil || string(v.text) != want {
			t.Errorf("%s: got %q, %v; want %q", text, v.text, err, want)
		}
	}
}

// manyFields is f0 to f(n-1).
func manyFields(n int) string {
	fields := make([]string, n)
	for i := range fields {
		fields[i] = fmt.Sprintf(`"f%d":%d`, i, i)
	}
	return strings.Join(fields, ",")
}

// FuzzParseJSON compares with encoding/json, which is right about what is JSON: whatever is accepted must be JSON, and
// JSON may be refused only for a duplicate name, for depth, or for a string that is not Unicode.
func FuzzParseJSON(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,2.5e3,{"b":"\u00e9\ud83d\ude00"}],"c":null,"d":true}`, `{"a":1,"a":2}`, `[[[[]]]]`, "\"\xff\"", `"\ud800"`,
		"{\"specversion\":\"1.0\"}\x00", `-0.0e-0`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := parseJSON(text)
		switch valid := json.Valid(text); {
		case err == nil && !valid:
			t.Fatal("accepted what is not JSON")
		case err == nil:
			sameValue(t, v, text)
		case err == CodeNotJSON && valid && utf8.Valid(text) && !strings.Contains(string(text), `\u`): //nolint:errorlint // as above
			t.Fatal("refused JSON")
		}
	})
}

// sameValue checks the members of an object, and a string's contents, against encoding/json.
func sameValue(t *testing.T, v jsonValue, text []byte) {
	t.Helper()
	switch v.kind {
	case jsonString:
		var want string
		if json.Unmarshal(text, &want) != nil || string(v.text) != want {
			t.Fatalf("read %q, want %q", v.text, want)
		}
	case jsonObject:
		var want map[string]json.RawMessage
		if json.Unmarshal(text, &want) != nil || len(v.members) != len(want) {
			t.Fatalf("read %d members, want %d", len(v.members), len(want))
		}
		for _, m := range v.members {
			raw, ok := want[string(m.name)]
			if !ok {
				t.Fatal("read a member that is not there")
			}
			sameValue(t, m.value, raw)
		}
	default:
	}
}
