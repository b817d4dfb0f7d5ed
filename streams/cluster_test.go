package streams

import (
	"errors"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/internal/natstest"
)

// unanswered waits until a majority of the cluster's servers is gone for JetStream, too, and does not answer what may change it.
func unanswered(t *testing.T, ask func() error) error {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		err := ask()
		if err != nil {
			return err
		}
		if time.Now().After(deadline) {
			t.Fatal("servers without a majority answer for a minute")
		}
	}
}

func TestServersWithoutAMajorityAreNamedAsTheReason(t *testing.T) {
	c := natstest.StartCluster(t)
	js := natstest.ConnectTo(t, c.Servers[0])
	if err := Setup(t.Context(), js, natstest.ClusterSize, takeEpoch(7)); err != nil {
		t.Fatal(err)
	}
	c.Stop(2)
	if ds, err := Check(t.Context(), js, natstest.ClusterSize); err != nil || ds != nil {
		t.Errorf("with two servers of three: %v, %v", ds, err)
	}
	c.Stop(1)
	for what, ask := range map[string]func() error{
		"setting up": func() error { return Setup(t.Context(), js, natstest.ClusterSize, takeEpoch(8)) },
		"checking":   func() error { _, err := Check(t.Context(), js, natstest.ClusterSize); return err },
	} {
		err := unanswered(t, ask)
		if !errors.Is(err, tokenworker.ErrUnavailable) || errors.Is(err, tokenworker.ErrMisconfigured) {
			t.Errorf("%s with one server of three: %v", what, err)
		}
		t.Log(err)
	}
}
