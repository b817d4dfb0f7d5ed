package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenworker/tokenworker"
)

// start is when the first event of every test enters the stream. Its fraction of a second must not survive storing.
var start = time.Date(2026, 11, 21, 8, 0, 0, 987_654_321, time.UTC)

// uniqueOrg returns an organization that no other test uses, in this run or another.
func uniqueOrg() string { return "org-" + rand.Text() }

// uniqueKey returns a key in an organization of its own.
func uniqueKey() tokenworker.Key {
	return tokenworker.Key{OrgID: uniqueOrg(), ProviderID: "acme", CompanyID: "company-1"}
}

// event is the one at sequence seq of epoch 1. It entered the stream seq seconds after start, two seconds after its
// own time.
func event(seq uint64, with ...func(*tokenworker.Event)) tokenworker.Event {
	e := tokenworker.Event{
		Stamp:   tokenworker.Stamp{Epoch: 1, Sequence: seq},
		Entered: start.Add(time.Duration(seq) * time.Second),
	}
	e.ID = tokenworker.NewEventID("storetest", fmt.Sprint(seq), e.Entered.Add(-2*time.Second))
	for _, f := range with {
		f(&e)
	}
	return e
}

// inEpoch moves the event to another epoch.
func inEpoch(epoch uint64) func(*tokenworker.Event) {
	return func(e *tokenworker.Event) { e.Stamp.Epoch = epoch }
}

// after lets the event happen, and enter the stream, so much later.
func after(d time.Duration) func(*tokenworker.Event) {
	return func(e *tokenworker.Event) {
		e.Entered = e.Entered.Add(d)
		e.ID.Time += int64(d / time.Second)
	}
}

// repeating makes the event an outbox repeat of the one at sequence original: the same id and time, published again.
func repeating(original uint64) func(*tokenworker.Event) {
	return func(e *tokenworker.Event) { e.ID = event(original).ID }
}

// acquired is a token-acquired event that says everything an event can say.
func acquired(e tokenworker.Event, with ...func(*tokenworker.Acquisition)) *tokenworker.Acquisition {
	seq := e.Stamp.Sequence
	a := &tokenworker.Acquisition{
		Event:  e,
		Sealed: fmt.Appendf(nil, "sealed set %x", e.ID.Hash),
		Details: tokenworker.Details{
			ExpiresAt:            e.Entered.Add(time.Hour),
			GrantExpiresAt:       e.Entered.Add(90 * 24 * time.Hour),
			Scope:                fmt.Sprintf("read write:%d", seq),
			Subject:              fmt.Sprintf("subject-%d", seq),
			Issuer:               "https://issuer.example",
			ProviderConnectionID: fmt.Sprintf("connection-%d", seq),
			ConsentRef:           fmt.Sprintf("consent-%d", seq),
			Refreshable:          seq%2 == 1,
		},
		DueAt: e.Entered.Add(40 * time.Minute), CheckAt: e.Entered.Add(3 * time.Minute),
	}
	for _, f := range with {
		f(a)
	}
	return a
}

// keeping: revocation at the provider reaches no further than the token or its family.
func keeping(a *tokenworker.Acquisition) { a.KeepRevocations = true }

// never due, as a set that can neither be refreshed nor expire.
func never(a *tokenworker.Acquisition) { a.DueAt = time.Time{} }

// bare of everything that an event may leave out.
func bare(a *tokenworker.Acquisition) { a.Details = tokenworker.Details{} }

// spending names the refresh token of the set.
func spending(token string) func(*tokenworker.Acquisition) {
	return func(a *tokenworker.Acquisition) { a.Spendable = fingerprint(token) }
}

// holding names the token by which the set is revoked.
func holding(token string) func(*tokenworker.Acquisition) {
	return func(a *tokenworker.Acquisition) { a.Token = fingerprint(token) }
}

// over says that an attempt at its token is over.
func over(attempt byte) func(*tokenworker.Acquisition) {
	return func(a *tokenworker.Acquisition) { a.Over = tokenworker.AttemptID{attempt} }
}

// ofBytes gives the sealed set a length.
func ofBytes(n int) func(*tokenworker.Acquisition) {
	return func(a *tokenworker.Acquisition) { a.Sealed = randomBytes(n) }
}

// disconnected is a disconnect event.
func disconnected(e tokenworker.Event) *tokenworker.Disconnection {
	return &tokenworker.Disconnection{Event: e}
}

// set names the set that the acquisition at sequence seq began, after so many refreshes.
func set(seq, generation uint64) tokenworker.Fence {
	return tokenworker.Fence{Stamp: event(seq).Stamp, Generation: generation}
}

// ruled is a rule that is asked about a record.
func ruled(rule tokenworker.Rule) *updating { return &updating{rule: rule} }

