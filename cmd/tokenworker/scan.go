package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// forms are the spellings under which a secret could have been written: raw, hex, base64 at each of the three places it
// can take within what surrounds it, and URL-encoded.
func forms(secret string) map[string][]byte {
	fs := map[string][]byte{
		"raw":         []byte(secret),
		"hex":         []byte(hex.EncodeToString([]byte(secret))),
		"HEX":         []byte(strings.ToUpper(hex.EncodeToString([]byte(secret)))),
		"URL-encoded": []byte(url.QueryEscape(secret)),
	}
	for name, encoding := range map[string]*base64.Encoding{
		"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding,
	} {
		for shift := range 3 {
			// Characters that also depend on neighbours are cut off: with the shift before it, and at the end.
			encoded := encoding.EncodeToString(append(make([]byte, shift), secret...))
			first, last := (shift*8+5)/6, (shift+len(secret))*8/6
			fs[fmt.Sprintf("%s, shifted by %d", name, shift)] = []byte(encoded[first:last])
		}
	}
	return fs
}

// scan counts the files below a directory and where in them the secrets are found, in whatever form.
type scan struct {
	files int
	bytes int64
	found []string // "store.db holds the access token as hex"
}

// scanFiles reads every file below dir, and looks for named secrets.
func scanFiles(dir string, secrets map[string]string) (scan, error) {
	needles := map[string]map[string][]byte{}
	for name, secret := range secrets {
		needles[name] = forms(secret)
	}
	var s scan
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return ignoreGone(err)
		}
		content, err := os.ReadFile(path) //nolint:gosec // a file of our own data directory
		if err != nil {
			return ignoreGone(err)
		}
		s.files++
		s.bytes += int64(len(content))
		rel, _ := filepath.Rel(dir, path) // both begin alike
		for name, forms := range needles {
			for form, needle := range forms {
				if bytes.Contains(content, needle) {
					s.found = append(s.found, fmt.Sprintf("%s holds the %s as %s", rel, name, form))
				}
			}
		}
		return nil
	})
	if err != nil {
		return s, fmt.Errorf("scanning files: %w", err)
	}
	return s, nil
}

// ignoreGone leaves out files that are removed while the directory is read: temporary ones.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
