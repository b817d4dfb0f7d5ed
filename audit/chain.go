package audit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/tokenworker/tokenworker"
)

// link is the chain up to one record.
type link struct {
	chain    uint64
	sequence uint64
	hash     [sha256.Size]byte
	recorded time.Time
}

// firstLink is the chain before its first record, which has the sequence after the given one:
//
//	SHA-256("tokenworker/audit-chain/v1\n" ‖ chain, 8 bytes ‖ sequence, 8 bytes)
func firstLink(chain, after uint64) link {
	b := append([]byte(nil), "tokenworker/audit-chain/v1\n"...)
	b = binary.BigEndian.AppendUint64(b, chain)
	b = binary.BigEndian.AppendUint64(b, after)
	return link{chain: chain, sequence: after, hash: sha256.Sum256(b)}
}

// next is the chain up to the record after, numbers in big-endian:
//
//	SHA-256(hash before, 32 bytes ‖ sequence, 8 bytes ‖ Unix time in the stream in nanoseconds, 8 bytes ‖
//	        length of the subject, 4 bytes ‖ subject ‖ body)
func (l link) next(m message) link {
	b := append([]byte(nil), l.hash[:]...)
	b = binary.BigEndian.AppendUint64(b, m.sequence)
	b = binary.BigEndian.AppendUint64(b, uint64(m.entered.UnixNano()))
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.subject))) //nolint:gosec // of a NATS subject
	b = append(b, m.subject...)
	b = append(b, m.data...)
	return link{chain: l.chain, sequence: m.sequence, hash: sha256.Sum256(b), recorded: m.entered}
}

// short is what a checkpoint keeps of the link.
func (l link) short() []byte { return l.hash[:tokenworker.AuditLinkBytes] }

// linkAt is the chain at a checkpoint.
func linkAt(c tokenworker.AuditCheckpoint) link {
	return link{chain: c.Chain, sequence: c.Sequence, hash: c.Hash, recorded: c.Recorded}
}

// checkpoint signs the link. Links are those since an earlier checkpoint.
func (k *Keys) checkpoint(l link, links []byte) tokenworker.AuditCheckpoint {
	c := tokenworker.AuditCheckpoint{Chain: l.chain, Sequence: l.sequence, Hash: l.hash, Recorded: l.recorded, Links: links}
	c.Signature = ed25519.Sign(k.signing, signed(c))
	return c
}

// verify reports whether the worker's key has signed the checkpoint.
func (k *Keys) verify(c tokenworker.AuditCheckpoint) bool {
	return ed25519.Verify(k.Public(), signed(c), c.Signature)
}

// signed is what the signature of a checkpoint is over, numbers in big-endian:
//
//	"tokenworker/audit-checkpoint/v1\n" ‖ chain, 8 bytes ‖ sequence, 8 bytes ‖ hash, 32 bytes ‖
//	Unix time of the record in nanoseconds, 8 bytes ‖ links
func signed(c tokenworker.AuditCheckpoint) []byte {
	b := append([]byte(nil), "tokenworker/audit-checkpoint/v1\n"...)
	b = binary.BigEndian.AppendUint64(b, c.Chain)
	b = binary.BigEndian.AppendUint64(b, c.Sequence)
	b = append(b, c.Hash[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Recorded.UnixNano()))
	return append(b, c.Links...)
}

// BreakError says that the trail is not what it was.
type BreakError struct {
	Sequence uint64 // the first at which that is certain
	What     string // fixed words
}

func (b *BreakError) Error() string {
	return fmt.Sprintf("the audit trail breaks at sequence %d: %s", b.Sequence, b.What)
}

// What a break may be.
const (
	brokenRecord     = "the record is not the one that was chained: it was altered, or another was put in its place"
	brokenGap        = "the record is missing"
	brokenTail       = "the record is missing, and all that followed: the tail was cut off"
	brokenSignature  = "the checkpoint there is not signed by the worker's key"
	brokenCheckpoint = "a checkpoint before the one there is missing"
)

// against compares a link with what a checkpoint says of its record.
func (l link) against(c tokenworker.AuditCheckpoint) error {
	if l.sequence == c.Sequence && (l.hash != c.Hash || !l.recorded.Equal(c.Recorded)) {
		return &BreakError{l.sequence, brokenRecord}
	}
	if l.sequence <= c.After() || l.sequence > c.Sequence {
		return nil
	}
	at := (l.sequence - c.After() - 1) * tokenworker.AuditLinkBytes
	if !bytes.Equal(c.Links[at:at+tokenworker.AuditLinkBytes], l.short()) {
		return &BreakError{l.sequence, brokenRecord}
	}
	return nil
}
