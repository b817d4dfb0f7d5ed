// Package storetest is the contract of stores, as an interface and as tests: what the worker may rely on, whether its
// records lie in DynamoDB or in SQLite. A store is right when [Test] and [TestReopen] pass.
//
// What an event does to a record is decided by the rules of package tokenworker, never by a store. So after every step
// the suite compares the stored record, field by field, with the one that the rules give, and the named cases state
// their verdicts besides, so that neither can drift without a test that fails.
//
// The suite runs against stores that are shared with other tests: every test uses organizations and key names of its
// own.
package storetest

import (
	"context"
	"iter"
	"time"

	"github.com/tokenworker/tokenworker"
)

// Store is everything that the worker asks of a store. Consumers name the few methods that they need; this interface
// exists for the tests alone.
//
// Every method is safe for concurrent use, and every method that changes a record is atomic: it acts on the record as
// it is at one instant, or not at all. Errors match:
//
//   - [tokenworker.ErrUnavailable]: no answer, or asked to slow down. Whether it took place is unknown; trying again is safe.
//   - [tokenworker.ErrMisconfigured]: the table or file is not what setup leaves behind.
//   - the context's own error, when that ended.
//
// Beside an error the other results mean nothing. Times are kept to the second, rounded down.
type Store interface {
	// Acquire applies a token-acquired event by [tokenworker.Record.Acquire]. Errors: ErrTooLarge for a sealed set of
	// more than MaxSealedBytes.
	Acquire(ctx context.Context, a *tokenworker.Acquisition) (tokenworker.Verdict, error)

	// Disconnect applies a disconnect event by [tokenworker.Record.Disconnect].
	Disconnect(ctx context.Context, d *tokenworker.Disconnection) (tokenworker.Verdict, error)

	// Get returns the record, as every write that returned before the call left it. Errors: ErrNotFound.
	Get(ctx context.Context, k tokenworker.Key) (tokenworker.Record, error)

	// Records yields the records of one organization in the order of their keys' text form, each as it was at some
	// instant of the listing. After an error, the last thing it yields, it stops.
	Records(ctx context.Context, orgID string) iter.Seq2[tokenworker.Record, error]

	// AllRecords yields every record, of any organization, once and in no order that counts, each as it was at some instant
	// of the listing. After an error, the last thing it yields, it stops.
	AllRecords(ctx context.Context) iter.Seq2[tokenworker.Record, error]

	// Update makes the record what the rule says of it, and returns the record as it then is (fractions of seconds apart)
	// and the rule's verdict. rec is the record as it was last read, or returned here, however long ago; its key alone will
	// do. The rule is asked about the record as it is, so what was written since stays. Where there is no record, a rule
	// that returns the zero record makes none. Errors: the rule's own, ErrTooLarge.
	Update(ctx context.Context, rec tokenworker.Record, rule tokenworker.Rule) (tokenworker.Record, tokenworker.Verdict, error)

	// Retained returns the token sets that are kept beside a record, the newest first. Which they are is decided by the rules
	// ([tokenworker.Record.Retain]), and they change in the same atomic step as the record: a set that becomes current is
	// added, the oldest go that are too many, and all go from beside a tombstone.
	Retained(ctx context.Context, k tokenworker.Key) ([]tokenworker.RetainedSet, error)

	// RewrapRetained replaces a retained set, unless it is no longer as it was, or there at all. Errors: ErrTooLarge.
	RewrapRetained(ctx context.Context, k tokenworker.Key, f tokenworker.Fence, set tokenworker.Rewrapped) error

	// DropRetained removes the retained sets that are not newer than a stamp.
	DropRetained(ctx context.Context, k tokenworker.Key, until tokenworker.Stamp) error

	// Due yields the keys of one provider's connections that are due at a time, soonest first, from one of its shards. It
	// may name one that is no longer due, and may miss one that became due within the last seconds. What is not due costs
	// it nothing, however much is stored. After an error, the last thing it yields, it stops.
	Due(ctx context.Context, providerID string, shard int, at time.Time) iter.Seq2[tokenworker.Key, error]

	// NoteProvider remembers that there are, or will be, connections of a provider. Repeating it is harmless. Errors:
	// ErrMisconfigured when there are too many.
	NoteProvider(ctx context.Context, id string) error

	// Providers lists, sorted, every provider that was noted and has a connection that is, or will be, due; it may list
	// others that were noted.
	Providers(ctx context.Context) ([]string, error)

	// Shards is how many shards the due connections of each provider are spread over; they are numbered from 0.
	Shards() int

	// Siblings yields the keys of the same company at the same provider in other organizations, tombstones included. It
	// may miss one that was first written within IndexLag. After an error, the last thing it yields, it stops.
	Siblings(ctx context.Context, k tokenworker.Key) iter.Seq2[tokenworker.Key, error]

	// BySubject yields the keys of the connections that a person has granted: the subject as its issuer names it, which may
	// be empty. It may miss one that was written within IndexLag, and may name one that is not the person's; records tell.
	// After an error, the last thing it yields, it stops.
	BySubject(ctx context.Context, issuer, subject string) iter.Seq2[tokenworker.Key, error]

	// IndexLag is how far behind the records what Due, Siblings and BySubject say may be.
	IndexLag() time.Duration

	// WrappedKey returns the key of that name. Errors: ErrNotFound. A name is a kind (lower-case letters), a slash, and a
	// rest that is spelled as [tokenworker.EscapePart] spells: "org/acme", "pool/7", "event/2f9a".
	WrappedKey(ctx context.Context, name string) (tokenworker.WrappedKey, error)

	// PutWrappedKey writes k if the key stored under its name has replaces as its Wrapped, or, with replaces nil, if there
	// is none. It returns the key that is stored afterwards: k, or the one that was there first, which is no error.
	// Errors: ErrNotFound, when there is none to replace.
	PutWrappedKey(ctx context.Context, k tokenworker.WrappedKey, replaces []byte) (tokenworker.WrappedKey, error)

	// WrappedKeys returns the keys whose names begin with prefix, by name. The prefix is at least a kind and its slash;
	// keys of kind "org" are not listed.
	WrappedKeys(ctx context.Context, prefix string) ([]tokenworker.WrappedKey, error)

	// AllWrappedKeys yields every wrapped key, of any kind, as AllRecords does records.
	AllWrappedKeys(ctx context.Context) iter.Seq2[tokenworker.WrappedKey, error]

	// DeleteWrappedKey forgets a key. That there is none is no error.
	DeleteWrappedKey(ctx context.Context, name string) error

	// PutCheckpoint stores a checkpoint of the audit trail unless there is one of its chain and sequence, and returns the one
	// that is there afterwards. Nanoseconds of its time are kept.
	PutCheckpoint(ctx context.Context, c tokenworker.AuditCheckpoint) (tokenworker.AuditCheckpoint, error)

	// LastCheckpoint returns the newest: of the highest chain, the highest sequence. Errors: ErrNotFound.
	LastCheckpoint(ctx context.Context) (tokenworker.AuditCheckpoint, error)

	// Checkpoints yields those of a chain by sequence. After an error, the last thing it yields, it stops.
	Checkpoints(ctx context.Context, chain uint64) iter.Seq2[tokenworker.AuditCheckpoint, error]

	// HighWater returns the high-water mark: the highest epoch ever given, 0 when none was, and the highest sequence that RaiseHighWater
	// was given in it.
	HighWater(ctx context.Context) (tokenworker.Stamp, error)

	// RaiseHighWater raises the sequence of the mark. A lower one, or one of another epoch, changes nothing.
	RaiseHighWater(ctx context.Context, to tokenworker.Stamp) error

	// TakeEpoch gives an epoch that is higher than every one given before. The sequence of the mark is 0 then.
	TakeEpoch(ctx context.Context) (uint64, error)
}
