package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/embedded"
)

// rewrapDeployed moves rows from one KMS key to another. Each row has a data key of its own, which KMS wraps again.
func rewrapDeployed(ctx context.Context, e *env, n int) error {
	f, err := startReplicas(ctx, e, 2, siteConfig{settings: strictly}, "--scope", "token")
	if err != nil {
		return err
	}
	defer f.close()
	current, err := f.cloud.newKey(ctx)
	if err != nil {
		return err
	}
	m := &move{
		env: e, replicas: f, n: n, key: acmeKey, caller: func(int) string { return payrollUser },
		former: f.kmsKey, current: current, keys: kmsKeys{f},
	}
	return m.run(ctx)
}

// kmsKeys are keys of KMS, by ARN.
type kmsKeys struct{ *replicas }

func (k kmsKeys) use(keys ...string) error {
	for _, r := range k.workers {
		r.program.Env = k.env(keys...)
	}
	return nil
}

func (k kmsKeys) view(ctx context.Context, keys ...string) (*view, error) {
	return k.cloud.view(ctx, k.table, keys...)
}

// giveUp disables the former key, which the view may go on asking for.
func (k kmsKeys) giveUp(ctx context.Context, former, current string) (keys []string, refusal, err error) {
	return []string{current, former}, tokenworker.ErrKeyRefused, k.cloud.disableKey(ctx, former)
}

// rewrapDev moves rows of ten organizations, which share a data key each, from one key of the key file to another.
func rewrapDev(ctx context.Context, e *env, n int) error {
	f, err := startDevReplica(ctx, e, siteConfig{settings: strictly})
	if err != nil {
		return err
	}
	defer f.close()
	keys, former, err := openFileKeys(e)
	if err != nil {
		return err
	}
	m := &move{
		env: e, replicas: f, n: n,
		key: func(i int) tokenworker.Key {
			return tokenworker.Key{OrgID: fmt.Sprintf("org-%d", i%10), ProviderID: siteProvider(0), CompanyID: fmt.Sprint(i)}
		},
		caller: func(i int) string { return fmt.Sprintf("reader-%d", i) }, // each has a rate of its own
		former: former, current: "current", keys: keys,
	}
	return m.run(ctx)
}

// fileKeys are the keys of key files, by id.
type fileKeys struct {
	dir     string // the data directory
	looking string // the key file of views
	keys    map[string]json.RawMessage
}

// keyFile is a key file, as documented.
type keyFile struct {
	Version int               `json:"version"`
	Keys    []json.RawMessage `json:"keys"`
}

// openFileKeys reads the data directory's key, and adds one of the id "current", which no file has yet.
func openFileKeys(e *env) (_ fileKeys, former string, _ error) {
	k := fileKeys{e.inDir("data"), e.inDir("view-key.json"), map[string]json.RawMessage{}}
	content, err := os.ReadFile(embedded.KeyPath(k.dir))
	if err != nil {
		return k, "", fmt.Errorf("reading the key file: %w", err)
	}
	var file keyFile
	var one struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(content, &file); err != nil || len(file.Keys) != 1 || json.Unmarshal(file.Keys[0], &one) != nil {
		return k, "", errors.New("the key file is not what is documented")
	}
	fresh := make([]byte, 32)
	_, _ = rand.Read(fresh) // never fails: crypto/rand.Read
	added, err := json.Marshal(map[string]any{"id": "current", "key": fresh})
	if err != nil {
		return k, "", fmt.Errorf("making a key: %w", err)
	}
	k.keys[one.ID], k.keys["current"] = file.Keys[0], added
	return k, one.ID, nil
}

func (k fileKeys) use(keys ...string) error { return k.write(embedded.KeyPath(k.dir), keys) }

func (k fileKeys) write(path string, ids []string) error {
	file := keyFile{Version: 1}
	for _, id := range ids {
		file.Keys = append(file.Keys, k.keys[id])
	}
	content, err := json.Marshal(file)
	if err == nil {
		err = os.WriteFile(path, content, 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing a key file: %w", err)
	}
	return nil
}

func (k fileKeys) view(ctx context.Context, keys ...string) (*view, error) {
	if err := k.write(k.looking, keys); err != nil {
		return nil, err
	}
	return openDevView(ctx, k.dir, k.looking)
}

// giveUp forgets the former key: the file is written without it next time.
func (k fileKeys) giveUp(_ context.Context, former, current string) (keys []string, refusal, err error) {
	delete(k.keys, former)
	return []string{current}, tokenworker.ErrSealBroken, nil
}
