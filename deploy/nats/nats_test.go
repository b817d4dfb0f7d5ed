package nats_test

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	natsconfig "github.com/tokenworker/tokenworker/deploy/nats"
)

// The users of the configuration.
const (
	publisher = "publisher"
	worker    = "worker"
	access    = "access"
	eraser    = "eraser"
	payroll   = "payroll" // a reader, of the organization acme
	operator  = "operator"
)

// row is a subject and all who may use it.
type row struct {
	subject string
	may     []string
}

// publishing has every subject that any of them may publish on, or would like to.
func publishing() []row {
	return []row{
		{"tokens.v1.acquired.acme.google.1", []string{publisher}},
		{"tokens.v1.acquired.acme.finch", []string{publisher}},
		{"tokens.v1.acquired.other.google.1", nil},
		{"tokens.v1.disconnect.acme.google.1", []string{publisher, operator}},
		{"tokens.v1.disconnect.other.google.1", []string{operator}},
		{"tokens.v1.refresh.acme.google.1", []string{publisher}},
		{"tokens.v1.refresh.other.google.1", nil},
		{"tokens.v1.erase.acme", []string{operator}},
		{"tokens.v1.erase.acme.google.1", []string{operator}},
		{"tokens.v1.replay.too_old.acquired.acme.google.1", []string{operator}},
		{"tokens.v1.event.stored.acme.google.1", []string{worker}},
		{"tokens.v1.event.disconnected.acme.google.1", []string{worker, eraser}},
		{"tokens.v1.event.erased.acme", []string{worker, eraser}},
		{"tokens.v1.dlq.too_old.acquired.acme.google.1", []string{worker}},
		{"tokens.v1.parked.acquired.acme.google.1", []string{worker}},
		{"tokens.v1.rescue.acme.google.1", []string{worker}},
		{"tokens.v1.sweep.google.0", []string{worker}},
		{"tokens.v1.audit.read.0123456789abcdef0123456789abcdef", []string{worker}},
		{"tokens.v1.audit.export.0123456789abcdef0123456789abcdef", []string{worker, operator}},
		{"tokens.v1.audit.rewrap.0123456789abcdef0123456789abcdef", []string{worker, operator}},
		{"tokens.v1.audit.begin.0123456789abcdef0123456789abcdef", []string{worker, operator}},

		{"tokens.v1.get.payroll.acme.google.1", []string{payroll}},
		{"tokens.v1.get.payroll.other.google.1", nil}, // another organization
		{"tokens.v1.get.payroll.acme2.google.1", nil}, // whose name begins alike
		{"tokens.v1.get.payroll.default.google.1", nil},
		{"tokens.v1.get.payroll.%61cme.google.1", nil}, // the same name spelled otherwise
		{"tokens.v1.get.billing.acme.google.1", nil},   // another caller
		{"tokens.v1.get.payroll", nil},
		{"tokens.v2.get.payroll.acme.google.1", nil},

		{"_R_.x.y", []string{access}},
		{"_INBOX.payroll.x", nil},
		{"_INBOX.worker.x", nil},
		{"_INBOX.x", nil},

		{"$JS.API.INFO", []string{worker, eraser, operator}},
		{"$JS.API.STREAM.NAMES", nil},
		{"$JS.API.STREAM.LIST", nil},
		{"$JS.API.STREAM.INFO.TOKENS_IN", []string{worker, eraser, operator}},
		{"$JS.API.STREAM.INFO.TOKENS_AUDIT", []string{worker, operator}},
		{"$JS.API.STREAM.CREATE.NEW", nil},
		{"$JS.API.STREAM.CREATE.TOKENS_IN", []string{operator}},
		{"$JS.API.STREAM.CREATE.TOKENS_AUDIT", []string{operator}},
		{"$JS.API.STREAM.UPDATE.NEW", nil},
		{"$JS.API.STREAM.UPDATE.TOKENS_IN", []string{operator}},
		{"$JS.API.STREAM.UPDATE.TOKENS_AUDIT", nil}, // a limit on it removes records
		{"$JS.API.STREAM.DELETE.TOKENS_IN", nil},
		{"$JS.API.STREAM.PURGE.TOKENS_IN", nil},
		{"$JS.API.STREAM.SNAPSHOT.TOKENS_IN", nil},
		{"$JS.API.STREAM.RESTORE.TOKENS_IN", nil},
		{"$JS.API.STREAM.MSG.GET.TOKENS_IN", []string{worker, eraser, operator}},
		{"$JS.API.STREAM.MSG.GET.TOKENS_DLQ", []string{worker, eraser, operator}},
		{"$JS.API.STREAM.MSG.GET.TOKENS_RESCUE", []string{worker, eraser, operator}},
		{"$JS.API.STREAM.MSG.GET.TOKENS_OUT", []string{worker, eraser, operator}},
		{"$JS.API.STREAM.MSG.GET.TOKENS_SWEEP", []string{worker, operator}},
		{"$JS.API.STREAM.MSG.GET.TOKENS_AUDIT", []string{operator}},
		{"$JS.API.STREAM.MSG.DELETE.TOKENS_IN", []string{worker, eraser}},
		{"$JS.API.STREAM.MSG.DELETE.TOKENS_PARKED", []string{worker, eraser}},
		{"$JS.API.STREAM.MSG.DELETE.TOKENS_OUT", []string{eraser}},
		{"$JS.API.STREAM.MSG.DELETE.TOKENS_DLQ", []string{eraser}},
		{"$JS.API.STREAM.MSG.DELETE.TOKENS_RESCUE", []string{worker, eraser}},
		{"$JS.API.STREAM.MSG.DELETE.TOKENS_SWEEP", []string{worker}},
		{"$JS.API.STREAM.MSG.DELETE.TOKENS_AUDIT", nil},
		{"$JS.API.DIRECT.GET.TOKENS_OUT.tokens.v1.event.stored.acme.google.1", nil}, // it would put any message anywhere
		{"$JS.API.DIRECT.GET.TOKENS_OUT", nil},
		{"$JS.API.DIRECT.GET.TOKENS_IN", nil},
		{"$JS.API.CONSUMER.CREATE.TOKENS_IN.own", []string{operator}},
		{"$JS.API.CONSUMER.DURABLE.CREATE.TOKENS_IN.own", nil},
		{"$JS.API.CONSUMER.NAMES.TOKENS_IN", []string{operator}},
		{"$JS.API.CONSUMER.NAMES.TOKENS_OUT", nil},
		{"$JS.API.CONSUMER.DELETE.TOKENS_IN.acquired-e3", []string{operator}},
		{"$JS.API.CONSUMER.DELETE.TOKENS_OUT.audit", nil},
		{"$JS.API.CONSUMER.DELETE.TOKENS_RESCUE.rescue", nil},
		{"$JS.API.CONSUMER.INFO.TOKENS_IN.acquired-e3", []string{worker, operator}},
		{"$JS.API.CONSUMER.MSG.NEXT.TOKENS_IN.acquired-e3", []string{worker}},
		{"$JS.API.CONSUMER.MSG.NEXT.TOKENS_PARKED.parked", []string{worker}},
		{"$JS.API.CONSUMER.MSG.NEXT.TOKENS_RESCUE.rescuer", []string{worker}},
		{"$JS.API.CONSUMER.MSG.NEXT.TOKENS_SWEEP.sweeper", []string{worker}},
		{"$JS.API.CONSUMER.MSG.NEXT.TOKENS_DLQ.own", nil},
		{"$JS.API.CONSUMER.MSG.NEXT.TOKENS_OUT.own", nil},
		{"$JS.API.CONSUMER.MSG.NEXT.TOKENS_OUT.audit", []string{worker}},
		{"$JS.API.CONSUMER.MSG.NEXT.TOKENS_OUT.notices-acme", nil},
		{"notices.API.CONSUMER.MSG.NEXT.TOKENS_OUT.notices-acme", []string{publisher}},
		{"notices.API.CONSUMER.MSG.NEXT.TOKENS_OUT.notices-other", nil},
		{"notices.API.CONSUMER.CREATE.TOKENS_OUT.notices-acme", nil},
		{"$JS.API.CONSUMER.CREATE.TOKENS_AUDIT.own", []string{worker, operator}},
		{"$JS.API.CONSUMER.MSG.NEXT.TOKENS_AUDIT.own", []string{worker, operator}},
		{"$JS.API.STREAM.PURGE.TOKENS_AUDIT", nil},
		{"$JS.API.STREAM.DELETE.TOKENS_AUDIT", nil},
		{"$JS.ACK.TOKENS_IN.acquired-e3.1.1.1.1.1", []string{worker}},
		{"$JS.ACK.TOKENS_OUT.audit.1.1.1.1.1", []string{worker}},
		{"$JS.ACK.TOKENS_OUT.notices-acme.1.1.1.1.1", []string{publisher}},
		{"$JS.ACK.TOKENS_DLQ.own.1.1.1.1.1", nil},

		{"$SRV.PING", []string{operator}},
		{"$SRV.PING.tokenworker", []string{worker, operator}},
		{"$SRV.INFO.tokenworker", []string{operator}},
		{"$SRV.STATS.tokenworker.x", []string{operator}},
		{"$SYS.REQ.USER.INFO", []string{worker, eraser, operator}},
		{"$SYS.REQ.SERVER.PING.JSZ", nil},
		{"$SYS.ACCOUNT.TOKENS.CONNECT", nil},
		{"anything", nil},
	}
}

