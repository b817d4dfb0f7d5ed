package tokenworker

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of one record. Together they keep a DynamoDB item far below its limit of 400 KB.
const (
	MaxSealedBytes = 64 << 10 // a sealed token set
	UsualSeen      = 64       // event ids remembered before any that is no longer needed is forgotten
	MaxSeen        = 1024     // event ids remembered at most: of so many events within the window no repeat is taken for news
	MaxAcquired    = 64       // spent refresh tokens remembered that events brought
	MaxSpent       = 16       // and that refreshes brought
	MaxRetain      = 20       // token sets kept beside a record
	MaxRevoke      = 4        // sealed sets waiting for revocation beside a current one; without one, one more
)

const (
	// TombstoneAge is how long a tombstone is kept after the last event that it was measured against entered the stream:
	// longer than events and dead letters may be late, and than anybody should leave an event parked or an answer in the
	// rescue stream: what comes from there even later finds nothing to be measured against.
	TombstoneAge = 90 * 24 * time.Hour

	// Window is how long after its time an event may enter the stream. A later one is refused, so an event's id has to
	// be remembered for the window and no longer.
	Window = 24 * time.Hour

	// ClockSkew is how far the clocks of publishers, NATS servers and workers may disagree.
	ClockSkew = 5 * time.Minute
)

// Status says what a record is good for.
type Status string

// The statuses of a record.
const (
	Active         Status = "active"          // holds a token set that may be served and refreshed
	ReauthRequired Status = "reauth_required" // the grant is dead; the last set is kept, never served, to be revoked
	Disconnecting  Status = "disconnecting"   // sets wait for revocation; nothing is served
	Disconnected   Status = "disconnected"    // a tombstone without secrets
)

// Stamp is the place of an event in the one order that counts: the epoch of its stream, then its sequence there. The
// zero Stamp is before every event.
type Stamp struct {
	Epoch    uint64
	Sequence uint64
}

// Compare is -1, 0 or +1 as s is before, at or after o.
func (s Stamp) Compare(o Stamp) int {
	return cmp.Or(cmp.Compare(s.Epoch, o.Epoch), cmp.Compare(s.Sequence, o.Sequence))
}

// IsZero reports the zero Stamp.
func (s Stamp) IsZero() bool { return s == Stamp{} }

// String is epoch/sequence in decimal.
func (s Stamp) String() string { return fmt.Sprintf("%d/%d", s.Epoch, s.Sequence) }

var errStamp = errors.New("not a stamp")

// ParseStamp undoes [Stamp.String].
func ParseStamp(text string) (Stamp, error) {
	epoch, sequence, ok := strings.Cut(text, "/")
	e, err1 := strconv.ParseUint(epoch, 10, 64)
	q, err2 := strconv.ParseUint(sequence, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return Stamp{}, errStamp
	}
	return Stamp{Epoch: e, Sequence: q}, nil
}

// Fence names one token set of a connection: the stamp of the acquisition that began it and the number of refreshes
// since. Writes that depend on a token set are conditional on it; seals are bound to it.
type Fence struct {
	Stamp      Stamp
	Generation uint64 // 0 for an acquisition, one more for each refresh
}

// Next is the fence of the set that a refresh of this one yields.
func (f Fence) Next() Fence { return Fence{f.Stamp, f.Generation + 1} }

// EventID is what the store remembers of an event to know its repeats: a hash of CloudEvents' identity (source, id)
// and the event's own time, which a repeat shares and by which the id is one day forgotten.
type EventID struct {
	Hash [16]byte
	Time int64 // Unix seconds
}

// NewEventID hashes source and id. Both are free of newlines, which the decoder enforces.
func NewEventID(source, id string, t time.Time) EventID {
	sum := sha256.Sum256([]byte("tokenworker/event-id/v1\n" + source + "\n" + id))
	return EventID{[16]byte(sum[:16]), t.Unix()}
}

// Fingerprint stands for a token of a connection. Tokens cannot be guessed (RFC 6749 section 10.10), so it gives nothing away.
// The zero Fingerprint stands for no token.
type Fingerprint [16]byte

