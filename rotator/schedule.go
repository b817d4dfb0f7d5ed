package rotator

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"time"

	"github.com/tokenworker/tokenworker"
)

const (
	// AssumedLifetime is the lifetime of an access token that can be refreshed and whose provider does not say when it
	// expires. RFC 6749 section 5.1 leaves that to the provider's documents; an hour is the value of its examples and the
	// usual one. Too short costs refreshes, too long serves dead tokens.
	AssumedLifetime = time.Hour

	// WarnBefore is how long before its hard end a grant is announced as expiring: time for a customer to log in again.
	WarnBefore = 7 * 24 * time.Hour

	// jitterShare is the part of the lead over which due times are spread: one in so many.
	jitterShare = 4
)

// Schedule says how early sets are refreshed. The zero value means the defaults.
type Schedule struct {
	Lead    float64       // share of its lifetime before its end at which a set is due, between 0 and 1; default 1/3
	MaxLead time.Duration // never earlier than this before the end; default 24 h
	Assumed time.Duration // lifetime of an access token that does not say; default [AssumedLifetime]
	Idle    time.Duration // a refresh token dies when unused for so long: it is used at half of that; 0: it does not
}

// WithDefaults fills in what is zero.
func (s Schedule) WithDefaults() Schedule {
	if s.Lead == 0 {
		s.Lead = 1.0 / 3
	}
	if s.MaxLead == 0 {
		s.MaxLead = 24 * time.Hour
	}
	if s.Assumed == 0 {
		s.Assumed = AssumedLifetime
	}
	return s
}

// Validate reports what cannot work.
func (s Schedule) Validate() error {
	s = s.WithDefaults()
	switch {
	case !(s.Lead > 0 && s.Lead < 1): // so that NaN is refused
		return errors.New("rotator: the lead is not a share between 0 and 1")
	case s.MaxLead < 0:
		return errors.New("rotator: the greatest lead is negative")
	}
	return nil
}

// Due returns when the rotator should look at a set that the connection was given at acquired: before the earlier of the
// expiries of access token and grant if the set can be refreshed, at it if not. It is never before acquired and never
// after the expiry, unless that was over by then. The zero time means never: the set can neither be refreshed nor expire.
func (s Schedule) Due(k tokenworker.Key, acquired time.Time, set tokenworker.TokenSet) time.Time {
	s = s.WithDefaults()
	refreshable := !set.RefreshToken.IsEmpty()
	expiry := set.ExpiresAt
	if expiry.IsZero() && refreshable {
		expiry = acquired.Add(s.Assumed)
	}
	if grant := set.GrantExpiresAt; !grant.IsZero() && (expiry.IsZero() || grant.Before(expiry)) {
		expiry = grant
	}
	if expiry.IsZero() {
		return time.Time{}
	}
	due := expiry
	if lifetime := expiry.Sub(acquired); refreshable {
		lead := min(time.Duration(float64(lifetime)*s.Lead), s.MaxLead)
		due = expiry.Add(jitter(k, 0, max(lead, 0)/jitterShare) - lead)
		if half := acquired.Add(s.Idle/2 + jitter(k, 0, s.Idle/2/jitterShare)); s.Idle > 0 && half.Before(due) {
			due = half
		}
	}
	if warn := set.GrantExpiresAt.Add(-WarnBefore); !set.GrantExpiresAt.IsZero() && warn.After(acquired) && warn.Before(due) {
		due = warn
	}
	if due.Before(acquired) {
		return acquired
	}
	return due
}

// jitter is the connection's own place in a span of time, another for each turn: at or after 0, before span. Were it the
// same in every turn, delays that follow each other would add up in step, and bring connections together again that they
// are to keep apart.
func jitter(k tokenworker.Key, turn int, span time.Duration) time.Duration {
	sum := sha256.Sum256(fmt.Appendf(nil, "tokenworker/jitter/v1\n%s\n%d", k, turn))
	place, _ := bits.Mul64(binary.BigEndian.Uint64(sum[:8]), uint64(span)) //nolint:gosec // G115: span is never negative
	return time.Duration(place)                                            //nolint:gosec // G115: less than span
}
