package audit_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/audit"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/internal/natstest"
	"github.com/tokenworker/tokenworker/streams"
)

// BenchmarkRecord is what a read pays for its record, with a NATS server in the same process: alone, and beside others.
func BenchmarkRecord(b *testing.B) {
	ctx, dir, js := b.Context(), b.TempDir(), natstest.Connect(b)
	db, err := embedded.OpenStore(ctx, filepath.Join(dir, "store.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	service, err := embedded.CreateKeyFile(filepath.Join(dir, "key.json"))
	if err != nil {
		b.Fatal(err)
	}
	keys, err := audit.OpenKeys(ctx, db, service)
	if err != nil {
		b.Fatal(err)
	}
	trail, err := audit.New(audit.Config{}, js, db, keys)
	if err != nil {
		b.Fatal(err)
	}
	if err := streams.Setup(ctx, js, 1, func(context.Context) (uint64, error) { return 1, nil }); err != nil {
		b.Fatal(err)
	}
	read := tokenworker.AuditEntry{
		Action: tokenworker.AuditRead, Key: acme, Actor: "payroll", Outcome: tokenworker.AuditDone, Time: time.Now(),
	}
	b.Run("alone", func(b *testing.B) {
		for b.Loop() {
			if err := trail.Record(ctx, read); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("beside others", func(b *testing.B) {
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := trail.Record(ctx, read); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