// NewFingerprint is the first half of SHA-256 over a label, the connection and the token; zero for an empty token.
func NewFingerprint(k Key, token Secret) Fingerprint {
	if token.IsEmpty() {
		return Fingerprint{}
	}
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "tokenworker/fingerprint/v1\n%s\n", k)
	h.Write(token.Reveal())
	return Fingerprint(h.Sum(nil)[:len(Fingerprint{})])
}

// Fingerprint stands for the token by which the set is revoked: its refresh token or, where there is none, its access token.
func (t TokenSet) Fingerprint(k Key) Fingerprint {
	if t.RefreshToken.IsEmpty() {
		return NewFingerprint(k, t.AccessToken)
	}
	return NewFingerprint(k, t.RefreshToken)
}

// AttemptID names one attempt to change a record, so that a write whose reply was lost is recognized as one's own.
type AttemptID [16]byte

// NewAttemptID returns a random one.
func NewAttemptID() AttemptID {
	var a AttemptID
	_, _ = rand.Read(a[:]) // never fails: crypto/rand.Read
	return a
}

// String is lower-case hex.
func (a AttemptID) String() string { return hex.EncodeToString(a[:]) }

// Claim says that an attempt to refresh is under way and may have posted the record's refresh token.
type Claim struct {
	Owner      string // the process
	Attempt    AttemptID
	At         time.Time // when the token may first have been posted
	Until      time.Time // by then the owner has given up or died
	LastResort bool      // an earlier attempt of the same set was unresolved, and still is
}

// Attempt is what the fingerprint of a spent refresh token bears: the latest attempt at that token, as long as its end may
// still take the fingerprint back.
type Attempt struct {
	ID    AttemptID
	Token Fingerprint
	Sole  bool      // there was no other attempt at the token
	Until time.Time // the end of its claim
}

// Listed is a token set that waits for its revocation.
type Listed struct {
	Sealed []byte      // it names its fence in its header
	Token  Fingerprint // as in [Record]
}

// Owed is what a write has led to and must be announced: an event of the worker's own, named so that it can be made again
// by whoever finds it unannounced.
type Owed struct {
	Attempt AttemptID // of the write
	By      string    // the process that wrote it, and announces it while it lives
	Kinds   []string  // of the events
	Fence   Fence     // of the token set they are about
	Code    string    // why, for kinds that have a reason
	At      time.Time
}

// Owes reports whether the record still carries what an attempt's write owes.
func (r *Record) Owes(a AttemptID) bool {
	return slices.ContainsFunc(r.Owed, func(o Owed) bool { return o.Attempt == a })
}

// Details is what a record says in clear about its token set. Nothing in it is secret.
type Details struct {
	ExpiresAt            time.Time // of the access token; zero: unknown
	GrantExpiresAt       time.Time // of the grant; zero: unknown
	Scope                string
	Subject              string
	Issuer               string
	ProviderConnectionID string
	ConsentRef           string
	Refreshable          bool // the set has a refresh token
}

// Details returns the part of t that may stand in clear.
func (t TokenSet) Details() Details {
	return Details{
		ExpiresAt: t.ExpiresAt, GrantExpiresAt: t.GrantExpiresAt, Scope: t.Scope, Subject: t.Subject, Issuer: t.Issuer,
		ProviderConnectionID: t.ProviderConnectionID, ConsentRef: t.ConsentRef, Refreshable: !t.RefreshToken.IsEmpty(),
	}
}

