package main

import (
	"os"
	"testing"
)

// The fleet of P4 is made of this program's own processes. Should a test ever run P4, its processes are this test, and
// must not run all tests again.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == childCommand {
		os.Exit(2)
	}
	os.Exit(m.Run())
}
