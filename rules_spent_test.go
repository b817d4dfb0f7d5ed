package tokenworker_test

import (
	"reflect"
	"testing"

	"github.com/tokenworker/tokenworker"
)

// refreshed is the end of attempt 9 at the token 7 of the set of 5: an answer, which kept the token or not.
func refreshed(kept bool) decision {
	return tokenworker.Committing(&tokenworker.Refresh{
		From: tokenworker.Fence{Stamp: stamp(5)}, Attempt: tokenworker.AttemptID{9}, Sealed: sealed(9), Kept: kept, RefreshedAt: noon,
	})
}

// What an attempt has left of its token decides whether a set that brings it again is stored.
func TestTheEndOfAnAttemptTakesTheFingerprintBack(t *testing.T) {
	nothing := tokenworker.NothingSpent(failing())
	for _, tc := range []struct {
		name        string
		at          []func(*tokenworker.Attempt)
		end         decision
		is, cut, by bool // the token is spent afterwards; also if an event had ended the claim; also if another attempt was the latest
	}{
		{"an answer that kept the token", nil, refreshed(true), false, false, true},
		{"and one of an attempt after an unresolved one", list(notSole), refreshed(true), false, false, true},
		{"an answer that rotated it", nil, refreshed(false), true, true, true},
		{"a definite refusal, or none was posted", nil, nothing, false, false, true},
		{"a definite refusal after an unresolved attempt", list(notSole), nothing, true, true, true},
		{"a refusal of the grant", nil, tokenworker.GrantDead(failing()), false, false, true},
		{"a refusal of the grant after an unresolved attempt", list(notSole), tokenworker.GrantDead(failing()), true, true, true},
		{"nobody knows", nil, tokenworker.Unresolved(failing()), true, true, true},
	} {
		for _, sub := range []struct {
			name   string
			before *tokenworker.Record
			want   bool
		}{
			{"by its claim", holding(5, claimed(9), spent(7), attempted(9, tc.at...)), tc.is},
			{"after a newer set", holding(6, spent(7), attempted(9, tc.at...)), tc.cut},
			{"after a disconnect", revoking(6, spent(7), attempted(9, tc.at...)), tc.cut},
			{"not the latest at the token", holding(5, claimed(9), spent(7), attempted(8)), tc.by},
		} {
			t.Run(tc.name+", "+sub.name, func(t *testing.T) {
				before := clone(*sub.before)
				next, _, err := tc.end(sub.before)
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(*sub.before, before) {
					t.Fatal("the record that was passed in changed")
				}
				if is := reflect.DeepEqual(next.Acquired, []tokenworker.Fingerprint{fingerprint(7)}); is != sub.want || !is && next.Acquired != nil {
					t.Errorf("spent are %x", next.Acquired)
				}
				again := tokenworker.NothingSpent(failing())
				if last, _, _ := again(&next); !reflect.DeepEqual(last.Acquired, next.Acquired) && tc.name != "nobody knows" {
					t.Error("the end of an attempt that has ended changed what is spent")
				}
			})
		}
	}
}

func list[T any](v ...T) []T { return v }

