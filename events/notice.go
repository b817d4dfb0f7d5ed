package events

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tokenworker/tokenworker"
)

// Notice is an event of the worker's own: what it did about one connection. It never holds a secret.
type Notice struct {
	Kind       Kind
	Key        tokenworker.Key
	Source, ID string
	Time       time.Time
	Data       json.RawMessage // of the kind's data type, such as [StoredData]
}

// NoticeData is the data of one kind of notice: [StoredData], [DisconnectedData], [RejectedData], [DroppedData], [ErasedData],
// or [AttemptData] for the others.
type NoticeData interface {
	// notice is the kind, and what tells this notice from all others of the kind.
	notice() (k Kind, identity string)
}

// Cause names the request that made the worker do something: its stamp, and its CloudEvents identity and time where these
// were readable.
type Cause struct {
	Epoch       uint64    `json:"epoch"`
	Sequence    uint64    `json:"sequence"`
	EventSource string    `json:"event_source,omitempty"`
	EventID     string    `json:"event_id,omitempty"`
	EventTime   time.Time `json:"event_time,omitzero"`
}

// EventIdentity is what the store remembers of the request; zero where its identity was not readable.
func (c Cause) EventIdentity() tokenworker.EventID {
	if c.EventID == "" {
		return tokenworker.EventID{}
	}
	return tokenworker.NewEventID(c.EventSource, c.EventID, c.EventTime)
}

// StoredData is the data of a [Stored] notice.
type StoredData struct {
	Cause
	ExpiresAt      time.Time `json:"expires_at,omitzero"`       // of the access token; zero: unknown
	GrantExpiresAt time.Time `json:"grant_expires_at,omitzero"` // of the grant; zero: unknown

	// Refreshable: the set has a refresh token. Without one it ends with its access token, whatever the set before it had.
	Refreshable bool `json:"refreshable"`
}

// DisconnectedData is the data of a [Disconnected] notice.
type DisconnectedData struct {
	Cause
	Reason string `json:"reason,omitempty"` // the request's; or "sibling" or "provider", where nobody asked

	// ToRevoke is how many token sets wait for the provider to revoke them. A [Revoked] or [RevokeFailed] notice of the same
	// stamp follows once they do not; with none, nothing follows.
	ToRevoke int `json:"to_revoke"`
}

// RejectedData is the data of a [Rejected] notice. The message itself is in the dead letters, under the same code and
// stamp.
type RejectedData struct {
	Cause
	Request Kind `json:"request"` // what was refused
	Code    Code `json:"code"`
}

// The codes of a [Dropped] notice. The first is of an acquired set, which is kept nowhere; the others are of a request to refresh.
const (
	// ReusedRefreshToken: the worker may have spent the refresh token already.
	ReusedRefreshToken = "reused_refresh_token" //nolint:gosec // G101: a code, no credential

	RefreshedLately   = "refreshed_lately" // within half a minute; another refresh would spend a rotation
	RefreshUnderWay   = "under_way"        // another attempt is, or its outcome is not known yet
	RefreshBackingOff = "backing_off"      // an earlier one failed; back-off and Retry-After are kept
	RefreshDeferred   = "deferred"         // the provider is busy or down: a sweep refreshes the connection
	RefreshNotEnabled = "not_enabled"      // no client of the provider is configured
	NotConnected      = "not_connected"    // there is nothing to refresh
)

// DroppedData is the data of a [Dropped] notice: the worker is done with a request, and has not done what it asks for.
type DroppedData struct {
	Cause
	Request Kind   `json:"request"` // what was dropped
	Code    string `json:"code"`
}

