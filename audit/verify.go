package audit

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/streams"
)

// Report is what [Trail.Verify] found in order.
type Report struct {
	Chain       uint64    `json:"chain"`                 // 1, unless the trail had to be begun anew
	First       uint64    `json:"first"`                 // sequence of the first record that is still kept
	Last        uint64    `json:"last"`                  // and of the last
	Checkpoints int       `json:"checkpoints"`           // that were checked
	Covered     uint64    `json:"covered"`               // records whose hash a checkpoint confirms
	Aged        uint64    `json:"aged"`                  // records before the first checkpoint that something still leads to
	Tail        uint64    `json:"tail"`                  // records past the newest checkpoint, which nothing confirms yet
	TailSince   time.Time `json:"tail_since,omitzero"`   // when the first of these was recorded
	PublicKey   []byte    `json:"public_key,omitempty"`  // Ed25519, that the checkpoints are signed with
	NewestHash  []byte    `json:"newest_hash,omitempty"` // at the newest checkpoint
}

// agedSlack is how much longer than [streams.AuditAge] ago a record must have been made to be missed without a word: clocks
// differ, and the stream removes what is old within a while.
const agedSlack = time.Hour

// Verify reads the whole trail and compares it with its checkpoints. The error is a [*BreakError] at the first sequence where it
// is not what it was; the report is then as far as it came.
func (t *Trail) Verify(ctx context.Context) (Report, error) {
	newest, err := t.store.LastCheckpoint(ctx) // before the stream: what is written meanwhile must not look cut off
	if errors.Is(err, tokenworker.ErrNotFound) {
		newest.Chain = 1
	} else if err != nil {
		return Report{}, err
	}
	first, last, err := t.Sequences(ctx)
	if err != nil {
		return Report{}, err
	}
	v := &verification{
		trail: t, at: firstLink(newest.Chain, 0), exact: newest.Chain == 1, newest: newest.Sequence,
		report: Report{Chain: newest.Chain, First: last + 1, PublicKey: t.keys.Public()},
	}
	if newest.Sequence > 0 {
		v.report.NewestHash = newest.Hash[:]
	}
	next, stop := iter.Pull2(t.store.Checkpoints(ctx, newest.Chain))
	defer stop()
	v.more = next
	if err := v.pass(first); err != nil { // these may be many, and records age meanwhile
		return v.report, err
	}
	begun := false
	for m, err := range t.messages(ctx, first, "") {
		if err == nil && !begun {
			begun, err = true, v.begin(m.sequence)
		}
		if err == nil {
			err = v.record(m)
		}
		if err != nil {
			return v.report, err
		}
	}
	if !begun {
		if err := v.begin(last + 1); err != nil {
			return v.report, err
		}
	}
	return v.report, v.end()
}

// verification goes through records and checkpoints side by side.
type verification struct {
	trail  *Trail
	at     link   // the last record, or checkpoint, that was passed
	exact  bool   // at.hash is known; it is not before a chain's beginning, or between a record that age removed and a checkpoint
	newest uint64 // sequence of the newest checkpoint
	more   func() (tokenworker.AuditCheckpoint, error, bool)
	ahead  *tokenworker.AuditCheckpoint // the next checkpoint; nil: there is no more
	report Report
}

// step makes the checkpoint after the one ahead the one ahead.
func (v *verification) step() error {
	c, err, ok := v.more()
	switch {
	case !ok, err == nil && c.Sequence > v.newest:
		v.ahead = nil
		return nil
	case err != nil:
		return err
	case !v.trail.keys.verify(c):
		return &BreakError{c.Sequence, brokenSignature}
	case v.report.Checkpoints > 0 && c.After() > v.ahead.Sequence,
		v.report.Checkpoints == 0 && c.Chain == 1 && c.After() > 0,
		v.report.Checkpoints == 0 && c.Chain > 1 && len(c.Links) > 0: // Begin left one without
		return &BreakError{c.Sequence, brokenCheckpoint}
	}
	v.report.Checkpoints++
	v.ahead = &c
	return nil
}

// pass passes the checkpoints before the first record that is kept. What they cover must be old enough to be gone.
func (v *verification) pass(first uint64) error {
	for {
		if v.ahead == nil || v.ahead.Sequence < first {
			if err := v.step(); err != nil {
				return err
			}
		}
		if v.ahead == nil || v.ahead.Sequence >= first {
			return nil
		}
		if v.young(*v.ahead) {
			return &BreakError{v.ahead.Sequence, brokenGap}
		}
		v.at, v.exact = linkAt(*v.ahead), true
	}
}

// begin comes to the first record that is kept. Those before it that the checkpoint ahead covers too must be old enough.
func (v *verification) begin(first uint64) error {
	if err := v.pass(first); err != nil {
		return err
	}
	v.report.First = first
	if v.at.sequence+1 < first && (v.ahead == nil || v.young(*v.ahead)) {
		return &BreakError{v.at.sequence + 1, brokenGap}
	}
	v.exact = v.exact && v.at.sequence+1 == first
	v.at.sequence = first - 1
	return nil
}

// young reports whether none of the records that a checkpoint covers can be gone by age. It covers none where a chain begins.
func (v *verification) young(c tokenworker.AuditCheckpoint) bool {
	return len(c.Links) > 0 && c.Recorded.After(v.trail.cfg.Now().Add(agedSlack-streams.AuditAge))
}

// record goes past one record, and past the checkpoint there.
func (v *verification) record(m message) error {
	if m.sequence != v.at.sequence+1 {
		return &BreakError{v.at.sequence + 1, brokenGap}
	}
	v.report.Last = m.sequence
	if v.exact {
		v.at = v.at.next(m)
	} else {
		v.at.sequence = m.sequence
	}
	switch {
	case v.ahead == nil:
		if v.report.Tail++; v.report.Tail == 1 {
			v.report.TailSince = m.entered
		}
		return nil
	case !v.exact:
		v.report.Aged++
	default:
		if err := v.at.against(*v.ahead); err != nil {
			return err
		}
		v.report.Covered++
	}
	for v.ahead != nil && v.ahead.Sequence == m.sequence {
		v.at, v.exact = linkAt(*v.ahead), true
		if err := v.step(); err != nil {
			return err
		}
	}
	return nil
}

// end finds the tail cut off when a checkpoint is still ahead.
func (v *verification) end() error {
	if v.ahead != nil {
		return &BreakError{v.at.sequence + 1, brokenTail}
	}
	return nil
}