func TestASetWaitsForTheAttemptAtItsToken(t *testing.T) {
	over := func(attempt byte) func(*tokenworker.Acquisition) {
		return func(a *tokenworker.Acquisition) { a.Over = tokenworker.AttemptID{attempt} }
	}
	type edits = []func(*tokenworker.Record)
	for _, tc := range []verdictCase{
		{
			"while its claim stands, whatever the caller says", holding(5, claimed(9), spent(7), attempted(9)),
			acquire(9, spends(7), over(9)), tokenworker.Undecided, nil,
		},
		{
			"while it may end, although an event has ended its claim", holding(6, spent(7), attempted(9)), acquire(9, spends(7)),
			tokenworker.Undecided, nil,
		},
		{
			"while it may end, although a disconnect has", revoking(6, spent(7), attempted(9)), acquire(9, spends(7)),
			tokenworker.Undecided, nil,
		},
		{
			"while another may end than the caller knows of", holding(6, spent(7), attempted(9)), acquire(9, spends(7), over(8)),
			tokenworker.Undecided, nil,
		},
		{
			"no longer when that is over", holding(6, spent(7), attempted(9)), acquire(9, spends(7), over(9)), tokenworker.Spent,
			edits{seen(9), func(r *tokenworker.Record) { r.Attempts = nil }},
		},
		{"its repeat does not", holding(6, spent(7), attempted(9), seen(9)), acquire(9, spends(7)), tokenworker.Repeated, nil},
		{
			"a set with another token does not", holding(6, spent(7), attempted(9)), acquire(9, spends(8)), tokenworker.Applied,
			edits{becomes(holding(9, spent(7), attempted(9))), func(r *tokenworker.Record) {
				r.Seen = []tokenworker.EventID{event(6).ID, event(9).ID}
			}},
		},
	} {
		t.Run(tc.name, tc.run)
	}
}

// rotations claims and refreshes the set of 5 so many times.
func rotations(r *tokenworker.Record, n int) *tokenworker.Record {
	for i := range n {
		c := tokenworker.Claim{Attempt: tokenworker.NewAttemptID()}
		next, err := r.TakeClaim(r.Fence, c, tokenworker.Fingerprint{100, byte(i)}, tokenworker.AttemptID{})
		if err != nil {
			panic(err)
		}
		next, _ = next.Commit(&tokenworker.Refresh{From: next.Fence, Attempt: c.Attempt, Sealed: sealed(uint64(i)), RefreshedAt: noon})
		r = &next
	}
	return r
}

// keeping refreshes the set so many times, and its token stays.
func keepingTheToken(r *tokenworker.Record, token byte, n int) *tokenworker.Record {
	for i := range n {
		c := tokenworker.Claim{Attempt: tokenworker.NewAttemptID()}
		next, err := r.TakeClaim(r.Fence, c, fingerprint(token), tokenworker.AttemptID{})
		if err != nil {
			panic(err)
		}
		next, _ = next.Commit(&tokenworker.Refresh{From: next.Fence, Attempt: c.Attempt, Sealed: sealed(uint64(i)), Kept: true, RefreshedAt: noon})
		r = &next
	}
	return r
}

func claimedAndLost(t *testing.T, r *tokenworker.Record, token byte) *tokenworker.Record {
	t.Helper()
	next, err := r.TakeClaim(r.Fence, tokenworker.Claim{Attempt: tokenworker.AttemptID{9}}, fingerprint(token), tokenworker.AttemptID{})
	if err != nil {
		t.Fatal(err)
	}
	next, _ = next.Commit(&tokenworker.Refresh{From: next.Fence, Attempt: tokenworker.AttemptID{9}, Sealed: sealed(50), RefreshedAt: noon})
	return &next
}

