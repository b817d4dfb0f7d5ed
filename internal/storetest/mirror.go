package storetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"reflect"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/tokenworker/tokenworker"
)

// mirror drives a store and the pure rules side by side, and fails as soon as they part.
type mirror struct {
	Store
	records map[tokenworker.Key]*tokenworker.Record // as the rules have it
	first   map[tokenworker.Key]tokenworker.Record  // as the store had it when it was first looked at
	last    map[tokenworker.Key]tokenworker.Record  // and when it was last looked at
}

func newMirror(s Store) *mirror {
	return &mirror{
		s, make(map[tokenworker.Key]*tokenworker.Record), make(map[tokenworker.Key]tokenworker.Record),
		make(map[tokenworker.Key]tokenworker.Record),
	}
}

// step is one call that changes a record: an Acquisition, a Disconnection or an updating.
type step any

// updating is the arguments of Update.
type updating struct {
	key   tokenworker.Key
	rule  tokenworker.Rule
	knows knowledge
}

// knowledge is what Update is told of the record.
type knowledge uint8

const (
	itsKey     knowledge = iota
	asItIs               // as it was when it was last looked at
	asItWas              // as it was when it was first looked at
	knowledges           // how many there are
)

// known is the record as Update is told.
func (m *mirror) known(key tokenworker.Key, k knowledge) tokenworker.Record {
	r, looked := m.last[key]
	if k == asItWas {
		r = m.first[key]
	}
	if k == itsKey || !looked {
		return tokenworker.Record{Key: key}
	}
	return r
}

// do takes one step in both worlds, compares verdict, error and record, and returns the verdict.
func (m *mirror) do(ctx context.Context, tb rapid.TB, s step) (tokenworker.Verdict, error) {
	tb.Helper()
	key, got, err := m.take(ctx, tb, s)
	m.compare(ctx, tb, key)
	return got, err
}

// take is do without a look at the stored record.
func (m *mirror) take(ctx context.Context, tb rapid.TB, s step) (tokenworker.Key, tokenworker.Verdict, error) {
	tb.Helper()
	var (
		key               tokenworker.Key
		next              tokenworker.Record
		got, want         tokenworker.Verdict
		gotErr, wantErr   error
		returned, nothing tokenworker.Record
	)
	switch s := s.(type) {
	case *tokenworker.Acquisition:
		key = s.Key
		next, want, wantErr = m.records[key].Acquire(s)
		got, gotErr = m.Acquire(ctx, s)
	case *tokenworker.Disconnection:
		key = s.Key
		next, want, wantErr = m.records[key].Disconnect(s)
		got, gotErr = m.Disconnect(ctx, s)
	case *updating:
		key = s.key
		next, want, wantErr = s.rule(m.records[key])
		returned, got, gotErr = m.Update(ctx, m.known(key, s.knows), s.rule)
	default:
		tb.Fatalf("no step: %T", s)
	}
	if errors.Is(wantErr, tokenworker.ErrFenced) && errors.Is(gotErr, tokenworker.ErrFenced) {
		return key, 0, gotErr
	}
	if wantErr != nil || gotErr != nil {
		tb.Fatalf("%T: error %v, want %v", s, gotErr, wantErr)
	}
	if got != want {
		tb.Fatalf("%T: verdict %v, want %v", s, got, want)
	}
	if m.records[key] != nil || !reflect.DeepEqual(next, nothing) {
		next = normal(next)
		m.records[key] = &next
	}
	if _, isUpdate := s.(*updating); isUpdate {
		requireSame(tb, "the returned record", returned, next)
	}
	return key, got, nil
}

// compare fails unless the store holds the record that the rules give.
func (m *mirror) compare(ctx context.Context, tb rapid.TB, key tokenworker.Key) {
	tb.Helper()
	got, err := m.Get(ctx, key)
	want := m.records[key]
	switch {
	case want == nil:
		if !errors.Is(err, tokenworker.ErrNotFound) {
			tb.Fatalf("Get: error %v, want ErrNotFound", err)
		}
	case err != nil:
		tb.Fatalf("Get: %v", err)
	default:
		requireSame(tb, "the stored record", got, *want)
		m.last[key] = got
		if _, looked := m.first[key]; !looked {
			m.first[key] = got
		}
	}
}

// requireSame fails, naming the fields, unless both records are the same.
func requireSame(tb rapid.TB, what string, got, want tokenworker.Record) {
	tb.Helper()
	g, w := reflect.ValueOf(normal(got)), reflect.ValueOf(normal(want))
	for i := range g.NumField() {
		if field := g.Type().Field(i).Name; !reflect.DeepEqual(g.Field(i).Interface(), w.Field(i).Interface()) {
			tb.Errorf("%s: %s is\n\t%+v, want\n\t%+v", what, field, g.Field(i).Interface(), w.Field(i).Interface())
		}
	}
	if tb.Failed() {
		tb.FailNow()
	}
}

// normal is the record with what stores may choose freely taken out: fractions of seconds, time zones, the order of
// ids, nil or empty, the name of the last write.
func normal(r tokenworker.Record) tokenworker.Record {
	for _, t := range []*time.Time{
		&r.Entered, &r.ExpiresAt, &r.GrantExpiresAt, &r.DueAt, &r.RevokeAt, &r.RevokeSince, &r.AcquiredAt, &r.RefreshedAt, &r.RemoveAt,
	} {
		*t = second(*t)
	}
	r.Claim, r.Revoking, r.Revision = normalClaim(r.Claim), normalClaim(r.Revoking), tokenworker.AttemptID{}
	if r.Siblings != nil {
		s := *r.Siblings
		s.Entered, s.At, s.Until = second(s.Entered), second(s.At), second(s.Until)
		r.Siblings = &s
	}
	r.Retain = 0 // what a rule says to the store
	r.Owed = slices.Clone(r.Owed)
	for i := range r.Owed {
		r.Owed[i].At = second(r.Owed[i].At)
	}
	if len(r.Owed) == 0 {
		r.Owed = nil
	}
	if len(r.Sealed) == 0 {
		r.Sealed = nil
	}
	if len(r.Revoke) == 0 {
		r.Revoke = nil
	}
	if len(r.Acquired) == 0 {
		r.Acquired = nil
	}
	if len(r.Spent) == 0 {
		r.Spent = nil
	}
	r.Attempts = slices.Clone(r.Attempts)
	for i := range r.Attempts {
		r.Attempts[i].Until = second(r.Attempts[i].Until)
	}
	if len(r.Attempts) == 0 {
		r.Attempts = nil
	}
	r.Seen = slices.SortedFunc(slices.Values(r.Seen), compareIDs)
	return r
}

func normalClaim(c *tokenworker.Claim) *tokenworker.Claim {
	if c == nil {
		return nil
	}
	n := *c
	n.At, n.Until = second(c.At), second(c.Until)
	return &n
}

func compareIDs(a, b tokenworker.EventID) int {
	return cmp.Or(bytes.Compare(a.Hash[:], b.Hash[:]), cmp.Compare(a.Time, b.Time))
}

// second is the time as stores keep it.
func second(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.Unix(t.Unix(), 0).UTC()
}
