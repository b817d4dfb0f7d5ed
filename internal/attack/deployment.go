package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/nats-io/nats.go"

	"github.com/tokenworker/tokenworker/dynamo"
	"github.com/tokenworker/tokenworker/internal/attack/process"
	"github.com/tokenworker/tokenworker/kmsenc"
)

// newDeployment makes a rig of `tokenworker run` on a nats-server of its own process, and on LocalStack behind proxies,
// and sets it up with `tokenworker setup`. The worker reaches NATS at natsAddr, of a proxy, or else directly. It is not
// started yet.
func newDeployment(ctx context.Context, e *env, natsProxy func(target string) (addr string, err error), args ...string) (_ *rig, err error) {
	binary, err := e.program(ctx, workerPackage)
	if err != nil {
		return nil, err
	}
	server, err := e.program(ctx, natsPackage)
	if err != nil {
		return nil, err
	}
	r := &rig{}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if r.cloud, err = openCloud(ctx); err != nil {
		return nil, err
	}
	r.closers = append(r.closers, r.cloud.close)
	if r.nats, err = process.NewNATS(ctx, server, e.dir); err != nil {
		return nil, fmt.Errorf("starting nats-server: %w", err)
	}
	r.closers = append(r.closers, func() { r.nats.Kill() })
	addr := r.nats.Addr
	if natsProxy != nil {
		if addr, err = natsProxy(addr); err != nil {
			return nil, err
		}
	}
	if err := r.configure(ctx, e, binary, addr, args); err != nil {
		return nil, err
	}
	_, err = r.mustCLI(ctx, "setup", "--replicas", "1")
	return r, err
}

// configure fills in the parts that depend on the servers' addresses and names.
func (r *rig) configure(ctx context.Context, e *env, binary, natsAddr string, args []string) error {
	httpAddr, err := process.FreeAddr(ctx)
	if err != nil {
		return fmt.Errorf("choosing a port: %w", err)
	}
	password := e.inDir("password")
	if err := os.WriteFile(password, []byte(process.Password+"\n"), 0o600); err != nil {
		return fmt.Errorf("writing the password: %w", err)
	}
	arn, err := r.cloud.newKey(ctx)
	if err != nil {
		return err
	}
	declared, err := e.declare()
	if err != nil {
		return err
	}
	table := r.cloud.newTableName()
	r.target = []string{
		"--nats-url", "nats://" + natsAddr, "--nats-user", process.Worker, "--nats-password-file", password,
		"--table", table, "--kms-key", arn,
	}
	r.program = process.Program{
		Path: binary, Log: e.inDir("run.log"), Env: r.cloud.env(),
		Args: slices.Concat([]string{"run", "--http-addr", httpAddr}, r.target, declared, args),
	}
	r.http, r.natsURL = "http://"+httpAddr, "nats://"+r.nats.Addr
	r.users = func(user string) nats.Option { return nats.UserInfo(user, process.Password) }
	r.open = func(ctx context.Context) (*view, error) { return r.cloud.view(ctx, table, arn) }
	return nil
}

// view opens a table, and the keys that its sets may be wrapped under, past the proxies.
func (c *cloud) view(ctx context.Context, table string, keys ...string) (*view, error) {
	store, err := dynamo.Open(ctx, dynamo.NewClient(c.direct), dynamo.Config{TableName: table})
	if err != nil {
		return nil, fmt.Errorf("opening the table: %w", err)
	}
	service, err := kmsenc.OpenKMS(ctx, c.direct, kmsenc.KMSKeys{Shared: keys})
	if err != nil {
		return nil, fmt.Errorf("opening KMS: %w", err)
	}
	return newView(store, service, func() {})
}
