package audit_test

import (
	"bytes"
	"context"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/embedded"
	"github.com/tokenworker/tokenworker/internal/natstest"
	"github.com/tokenworker/tokenworker/streams"
)

// covered returns a trail of 12 records, with checkpoints at 4, 8 and 10.
func covered(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	for _, n := range []int{4, 4, 2} {
		r.record(n)
		r.extend()
	}
	r.record(2)
	r.requireSound(10, 2)
	return r
}

func TestWhatIsDoneToTheFilesOfTheTrailShows(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func([]natstest.Stored) []natstest.Stored // index 6 is sequence 7
		at     uint64
	}{
		{"one byte of a record is altered", func(ms []natstest.Stored) []natstest.Stored {
			ms[6].Body = bytes.Replace(ms[6].Body, []byte("caller-"), []byte("caller_"), 1)
			return ms
		}, 7},
		{"the first record is altered", func(ms []natstest.Stored) []natstest.Stored {
			ms[0].Body = bytes.Replace(ms[0].Body, []byte("done"), []byte("dine"), 1)
			return ms
		}, 1},
		{"a record is put under another connection", func(ms []natstest.Stored) []natstest.Stored {
			ms[6].Subject = ms[6].Subject[:len(ms[6].Subject)-1] + "x"
			return ms
		}, 7},
		{"a record is dated back", func(ms []natstest.Stored) []natstest.Stored { ms[6].Nanos--; return ms }, 7},
		{"a record is removed", func(ms []natstest.Stored) []natstest.Stored { return slices.Delete(ms, 6, 7) }, 7},
		{"a record is removed, and the others close ranks", func(ms []natstest.Stored) []natstest.Stored {
			for i := 7; i < len(ms); i++ {
				ms[i].Sequence--
			}
			return slices.Delete(ms, 6, 7)
		}, 7},
		{"two records change places", func(ms []natstest.Stored) []natstest.Stored {
			ms[5].Body, ms[6].Body = ms[6].Body, ms[5].Body
			return ms
		}, 6},
		{"a record is added", func(ms []natstest.Stored) []natstest.Stored {
			ms = slices.Insert(ms, 6, ms[6])
			for i := 7; i < len(ms); i++ {
				ms[i].Sequence++
			}
			return ms
		}, 8},
		{"the beginning is removed", func(ms []natstest.Stored) []natstest.Stored { return ms[6:] }, 4},
		{"the first record is removed", func(ms []natstest.Stored) []natstest.Stored { return ms[1:] }, 1},
		{"all before the first checkpoint's record are removed", func(ms []natstest.Stored) []natstest.Stored { return ms[3:] }, 1},
		{"the tail is cut off after the newest checkpoint's record but one", func(ms []natstest.Stored) []natstest.Stored {
			return ms[:9]
		}, 10},
		{"all but the first is cut off", func(ms []natstest.Stored) []natstest.Stored { return ms[:1] }, 2},
		{"a record of the tail is removed", func(ms []natstest.Stored) []natstest.Stored { return slices.Delete(ms, 10, 11) }, 11},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := covered(t)
			r.tamper(c.change)
			_, err := r.Verify(t.Context())
			requireBroken(t, err, c.at)
		})
	}

	t.Run("nothing is done", func(t *testing.T) {
		t.Parallel()
		r := covered(t)
		r.tamper(func(ms []natstest.Stored) []natstest.Stored { return ms })
		r.requireSound(10, 2)
	})
}

func TestAStreamThatIsWrittenAnewShows(t *testing.T) {
	ctx, r := t.Context(), covered(t)
	s, err := r.js.Stream(ctx, streams.Audit)
	must(t, err)
	var copies []*nats.Msg
	for i := range uint64(12) {
		m, err := s.GetMsg(ctx, i+1)
		must(t, err)
		copies = append(copies, &nats.Msg{Subject: m.Subject, Data: m.Data})
	}
	must(t, r.js.DeleteStream(ctx, streams.Audit))
	r.setUp()
	for _, m := range copies {
		_, err := r.js.PublishMsg(ctx, m)
		must(t, err)
	}
	_, err = r.Verify(ctx) // the same records in the same order, at another time
	requireBroken(t, err, 1)
}

func TestAnEmptiedTrailShows(t *testing.T) {
	ctx, r := t.Context(), covered(t)
	must(t, r.js.DeleteStream(ctx, streams.Audit))
	r.setUp()
	_, err := r.Verify(ctx)
	requireBroken(t, err, 1)
	requireBroken(t, r.Extend(ctx, 0), 1)
}