// subscribing has every subject that any of them may subscribe to, or would like to.
func subscribing() []row {
	rows := []row{
		{">", nil}, {"*.>", nil}, {"*.*.*.*.*.*", nil},
		{"tokens.>", nil}, {"tokens.v1.>", nil}, {"tokens.*.event.>", nil}, {"tokens.v1.acquired.>", nil},
		{"tokens.v1.disconnect.>", nil}, {"tokens.v1.dlq.>", nil}, {"tokens.v1.parked.>", nil}, {"tokens.v1.rescue.>", nil},
		{"tokens.v1.replay.>", nil}, {"tokens.v1.sweep.>", nil}, {"tokens.v1.audit.>", nil},
		{"tokens.v1.event.>", []string{operator}},
		{"tokens.v1.event.*.acme.>", []string{publisher, operator}},
		{"tokens.v1.event.stored.acme.google.1", []string{publisher, operator}},
		{"tokens.v1.event.stored.other.google.1", []string{operator}},
		{"tokens.v1.get.>", []string{access}},
		{"tokens.v1.get.payroll.acme.google.1", []string{access}}, // nobody else answers
		{"$SRV.>", []string{access}}, {"$SRV.PING", []string{access}},
		{"_R_.>", nil}, {"_R_.x.y", nil},
		{"_INBOX.>", nil}, {"_INBOX.*", nil}, {"_INBOX.*.x", nil}, {"_INBOX.pay*.x", nil}, {"_INBOX.x.>", nil}, {"_INBOX.access.x", nil},
		{"$JS.>", nil}, {"$JS.EVENT.ADVISORY.>", nil}, {"$JS.API.STREAM.INFO.TOKENS_IN", nil}, {"$SYS.>", nil}, {"$KV.>", nil},
	}
	for _, user := range []string{publisher, worker, eraser, payroll, operator} {
		rows = append(rows, row{"_INBOX." + user + ".>", []string{user}}, row{"_INBOX." + user + ".x", []string{user}})
	}
	return rows
}

