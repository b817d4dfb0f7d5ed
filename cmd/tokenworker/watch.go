package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker/access"
	"github.com/tokenworker/tokenworker/streams"
)

const (
	pullExpiry  = jetstream.DefaultExpires + 5*time.Second // a worker that works has asked for more, or been given something
	watchEvery  = time.Second
	pingTimeout = time.Second
)

var errWorker = errors.New("a worker is running, or has ended less than half a minute ago: stop every worker first")

// watch looks for workers: what they serve or post during a restore would be served or posted too early. It sees one that
// asks for messages, is given some, or answers reads. Messages under way alone are no sign: those of a process that was
// killed stay so until a worker comes.
type watch struct {
	js        jetstream.JetStream
	delivered map[string]uint64 // by each consumer when it was looked at first
}

// watchFor watches a deployment; nil: in the embedded mode no other process can work.
func watchFor(t *target, p parts) *watch {
	if _, isEmbedded := t.backend.(dataDir); isEmbedded {
		return nil
	}
	return &watch{js: p.js, delivered: make(map[string]uint64)}
}

// quiet returns when no worker was seen for so long, nor since it was last asked. The error is errWorker.
func (w *watch) quiet(ctx context.Context, long time.Duration) error {
	if w == nil {
		return nil
	}
	for end := time.Now().Add(long); ; {
		if err := w.look(ctx); err != nil || !time.Now().Before(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(watchEvery):
		}
	}
}

func (w *watch) look(ctx context.Context) error {
	last, err := streams.Last(ctx, w.js)
	if err != nil {
		return fmt.Errorf("looking for workers: %w", err)
	}
	for _, stream := range workerConsumers(last.Epoch) {
		if stream.name == streams.Out {
			continue // a restore takes from it itself
		}
		for _, durable := range stream.durables {
			cons, err := w.js.Consumer(ctx, stream.name, durable)
			if err != nil {
				return fmt.Errorf("looking for workers: %w", err)
			}
			info := cons.CachedInfo()
			before, known := w.delivered[durable]
			if info.NumWaiting > 0 || known && info.Delivered.Consumer != before {
				return errWorker
			}
			w.delivered[durable] = info.Delivered.Consumer
		}
	}
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	_, err = w.js.Conn().RequestWithContext(ctx, access.PingSubject, nil)
	switch {
	case err == nil:
		return errWorker
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, context.DeadlineExceeded):
		return nil
	}
	return fmt.Errorf("looking for workers: %w", err)
}