// Record is everything the store holds of one connection. Times have a resolution of one second.
type Record struct {
	Key    Key
	Status Status
	Fence
	Entered      time.Time // when the event of the stamp entered the stream
	Disconnected Stamp     // of the last disconnect, applied or stale; zero: none

	Sealed  []byte      // the current token set; nil when there is none
	Token   Fingerprint // of the current set, by [TokenSet.Fingerprint]; zero when there is none
	Rotated bool        // the set's refresh token came with a provider's answer, not with an event
	Details

	DueAt       time.Time // when to look at the set, or at what is owed; zero: never
	RevokeAt    time.Time // when to try next to revoke what waits for it; zero: nothing does
	RevokeSince time.Time // since when something has waited for revocation; zero: nothing does
	Revoke      []Listed  // sets to revoke, oldest first

	Siblings *Siblings // nil: no disconnect that concerns the company's other connections is known

	Claim    *Claim // nil: no attempt to refresh is unresolved
	Revoking *Claim // nil: no attempt to revoke is under way

	Seen []EventID // ids of the last events, in no order

	// Refresh tokens that may be spent, oldest first: those that events brought, and those that refreshes brought. The first
	// are apart because they may come again at any time, however many refreshes later. Each is in one of the two.
	Acquired, Spent []Fingerprint
	Attempts        []Attempt // at those tokens, oldest first

	Failures    int    // in a row, to refresh; once disconnected, to revoke
	FailureCode string // of the last one
	Warned      bool   // that the grant ends soon has been announced
	Owed        []Owed // what is to be announced, oldest first

	AcquiredAt  time.Time // the time of the acquisition event
	RefreshedAt time.Time // of the last refresh; zero: never
	RemoveAt    time.Time // tombstones only: when the store may forget it

	// Retained: token sets of the connection lie, or lay once, beside the record. See [RetainedSet].
	Retained bool

	// Retain is of a record that a rule returns, and is not stored: the record holds a new token set, which is to be kept
	// beside it among the last so many. Zero: it is not kept, or not new.
	Retain int

	// Revision names the last write that changed the record, for stores that need it to make the next one conditional.
	Revision AttemptID
}

// RetainedSet is a token set that is kept beside its connection's record, sealed, as long as it is among the last few. It is
// written with the record that it was the current set of, in one atomic step, and all go in the step that makes the record
// a tombstone.
type RetainedSet struct {
	Fence
	Sealed    []byte
	ExpiresAt time.Time // of the access token; zero: unknown
	Scope     string
	At        time.Time // when it was acquired or refreshed
}

// RetainedSet is the record's current set, as it is kept.
func (r *Record) RetainedSet() RetainedSet {
	at := r.AcquiredAt
	if r.RefreshedAt.After(at) {
		at = r.RefreshedAt
	}
	return RetainedSet{r.Fence, r.Sealed, r.ExpiresAt, r.Scope, at}
}

// History returns those of the sets kept beside the record that may be read: none once it is disconnected, and none from
// before its last disconnect.
func (r *Record) History(kept []RetainedSet) []RetainedSet {
	if !r.live() {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(kept), func(s RetainedSet) bool { return s.Stamp.Compare(r.Disconnected) <= 0 })
}

// Waiting are the sealed sets that wait for their revocation, oldest first.
func (r *Record) Waiting() [][]byte {
	sealed := make([][]byte, len(r.Revoke))
	for i, l := range r.Revoke {
		sealed[i] = l.Sealed
	}
	return sealed
}

// Due is when the rotator should look at the record; zero: never.
func (r *Record) Due() time.Time {
	due := earlier(r.DueAt, r.RevokeAt)
	if r.Siblings != nil {
		due = earlier(due, r.Siblings.At)
	}
	return due
}

// Marks reports whether the record has other connections of its company to mark.
func (r *Record) Marks() bool { return r.Siblings != nil && !r.Siblings.At.IsZero() }

// Siblings is the last disconnect that has ended a company's connections in every organization, this record's own or a
// sibling's, and what it leaves to do: to disconnect those that are older too. They are found by an index that lags behind
// the records.
type Siblings struct {
	Stamp   Stamp     // of the disconnect
	Entered time.Time // when it entered the stream
	At      time.Time // when to look for them next; zero: nothing is left to do
	Until   time.Time // a look from then on finds all that are older; the first that does ends the work
	Ask     bool      // the provider said that the company was disconnected: the others are to be checked
}

// WrappedKey is a key at rest, wrapped by the key service.
type WrappedKey struct {
	Name      string    // what it is for: "org/acme", "pool/7", "event/<key id>"
	KeyID     string    // the key service's name for the key that wraps it
	Wrapped   []byte    // opaque to everyone but the key service
	Suite     string    // event keys only: the HPKE suite
	Public    []byte    // event keys only: the public key
	CreatedAt time.Time // for renewal
}
