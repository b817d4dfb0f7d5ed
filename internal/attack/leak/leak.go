// Package leak plants canary tokens and looks for them where no token may be.
//
// All canaries of a run carry one random marker, so that searching for the marker in each of its [Forms] finds any of
// them, also when only a part of a token got out: the marker stands at its beginning, in its middle and at its end.
package leak

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Marker is the text that every canary of a run carries: 80 random bits, in letters and digits that no escaping changes.
type Marker string

// NewMarker returns a fresh marker.
func NewMarker() Marker { return Marker("CNRY" + rand.Text()[:16]) }

// Token returns the canary of that number: a valid token (RFC 6749 appendix A), with characters that URL, JSON and
// shell encodings change between its markers.
func (m Marker) Token(number int) string {
	return fmt.Sprintf(`%s.%08x+/=&"'<>\%s%%20~%s`, m, number, m, m)
}

// Finding is one place where a canary was found.
type Finding struct {
	Where  string // a file or another name given to Scan
	Offset int64
	Form   string
}

// String is one line for people; it repeats nothing of the token.
func (f Finding) String() string {
	return fmt.Sprintf("%s: token as %s at byte %d", f.Where, f.Form, f.Offset)
}

// Scanner looks for one marker and counts what it has seen.
type Scanner struct {
	Things int   // scanned
	Bytes  int64 // scanned

	forms   []form
	longest int
}

// NewScanner returns a scanner for the marker in all its forms.
func NewScanner(m Marker) *Scanner {
	s := &Scanner{forms: formsOf([]byte(m))}
	for _, f := range s.forms {
		s.longest = max(s.longest, len(f.pattern))
	}
	return s
}

// chunkBytes is how much of a thing is searched at once.
const chunkBytes = 1 << 20

// Scan searches all of r and reports the first finding of each form.
func (s *Scanner) Scan(where string, r io.Reader) ([]Finding, error) {
	s.Things++
	var found []Finding
	seen := make([]bool, len(s.forms))
	buf := make([]byte, 0, chunkBytes+s.longest)
	for start := int64(0); ; {
		n, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		s.Bytes += int64(n)
		for i, f := range s.forms {
			if at := f.index(buf); at >= 0 && !seen[i] {
				seen[i] = true
				found = append(found, Finding{where, start + int64(at), f.name})
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return found, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading %s: %w", where, err)
		}
		keep := min(len(buf), s.longest-1) // a pattern may lie across two chunks
		start += int64(len(buf) - keep)
		buf = append(buf[:0], buf[len(buf)-keep:]...)
	}
}

// ScanFiles searches every regular file below root, and the names of all.
func (s *Scanner) ScanFiles(root string) ([]Finding, error) {
	var found []Finding
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		for _, f := range s.forms {
			if at := f.index([]byte(entry.Name())); at >= 0 {
				found = append(found, Finding{"a file name in " + filepath.Dir(path), int64(at), f.name})
			}
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		in, err := s.scanFile(path)
		found = append(found, in...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("scanning %s: %w", root, err)
	}
	return slices.Clip(found), nil
}

func (s *Scanner) scanFile(path string) ([]Finding, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	return s.Scan(path, f)
}