func TestTokensThatEventsBroughtStayKnown(t *testing.T) {
	verdict := func(r *tokenworker.Record, token tokenworker.Fingerprint) (tokenworker.Record, tokenworker.Verdict) {
		t.Helper()
		next, v, err := r.Acquire(acquisition(9, func(a *tokenworker.Acquisition) { a.Spendable = token }))
		if err != nil {
			t.Fatal(err)
		}
		return next, v
	}
	t.Run("however many refreshes later", func(t *testing.T) {
		r := rotations(claimedAndLost(t, holding(5), 7), 200)
		if _, v := verdict(r, fingerprint(7)); v != tokenworker.Spent {
			t.Errorf("a resync after 200 rotations is %s", v)
		}
		if len(r.Spent) != tokenworker.MaxSpent || len(r.Acquired) != 1 {
			t.Errorf("%d and %d fingerprints are kept", len(r.Acquired), len(r.Spent))
		}
	})
	t.Run("also when answers kept the token before it was rotated", func(t *testing.T) {
		r := rotations(claimedAndLost(t, keepingTheToken(holding(5), 7, 3), 7), 20)
		if _, v := verdict(r, fingerprint(7)); v != tokenworker.Spent {
			t.Errorf("a resync after 20 rotations is %s", v)
		}
	})
	t.Run("a token of a refresh that an event brings is one of them from then on", func(t *testing.T) {
		r := rotations(claimedAndLost(t, holding(5), 7), 1)
		token := tokenworker.Fingerprint{100, 0}
		next, v := verdict(r, token)
		if v != tokenworker.Spent || len(next.Spent) != 0 || len(next.Acquired) != 2 {
			t.Fatalf("the verdict is %s, and %d and %d fingerprints are kept", v, len(next.Acquired), len(next.Spent))
		}
		next.Seen = nil
		if _, v := verdict(rotations(&next, 30), token); v != tokenworker.Spent {
			t.Errorf("a resync 30 rotations later is %s", v)
		}
	})
	t.Run("the newest ones", func(t *testing.T) {
		r := holding(5)
		for i := range tokenworker.MaxAcquired + 1 {
			r.Rotated = false
			r = claimedAndLost(t, r, byte(i+1))
		}
		if _, v := verdict(r, fingerprint(1)); v != tokenworker.Applied {
			t.Errorf("the oldest of %d is %s", tokenworker.MaxAcquired+1, v)
		}
		if _, v := verdict(r, fingerprint(2)); v != tokenworker.Spent {
			t.Errorf("the second oldest is %s", v)
		}
	})
	t.Run("also beside a tombstone", func(t *testing.T) {
		gone, _, err := claimedAndLost(t, holding(5), 7).Disconnect(disconnection(6))
		if err != nil {
			t.Fatal(err)
		}
		gone, _, _ = tokenworker.Revoked(tokenworker.Revocation{Done: gone.Waiting()})(&gone)
		if _, v := verdict(&gone, fingerprint(7)); gone.Status != tokenworker.Disconnected || v != tokenworker.Spent {
			t.Errorf("beside a %s record a resync is %s", gone.Status, v)
		}
	})
}

func TestWhatANewLoginBringsIsNotRevoked(t *testing.T) {
	token := func(n byte) func(*tokenworker.Acquisition) {
		return func(a *tokenworker.Acquisition) { a.Token = fingerprint(n) }
	}
	with := func(n byte) func(*tokenworker.Record) {
		return func(r *tokenworker.Record) { r.Revoke[0].Token = fingerprint(n) }
	}
	brought := func(n byte) func(*tokenworker.Record) {
		return func(r *tokenworker.Record) { r.Token = fingerprint(n) }
	}
	check := noon.Add(10 * 60e9)
	t.Run("its own entry of the list is dropped, and it is checked", func(t *testing.T) {
		next, v, err := revoking(5, with(7), revokes(1)).Acquire(acquisition(9, keep, token(7), checkAt(check)))
		if err != nil || v != tokenworker.Applied || next.Revoke != nil || !next.RevokeAt.IsZero() || !next.DueAt.Equal(check) {
			t.Errorf("%s, %v: %d to revoke at %s, due at %s", v, err, len(next.Revoke), next.RevokeAt, next.DueAt)
		}
	})
	t.Run("another's stays", func(t *testing.T) {
		next, v, err := revoking(5, with(8)).Acquire(acquisition(9, keep, token(7), checkAt(check)))
		if err != nil || v != tokenworker.Applied || len(next.Revoke) != 1 || next.DueAt.Equal(check) {
			t.Errorf("%s, %v: %d to revoke, due at %s", v, err, len(next.Revoke), next.DueAt)
		}
	})
	t.Run("that of a set without a token stays", func(t *testing.T) {
		if next, _, _ := revoking(5).Acquire(acquisition(9, keep)); len(next.Revoke) != 1 {
			t.Errorf("%d to revoke", len(next.Revoke))
		}
	})
	t.Run("a late acquisition with the token of the newer grant is not listed", func(t *testing.T) {
		if _, v, _ := holding(9, lastDisconnect(5), brought(7)).Acquire(acquisition(3, keep, token(7))); v != tokenworker.Stale {
			t.Errorf("it is %s", v)
		}
	})
	t.Run("what an answer in flight has kept is listed, if it is not the newer grant's", func(t *testing.T) {
		f := &tokenworker.Refresh{
			From: tokenworker.Fence{Stamp: stamp(3)}, Attempt: tokenworker.AttemptID{9}, Token: fingerprint(7), Kept: true, Sealed: sealed(50), KeepRevocations: true,
		}
		next, v := holding(9, lastDisconnect(5), brought(8), spent(7), attempted(9)).Commit(f)
		if v != tokenworker.Revoking || len(next.Revoke) != 1 || next.Acquired != nil {
			t.Errorf("it is %s, %d to revoke, spent are %x", v, len(next.Revoke), next.Acquired)
		}
		if _, v := next.Commit(f); v != tokenworker.Repeated {
			t.Errorf("the second time it is %s", v)
		}
	})
	for name, held := range map[string]func(*tokenworker.Record){"the current one": brought(7), "one that led to it": spent(7)} {
		t.Run("nor is what a refresh in flight has minted, if that is "+name, func(t *testing.T) {
			f := &tokenworker.Refresh{From: tokenworker.Fence{Stamp: stamp(3)}, Token: fingerprint(7), Sealed: sealed(50), KeepRevocations: true}
			if _, v := holding(9, lastDisconnect(5), held).Commit(f); v != tokenworker.Stale {
				t.Errorf("it is %s", v)
			}
		})
	}
}

