package leak

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// SelfTest shows that the scanner works: it plants a canary in a file of its own for each encoding below dir, made with
// the encoders that a leak would have used, and returns an error unless each is found, and nothing where there is none.
func SelfTest(dir string) error {
	marker := NewMarker()
	plants := plantsOf(marker.Token(1))
	for name, content := range plants {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return fmt.Errorf("planting a canary: %w", err)
		}
	}
	s := NewScanner(marker)
	for name := range plants {
		found, err := s.scanFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if want := !strings.HasPrefix(name, "clean"); (len(found) > 0) != want {
			return fmt.Errorf("the scanner does not work: in a file with a canary (%s) it found %v", name, found)
		}
	}
	return nil
}

func plantsOf(token string) map[string]string {
	everyByte := func(format string) string {
		var b strings.Builder
		for i := range len(token) {
			fmt.Fprintf(&b, format, token[i])
		}
		return b.String()
	}
	goBytes := fmt.Sprintf("%v", []byte(token))
	plants := map[string]string{
		"raw":             "before " + token + " after",
		"go-quoted":       fmt.Sprintf("%q", token),
		"query-escaped":   "a=" + url.QueryEscape(token),
		"path-escaped":    "/" + url.PathEscape(token),
		"percent-encoded": everyByte("%%%02X"),
		"percent-lower":   everyByte("%%%02x"),
		"hex":             hex.EncodeToString([]byte("x" + token)),
		"hex-upper":       strings.ToUpper(hex.EncodeToString([]byte("x" + token))),
		"go-bytes":        goBytes,
		"json-bytes":      strings.ReplaceAll(goBytes, " ", ","),
		"cut-off":         token[:24],
		"second-chunk":    strings.Repeat("-", chunkBytes-10) + token, // lies across the first two
		"clean":           strings.Repeat("-", 3*chunkBytes),
		"clean-other-run": NewMarker().Token(1),
	}
	for shift := range 3 {
		text := []byte(strings.Repeat("{", shift) + token + `"}`)
		plants[fmt.Sprint("base64-", shift)] = base64.StdEncoding.EncodeToString(text)
		plants[fmt.Sprint("base64url-", shift)] = base64.RawURLEncoding.EncodeToString(text)
	}
	return plants
}
