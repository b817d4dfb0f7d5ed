package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/kmsenc"
)

// tokenSetBytes is the size of a token set: a JSON web token, a refresh token and their details.
const tokenSetBytes = 1500

// vault is one way to seal and open.
type vault struct {
	seal func(plaintext []byte) ([]byte, error)
	open func(sealed []byte) ([]byte, error)
}

// sealRows compares sealing and opening, data keys in memory, with the least that could be done and with two libraries
// that do envelope encryption. Every key service answers in process and at once, which favours Tink and the AWS
// Encryption SDK: they ask theirs for each message.
func sealRows(ctx context.Context, _ options) (rows []row, err error) {
	dir, err := os.MkdirTemp("", "tokenworker-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	store, err := embedded.OpenStore(ctx, filepath.Join(dir, "store.db"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	service, err := embedded.CreateKeyFile(filepath.Join(dir, "key.json"))
	if err != nil {
		return nil, err
	}
	baselines := []struct {
		name  string
		open  func() (vault, error)
		row   func(name, unit string, ours, baseline float64, t target) row
		bound target
	}{
		{"HKDF-SHA512 and AES-256-GCM", newRaw, overhead, atMost(1.5)},
		{"Tink's KMS envelope AEAD, KMS in process", newTink, speedup, target{}},
		{"AWS Encryption SDK, raw keyring, committing suite", newUnsignedESDK, speedup, atLeast(25)},
		{"AWS Encryption SDK, raw keyring, its default suite (signs)", newSignedESDK, speedup, target{}},
	}

	vaults := []vault{newOurs(ctx, kmsenc.New(service, store, kmsenc.Config{}))}
	for _, b := range baselines {
		v, err := b.open()
		if err != nil {
			return nil, fmt.Errorf("preparing %s: %w", b.name, err)
		}
		vaults = append(vaults, v)
	}
	plaintext := make([]byte, tokenSetBytes)
	_, _ = rand.Read(plaintext) // never fails: crypto/rand.Read
	var seals, opens []func() error
	for _, v := range vaults {
		sealed, err := v.seal(plaintext)
		if err != nil {
			return nil, fmt.Errorf("sealing: %w", err)
		}
		if opened, err := v.open(sealed); err != nil || !bytes.Equal(opened, plaintext) {
			return nil, fmt.Errorf("a vault does not open what it sealed: %w", err)
		}
		seals = append(seals, func() error { _, err := v.seal(plaintext); return err })
		opens = append(opens, func() error { _, err := v.open(sealed); return err })
	}
	for _, half := range []struct {
		verb       string
		operations []func() error
	}{{"seal", seals}, {"open", opens}} {
		times, err := contest(ctx, half.operations...)
		if err != nil {
			return nil, err
		}
		for i, b := range baselines {
			rows = append(rows, b.row(half.verb+" 1.5 KB: "+b.name, "µs", times[0], times[i+1], b.bound))
		}
	}
	return rows, nil
}

func newOurs(ctx context.Context, sealer *kmsenc.Sealer) vault {
	key := tokenworker.Key{OrgID: "org-1", ProviderID: "gusto", CompanyID: "company-1"}
	fence := tokenworker.Fence{Stamp: tokenworker.Stamp{Epoch: 1, Sequence: 42}}
	return vault{
		seal: func(plaintext []byte) ([]byte, error) { return sealer.Seal(ctx, key, fence, plaintext) },
		open: func(sealed []byte) ([]byte, error) { return sealer.Open(ctx, key, fence, sealed) },
	}
}
