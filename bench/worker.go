package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/consumer"
	"github.com/tokenworker/tokenworker/dynamo"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/kmsenc"
	"github.com/tokenworker/tokenworker/rotator"
)

// workerConfig is the role "worker": it handles events as `tokenworker run` does, but that data keys are wrapped by a
// key file and kept in SQLite, both asked once for each.
type workerConfig struct {
	tableConfig // without an endpoint the embedded store is used

	NATS    string // URL
	Dir     string // of the key file and the store
	Profile string
}

func performEvents(ctx context.Context, config []byte, requests *json.Decoder, answers *json.Encoder) (err error) {
	var c workerConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return err
	}
	js, err := connectNATS(c.NATS)
	if err != nil {
		return err
	}
	defer js.Conn().Close()
	s, err := openSafe(ctx, c.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.store.Close()) }()
	var table consumer.Store = s.store
	if c.Endpoint != "" {
		t, err := dynamo.Open(ctx, dynamo.NewClient(c.aws()), dynamo.Config{TableName: c.Table})
		if err != nil {
			return err
		}
		if mark, err := t.HighWater(ctx); err != nil {
			return err
		} else if mark.Epoch == 0 { // the stream's was taken from the store
			if _, err := t.TakeEpoch(ctx); err != nil {
				return err
			}
		}
		table = t
	}
	keys, err := events.NewKeyring(s.store, s.service, events.KeyringConfig{})
	if err != nil {
		return err
	}
	sealer := s.sealer()
	return perform(c.Profile, requests, answers, func(operations int) error {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		store := &countdown{Store: table, zero: stop}
		store.left.Store(int64(operations))
		w, err := consumer.New(consumer.Config{
			AllowPlain: true, Acquired: concurrency, Due: rotator.Schedule{}.Due,
		}, js, keys, sealer, store, idle{})
		if err != nil {
			return err
		}
		return w.Run(ctx) // what is under way when the last one is stored is announced and acknowledged first
	})
}

// idle stands in for the rotator: nobody asks for a refresh, and no provider of the bench ends connections together.
type idle struct{}

func (idle) Ask(context.Context, tokenworker.Key) (string, error) { return "", nil }
func (idle) Over(context.Context, tokenworker.Key, tokenworker.Attempt) (bool, error) {
	return true, nil
}
func (idle) SiblingsUntil(string) time.Time                                     { return time.Time{} }
func (idle) Expect(tokenworker.Key, time.Time)                                  {}
func (idle) LookBack(context.Context, tokenworker.Key, tokenworker.Stamp) error { return nil }

// epoch is that of the stream of events.
const epoch = 1

func connectNATS(url string, opts ...nats.Option) (jetstream.JetStream, error) {
	nc, err := nats.Connect(url, append(opts, nats.CustomInboxPrefix(events.InboxPrefix(reader)))...)
	if err != nil {
		return nil, err
	}
	return jetstream.New(nc)
}

// countdown is a store that says when so many acquired events have been stored.
type countdown struct {
	consumer.Store

	left atomic.Int64
	zero func()
}

func (s *countdown) Acquire(ctx context.Context, a *tokenworker.Acquisition) (tokenworker.Verdict, error) {
	v, err := s.Store.Acquire(ctx, a)
	if err == nil && s.left.Add(-1) == 0 {
		s.zero()
	}
	return v, err
}

// safe is a key file and the keys that it wraps.
type safe struct {
	service *embedded.KeyFile
	store   *embedded.Store
}

// createSafe makes one in a directory.
func createSafe(ctx context.Context, dir string) (safe, error) {
	if _, err := embedded.CreateKeyFile(filepath.Join(dir, "key.json")); err != nil {
		return safe{}, err
	}
	return openSafe(ctx, dir)
}

func openSafe(ctx context.Context, dir string) (safe, error) {
	service, err := embedded.OpenKeyFile(filepath.Join(dir, "key.json"))
	if err != nil {
		return safe{}, err
	}
	store, err := embedded.OpenStore(ctx, filepath.Join(dir, "store.db"))
	return safe{service, store}, err
}

func (s safe) sealer() *kmsenc.Sealer { return kmsenc.New(s.service, s.store, kmsenc.Config{}) }

// eventKey makes a key for events as told.
func (s safe) eventKey(
	ctx context.Context, suite events.Suite, how func(*events.Keyring, context.Context) (events.PublicKey, error),
) (events.PublicKey, error) {
	r, err := events.NewKeyring(s.store, s.service, events.KeyringConfig{Suite: suite})
	if err != nil {
		return events.PublicKey{}, err
	}
	return how(r, ctx)
}

// connection is the n-th of 10,000 connections, a hundred in each organization.
func connection(n uint64) tokenworker.Key {
	return tokenworker.Key{
		OrgID: fmt.Sprintf("org-%d", n%100), ProviderID: "gusto", CompanyID: fmt.Sprintf("company-%d", n/100%100),
	}
}
