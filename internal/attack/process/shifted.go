package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// ShiftVariable names the environment variable by how many seconds the clock of a program of [BuildShifted] is ahead.
const ShiftVariable = "TOKENWORKER_ATTACK_CLOCK_AHEAD"

const (
	timeFile = "src/time/time.go" // below GOROOT
	readsNow = "	sec, nsec, mono := runtimeNow()\n"
	shiftsIt = readsNow + "	sec += attackAhead\n"

	// The wall clock is shifted and the monotonic one is not, as on a machine whose clock is wrong.
	ahead = `
var attackAhead = func() (sec int64) {
	text, _ := syscall.Getenv(` + `"` + ShiftVariable + `"` + `)
	sign := int64(1)
	for i := 0; i < len(text); i++ {
		if text[i] == '-' {
			sign = -1
		} else {
			sec = 10*sec + int64(text[i]-'0')
		}
	}
	return sign * sec
}()
`
)

var errGoroot = errors.New("package time of this Go does not read the clock where the attack shifts it")

// BuildShifted builds a main package into path whose time.Now is shifted by what [ShiftVariable] says. It is made from the source
// of the Go that builds it, with an overlay, because a preloaded library does not reach Go's clock.
func BuildShifted(ctx context.Context, path, pkg string) error {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("looking for %s: %w", runtime.Version(), err)
	}
	original := filepath.Join(strings.TrimSpace(string(root)), timeFile)
	source, err := os.ReadFile(original)
	if err != nil {
		return fmt.Errorf("reading package time: %w", err)
	}
	text := string(source)
	i := strings.Index(text, "\nfunc Now() Time {\n")
	if i < 0 || !strings.HasPrefix(text[i:], "\nfunc Now() Time {\n"+readsNow) {
		return errGoroot
	}
	text = text[:i] + strings.Replace(text[i:], readsNow, shiftsIt, 1) + ahead
	text = strings.Replace(text, "import (\n", "import (\n\t\"syscall\"\n", 1)
	changed, overlay := path+".time.go", path+".overlay.json"
	plan, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		return fmt.Errorf("planning an overlay: %w", err)
	}
	if err := errors.Join(os.WriteFile(changed, []byte(text), 0o600), os.WriteFile(overlay, plan, 0o600)); err != nil {
		return fmt.Errorf("writing an overlay: %w", err)
	}
	return build(ctx, path, pkg, "-overlay", overlay)
}
