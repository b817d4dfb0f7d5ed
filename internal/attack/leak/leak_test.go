package leak

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheScannerFindsEveryEncodingAndNothingElse(t *testing.T) {
	if err := SelfTest(t.TempDir()); err != nil {
		t.Fatal(err)
	}
}

func TestTheSelfTestFailsWhenAFormIsNotSearchedFor(t *testing.T) {
	m := NewMarker()
	all := NewScanner(m)
	for i, missing := range all.forms {
		s := NewScanner(m)
		s.forms = append(append([]form{}, all.forms[:i]...), all.forms[i+1:]...)
		unseen := 0
		for name, content := range plantsOf(m.Token(1)) {
			found, err := s.Scan(name, strings.NewReader(content))
			if err != nil {
				t.Fatal(err)
			}
			if len(found) == 0 && !strings.HasPrefix(name, "clean") {
				unseen++
			}
		}
		twin := strings.HasPrefix(missing.name, "base64") // letters and digits: both alphabets may write it the same
		if unseen == 0 && !twin {
			t.Errorf("without the form %q every plant was still found", missing.name)
		}
	}
}

func TestScanFilesSeesNamesFilesBelowAndWhereInThem(t *testing.T) {
	m := NewMarker()
	dir := t.TempDir()
	below := filepath.Join(dir, "a", "b")
	if err := os.MkdirAll(below, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string]string{
		filepath.Join(below, "log"):             "0123456789" + m.Token(7),
		filepath.Join(dir, "x"+string(m)+".db"): "nothing",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := NewScanner(m)
	found, err := s.ScanFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 2 || s.Things != 2 {
		t.Fatalf("found %v in %d files, want one finding inside a file and one in a name", found, s.Things)
	}
	for _, f := range found {
		if strings.HasSuffix(f.Where, "log") && f.Offset != 10 {
			t.Errorf("found at byte %d, want 10", f.Offset)
		}
		if f.Where != filepath.Join(below, "log") && strings.Contains(f.String(), string(m)) {
			t.Errorf("a finding repeats the token")
		}
	}
}
