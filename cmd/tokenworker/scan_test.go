package main

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAScanFindsASecretInEveryForm(t *testing.T) {
	const secret = "s3cret+token/of~some.length=="
	for name, content := range map[string]string{
		"raw":                    "before " + secret + " after",
		"hex":                    "x" + hex.EncodeToString([]byte(secret)),
		"hex in upper case":      strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"base64 alone":           base64.StdEncoding.EncodeToString([]byte(secret)),
		"base64 after one byte":  base64.StdEncoding.EncodeToString([]byte("a" + secret + "bc")),
		"base64 after two":       base64.StdEncoding.EncodeToString([]byte("ab" + secret + "c")),
		"base64 after three":     base64.StdEncoding.EncodeToString([]byte("abc" + secret)),
		"base64url after one":    base64.RawURLEncoding.EncodeToString([]byte("\xff" + secret)),
		"base64url after two":    base64.RawURLEncoding.EncodeToString([]byte("\xff\xfe" + secret + "\xfd")),
		"a query of a URL":       "https://x.example/?a=1&token=" + url.QueryEscape(secret) + "&b=2",
		"in the midst of binary": "\x00\x01" + secret + "\x00",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, content := range map[string]string{"deep/er/file": content, "other": "nothing here"} {
				path := filepath.Join(dir, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s, err := scanFiles(dir, map[string]string{"token": secret})
			if err != nil || s.files != 2 || len(s.found) == 0 {
				t.Errorf("scanned %d files and found %v, %v", s.files, s.found, err)
			}
			for _, f := range s.found {
				if !strings.HasPrefix(f, "deep/er/file holds the token") || strings.Contains(f, secret) {
					t.Errorf("it says %q", f)
				}
			}
			if s, err := scanFiles(dir, map[string]string{"token": "another-token-of-some-length"}); err != nil || len(s.found) > 0 {
				t.Errorf("another secret is found: %v, %v", s.found, err)
			}
		})
	}
}
