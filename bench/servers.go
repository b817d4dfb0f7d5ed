package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// readyWithin bounds waiting for what was started.
const readyWithin = 20 * time.Second

// natsConfig is the role "nats": a NATS server with JetStream on disk.
type natsConfig struct {
	Dir  string
	Sync bool // each message is synced to disk before it is acknowledged, as it should be in production
}

func serveNATS(_ context.Context, config []byte, requests *json.Decoder, answers *json.Encoder) error {
	var c natsConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return err
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: c.Dir, SyncAlways: c.Sync,
	})
	if err != nil {
		return err
	}
	s.Start()
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	if !s.ReadyForConnections(readyWithin) {
		return errors.New("the server does not listen")
	}
	return serve(s.ClientURL(), requests, answers)
}

// serveDynamoDB is the role "dynamodb": over HTTP, it does nothing and says at once that it is done.
func serveDynamoDB(ctx context.Context, _ []byte, requests *json.Decoder, answers *json.Encoder) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &http.Server{Handler: http.HandlerFunc(answerAtOnce), ReadHeaderTimeout: readyWithin}
	defer func() { _ = s.Close() }()
	go func() { _ = s.Serve(l) }() // until it is closed
	return serve("http://"+l.Addr().String(), requests, answers)
}

func answerAtOnce(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	body := "{}"
	if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".GetItem") { // the table's settings, when it is opened
		body = `{"Item":{"layout_version":{"N":"1"},"due_shards":{"N":"16"},"max_epoch":{"N":"1"},"max_seq":{"N":"0"}}}`
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	_, _ = io.WriteString(w, body)
}
