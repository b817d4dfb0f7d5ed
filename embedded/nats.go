package embedded

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/tokenworker/tokenworker"
)

const (
	// loopback is all that the server listens on.
	loopback = "127.0.0.1"

	// maxPayload, in bytes, is the server's own default: it bounds the largest dead letter, which holds the largest message
	// that the stream of events takes (256 KiB), sealed, in base64 twice.
	maxPayload = 1 << 20

	// maxMemory bounds streams in memory, of which there are none, and maxStore those on disk not at all: by default the server
	// takes for their bound what was free on the disk when it started.
	maxMemory = 1 << 20
	maxStore  = 1 << 60

	// readyWithin bounds a wait that should be none: the server's Start returns with its listener open.
	readyWithin = 10 * time.Second
)

// NATSConfig says how the NATS server runs.
type NATSConfig struct {
	// Dir is where its streams are kept; see [NATSPath].
	Dir string

	// Port on 127.0.0.1; 0 takes any that is free.
	Port int

	// Token is what every client must know; see [Dir.NATSToken].
	Token tokenworker.Secret

	// Logger gets what the server has to say: faults as warnings, the rest at debug level. nil: nobody.
	Logger *slog.Logger
}

// NATS is a NATS server with JetStream in this process, listening on loopback. It syncs every message to disk before it
// acknowledges it, so that an acknowledged message survives a crash of the machine.
//
// Its files are not encrypted (JetStreamKey). What is in them is sealed, but for what a publisher sends in clear; and nats-server
// 2.15.2 was seen not to recover an encrypted stream after kill -9 ("corrupt state file", by the attack on P6).
type NATS struct {
	server *server.Server
	token  tokenworker.Secret
	dir    string
	log    *slog.Logger
}

// StartNATS returns once the server has recovered its streams and listens. When it cannot (its port is in use, its
// directory unusable), it has ended again.
func StartNATS(c NATSConfig) (*NATS, error) {
	if c.Token.IsEmpty() {
		return nil, fmt.Errorf("%w: a NATS server without a token is open to every user of this machine",
			tokenworker.ErrMisconfigured)
	}
	if err := removeLeftovers(c.Dir); err != nil {
		return nil, fmt.Errorf("removing what a killed NATS server has left behind: %w", err)
	}
	port := c.Port
	if port == 0 {
		port = server.RANDOM_PORT
	}
	s, err := server.NewServer(&server.Options{
		ServerName:    "tokenworker",
		Host:          loopback,
		Port:          port,
		Authorization: string(c.Token.Reveal()),
		MaxPayload:    maxPayload,
		JetStream:     true,
		StoreDir:      c.Dir,
		SyncAlways:    true,

		JetStreamMaxMemory: maxMemory,
		JetStreamMaxStore:  maxStore,

		NoSigs: true, // signals are the program's
	})
	if err != nil {
		return nil, fmt.Errorf("configuring the NATS server: %w", err)
	}
	log := newNATSLog(c.Logger)
	s.SetLogger(log, log.debug(), false)
	n := &NATS{s, c.Token, c.Dir, log.log}
	s.Start() // returns when it listens or has told the log why it cannot
	if err := log.fatal(); err != nil {
		n.Shutdown()
		return nil, fmt.Errorf("starting the NATS server: %w", err)
	}
	if !s.ReadyForConnections(readyWithin) {
		n.Shutdown()
		return nil, errors.New("starting the NATS server: it does not listen")
	}
	return n, nil
}

// URL is where the server listens, without credentials.
func (n *NATS) URL() string { return n.server.ClientURL() }

// Connect connects from within this process, without a socket.
func (n *NATS) Connect(opts ...nats.Option) (*nats.Conn, error) {
	own := []nats.Option{nats.InProcessServer(n.server), nats.Token(string(n.token.Reveal()))}
	nc, err := nats.Connect(n.URL(), append(own, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("connecting to the NATS server: %w", err)
	}
	return nc, nil
}

// Shutdown closes the clients' connections, lets the streams finish writing, and returns when the server has ended.
func (n *NATS) Shutdown() {
	n.server.Shutdown()
	n.server.WaitForShutdown()
}

// removeLeftovers removes the copies of a stream's files that a server was writing when it was killed. It never reads them again.
func removeLeftovers(dir string) error {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the server makes it
	} else if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // nothing is written
	return fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.Type().IsRegular() && (strings.HasSuffix(path, ".tmp") || strings.HasSuffix(path, ".new")) {
			return root.Remove(path)
		}
		return nil
	})
}

// NATSToken returns the token that clients of this directory's NATS server must know. It is random, made once and kept
// in a file of mode 0600, so that what is configured with it works again after a restart.
func (d *Dir) NATSToken() (tokenworker.Secret, error) {
	path := filepath.Join(d.path, natsTokenName)
	token, err := readPrivate(path)
	if errors.Is(err, os.ErrNotExist) {
		token = []byte(rand.Text())
		err = writeNew(path, token)
	}
	if err != nil {
		return tokenworker.Secret{}, fmt.Errorf("keeping the NATS token: %w", err)
	}
	return tokenworker.NewSecret(token), nil
}
