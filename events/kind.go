package events

import "slices"

// Kind says what an event is about. It is one token of the event's subject and one part of its type.
type Kind string

// What upstream services ask of the worker (stream TOKENS_IN).
const (
	Acquired   Kind = "acquired"   // a token set was obtained
	Disconnect Kind = "disconnect" // stop, revoke, delete
	Refresh    Kind = "refresh"    // refresh now
	Erase      Kind = "erase"      // delete all data, log included
)

// What the worker did (stream TOKENS_OUT).
const (
	Stored         Kind = "stored"          // an acquired set is durable and may be read
	Refreshed      Kind = "refreshed"       // a newer set took its place
	RefreshFailed  Kind = "refresh_failed"  // an attempt failed; it will be tried again
	ReauthRequired Kind = "reauth_required" // the grant is dead; the customer must log in again
	Recovered      Kind = "recovered"       // active again after reauth_required
	Expiring       Kind = "expiring"        // the grant ends soon, and no refresh can change that
	Disconnected   Kind = "disconnected"    // nothing is served any more
	Revoked        Kind = "revoked"         // the provider confirmed the revocation
	RevokeFailed   Kind = "revoke_failed"   // the provider could not be brought to confirm it
	Erased         Kind = "erased"          // all data is gone
	Rejected       Kind = "rejected"        // an event was refused and lies in the dead letters
	Dropped        Kind = "dropped"         // a request was not met, and why: an acquired set not stored, a connection not refreshed
)

// requests and notices list every kind, in the order of the contract document.
var (
	requests = []Kind{Acquired, Disconnect, Refresh, Erase}
	notices  = []Kind{
		Stored, Refreshed, RefreshFailed, ReauthRequired, Recovered, Expiring, Disconnected, Revoked, RevokeFailed,
		Erased, Rejected, Dropped,
	}
)

// Types are reverse-DNS names that end in the version, as the CloudEvents specification's own examples do.
const (
	typePrefix = "com.github.tokenworker."
	typeSuffix = ".v1"
)

// Type is the CloudEvents type of the kind, for example com.github.tokenworker.acquired.v1.
func (k Kind) Type() string { return typePrefix + string(k) + typeSuffix }

func (k Kind) isRequest() bool { return slices.Contains(requests, k) }
func (k Kind) isNotice() bool  { return slices.Contains(notices, k) }
