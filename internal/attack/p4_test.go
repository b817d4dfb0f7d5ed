package main

import (
	"os"
	"testing"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/demoprovider"
)

// The fleet of P4 is made of this program's own processes. Should a test ever run P4, its processes are this test, and
// must not run all tests again.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == childCommand {
		os.Exit(2)
	}
	os.Exit(m.Run())
}

func TestAConnectionMayBeLostToWhatIsDeclaredAlone(t *testing.T) {
	granted := demoprovider.Attempt{Granted: true}
	reused := demoprovider.Attempt{Reuse: true}
	hungUp := demoprovider.Attempt{Granted: true, Lost: true}
	slow := demoprovider.Attempt{Granted: true, Lost: true, Fault: demoprovider.Slow}
	cutOff := demoprovider.Attempt{Granted: true, Lost: true, Fault: demoprovider.LostAnswer}
	for name, c := range map[string]struct {
		attempts       []demoprovider.Attempt
		excuse         string // of the attempt that the record has
		within, beyond judgement
	}{
		"a lost answer":              {[]demoprovider.Attempt{cutOff, reused}, "", judgement{toAnswer: 1}, judgement{toAnswer: 1}},
		"a kill":                     {[]demoprovider.Attempt{hungUp, reused}, byKill, judgement{toKill: 1}, judgement{toKill: 1}},
		"a pause":                    {nil, byPause, judgement{}, judgement{toPause: 1}},
		"a client that hung up":      {[]demoprovider.Attempt{hungUp, reused}, "", judgement{}, judgement{toHaste: 1}},
		"one that did not wait":      {[]demoprovider.Attempt{slow, reused}, "", judgement{}, judgement{toHaste: 1}},
		"a post that was overtaken":  {[]demoprovider.Attempt{reused}, "", judgement{}, judgement{toLate: 1}},
		"an answer that was held":    {[]demoprovider.Attempt{granted, reused}, "", judgement{}, judgement{toSaved: 1}},
		"nothing that is on record":  {nil, "", judgement{}, judgement{}},
		"an answer, and it was kept": {[]demoprovider.Attempt{granted}, "", judgement{}, judgement{}},
	} {
		for beyond, want := range map[bool]judgement{false: c.within, true: c.beyond} {
			r := tokenworker.Record{Key: acmeKey(0), Status: tokenworker.ReauthRequired}
			f := &fleet{env: &env{report: &report{}}, excused: map[tokenworker.Key]map[tokenworker.Fence]string{r.Key: {r.Fence: c.excuse}}}
			var got judgement
			f.judgeLost(&got, demoprovider.Family{Refresh: make([]demoprovider.RefreshToken, 2), Attempts: c.attempts}, r, beyond)
			if broke := want == (judgement{}); got != want || (f.broken > 0) != broke {
				t.Errorf("%s, beyond the margin: %t: got %+v and broken %d times, want %+v", name, beyond, got, f.broken, want)
			}
		}
	}
}
