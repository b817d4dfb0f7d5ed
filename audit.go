package tokenworker

import "time"

// AuditAction is what an [AuditEntry] says was done, or asked for.
type AuditAction string

// The actions of the audit trail.
const (
	AuditRead       AuditAction = "read"       // a token was handed out
	AuditWrite      AuditAction = "write"      // an acquired token set was stored
	AuditRefresh    AuditAction = "refresh"    // a token set was replaced by a newer one of its provider's
	AuditDisconnect AuditAction = "disconnect" // from here on nothing is served
	AuditRevoke     AuditAction = "revoke"     // at the provider
	AuditErase      AuditAction = "erase"      // of all data
	AuditExport     AuditAction = "export"     // of metadata, never of tokens
	AuditRewrap     AuditAction = "rewrap"     // to another key of the key service
	AuditRestore    AuditAction = "restore"    // of the store, to an earlier time
	AuditBegin      AuditAction = "begin"      // of a new chain of the trail
)

// AuditOutcome is how it ended.
type AuditOutcome string

// The outcomes of an audited action.
const (
	AuditDone    AuditOutcome = "done"
	AuditAsked   AuditOutcome = "asked"   // what came of it is on record by itself
	AuditRefused AuditOutcome = "refused" // by the worker or the provider; the reason is a code
	AuditFailed  AuditOutcome = "failed"  // it did not work, or nobody knows whether it did; the reason is a code
)

// AuditEntry is one record of the audit trail, as whoever acts knows it: who did what to which connection, why, and what
// came of it. It holds no secret. Package audit names the connection by a keyed pseudonym before the entry leaves the
// process, so that the trail outlives the erasure of those it is about.
//
// Those who act name what they need of package audit as an interface of their own:
//
//	// Record returns when the entry is durable. With an error it may not be: what must be on record is not done then.
//	Record(ctx context.Context, e tokenworker.AuditEntry) error
//
// What the worker announces (stored, refreshed, disconnected, revoked, erased, rejected, …) needs no call: package audit
// makes its record of the announcement, which is as durable as the write that led to it.
type AuditEntry struct {
	Action  AuditAction
	Key     Key    // trailing parts are empty where it is about a whole organization, or provider of one
	Actor   string // who asked for it: the caller of a read, the source of an event, the user of a command; or the worker
	Reason  string // why, as a fixed word: what asked for it, or the code of a refusal or failure; may be empty
	Outcome AuditOutcome
	Fence   Fence   // of the token set, or the stamp of the event; zero: none
	Event   EventID // of the event that asked for it; zero: none
	Time    time.Time

	// ID makes the entry one with others of that id, recorded within the stream's duplicate window; empty: it is on its own.
	ID string
}

// AuditCheckpoint says, signed, what the audit trail was up to one record of it: a hash over every record, each over the
// one before. Package audit makes and checks it.
type AuditCheckpoint struct {
	Chain     uint64    // 1 for the first; one more whenever the stream of the trail had to be begun anew
	Sequence  uint64    // of the record, in the stream
	Hash      [32]byte  // of the chain up to the record
	Recorded  time.Time // when the record entered the stream; nanoseconds count
	Links     []byte    // 4 bytes of the hash at each record since an earlier checkpoint; they tell where a break is
	Signature []byte    // over all of this
}

// After is the sequence of the record before the first that Links are about.
func (c AuditCheckpoint) After() uint64 { return c.Sequence - uint64(len(c.Links)/AuditLinkBytes) }

// AuditLinkBytes is how much of each record's hash a checkpoint keeps.
const AuditLinkBytes = 4