// withPasswords is the configuration, without TLS. The password of a user is its name.
func withPasswords() string {
	return natsconfig.WithoutTLS(natsconfig.WithPasswords(func(user string) string { return user }))
}

// start runs a server by a configuration, on a free port.
func start(t *testing.T, config string) (url string) {
	t.Helper()
	options := server.Options{}
	file := t.TempDir() + "/nats-server.conf"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := options.ProcessConfigFile(file); err != nil {
		t.Fatal(err)
	}
	options.Host, options.Port, options.NoLog, options.NoSigs, options.StoreDir = "127.0.0.1", server.RANDOM_PORT, true, true, t.TempDir()
	s, err := server.NewServer(&options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server did not get ready within 10 s")
	}
	return s.ClientURL()
}

// connect connects as a user.
func connect(t *testing.T, url, user string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, nats.UserInfo(user, user), nats.CustomInboxPrefix("_INBOX."+user),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// denied reports whether the server complained of the connection's last act, once all of it has arrived there.
func denied(t *testing.T, nc *nats.Conn) bool {
	t.Helper()
	if err := nc.FlushTimeout(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	return errors.Is(nc.LastError(), nats.ErrPermissionViolation)
}

func TestEachUserCanDoWhatItShouldAndNoMore(t *testing.T) {
	url := start(t, withPasswords())
	for _, user := range natsconfig.Users() {
		for _, r := range publishing() {
			nc := connect(t, url, user)
			if err := nc.Publish(r.subject, nil); err != nil {
				t.Fatal(err)
			}
			if may := slices.Contains(r.may, user); denied(t, nc) == may {
				t.Errorf("%s publishes on %s: allowed %t, want %t", user, r.subject, !may, may)
			}
			nc.Close()
		}
		for _, r := range subscribing() {
			nc := connect(t, url, user)
			if _, err := nc.SubscribeSync(r.subject); err != nil {
				t.Fatal(err)
			}
			if may := slices.Contains(r.may, user); denied(t, nc) == may {
				t.Errorf("%s subscribes to %s: allowed %t, want %t", user, r.subject, !may, may)
			}
			nc.Close()
		}
	}
}
