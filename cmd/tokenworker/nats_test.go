package main

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/tokenworker/tokenworker/internal/attack/proxy"
	"github.com/tokenworker/tokenworker/internal/natstest"
)

func TestAServerThatFallsSilentIsLeft(t *testing.T) {
	silent, other := natstest.Start(t), natstest.Start(t)
	way, err := proxy.NewTCP(t.Context(), strings.TrimPrefix(silent.ClientURL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(way.Close)
	log := slog.New(slog.DiscardHandler)
	nc, err := nats.Connect("nats://"+way.Addr()+","+other.ClientURL(),
		slices.Concat(natsOptions(log), foreverOptions(log), []nats.Option{nats.DontRandomize()})...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if nc.ConnectedServerId() != silent.ID() {
		t.Fatal("it is connected to the other")
	}
	way.Set(proxy.Stall)
	until(t, "it is connected to the other", func() bool { return nc.IsConnected() && nc.ConnectedServerId() == other.ID() })
}

func TestADenialSaysWhatToLookAt(t *testing.T) {
	server, _ := startGuardedNATS(t)
	for name, test := range map[string]struct {
		inbox, subject, want string
	}{
		"nothing may be heard there": {"_INBOX", "$JS.API.INFO", "--nats-inbox"},
		"nothing may be asked there": {"_INBOX.operator", "tokens.v1.refresh.acme.gusto.company-1", "see its permissions"},
	} {
		t.Run(name, func(t *testing.T) {
			said := make(chan string, 8)
			log := slog.New(slog.NewTextHandler(lineWriter(said), nil))
			nc, err := nats.Connect(server.ClientURL(), slices.Concat(natsOptions(log), []nats.Option{
				nats.RootCAs(server.ca), nats.UserInfo("operator", "canary-operator"), nats.CustomInboxPrefix(test.inbox),
			})...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(nc.Close)
			go nc.Request(test.subject, nil, patience) //nolint:errcheck // closing ends it
			if line := <-said; !strings.Contains(line, test.want) {
				t.Errorf("logged %q, want %q", line, test.want)
			}
		})
	}
}

// lineWriter sends each write.
type lineWriter chan<- string

func (w lineWriter) Write(b []byte) (int, error) {
	w <- string(b)
	return len(b), nil
}