// claimed is an attempt to refresh a set. Attempts are numbered, 0 is none. It is a last resort when it replaces another.
func claimed(from tokenworker.Fence, attempt byte, spends string, replaces byte) *updating {
	c := claim(attempt)
	c.LastResort = replaces != 0
	return ruled(tokenworker.Claiming(from, c, fingerprint(spends), tokenworker.AttemptID{replaces}))
}

// claim is that of an attempt, from the start for a minute.
func claim(attempt byte) tokenworker.Claim {
	return tokenworker.Claim{
		Owner: fmt.Sprintf("replica-%d", attempt), Attempt: tokenworker.AttemptID{attempt}, At: start, Until: start.Add(time.Minute),
	}
}

// refreshed saves the outcome of an attempt to refresh a set.
func refreshed(from tokenworker.Fence, attempt byte, with ...func(*tokenworker.Refresh)) *updating {
	return ruled(tokenworker.Committing(refresh(from, attempt, with...)))
}

// refresh is the outcome of an attempt to refresh a set.
func refresh(from tokenworker.Fence, attempt byte, with ...func(*tokenworker.Refresh)) *tokenworker.Refresh {
	at := start.Add(30 * time.Minute)
	f := &tokenworker.Refresh{
		From: from, Attempt: tokenworker.AttemptID{attempt},
		Sealed:      fmt.Appendf(nil, "set that attempt %d minted from %v", attempt, from),
		Details:     tokenworker.Details{ExpiresAt: at.Add(time.Hour), Scope: "read", Subject: "subject after refresh"},
		RefreshedAt: at, DueAt: at.Add(40 * time.Minute), Owed: owed(attempt, "refreshed"),
	}
	for _, change := range with {
		change(f)
	}
	return f
}

// keepingTheToken: the provider's answer kept the refresh token.
func keepingTheToken(f *tokenworker.Refresh) { f.Kept = true }

// keepingRevocations is for refreshes what keeping is for acquisitions.
func keepingRevocations(f *tokenworker.Refresh) { f.KeepRevocations = true }

// owed is what an attempt has led to and must be announced.
func owed(attempt byte, kinds ...string) *tokenworker.Owed {
	return &tokenworker.Owed{
		Attempt: tokenworker.AttemptID{attempt}, By: fmt.Sprintf("replica-%d", attempt), Kinds: kinds,
		Fence: tokenworker.Fence{Stamp: tokenworker.Stamp{Epoch: 1<<64 - 1, Sequence: 7}, Generation: 3}, At: start,
	}
}

// fingerprint of a refresh token; zero for "".
func fingerprint(token string) tokenworker.Fingerprint {
	return tokenworker.NewFingerprint(tokenworker.Key{OrgID: "o", ProviderID: "p", CompanyID: "c"}, tokenworker.SecretString(token))
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand.Read
	return b
}

// place puts a step onto a connection.
func place(s step, k tokenworker.Key) step {
	switch s := s.(type) {
	case *tokenworker.Acquisition:
		s.Key = k
	case *tokenworker.Disconnection:
		s.Key = k
	case *updating:
		s.key = k
	}
	return s
}

// situation is a named case: steps that lead somewhere, and one more whose outcome is stated.
type situation struct {
	name  string
	given []step
	when  step
	want  tokenworker.Verdict
	err   error // instead of a verdict
}

// run takes every situation through a connection of its own, and an update once for all that it may be told.
func run(t *testing.T, store Store, situations []situation) {
	for _, s := range situations {
		t.Run(s.name, func(t *testing.T) {
			update, isUpdate := s.when.(*updating)
			for k := range knowledges {
				if !isUpdate && k != itsKey || k == asItWas && len(s.given) < 2 {
					continue
				}
				if isUpdate {
					update.knows = k
				}
				m, key := newMirror(store), uniqueKey()
				m.follow(t, key, s.given...)
				got, err := m.do(t.Context(), t, place(s.when, key))
				if got != s.want || !errors.Is(err, s.err) {
					t.Errorf("verdict %v, error %v; want %v, %v", got, err, s.want, s.err)
				}
			}
		})
	}
}

// follow takes steps whose outcome is whatever the rules say, and compares the record that the first and all of them
// lead to.
func (m *mirror) follow(t *testing.T, key tokenworker.Key, steps ...step) {
	t.Helper()
	for i, s := range steps {
		_, _, _ = m.take(t.Context(), t, place(s, key)) // fails by itself when store and rules part
		if i == 0 {
			m.compare(t.Context(), t, key)
		}
	}
	m.compare(t.Context(), t, key)
}

// outcome is the part of a record that order decides: what in-order, exactly-once delivery would give.
type outcome struct {
	status tokenworker.Status
	stamp  tokenworker.Stamp
	sealed string
}

func outcomeOf(ctx context.Context, tb rapid.TB, s Store, k tokenworker.Key) outcome {
	tb.Helper()
	r, err := s.Get(ctx, k)
	if err != nil {
		tb.Fatalf("Get: %v", err)
	}
	return outcome{r.Status, r.Stamp, string(r.Sealed)}
}
