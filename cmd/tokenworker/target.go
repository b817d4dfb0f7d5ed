package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/urfave/cli/v3"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/audit"
	"github.com/tokenworker/tokenworker/consumer"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/erase"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/kmsenc"
	"github.com/tokenworker/tokenworker/provider"
	"github.com/tokenworker/tokenworker/rewrap"
	"github.com/tokenworker/tokenworker/rotator"
	"github.com/tokenworker/tokenworker/streams"
)

// store is what the commands ask of a store.
type store interface {
	consumer.Store
	rotator.Store
	keyStore
	epochs
	audit.Store
	rewrap.Store
	erase.Store
	BySubject(ctx context.Context, issuer, subject string) iter.Seq2[tokenworker.Key, error]
}

type keyStore interface {
	events.KeyStore
	kmsenc.KeyStore
}

// keyService wraps data keys, and names those that it unwraps with.
type keyService interface {
	tokenworker.KeyService
	KeyIDs() []string
}

// epochs numbers the streams of events that there have been.
type epochs interface {
	streams.HighWaterMark
	TakeEpoch(ctx context.Context) (uint64, error)
}

// backend is where a command works: the data directory of the embedded mode, or a deployment. Each method opens one
// part of it, so that a command touches, and needs the rights for, only what it uses.
type backend interface {
	openStore(ctx context.Context) (store, func() error, error)
	openKeyService(ctx context.Context) (keyService, error)
	knownProviders() ([]provider.Source, error)
	connect(ctx context.Context, opts ...nats.Option) (*nats.Conn, error)
	fmt.Stringer
}

// target is a backend whose parts are opened when first asked for, and closed together.
type target struct {
	backend
	log *slog.Logger

	opened  store
	service keyService
	js      jetstream.JetStream
	closers
}

// target chooses what a command works on.
func (a *app) target(f *targetFlags) (*target, error) {
	if err := f.validate(); err != nil {
		return nil, err
	}
	t := &target{log: a.log}
	if f.deployed() {
		t.backend = &deployment{flags: f, log: a.log}
		return t, nil
	}
	if f.dataDir == "" {
		return nil, errNoDataDir
	}
	t.backend = dataDir(f.dataDir)
	return t, nil
}

// onTarget makes a command's action of one that works on a target, which is closed after it.
func (a *app) onTarget(f *targetFlags, action func(context.Context, *cli.Command, *target) error) cli.ActionFunc {
	return func(ctx context.Context, c *cli.Command) error {
		t, err := a.target(f)
		if err != nil {
			return err
		}
		return errors.Join(action(ctx, c, t), t.close())
	}
}

// closers undo what was opened.
type closers []func() error

func (c *closers) onClose(f func() error) { *c = append(*c, f) }

// close undoes the last first, and is done once.
func (c *closers) close() error {
	var errs []error
	for _, f := range slices.Backward(*c) {
		errs = append(errs, f())
	}
	*c = nil
	return errors.Join(errs...)
}

// store opens the store.
func (t *target) store(ctx context.Context) (store, error) {
	if t.opened == nil {
		s, closeStore, err := t.openStore(ctx)
		if err != nil {
			return nil, err
		}
		t.opened = s
		t.onClose(closeStore)
	}
	return t.opened, nil
}

// keyService opens the key service.
func (t *target) keyService(ctx context.Context) (keyService, error) {
	if t.service == nil {
		s, err := t.openKeyService(ctx)
		if err != nil {
			return nil, err
		}
		t.service = s
	}
	return t.service, nil
}

// parts opens what whatever refreshes works with.
func (t *target) parts(ctx context.Context) (p parts, err error) {
	if p.store, err = t.store(ctx); err != nil {
		return p, err
	}
	if p.service, err = t.keyService(ctx); err != nil {
		return p, err
	}
	p.js, err = t.jetStream(ctx)
	return p, err
}

// keyring opens the event keys.
func (t *target) keyring(ctx context.Context) (*events.Keyring, error) {
	s, err := t.store(ctx)
	if err != nil {
		return nil, err
	}
	service, err := t.keyService(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := events.NewKeyring(s, service, events.KeyringConfig{})
	if err != nil {
		return nil, fmt.Errorf("opening the event keys: %w", err)
	}
	return keys, nil
}

// trail opens the audit trail.
func (t *target) trail(ctx context.Context) (*audit.Trail, error) {
	var p parts
	var err error
	if p.store, err = t.store(ctx); err != nil {
		return nil, err
	}
	if p.service, err = t.keyService(ctx); err != nil {
		return nil, err
	}
	if p.js, err = t.jetStream(ctx); err != nil {
		return nil, err
	}
	return p.trail(ctx, audit.Config{Logger: t.log})
}

// jetStream connects to NATS.
func (t *target) jetStream(ctx context.Context, opts ...nats.Option) (jetstream.JetStream, error) {
	if t.js == nil {
		nc, err := t.connect(ctx, append(natsOptions(t.log), opts...)...)
		if err != nil {
			return nil, err
		}
		t.onClose(func() error { nc.Close(); return nil })
		if t.js, err = jetstream.New(nc); err != nil {
			return nil, fmt.Errorf("opening JetStream: %w", err)
		}
	}
	return t.js, nil
}

// reads connects as the user that answers reads; nil where none is named.
func (t *target) reads(opts ...nats.Option) (*nats.Conn, error) {
	d, isDeployment := t.backend.(*deployment)
	if !isDeployment || d.flags.access == (natsUser{}) {
		return nil, nil
	}
	nc, err := d.connectAs(d.flags.access, append(append(natsOptions(t.log), nats.Name("tokenworker access")), opts...)...)
	if err != nil {
		return nil, err
	}
	t.onClose(func() error { nc.Close(); return nil })
	return nc, nil
}

// eraserInbox is where the user that deletes messages hears answers.
const eraserInbox = "_INBOX.eraser"

// erasing connects as the user that deletes messages; nil where none is named.
func (t *target) erasing(opts ...nats.Option) (jetstream.JetStream, error) {
	d, isDeployment := t.backend.(*deployment)
	if !isDeployment || d.flags.eraser == (natsUser{}) {
		return nil, nil
	}
	nc, err := d.connectAs(d.flags.eraser, append(append(natsOptions(t.log), nats.Name("tokenworker eraser"),
		nats.CustomInboxPrefix(eraserInbox)), opts...)...)
	if err != nil {
		return nil, err
	}
	t.onClose(func() error { nc.Close(); return nil })
	return jetstream.New(nc)
}

// defaultDataDir is empty where there is no home directory.
func defaultDataDir() string {
	dir, err := embedded.DefaultDir()
	if err != nil {
		return ""
	}
	return dir
}

var errNoDataDir = wrongUse("there is no home directory to find the data directory in: name one with --data-dir")
