package leak

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// form is one way in which the marker may be written down.
type form struct {
	name    string
	pattern []byte
}

func (f form) index(b []byte) int { return bytes.Index(b, f.pattern) }

// formsOf lists the forms of a marker:
//
//   - raw, which is also how URL, JSON and Go escaping leave a text of letters and digits;
//   - base64, standard and for URLs, at each of the three places that the text before it can leave it in;
//   - hex in upper and lower case;
//   - every byte percent-encoded, in upper and lower case;
//   - the decimal bytes that Go prints for a []byte, and JSON encoders for an array of numbers.
func formsOf(marker []byte) []form {
	forms := []form{{"raw", marker}}
	for shift := range 3 {
		at := " at alignment " + strconv.Itoa(shift)
		forms = append(forms,
			form{"base64" + at, base64Middle(base64.StdEncoding, marker, shift)},
			form{"base64url" + at, base64Middle(base64.URLEncoding, marker, shift)})
	}
	lower := hex.EncodeToString(marker)
	each := func(format, separator string) []byte {
		parts := make([]string, len(marker))
		for i, b := range marker {
			parts[i] = fmt.Sprintf(format, b)
		}
		return []byte(strings.Join(parts, separator))
	}
	return append(forms,
		form{"hex", []byte(lower)}, form{"upper-case hex", []byte(strings.ToUpper(lower))},
		form{"percent-encoded", each("%%%02X", "")}, form{"lower-case percent-encoded", each("%%%02x", "")},
		form{"decimal bytes", each("%d", " ")}, form{"a JSON array of bytes", each("%d", ",")},
	)
}

// base64Middle is what base64 makes of text after shift other bytes, without the characters at its ends that depend on
// what stands before and after.
func base64Middle(encoding *base64.Encoding, text []byte, shift int) []byte {
	encoded := encoding.EncodeToString(append(make([]byte, shift), text...))
	first := (shift*8 + 5) / 6         // characters that hold a bit of what stands before
	end := (shift + len(text)) * 8 / 6 // characters that hold only bits up to the end of text
	return []byte(encoded[first:end])
}
