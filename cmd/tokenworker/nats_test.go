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
