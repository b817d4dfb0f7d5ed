package embedded

import (
	"testing"

	"github.com/tokenworker/tokenworker"
)

func TestNATSSyncsEveryMessage(t *testing.T) {
	n, err := StartNATS(NATSConfig{Dir: t.TempDir(), Token: tokenworker.SecretString("t")})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Shutdown()
	if c := n.server.JetStreamConfig(); c == nil || !c.SyncAlways || c.Domain != "" {
		t.Errorf("JetStream runs with %+v; want sync always, no domain", c)
	}
}
