package tokenworker_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestThePagesNameWhatExists: what ARCHITECTURE.md and the promises send readers to is there: files with functions, and tests.
func TestThePagesNameWhatExists(t *testing.T) {
	t.Parallel()
	inFile := regexp.MustCompile("`([\\w/]+\\.go):(\\w+(?:\\.\\w+)?)`")
	inPackage := regexp.MustCompile("`([\\w/]+)\\.(Test\\w+)`")
	for _, page := range []string{"ARCHITECTURE.md", "docs/promises.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		named := 0
		for _, m := range inFile.FindAllStringSubmatch(string(text), -1) {
			named++
			if !declares(t, m[1], m[2]) {
				t.Errorf("%s: %s has no %s", page, m[1], m[2])
			}
		}
		for _, m := range inPackage.FindAllStringSubmatch(string(text), -1) {
			named++
			if !hasTest(t, m[1], m[2]) {
				t.Errorf("%s: package %s has no %s", page, m[1], m[2])
			}
		}
		if named == 0 {
			t.Errorf("%s names nothing", page)
		}
	}
}

// declares reports whether a file declares a function, or a method written Type.Method.
func declares(t *testing.T, file, name string) bool {
	t.Helper()
	source, err := os.ReadFile(filepath.FromSlash(file))
	if err != nil {
		return false
	}
	pattern := `(?m)^func ` + name + `[(\[]`
	if of, method, isMethod := strings.Cut(name, "."); isMethod {
		pattern = `(?m)^func \(\w+ \*?` + of + `\) ` + method + `\(`
	}
	return regexp.MustCompile(pattern).Match(source)
}

// hasTest reports whether a package, by its folder, has a test; the root's folder is called tokenworker.
func hasTest(t *testing.T, folder, name string) bool {
	t.Helper()
	if folder == "tokenworker" {
		folder = "."
	}
	files, err := filepath.Glob(filepath.Join(filepath.FromSlash(folder), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if declares(t, filepath.ToSlash(file), name) {
			return true
		}
	}
	return false
}
