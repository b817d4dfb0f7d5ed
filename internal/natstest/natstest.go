// Package natstest runs a real NATS server with JetStream for a test.
package natstest

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Start runs a server on a free port of the loopback interface, with its files in a temporary folder, until the test
// ends.
func Start(tb testing.TB) *server.Server {
	tb.Helper()
	return StartOn(tb, tb.TempDir())
}

// StartOn runs a server on the files in a folder, until the test ends or it is shut down.
func StartOn(tb testing.TB, dir string) *server.Server {
	tb.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: dir,
	})
	if err != nil {
		tb.Fatalf("making a NATS server: %v", err)
	}
	s.Start()
	tb.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		tb.Fatal("the NATS server did not get ready within 10 s")
	}
	return s
}

// Connect starts a server and connects to it.
func Connect(tb testing.TB) jetstream.JetStream {
	tb.Helper()
	return ConnectTo(tb, Start(tb))
}

// ConnectTo connects to a server until the test ends.
func ConnectTo(tb testing.TB, s *server.Server) jetstream.JetStream {
	tb.Helper()
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		tb.Fatalf("connecting: %v", err)
	}
	tb.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		tb.Fatalf("opening JetStream: %v", err)
	}
	return js
}
