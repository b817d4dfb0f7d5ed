package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tokenworker/tokenworker/internal/natstest"
	"github.com/tokenworker/tokenworker/localstack"
)

// newDeployment makes a program that works on a NATS server, and on a table and a key of its own in LocalStack. Nothing
// is set up yet.
func newDeployment(t *testing.T, natsURL string) *program {
	t.Helper()
	endpoint := localstack.Endpoint(t)
	name := localstack.UniqueName(t, "cmd")
	return newProgram(t,
		"AWS_ENDPOINT_URL="+endpoint, "AWS_REGION="+localstack.Region,
		"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_EC2_METADATA_DISABLED=true",
		"TOKENWORKER_NATS_URL="+natsURL, "TOKENWORKER_TABLE="+name, "TOKENWORKER_KMS_KEY=alias/"+name,
		"TOKENWORKER_HTTP_ADDR=127.0.0.1:0",
	)
}

func TestADeploymentFromSetUpToGracefulStop(t *testing.T) {
	t.Parallel()
	p := newDeployment(t, natstest.Start(t).ClientURL())

	if o := p.run("", "run"); o.code != 1 || !strings.Contains(o.stderr, "tokenworker setup") {
		t.Errorf("before anything is set up: exit code %d, stderr %q", o.code, o.stderr)
	}
	o := p.run("", "setup", "--check", "--replicas", "1", "--json")
	if o.code != 1 {
		t.Errorf("setup --check of nothing: exit code %d, stderr %q", o.code, o.stderr)
	}
	for _, what := range []string{"table", "KMS key", "stream TOKENS_IN", "event key"} {
		if !strings.Contains(o.stdout, what) {
			t.Errorf("setup --check does not miss the %s: %s", what, o.stdout)
		}
	}
	for _, d := range objects(t, p.must("", "setup", "--replicas", "1", "--json")) {
		expectFields(t, d, map[string]any{"state": "mended"})
	}
	for _, args := range [][]string{{"setup", "--check"}, {"setup"}} {
		if out := p.must("", append(args, "--replicas", "1", "--json")...); out != "" {
			t.Errorf("%v after setup finds %s", args, out)
		}
	}

	worker := p.start("run", "--log-level", "debug")
	worker.await("working")
	base := "http://" + regexp.MustCompile(`http=([0-9.:]+)`).FindStringSubmatch(worker.await("starting"))[1]
	eventually(t, "the worker is ready", func() bool { code, _ := get(t, base+"/readyz"); return code == http.StatusOK })
	stored := p.must(`{"access_token":"canary-a","refresh_token":"canary-r"}`, "publish", "acquired", connection, "--wait", "--json")
	expectFields(t, object(t, stored), map[string]any{"outcome": "stored"})
	expectFields(t, object(t, p.must("", "list", "--org", "acme", "--json")), map[string]any{"key": connection, "status": "active"})
	gone := p.must("", "publish", "disconnect", connection, "--wait", "--json")
	expectFields(t, object(t, gone), map[string]any{"outcome": "disconnected"})
	expectFields(t, object(t, p.must("", "inspect", connection, "--json")), map[string]any{"status": "disconnecting"})

	if code := worker.stop(); code != 0 {
		t.Errorf("on SIGTERM it exits with %d", code)
	}
	worker.await("stopped")
	if strings.Contains(worker.output(), "canary") {
		t.Error("its log shows a token")
	}
}

func TestTheDoctorOfADeployment(t *testing.T) {
	t.Parallel()
	p := newDeployment(t, natstest.Start(t).ClientURL())
	if o := p.run("", "doctor", "--json"); o.code != 1 || !strings.Contains(o.stdout, `"bad"`) {
		t.Errorf("with nothing set up: exit code %d: %s", o.code, o.stdout)
	}
	p.must("", "setup", "--replicas", "1")
	found := map[string]string{}
	for _, f := range objects(t, p.must("", "doctor", "--json")) {
		what, _, _ := strings.Cut(f["what"].(string), ":")
		if level := f["level"].(string); found[what] == "" || level != "ok" {
			found[what] = level
		}
	}
	name := p.setting("TOKENWORKER_TABLE")
	for what, want := range map[string]string{
		"NATS": "ok", "NATS transport": "ok", "NATS durability": "warn", "NATS rights": "warn", "streams": "warn",
		"reads": "warn", "erasures": "warn", "epoch": "ok", "table " + name: "ok", "KMS key alias/" + name: "ok", "key service": "ok", "event keys": "ok", "clock": "ok",
	} {
		if found[what] != want {
			t.Errorf("%s: %q, want %q", what, found[what], want)
		}
		delete(found, what)
	}
	if len(found) > 0 {
		t.Errorf("the doctor also says %v", found)
	}
}