func TestNobodyEmptiesTheTrailWithOneRequest(t *testing.T) {
	ctx, r := t.Context(), covered(t)
	s, err := r.js.Stream(ctx, streams.Audit)
	must(t, err)
	if err := s.Purge(ctx); err == nil {
		t.Error("the purge was allowed")
	}
	if err := s.DeleteMsg(ctx, 7); err == nil {
		t.Error("deleting a record was allowed")
	}
	if err := s.SecureDeleteMsg(ctx, 7); err == nil {
		t.Error("overwriting a record was allowed")
	}
	r.requireSound(10, 2)
}

// edited is a store whose checkpoints somebody has changed.
type edited struct {
	*rig
	chain  uint64
	change func([]tokenworker.AuditCheckpoint) []tokenworker.AuditCheckpoint
}

func (e edited) all(ctx context.Context) []tokenworker.AuditCheckpoint {
	var all []tokenworker.AuditCheckpoint
	for c, err := range e.db.Checkpoints(ctx, e.chain) {
		must(e.t, err)
		all = append(all, c)
	}
	return e.change(all)
}

func (e edited) Checkpoints(ctx context.Context, _ uint64) iter.Seq2[tokenworker.AuditCheckpoint, error] {
	return func(yield func(tokenworker.AuditCheckpoint, error) bool) {
		for _, c := range e.all(ctx) {
			if !yield(c, nil) {
				return
			}
		}
	}
}

func (e edited) LastCheckpoint(ctx context.Context) (tokenworker.AuditCheckpoint, error) {
	all := e.all(ctx)
	return all[len(all)-1], nil
}

func (e edited) PutCheckpoint(context.Context, tokenworker.AuditCheckpoint) (tokenworker.AuditCheckpoint, error) {
	panic("not asked for")
}

func TestWhatIsDoneToCheckpointsShows(t *testing.T) {
	r := covered(t)
	for _, c := range []struct {
		name   string
		change func([]tokenworker.AuditCheckpoint) []tokenworker.AuditCheckpoint
		at     uint64
	}{
		{"one is removed", func(cs []tokenworker.AuditCheckpoint) []tokenworker.AuditCheckpoint {
			return slices.Delete(cs, 1, 2)
		}, 10},
		{"the first is removed", func(cs []tokenworker.AuditCheckpoint) []tokenworker.AuditCheckpoint { return cs[1:] }, 8},
		{"a hash is altered", func(cs []tokenworker.AuditCheckpoint) []tokenworker.AuditCheckpoint {
			cs[1].Hash[0] ^= 1
			return cs
		}, 8},
		{"the links are altered", func(cs []tokenworker.AuditCheckpoint) []tokenworker.AuditCheckpoint {
			cs[1].Links[0] ^= 1
			return cs
		}, 8},
		{"the links are cut short", func(cs []tokenworker.AuditCheckpoint) []tokenworker.AuditCheckpoint {
			cs[1].Links = cs[1].Links[4:]
			return cs
		}, 8},
		{"one is moved to another sequence", func(cs []tokenworker.AuditCheckpoint) []tokenworker.AuditCheckpoint {
			cs[2].Sequence--
			return cs
		}, 9},
		{"one is dated back", func(cs []tokenworker.AuditCheckpoint) []tokenworker.AuditCheckpoint {
			cs[0].Recorded = cs[0].Recorded.Add(-streams.AuditAge)
			return cs
		}, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := r.open(edited{r, 1, c.change}).Verify(t.Context())
			requireBroken(t, err, c.at)
		})
	}
}

func TestACheckpointOfAnotherKeyIsNotBelieved(t *testing.T) {
	r, other := covered(t), newRig(t)
	other.record(10)
	other.extend()
	forged, err := other.db.LastCheckpoint(t.Context())
	must(t, err)
	_, err = r.open(edited{r, 1, func(cs []tokenworker.AuditCheckpoint) []tokenworker.AuditCheckpoint {
		cs[2] = forged
		return cs
	}}).Verify(t.Context())
	requireBroken(t, err, 10)
}

// aged removes records from the beginning as the stream does when their time has come.
func aged(n int) func([]natstest.Stored) []natstest.Stored {
	return func(ms []natstest.Stored) []natstest.Stored { return ms[n:] }
}

