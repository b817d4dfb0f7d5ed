package process

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	natsconfig "github.com/tokenworker/tokenworker/deploy/nats"
)

// NATSServer is the main package of the NATS server, of the version in go.mod.
const NATSServer = "github.com/nats-io/nats-server/v2"

// NATS is a NATS server of its own process, as in production but alone: JetStream on disk, synced before it
// acknowledges, with users.
type NATS struct {
	Addr string // host and port; the same after a restart

	admin   string // may ask for the account's state
	program Program
	process *Process
}

// The users of the server. Worker may do everything; Publisher may publish events and wait for the acknowledgement.
const (
	Worker    = "worker"
	Publisher = "publisher"
)

// Password is that of every user: only this machine's loopback interface is served.
const Password = "attack"

// config lets messages through that are larger than any event may be, so that it is the worker that has to refuse them.
const config = `listen: %q
max_payload: 1MB
jetstream { store_dir: %q, sync_interval: always }
authorization {
  users = [
    { user: worker, password: attack }
    { user: publisher, password: attack, permissions: {
      publish: [ "tokens.v1.acquired.>", "tokens.v1.disconnect.>" ], subscribe: "_INBOX.>" } }
  ]
}
`

// NewNATS starts the server program at path with its files below dir and waits until it answers.
func NewNATS(ctx context.Context, path, dir string) (*NATS, error) {
	return newNATS(ctx, path, dir, Worker, func(addr, storeDir string) string { return fmt.Sprintf(config, addr, storeDir) })
}

// Operator is a user of the shipped configuration, whose others have the names that it gives them.
const Operator = "operator"

// NewShippedNATS starts one with the shipped configuration, but for TLS and for what change makes of it.
func NewShippedNATS(ctx context.Context, path, dir string, change func(config string) string) (*NATS, error) {
	return newNATS(ctx, path, dir, Operator, func(addr, storeDir string) string {
		shipped := natsconfig.WithoutTLS(natsconfig.WithPasswords(func(string) string { return Password }))
		return change(strings.NewReplacer("0.0.0.0:4222", addr, "/var/lib/nats", storeDir).Replace(shipped))
	})
}

func newNATS(ctx context.Context, path, dir, admin string, config func(addr, storeDir string) string) (*NATS, error) {
	addr, err := FreeAddr(ctx)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "nats.conf")
	text := config(addr, filepath.Join(dir, "jetstream"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("configuring nats-server: %w", err)
	}
	n := &NATS{Addr: addr, admin: admin, program: Program{
		Path: path, Args: []string{"--config", file}, Log: filepath.Join(dir, "nats-server.log"),
	}}
	return n, n.Start(ctx)
}

// Start starts it, again after a Kill.
func (n *NATS) Start(ctx context.Context) error {
	var err error
	if n.process, err = Start(ctx, n.program); err != nil {
		return err
	}
	return Await(ctx, 20*time.Second, "nats-server answers", func() (bool, error) {
		nc, err := nats.Connect("nats://"+n.Addr, nats.UserInfo(n.admin, Password), nats.CustomInboxPrefix("_INBOX."+n.admin), nats.Timeout(time.Second))
		if err != nil {
			return false, nil // not yet
		}
		defer nc.Close()
		js, err := nc.JetStream()
		if err != nil {
			return false, err //nolint:wrapcheck // the test's own
		}
		_, err = js.AccountInfo()
		return err == nil, nil
	})
}

// Become makes it another program from its next start on, with more environment.
func (n *NATS) Become(path string, env ...string) { n.program.Path, n.program.Env = path, env }

// Kill kills it.
func (n *NATS) Kill() { n.process.Kill() }
