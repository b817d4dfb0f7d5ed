package storetest

import (
	"testing"
)

// Test runs the contract suite. It calls open once for each group of tests; the store may be the same each time, and
// closing it is open's own matter (t.Cleanup).
//
// The length of random histories and their number follow the flag -rapid.checks.
func Test(t *testing.T, open func(t *testing.T) Store) {
	for _, group := range []struct {
		name string
		run  func(*testing.T, Store)
	}{
		{"acquisitions", testAcquisitions},
		{"disconnections", testDisconnections},
		{"claims", testClaims},
		{"commits", testCommits},
		{"failures", testFailures},
		{"announcements", testAnnouncements},
		{"revocations", testRevocations},
		{"what is written meanwhile", testMeanwhile},
		{"what is due", testDue},
		{"providers", testProviders},
		{"siblings", testSiblings},
		{"what siblings are told", testMarks},
		{"a person's connections", testBySubject},
		{"event ids", testSeen},
		{"limits", testLimits},
		{"keys of every spelling", testSpellings},
		{"listing", testListing},
		{"wrapped keys", testWrappedKeys},
		{"audit checkpoints", testCheckpoints},
		{"wrapping again", testRewrapping},
		{"retained sets", testRetained},
		{"epochs", testEpochs},
		{"streams that are rolled back", testRolledBack},
		{"races", testRaces},
		{"histories", testHistories},
		{"contexts that end", testContexts},
	} {
		t.Run(group.name, func(t *testing.T) { group.run(t, open(t)) })
	}
}