// ErasedData is the data of an [Erased] notice: the receipt of an erasure.
type ErasedData struct {
	Cause
	Reason      string `json:"reason,omitempty"` // the request's
	Connections int    `json:"connections"`      // whose rows are tombstones now
	Unconfirmed int    `json:"unconfirmed"`      // those, and newer ones with an older set, whose provider did not confirm that it revoked
	Messages    int    `json:"messages"`         // that were deleted from the streams
	Unrevoked   int    `json:"unrevoked"`        // of them: those that may have carried a token set, which went unrevoked

	// EventKeys are the ids of the keys that sealed messages open with. What is left of a deleted one outside its stream
	// (a Raft log, a copy of the disk) opens until its key is retired.
	EventKeys []string `json:"event_keys"`

	// EventKeysUntil is the day by which the last of them is to be destroyed, in backups of the store too: the operator retires keys by
	// the age of [KeyLifetime]. Zero: one is overdue, and no day can be named.
	EventKeysUntil time.Time `json:"event_keys_until,omitzero"`

	// BackupsUntil is when the last backup of the store that may hold a row expires.
	BackupsUntil time.Time `json:"backups_until"`
}

// AttemptData is the data of the notices of what the worker does of its own accord: [Refreshed], [RefreshFailed],
// [ReauthRequired], [Recovered], [Expiring], [Revoked] and [RevokeFailed].
type AttemptData struct {
	Kind           Kind      `json:"-"`
	Epoch          uint64    `json:"epoch"` // with sequence and generation: the token set that it is about
	Sequence       uint64    `json:"sequence"`
	Generation     uint64    `json:"generation"`
	Attempt        string    `json:"attempt"`                   // names the attempt that led to it
	Code           string    `json:"code,omitempty"`            // why, for failures and ends
	ExpiresAt      time.Time `json:"expires_at,omitzero"`       // of the access token; zero: unknown
	GrantExpiresAt time.Time `json:"grant_expires_at,omitzero"` // of the grant; zero: unknown
}

func (c Cause) identity() string { return fmt.Sprintf("%d/%d", c.Epoch, c.Sequence) }

func (d StoredData) notice() (Kind, string)       { return Stored, d.identity() }
func (d DisconnectedData) notice() (Kind, string) { return Disconnected, d.identity() }
func (d RejectedData) notice() (Kind, string)     { return Rejected, d.identity() }
func (d DroppedData) notice() (Kind, string)      { return Dropped, d.identity() }
func (d ErasedData) notice() (Kind, string)       { return Erased, d.identity() }
func (d AttemptData) notice() (Kind, string)      { return d.Kind, d.Attempt }

// NewNotice encodes a notice about key for publishing. Its id follows from its kind, the key and what caused it, so that a worker that
// crashed and does its work again publishes the same event again, and readers can tell.
func NewNotice(key tokenworker.Key, source string, data NoticeData, at time.Time) (Message, error) {
	kind, identity := data.notice()
	encoded, err := json.Marshal(data)
	if err != nil {
		return Message{}, fmt.Errorf("encoding %s notice: %w", kind, err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "tokenworker/notice/v1\n%s\n%s\n%s", kind, KeyText(key), identity))
	id := hex.EncodeToString(sum[:16])
	body, err := encodeEnvelope(envelope{
		ID: id, Source: source, Type: kind.Type(), Subject: KeyText(key),
		Time: formatTime(at), Data: encoded,
	})
	if err != nil {
		return Message{}, err
	}
	subject := kind.Subject(key)
	return Message{Subject: subject, ID: MessageID(subject, source, id), Body: body}, nil
}

// ParseNotice reads a notice. Unlike a [Decoder] it ignores what it does not know, since later versions of v1 may add
// fields. The error is a [Code].
func ParseNotice(m Message) (Notice, error) {
	kind, key, err := ParseSubject(m.Subject)
	if err != nil || !kind.isNotice() {
		return Notice{}, CodeBadSubject
	}
	var w envelope
	if json.Unmarshal(m.Body, &w) != nil || w.SpecVersion != specVersion {
		return Notice{}, CodeInvalidEnvelope
	}
	at, ok := parseTime([]byte(w.Time))
	switch {
	case w.Type != kind.Type():
		return Notice{}, CodeTypeMismatch
	case w.Subject != KeyText(key):
		return Notice{}, CodeKeyMismatch
	case !ok:
		return Notice{}, CodeInvalidTime
	}
	return Notice{Kind: kind, Key: key, Source: w.Source, ID: w.ID, Time: at, Data: w.Data}, nil
}
