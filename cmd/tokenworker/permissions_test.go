package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/client"
	natsconfig "github.com/tokenworker/tokenworker/deploy/nats"
)

// guardedNATS is a server that counts what it denies.
type guardedNATS struct {
	*server.Server
	denials denials
	ca      string // file
}

// reader connects as the user that may read.
func (g *guardedNATS) reader(t *testing.T) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(g.ClientURL(), nats.RootCAs(g.ca), nats.UserInfo("payroll", "canary-payroll"),
		nats.CustomInboxPrefix("_INBOX.payroll"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// denials counts the log lines of a server about what a user has no right to.
type denials struct{ atomic.Int64 }

func (d *denials) Errorf(format string, _ ...any) {
	if strings.Contains(format, "Violation") {
		d.Add(1)
	}
}
func (*denials) Noticef(string, ...any) {}
func (*denials) Warnf(string, ...any)   {}
func (*denials) Fatalf(string, ...any)  {}
func (*denials) Debugf(string, ...any)  {}
func (*denials) Tracef(string, ...any)  {}

// startGuardedNATS runs a server by the configuration in deploy/nats. It returns the program's settings to connect to it
// as any of its users.
func startGuardedNATS(t *testing.T, change ...*strings.Replacer) (g *guardedNATS, as func(user string) []string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certificate, key := selfSigned(t)
	cert := write("cert.pem", certificate)
	config := natsconfig.WithPasswords(func(user string) string {
		password := "canary-" + user
		write(user, password+"\n")
		return password
	})
	config = strings.NewReplacer("/etc/nats/tls.crt", cert, "/etc/nats/tls.key", write("key.pem", key)).Replace(config)
	for _, c := range change {
		config = c.Replace(config)
	}
	options, err := server.ProcessConfigFile(write("nats.conf", config))
	if err != nil {
		t.Fatalf("the NATS configuration: %v", err)
	}
	options.Host, options.Port, options.NoLog, options.NoSigs = "127.0.0.1", server.RANDOM_PORT, true, true
	options.JetStream, options.StoreDir = true, t.TempDir()
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	g = &guardedNATS{Server: s, ca: cert}
	s.SetLogger(&g.denials, false, false)
	s.Start()
	t.Cleanup(func() { stopNATS(s) })
	if !s.ReadyForConnections(patience) {
		t.Fatal("NATS does not get ready")
	}
	return g, func(user string) []string {
		return []string{
			"TOKENWORKER_NATS_CA=" + cert, "TOKENWORKER_NATS_USER=" + user,
			"TOKENWORKER_NATS_PASSWORD_FILE=" + filepath.Join(dir, user), "TOKENWORKER_NATS_INBOX=_INBOX." + user,
			"TOKENWORKER_ACCESS_USER=access", "TOKENWORKER_ACCESS_PASSWORD_FILE=" + filepath.Join(dir, "access"),
			"TOKENWORKER_ERASER_USER=eraser", "TOKENWORKER_ERASER_PASSWORD_FILE=" + filepath.Join(dir, "eraser"),
		}
	}
}

// selfSigned makes a certificate for 127.0.0.1, which is its own authority, and its key, both in PEM.
func selfSigned(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "NATS under test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

func TestEveryRoleWorksWithTheRightsThatTheConfigurationGivesIt(t *testing.T) {
	t.Parallel()
	server, as := startGuardedNATS(t)
	p := newDeployment(t, server.ClientURL())
	user := func(name string) *program { return &program{t, append(slices.Clip(p.env), as(name)...)} }
	worker, publisher, operator := user("worker"), user("publisher"), user("operator")

	operator.must("", "setup", "--replicas", "1")
	operator.must("", "setup", "--check", "--replicas", "1")
	public := filepath.Join(t.TempDir(), "public.json")
	if err := os.WriteFile(public, []byte(operator.must("", "keys", "show")), 0o600); err != nil {
		t.Fatal(err)
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("a-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := func(rest ...string) []string {
		return append([]string{"publish"}, append(rest, connection, "--wait", "--json")...)
	}
	// The worker comes only after the publisher has tried to look into the stream, which is not its right.
	waiting := publisher.start(args("acquired", "--public-key", public, "--token-file", token)...)
	eventually(t, "the publisher is denied a look", func() bool { return server.denials.Load() > 0 })
	running := worker.start("run")
	running.await("working")
	expectFields(t, object(t, waiting.await("outcome")), map[string]any{"outcome": "stored"})

	key, err := tokenworker.ParseKey(connection)
	if err != nil {
		t.Fatal(err)
	}
	read, err := client.NewReader(server.reader(t), "payroll", client.ReaderConfig{}).Token(t.Context(), key)
	if err != nil || string(read.Value.Reveal()) != "a-token" {
		t.Errorf("a reader gets %d bytes, %v", len(read.Value.Reveal()), err)
	}

	publish := func(rest ...string) map[string]any {
		o := publisher.run("a-token", args(rest...)...)
		if o.stdout == "" {
			t.Fatalf("publish %v: exit code %d: %s", rest, o.code, o.stderr)
		}
		return object(t, o.stdout)
	}
	expectFields(t, publish("acquired", "--plain"), map[string]any{"outcome": "rejected"})
	publisher.must("", "refresh", connection)
	expectFields(t, publish("disconnect"), map[string]any{"outcome": "disconnected"})
	letter := object(t, operator.must("", "dlq", "list", "--json"))
	expectFields(t, letter, map[string]any{"code": "plain_refused"})
	operator.must("", "dlq", "replay", fmt.Sprint(letter["sequence"]))
	if o := operator.run("", "keys", "retire", "nobody"); !strings.Contains(o.stderr, "there is no key") {
		t.Errorf("retiring an unknown key: %s", o.stderr)
	}

	expectFields(t, object(t, operator.must("", "audit", "verify", "--json")), map[string]any{"chain": 1.0})
	eventually(t, "the audit trail tells of all that was done", func() bool {
		found := map[any]any{} // actors by action
		for _, r := range objects(t, operator.must("", "audit", "tail", "--key", connection, "--json")) {
			found[r["action"]] = r["actor"]
		}
		return found["write"] != nil && found["read"] == "payroll" && found["refresh"] != nil && found["disconnect"] != nil
	})
	operator.must("", "export", connection)
	if trail := operator.must("", "audit", "tail", "--key", connection); !strings.Contains(trail, "export") {
		t.Errorf("the export is not on record:\n%s", trail)
	}
	if o := publisher.run("", "audit", "tail"); o.code != 1 {
		t.Errorf("a publisher reads the audit trail: %s", o.stdout)
	}

	for _, f := range objects(t, worker.must("", "doctor", "--json")) {
		what := f["what"].(string)
		if (strings.HasPrefix(what, "NATS rights") || strings.HasPrefix(what, "reads") || strings.HasPrefix(what, "erasures")) && f["level"] != "ok" {
			t.Errorf("the doctor of the worker says %v", f)
		}
		if strings.HasPrefix(what, "NATS transport") && what != "NATS transport: TLS" {
			t.Errorf("the doctor of the worker says %v", f)
		}
	}
	expectFields(t, object(t, operator.must("", "disconnect", connection, "--yes", "--json")), map[string]any{
		"subject": "tokens.v1.disconnect." + strings.ReplaceAll(connection, ":", "."),
	})
	expectFields(t, object(t, operator.must("", "erase", connection, "--yes", "--wait", "--json")), map[string]any{
		"key": connection, "outcome": "erased", "connections": 1,
	})
	if o := publisher.run("", "erase", connection, "--yes"); o.code != 1 {
		t.Errorf("a publisher erases: %s", o.stdout)
	}
	worker.must("", "refresh", "--due")
	if o := publisher.run("", "dlq", "replay", "1"); o.code != 1 {
		t.Errorf("a publisher replays a dead letter: %s", o.stdout)
	}
	if code := running.stop(); code != 0 {
		t.Errorf("on SIGTERM the worker exits with %d", code)
	}
	if log := running.output(); strings.Contains(log, "ermission") || strings.Contains(log, "canary") {
		t.Error("the worker lacks a right, or its log shows a password")
	}
}

func TestAWorkerWhoseUserForReadsIsRefusedIsNotReady(t *testing.T) {
	t.Parallel()
	server, as := startGuardedNATS(t)
	p := newDeployment(t, server.ClientURL())
	(&program{t, append(slices.Clip(p.env), as("operator")...)}).must("", "setup", "--replicas", "1")
	password := filepath.Join(t.TempDir(), "password")
	write := func(content string) {
		if err := os.WriteFile(password, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("another's")
	env := append(slices.Clip(p.env), as("worker")...)
	running := (&program{t, append(env, "TOKENWORKER_ACCESS_PASSWORD_FILE="+password)}).start("run", "--log-level", "debug")
	base := "http://" + regexp.MustCompile(`http=([0-9.:]+)`).FindStringSubmatch(running.await("starting"))[1]
	running.await("working")
	eventually(t, "it is not ready, and says why", func() bool {
		code, _ := get(t, base+"/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(running.output(), "tokenworker access: not connected")
	})
	write("canary-access")
	eventually(t, "it is ready", func() bool { code, _ := get(t, base+"/readyz"); return code == http.StatusOK })
	if code := running.stop(); code != 0 {
		t.Errorf("on SIGTERM it exits with %d", code)
	}
}

func TestTheDoctorTriesWhatTheUserThatAnswersReadsMayDo(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ old, changed, want string }{
		"more than answers to publish on": {`publish: ["_R_.>"]`, `publish: ["_R_.>", "$JS.API.>"]`, "may publish on $JS.API.INFO"},
		"others' inboxes to hear":         {`subscribe: ["tokens.v1.get.>", "$SRV.>"]`, `subscribe: [">"]`, "may subscribe to _INBOX.doctor.x"},
		"nothing to publish on":           {`publish: ["_R_.>"]`, `publish: ["nothing"]`, "lacks to publish on _R_.doctor.x"},
		"no requests to hear":             {`subscribe: ["tokens.v1.get.>", "$SRV.>"]`, `subscribe: ["$SRV.>"]`, "lacks to subscribe to tokens.v1.get."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, _ := startGuardedNATS(t, strings.NewReplacer(test.old, test.changed))
			password := filepath.Join(t.TempDir(), "password")
			if err := os.WriteFile(password, []byte("canary-access"), 0o600); err != nil {
				t.Fatal(err)
			}
			d := &deployment{flags: &targetFlags{
				natsURL: server.ClientURL(), natsCA: server.ca, access: natsUser{name: "access", passwordFile: password},
			}}
			found := d.examineAccess(t.Context(), &target{backend: d, log: slog.New(slog.DiscardHandler)})
			if len(found) != 1 || found[0].Level != bad || !strings.Contains(found[0].What, test.want) {
				t.Errorf("the doctor says %v, want %q", found, test.want)
			}
		})
	}
}

func TestCredentialsInAURLAreRefusedAndNotRepeated(t *testing.T) {
	for _, args := range [][]string{{"dlq", "list"}, {"run"}, {"doctor"}} {
		o := newProgram(t).run("", append(args, "--nats-url", "nats://someone:canary@127.0.0.1:4222")...)
		if o.code != 2 || strings.Contains(o.stderr+o.stdout, "canary") {
			t.Errorf("%v: exit code %d: %s", args, o.code, o.stderr)
		}
	}
}

func TestAWrongPasswordIsNotRepeated(t *testing.T) {
	server, as := startGuardedNATS(t)
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newProgram(t, append(as("worker"), "TOKENWORKER_NATS_PASSWORD_FILE="+file, "TOKENWORKER_NATS_URL="+server.ClientURL())...)
	o := p.run("", "dlq", "list", "--log-level", "debug")
	if o.code != 1 || !strings.Contains(o.stderr, "uthoriz") || strings.Contains(o.stderr, "canary") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
}