func TestAWorkerWaitsForNATSAndTakesUpWorkWithoutARestart(t *testing.T) {
	t.Parallel()
	store, port := t.TempDir(), freePort(t)
	s := startNATS(t, port, store)
	p := newDeployment(t, s.ClientURL())
	p.must("", "setup", "--replicas", "1")
	stopNATS(s)

	worker := p.start("run")
	worker.await("waiting")
	base := "http://" + regexp.MustCompile(`http=([0-9.:]+)`).FindStringSubmatch(worker.await("starting"))[1]
	if code, _ := get(t, base+"/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("without NATS, /readyz: %d", code)
	}
	if code, _ := get(t, base+"/healthz"); code != http.StatusOK {
		t.Errorf("without NATS, /healthz: %d", code)
	}
	for range 2 { // at its start, and while it works
		s = startNATS(t, port, store)
		worker.await("working")
		eventually(t, "the worker is ready", func() bool { code, _ := get(t, base+"/readyz"); return code == http.StatusOK })
		expectFields(t, object(t, p.must("token", "publish", "acquired", connection, "--wait", "--json")), map[string]any{"outcome": "stored"})
		stopNATS(s)
		eventually(t, "the worker is not ready", func() bool { code, _ := get(t, base+"/readyz"); return code != http.StatusOK })
	}
	if code := worker.stop(); code != 0 {
		t.Errorf("on SIGTERM, without NATS, it exits with %d", code)
	}
}

func TestAWorkerThatWaitsForAWSStopsWhenTold(t *testing.T) {
	p := newProgram(t, "AWS_ENDPOINT_URL=http://127.0.0.1:1", "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=test",
		"AWS_SECRET_ACCESS_KEY=canary-secret", "AWS_EC2_METADATA_DISABLED=true",
		"TOKENWORKER_NATS_URL=nats://127.0.0.1:1", "TOKENWORKER_HTTP_ADDR=127.0.0.1:0")
	worker := p.start("run", "--log-level", "debug")
	worker.await("waiting")
	if code := worker.stop(); code != 0 {
		t.Errorf("on SIGTERM it exits with %d", code)
	}
	if strings.Contains(worker.output(), "canary") {
		t.Error("its log shows the AWS secret")
	}
}

// gate is a way to AWS that can be shut: requests that come then wait for ever.
type gate struct {
	shut    atomic.Bool
	waiting chan struct{} // gets one for each request that waits
}

func newGate(t *testing.T, p *program) *gate {
	t.Helper()
	upstream, err := url.Parse(localstack.Endpoint(t))
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{waiting: make(chan struct{}, 64)}
	proxy := httputil.NewSingleHostReverseProxy(upstream)
	ended := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.shut.Load() {
			g.waiting <- struct{}{}
			select {
			case <-r.Context().Done():
			case <-ended:
			}
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { close(ended); server.Close() })
	p.env = append(p.env, "AWS_ENDPOINT_URL="+server.URL)
	return g
}

// stuckWorker starts a worker and has it handle an event for which it waits on AWS.
func stuckWorker(t *testing.T, args ...string) *process {
	t.Helper()
	p := newDeployment(t, natstest.Start(t).ClientURL())
	p.must("", "setup", "--replicas", "1")
	public := filepath.Join(t.TempDir(), "public.json")
	if err := os.WriteFile(public, []byte(p.must("", "keys", "show")), 0o600); err != nil {
		t.Fatal(err)
	}
	g := newGate(t, p)
	worker := p.start(append([]string{"run"}, args...)...)
	worker.await("working")
	g.shut.Store(true)
	p.must("token", "publish", "acquired", connection, "--public-key", public) // needs no AWS
	select {
	case <-g.waiting:
	case <-time.After(patience):
		t.Fatal("the worker does not ask AWS for anything")
	}
	return worker
}

func TestTheShutdownLimitEndsWhatIsStuck(t *testing.T) {
	t.Parallel()
	worker := stuckWorker(t, "--shutdown-limit", "100ms")
	if code := worker.stop(); code != 0 {
		t.Errorf("on SIGTERM it exits with %d", code)
	}
}

func TestASecondSignalEndsTheWorkerAtOnce(t *testing.T) {
	t.Parallel()
	worker := stuckWorker(t, "--shutdown-limit", "1h")
	worker.signal(syscall.SIGTERM)
	worker.await("stopping")
	if code := worker.stop(); code != -1 {
		t.Errorf("on the second signal it exits with %d, want it ended by the signal", code)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func startNATS(t *testing.T, port int, store string) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true, JetStream: true, StoreDir: store,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { stopNATS(s) })
	if !s.ReadyForConnections(patience) {
		t.Fatal("NATS does not get ready")
	}
	return s
}

func stopNATS(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}
