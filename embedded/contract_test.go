package embedded_test

import (
	"testing"

	"github.com/tokenworker/tokenworker/internal/storetest"
)

func TestTheStoreKeepsTheContract(t *testing.T) {
	storetest.Test(t, func(t *testing.T) storetest.Store {
		t.Helper()
		return openStore(t, storePath(t))
	})
}

func TestTheStoreKeepsTheContractAcrossARestart(t *testing.T) {
	path := storePath(t)
	first := openStore(t, path)
	storetest.TestReopen(t, first, func() storetest.Store {
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		return openStore(t, path)
	})
}
