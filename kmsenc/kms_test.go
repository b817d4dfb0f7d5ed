package kmsenc

import (
	"testing"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/internal/keytest"
	"github.com/tokenworker/tokenworker/localstack"
)

func TestKMSKeepsTheContractOfKeyServices(t *testing.T) {
	keytest.Test(t, func(t *testing.T) tokenworker.KeyService {
		k, err := OpenKMS(t.Context(), localstack.Config(t), localstack.Key(t))
		if err != nil {
			t.Fatal(err)
		}
		return k
	})
}