func TestRecordsThatAgeRemovedAreNotMissed(t *testing.T) {
	r := covered(t)
	r.tamper(aged(6))
	r.now = time.Now().Add(streams.AuditAge)
	report := r.requireSound(2, 2)
	if report.Aged != 2 || report.First != 7 {
		t.Errorf("report %+v; want that nothing leads to 7 and 8 any more", report)
	}
	r.now = time.Now().Add(streams.AuditAge - 2*time.Hour)
	_, err := r.Verify(t.Context())
	requireBroken(t, err, 4)
}

func TestACheckpointCoversRecordsThatAgeRemovesTogether(t *testing.T) {
	r := newRig(t)
	r.record(3)
	r.tamper(func(ms []natstest.Stored) []natstest.Stored { // recorded while nothing extended the chain
		ms[0].Nanos -= int64(2 * time.Hour)
		return ms
	})
	r.extend()
	r.requireSound(3, 0)
	r.tamper(aged(1))
	r.now = time.Now().Add(streams.AuditAge - 2*time.Hour + time.Minute)
	r.requireSound(2, 0)
}

// aging is a store from which the checkpoints are read so slowly that a record is gone by age before they are all there.
type aging struct {
	*embedded.Store
	age func()
}

func (a aging) Checkpoints(ctx context.Context, chain uint64) iter.Seq2[tokenworker.AuditCheckpoint, error] {
	return func(yield func(tokenworker.AuditCheckpoint, error) bool) {
		a.age()
		a.Store.Checkpoints(ctx, chain)(yield)
	}
}

func TestRecordsThatAgeRemovesMeanwhileAreNotMissed(t *testing.T) {
	ctx, r := t.Context(), covered(t)
	r.extend()
	r.now = time.Now().Add(streams.AuditAge)
	s, err := r.js.Stream(ctx, streams.Audit)
	must(t, err)
	cfg := s.CachedInfo().Config
	for _, kept := range []int64{6, 1} {
		report, err := r.open(aging{r.db, func() {
			cfg.Discard, cfg.MaxMsgs = jetstream.DiscardOld, kept
			_, err := r.js.UpdateStream(ctx, cfg)
			must(t, err)
		}}).Verify(ctx)
		must(t, err)
		if want := uint64(12 - kept + 1); report.First != want || report.Last != 12 {
			t.Errorf("verified from %d to %d, want %d to 12", report.First, report.Last, want)
		}
	}
}

func TestAllRecordsMayBeRemovedByAge(t *testing.T) {
	r := newRig(t)
	r.record(3)
	r.extend()
	r.record(1)
	r.tamper(aged(3))
	r.now = time.Now().Add(streams.AuditAge)
	r.requireSound(0, 1)
}

func TestAChainThatIsBrokenForGoodIsBegunAnew(t *testing.T) {
	ctx, r := t.Context(), covered(t)
	must(t, r.js.DeleteStream(ctx, streams.Audit))
	r.setUp()
	r.record(3)
	requireBroken(t, r.Extend(ctx, 0), 4)
	_, err := r.Verify(ctx)
	requireBroken(t, err, 1)

	c, err := r.Begin(ctx)
	must(t, err)
	if c.Chain != 2 || c.Sequence != 3 {
		t.Fatalf("the new chain begins with %+v, want chain 2 after sequence 3", c)
	}
	r.record(2)
	r.extend()
	report := r.requireSound(2, 0)
	if report.Chain != 2 || report.Aged != 3 {
		t.Errorf("report %+v; want that nothing confirms the 3 records before chain 2", report)
	}
	_, err = r.open(edited{r, 2, func(cs []tokenworker.AuditCheckpoint) []tokenworker.AuditCheckpoint { return cs[1:] }}).Verify(ctx)
	requireBroken(t, err, 5) // without the checkpoint of its beginning
	if first, err := r.db.LastCheckpoint(ctx); err != nil || first.Chain != 2 || first.Sequence != 5 {
		t.Errorf("newest checkpoint %+v, error %v", first, err)
	}
}

// elsewhere is a store in which another replica, which sees another stream, is always first.
type elsewhere struct{ *embedded.Store }

func (elsewhere) PutCheckpoint(_ context.Context, c tokenworker.AuditCheckpoint) (tokenworker.AuditCheckpoint, error) {
	c.Hash[0] ^= 1
	return c, nil
}

func TestReplicasThatSeeDifferentStreamsDoNotGoOn(t *testing.T) {
	r := newRig(t)
	r.record(3)
	requireBroken(t, r.open(elsewhere{r.db}).Extend(t.Context(), 0), 3)
}
