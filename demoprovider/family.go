package demoprovider

import "time"

// family is every token that came of one grant, with what happened to them.
type family struct {
	number  int
	client  *Client
	subject string
	scope   string
	born    time.Time

	revoked Fate // empty: the family was not revoked as a whole
	over    time.Time

	refresh  history[refreshToken]
	access   history[accessToken]
	attempts history[Attempt]

	reuses, doubtful int
}

type refreshToken struct {
	minted    time.Time
	used      time.Time // last; minting counts
	spent     time.Time // zero: not yet
	successor int       // once spent
	revoked   bool      // this one alone
	sends     int       // answers that carried it and went out

	posts int
	// What the client cannot know: how many POSTs of the token are on their way or ended without a definite answer, and
	// since when there are any.
	open    int
	inDoubt time.Time
}

type accessToken struct {
	minted  time.Time
	expires time.Time
	scope   string
	revoked bool
}

// Fate is what has become of a family.
type Fate string

// The fates of a family.
const (
	Alive           Fate = "alive"
	RevokedByReuse  Fate = "revoked_by_reuse"  // a spent refresh token was posted
	RevokedByClient Fate = "revoked_by_client" // at the revocation endpoint
	Withdrawn       Fate = "withdrawn"         // by the user, see [Server.Withdraw]
	ExpiredIdle     Fate = "expired_idle"
	ExpiredHard     Fate = "expired_hard"
)

// ruling is what the policy says to a posted refresh token.
type ruling int

const (
	rulingFresh  ruling = iota // it was never spent and works
	rulingGrace                // it was spent and still works
	rulingDead                 // it was revoked, or has expired
	rulingReused               // it was spent, and works no more
)

// rule decides on a refresh token of the family; nil is one that the history has forgotten.
func (f *family) rule(t *refreshToken, now time.Time) ruling {
	policy := f.client.Policy
	switch {
	case t == nil, t.isSpent() && !now.Before(t.spent.Add(policy.Grace)):
		return rulingReused
	case f.revoked != "", t.revoked, f.isOver(now), policy.isIdle(t.used, now):
		return rulingDead
	case t.isSpent():
		return rulingGrace
	default:
		return rulingFresh
	}
}

func (t *refreshToken) isSpent() bool { return !t.spent.IsZero() }

func (f *family) isOver(now time.Time) bool {
	end := f.hardEnd()
	return !end.IsZero() && !now.Before(end)
}

// hardEnd is zero for a grant that lives for ever.
func (f *family) hardEnd() time.Time {
	if f.client.Policy.GrantLifetime == 0 {
		return time.Time{}
	}
	return f.born.Add(f.client.Policy.GrantLifetime)
}

func (p Policy) isIdle(used, now time.Time) bool {
	return p.IdleLifetime > 0 && !now.Before(used.Add(p.IdleLifetime))
}

// addAccess mints an access token, which never outlives its grant. Where the policy has it so, those before it end.
func (f *family) addAccess(scope string, now time.Time) (number int, lifetime time.Duration) {
	expires := now.Add(f.client.Policy.AccessLifetime)
	if end := f.hardEnd(); !end.IsZero() && end.Before(expires) {
		expires = end
	}
	if f.client.Policy.RefreshEndsAccess {
		for _, t := range f.access.all() {
			t.revoked = true
		}
	}
	return f.access.add(accessToken{minted: now, expires: expires, scope: scope}), expires.Sub(now)
}

func (f *family) addRefresh(now time.Time) (number int) {
	return f.refresh.add(refreshToken{minted: now, used: now})
}

// spend replaces the numbered refresh token, which is kept, by a new one.
func (f *family) spend(number int, now time.Time) (successor int) {
	successor = f.refresh.next()
	t := f.refresh.at(number)
	t.successor = successor
	if !t.isSpent() {
		t.spent = now
	}
	return f.addRefresh(now)
}

func (f *family) isLiveAccess(t *accessToken, now time.Time) bool {
	return t != nil && f.revoked == "" && !t.revoked && now.Before(t.expires)
}

// lives is how long the access token that lives longest will.
func (f *family) lives(now time.Time) (longest time.Duration) {
	for _, t := range f.access.all() {
		if f.isLiveAccess(t, now) {
			longest = max(longest, t.expires.Sub(now))
		}
	}
	return longest
}

// revoke ends the whole family, once.
func (f *family) revoke(why Fate, now time.Time) bool {
	if f.revoked != "" {
		return false
	}
	f.revoked, f.over = why, now
	return true
}

// live are the numbers of the refresh tokens that work and have not been spent: one at most, unless uses within a grace
// minted more.
func (f *family) live(now time.Time) []int {
	var live []int
	for n, t := range f.refresh.all() {
		if f.rule(t, now) == rulingFresh {
			live = append(live, n)
		}
	}
	return live
}

func (f *family) fate(now time.Time) Fate {
	switch {
	case f.revoked != "":
		return f.revoked
	case f.isOver(now):
		return ExpiredHard
	case len(f.live(now)) > 0:
		return Alive
	}
	for _, t := range f.refresh.all() {
		if t.revoked && !t.isSpent() {
			return RevokedByClient
		}
	}
	return ExpiredIdle
}