func TestAClaimWithoutAnAnswerIsGivenBack(t *testing.T) {
	of5 := tokenworker.Fence{Stamp: stamp(5)}
	first := holding(5, claimed(1)).Claim
	type edits = []func(*tokenworker.Record)
	noAttempts := func(r *tokenworker.Record) { r.Attempts = nil }
	for _, tc := range []verdictCase{
		{
			"it has arrived: as if it had never been", holding(5, claimed(9), spent(7), attempted(9)),
			tokenworker.Unclaimed(of5, failing(), nil), tokenworker.Applied,
			edits{fails, unclaimed, noAttempts, func(r *tokenworker.Record) { r.Acquired = nil }},
		},
		{
			"it may still arrive: the record is written, which keeps it out", holding(5), tokenworker.Unclaimed(of5, failing(), nil),
			tokenworker.Applied, edits{fails},
		},
		{
			"a last resort's has arrived: the one before it stands again", holding(5, claimed(9), lastResort, spent(7), attempted(9, notSole)),
			tokenworker.Unclaimed(of5, failing(), first), tokenworker.Applied,
			edits{fails, claimed(1), noAttempts, attempted(1, notSole)},
		},
		{
			"a last resort's may still arrive", holding(5, claimed(1), spent(7), attempted(1)),
			tokenworker.Unclaimed(of5, failing(), first), tokenworker.Applied, edits{fails},
		},
		{
			"another has claimed the set: it can never arrive", holding(5, claimed(2), spent(7), attempted(2)),
			tokenworker.Unclaimed(of5, failing(), nil), tokenworker.Stale, nil,
		},
		{"the set has moved", holding(6), tokenworker.Unclaimed(of5, failing(), nil), tokenworker.Stale, nil},
		{
			"the set has moved since it arrived", holding(6, spent(7), attempted(9)), tokenworker.Unclaimed(of5, failing(), nil),
			tokenworker.Stale, edits{noAttempts, func(r *tokenworker.Record) { r.Acquired = nil }},
		},
		{"there is no record any more", nil, tokenworker.Unclaimed(of5, failing(), nil), tokenworker.Stale, nil},
	} {
		t.Run(tc.name, tc.run)
	}
}
