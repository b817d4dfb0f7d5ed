package provider

import "time"

// Rotation says what using a refresh token does to it. It decides what may be done when nobody knows whether a refresh
// reached the provider.
type Rotation string

// The rotations.
const (
	Strict Rotation = "strict" // used up by its first use; also the reading of a provider nobody knows
	Grace  Rotation = "grace"  // used up, but accepted again for a while
	Static Rotation = "static" // stays good, whether or not a new one comes with the answer
)

// RevocationScope says what dies with a token that is revoked.
type RevocationScope string

// The scopes of a revocation.
const (
	RevokesToken  RevocationScope = "token"  // that token
	RevokesFamily RevocationScope = "family" // all that came from the same authorization
	RevokesGrant  RevocationScope = "grant"  // all that the user has given this client, later authorizations included
)

// DisconnectScope says whose connections end when one is revoked.
type DisconnectScope string

// The scopes of a disconnect.
const (
	DisconnectsConnection DisconnectScope = "connection" // its own
	DisconnectsCompany    DisconnectScope = "company"    // every connection to the same company, of any organization
)

// DefaultMargin is how long after the end of an unresolved claim the last resort waits, so that a request of a process that
// was paused has timed out: four times the client's own time limit.
const DefaultMargin = 2 * time.Minute

// Policy is what the rotator and the consumer need to know of a provider. A zero duration means that nothing is known.
type Policy struct {
	Rotation          Rotation
	GracePeriod       time.Duration // [Grace] only: how long after its first use a refresh token is accepted again
	FalseInvalidGrant bool          // known to have said invalid_grant of good tokens: confirm before giving up

	AssumedLifetime time.Duration // of an access token whose answer does not say
	LeadCap         time.Duration // never refresh earlier than this before expiry
	IdleExpiry      time.Duration // a refresh token that is not used for so long is dead
	HardExpiry      time.Duration // the grant is dead so long after the user gave it, however often it is refreshed

	Margin    time.Duration // how long after an unresolved claim the last resort waits
	RateLimit float64       // requests a second; 0: none is known

	Scheme string // of the Authorization header that an access token goes into; empty: Bearer

	RevocationScope RevocationScope
	DisconnectScope DisconnectScope

	Retain int // how many of a connection's last token sets are kept, the current one among them; 0: that alone
}

// Rotates reports whether a refresh token must not be posted again freely once it may have been used.
func (p Policy) Rotates() bool { return p.Rotation != Static }

// RevokesNarrowly reports whether revoking an old token leaves a newer grant alone.
func (p Policy) RevokesNarrowly() bool {
	return p.RevocationScope == RevokesToken || p.RevocationScope == RevokesFamily
}

// unknown is the policy of a provider of which nothing is known: the careful reading of everything.
var unknown = Policy{
	Rotation: Strict, Margin: DefaultMargin, RevocationScope: RevokesGrant, DisconnectScope: DisconnectsConnection,
}
