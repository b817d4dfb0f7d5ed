package audit_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/audit"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/internal/natstest"
	"github.com/tokenworker/tokenworker/streams"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var acme = tokenworker.Key{OrgID: "acme", ProviderID: "google", CompanyID: "42"}

// rig is a trail over a real NATS server, SQLite store and key file.
type rig struct {
	*audit.Trail
	t       *testing.T
	js      jetstream.JetStream
	db      *embedded.Store
	service tokenworker.KeyService
	dir     string // of the NATS server
	server  *server.Server
	now     time.Time // zero: the real time
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir()}
	dir := t.TempDir()
	db, err := embedded.OpenStore(t.Context(), filepath.Join(dir, "store.db"))
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	r.db = db
	r.service, err = embedded.CreateKeyFile(filepath.Join(dir, "key.json"))
	must(t, err)
	r.serve()
	return r
}

// serve starts the NATS server on its files, and opens the trail.
func (r *rig) serve() {
	r.t.Helper()
	r.server = natstest.StartOn(r.t, r.dir)
	r.js = natstest.ConnectTo(r.t, r.server)
	r.setUp()
	r.Trail = r.open(r.db)
}

func (r *rig) setUp() {
	r.t.Helper()
	must(r.t, streams.Setup(r.t.Context(), r.js, 1, func(context.Context) (uint64, error) { return 1, nil }))
}

// open opens the trail with another store for its checkpoints.
func (r *rig) open(store audit.Store) *audit.Trail {
	r.t.Helper()
	return r.opened(r.js, store)
}

// over opens the trail over a connection.
func (r *rig) over(js jetstream.JetStream) *audit.Trail {
	r.t.Helper()
	return r.opened(js, r.db)
}

func (r *rig) opened(js jetstream.JetStream, store audit.Store) *audit.Trail {
	r.t.Helper()
	keys, err := audit.OpenKeys(r.t.Context(), r.db, r.service)
	must(r.t, err)
	trail, err := audit.New(audit.Config{Every: 10 * time.Millisecond, Now: func() time.Time {
		if r.now.IsZero() {
			return time.Now()
		}
		return r.now
	}}, js, store, keys)
	must(r.t, err)
	return trail
}

// tamper changes the messages of the trail in the server's files.
func (r *rig) tamper(change func([]natstest.Stored) []natstest.Stored) {
	r.t.Helper()
	r.server.Shutdown()
	r.server.WaitForShutdown()
	must(r.t, natstest.Tamper(r.dir, streams.Audit, change))
	r.serve()
}

// record records n reads.
func (r *rig) record(n int) {
	r.t.Helper()
	for i := range n {
		must(r.t, r.Record(r.t.Context(), tokenworker.AuditEntry{
			Action: tokenworker.AuditRead, Key: acme, Actor: fmt.Sprintf("caller-%d", i), Outcome: tokenworker.AuditDone, Time: time.Now(),
		}))
	}
}

// extend writes a checkpoint that covers every record.
func (r *rig) extend() {
	r.t.Helper()
	must(r.t, r.Extend(r.t.Context(), 0))
}

// requireSound fails unless the trail is what it was.
func (r *rig) requireSound(covered, tail uint64) audit.Report {
	r.t.Helper()
	report, err := r.Verify(r.t.Context())
	must(r.t, err)
	if report.Covered != covered || report.Tail != tail {
		r.t.Fatalf("%d records covered and %d in the tail, want %d and %d: %+v", report.Covered, report.Tail, covered, tail, report)
	}
	return report
}

// requireBroken fails unless the trail breaks first at a sequence.
func requireBroken(t *testing.T, err error, at uint64) {
	t.Helper()
	var broken *audit.BreakError
	if !errors.As(err, &broken) || broken.Sequence != at {
		t.Fatalf("error %v, want a break at sequence %d", err, at)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
