package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	connectTimeout   = 5 * time.Second  // for one try to connect
	maxReconnectWait = 5 * time.Second  // between tries, plus jitter; each leaves a line in the log
	pingEvery        = 10 * time.Second // a server that has answered neither of two is left
)

// reconnectWait grows with the tries, a second each. Jitter keeps a fleet from coming back as one.
func reconnectWait(tries int) time.Duration {
	wait := min(time.Duration(tries)*time.Second, maxReconnectWait)
	return wait + time.Duration(rand.Int64N(int64(time.Second))) //nolint:gosec // spreading load needs no secrecy
}

// natsOptions are those of every connection: what happens to it is logged, by our logger alone.
func natsOptions(log *slog.Logger) []nats.Option {
	return []nats.Option{
		nats.Name("tokenworker"),
		nats.Timeout(connectTimeout),
		nats.PingInterval(pingEvery),
		nats.CustomReconnectDelay(reconnectWait),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil: closed on purpose
				log.Warn("disconnected from NATS; reconnecting", slog.Any("error", err))
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info("connected to NATS", slog.String("server", nc.ConnectedServerName())) }),
		nats.ErrorHandler(func(nc *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			log.Warn("NATS reports an error", slog.String("connection", nc.Opts.Name), slog.Any("error", err),
				slog.String("subject", subject), slog.String("hint", hintOn(err)))
		}),
	}
}

// hintOn says what to look at; nothing where there is nothing to say. A server that denies something tells it here alone: to
// whoever asked it gives no answer.
func hintOn(err error) string {
	switch {
	case !errors.Is(err, nats.ErrPermissionViolation):
		return ""
	case strings.Contains(err.Error(), `for Subscription to "_INBOX.`):
		return "NATS denies this user the subjects on which it would hear answers: give those that it may hear with --nats-inbox"
	}
	return "NATS denies this user something, which gets no answer: see its permissions"
}

// foreverOptions make a connection that waits for a server that is not there yet and never gives up one that was.
func foreverOptions(log *slog.Logger) []nats.Option {
	return []nats.Option{
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // credentials are mended while it runs
		nats.ConnectHandler(func(nc *nats.Conn) { log.Info("connected to NATS", slog.String("server", nc.ConnectedServerName())) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			log.Warn("NATS cannot be reached; trying again", slog.Any("error", err))
		}),
	}
}

// connect connects to the deployment's NATS.
func (d *deployment) connect(_ context.Context, opts ...nats.Option) (*nats.Conn, error) {
	return d.connectAs(d.flags.nats, append([]nats.Option{nats.CustomInboxPrefix(d.flags.natsInbox)}, opts...)...)
}

// connectAs connects as a user.
func (d *deployment) connectAs(user natsUser, opts ...nats.Option) (*nats.Conn, error) {
	f := d.flags
	if f.natsURL == "" {
		return nil, wrongUse("this needs NATS: name it with --nats-url")
	}
	tls, err := f.natsTLS()
	if err != nil {
		return nil, err
	}
	own, err := user.credentials()
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(f.natsURL, slices.Concat(tls, own, opts)...)
	if err != nil {
		return nil, fmt.Errorf("connecting to NATS at %s: %w", f.natsURL, err)
	}
	return nc, nil
}

// natsTLS are the options for TLS. What files hold is read again at each reconnect, here and for credentials, so that what
// was rotated is picked up.
func (f *targetFlags) natsTLS() ([]nats.Option, error) {
	if err := mustExist(f.natsCA, f.natsCert, f.natsKey); err != nil {
		return nil, err
	}
	var opts []nats.Option
	if f.natsCA != "" {
		opts = append(opts, nats.RootCAs(f.natsCA))
	}
	if f.natsCert != "" {
		opts = append(opts, nats.ClientCert(f.natsCert, f.natsKey))
	}
	return opts, nil
}

// mustExist reports the first file that is named and not there.
func mustExist(files ...string) error {
	for _, file := range files {
		if file == "" {
			continue
		}
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("reading what the flags for NATS name: %w", err)
		}
	}
	return nil
}

// credentials are the options for who connects.
func (u *natsUser) credentials() ([]nats.Option, error) {
	if err := mustExist(u.creds, u.passwordFile); err != nil {
		return nil, err
	}
	var opts []nats.Option
	if u.creds != "" {
		opts = append(opts, nats.UserCredentials(u.creds))
	}
	if u.name != "" {
		if _, err := readPassword(u.passwordFile); err != nil {
			return nil, err
		}
		opts = append(opts, nats.UserInfoHandler(func() (string, string) {
			password, err := readPassword(u.passwordFile)
			if err != nil {
				return u.name, "" // refused by the server, and tried again
			}
			return u.name, password
		}))
	}
	return opts, nil
}

// readPassword reads a file's first and only line.
func readPassword(file string) (string, error) {
	b, err := os.ReadFile(file) //nolint:gosec // the operator names the file
	if err != nil {
		return "", fmt.Errorf("reading the NATS password: %w", err)
	}
	if b = bytes.TrimRight(b, "\r\n"); len(b) == 0 {
		return "", errors.New("reading the NATS password: the file is empty")
	}
	return string(b), nil
}
