package dynamo_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/dynamo"
	"github.com/tokenworker/tokenworker/localstack"
)

// wire is an HTTP client that counts requests and can lose replies: the request is carried out, and then the connection
// breaks.
type wire struct {
	aws.HTTPClient
	requests int
	lose     int    // the reply to lose: 1 is the next; 0 is none
	between  func() // what happens at the table before the caller learns that the connection broke
}

func (w *wire) Do(r *http.Request) (*http.Response, error) {
	reply, err := w.HTTPClient.Do(r)
	w.requests++
	if w.lose--; w.lose != 0 || err != nil {
		return reply, err //nolint:wrapcheck // it stands in for the client
	}
	if err := reply.Body.Close(); err != nil {
		return nil, fmt.Errorf("losing a reply: %w", err)
	}
	if w.between != nil {
		w.between()
	}
	return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
}

// wired opens the table over a wire.
func wired(t *testing.T, name string) (*dynamo.Table, *wire) {
	t.Helper()
	config := localstack.Config(t)
	w := &wire{HTTPClient: config.HTTPClient}
	config.HTTPClient = w
	table := open(t, dynamo.NewClient(config), name)
	w.requests = 0
	return table, w
}

var day = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

func event(company string, seq uint64) tokenworker.Event {
	entered := day.Add(time.Duration(seq) * time.Second)
	return tokenworker.Event{
		Key:     tokenworker.Key{OrgID: "org", ProviderID: "acme", CompanyID: company},
		Stamp:   tokenworker.Stamp{Epoch: 1, Sequence: seq},
		Entered: entered,
		ID:      tokenworker.NewEventID("dynamo", fmt.Sprint(seq), entered),
	}
}

func acquisition(company string, seq uint64) *tokenworker.Acquisition {
	return &tokenworker.Acquisition{
		Event: event(company, seq), Sealed: fmt.Appendf(nil, "set %d", seq), DueAt: day.Add(time.Hour),
		Details: tokenworker.Details{Subject: "subject"},
	}
}

func disconnection(company string, seq uint64) *tokenworker.Disconnection {
	return &tokenworker.Disconnection{Event: event(company, seq)}
}

func refresh(company string, from uint64) *tokenworker.Refresh {
	e := event(company, from)
	return &tokenworker.Refresh{
		Key: e.Key, From: tokenworker.Fence{Stamp: e.Stamp}, Sealed: []byte("refreshed"), RefreshedAt: day.Add(time.Hour),
	}
}

// op is one call under test, and what it answers in words.
type op func(context.Context, *dynamo.Table) (string, error)

func acquire(a *tokenworker.Acquisition) op {
	return func(ctx context.Context, table *dynamo.Table) (string, error) {
		v, err := table.Acquire(ctx, a)
		return v.String(), err
	}
}

func disconnect(d *tokenworker.Disconnection) op {
	return func(ctx context.Context, table *dynamo.Table) (string, error) {
		v, err := table.Disconnect(ctx, d)
		return v.String(), err
	}
}

// update asks a rule about the record as it was read, if it was, and otherwise about the record of that key.
func update(rec *tokenworker.Record, company string, rule tokenworker.Rule) op {
	return func(ctx context.Context, table *dynamo.Table) (string, error) {
		told := tokenworker.Record{Key: event(company, 1).Key}
		if rec.Revision != (tokenworker.AttemptID{}) {
			told = *rec
		}
		r, v, err := table.Update(ctx, told, rule)
		*rec = r
		return v.String(), err
	}
}

func commit(f *tokenworker.Refresh) op {
	return update(&tokenworker.Record{}, f.Key.CompanyID, tokenworker.Committing(f))
}

func claiming(of uint64) tokenworker.Rule {
	return tokenworker.Claiming(tokenworker.Fence{Stamp: event("", of).Stamp},
		tokenworker.Claim{Owner: "replica", Attempt: tokenworker.AttemptID{7}, At: day, Until: day},
		tokenworker.Fingerprint{1}, tokenworker.AttemptID{})
}

// read is what a connection's record was when it was read.
func read(rec *tokenworker.Record, company string) op {
	return func(ctx context.Context, table *dynamo.Table) (string, error) {
		r, err := table.Get(ctx, event(company, 1).Key)
		*rec = r
		return "", err
	}
}

func claim(company string, of uint64) op { return update(&tokenworker.Record{}, company, claiming(of)) }

func TestACallMakesAsFewRequestsAsItCanAndSurvivesALostReply(t *testing.T) {
	config := localstack.Config(t)
	_, name := setUp(t, config)
	records := make(map[string]*tokenworker.Record)
	known := func(company string) *tokenworker.Record { // what the caller knows of the connection
		if records[company] == nil {
			records[company] = &tokenworker.Record{}
		}
		return records[company]
	}
	sweep := func(attempt byte) tokenworker.Rule {
		return tokenworker.ClaimRevocations(tokenworker.Claim{Attempt: tokenworker.AttemptID{attempt}, Until: day.Add(time.Hour)}, day)
	}

	for i, c := range []struct {
		name     string
		given    func(company string) []op
		call     func(company string) op
		want     string
		requests int
	}{
		{
			name:  "a first acquisition is one write",
			given: func(string) []op { return nil },
			call:  func(c string) op { return acquire(acquisition(c, 1)) },
			want:  "applied", requests: 1,
		}, {
			name:  "a newer acquisition is one write",
			given: func(c string) []op { return []op{acquire(acquisition(c, 1))} },
			call:  func(c string) op { return acquire(acquisition(c, 2)) },
			want:  "applied", requests: 1,
		}, {
			name:  "a redelivered acquisition is one refused write",
			given: func(c string) []op { return []op{acquire(acquisition(c, 1))} },
			call:  func(c string) op { return acquire(acquisition(c, 1)) },
			want:  "repeated", requests: 1,
		}, {
			name:  "a stale acquisition is a refused write and one that notes it",
			given: func(c string) []op { return []op{acquire(acquisition(c, 2))} },
			call:  func(c string) op { return acquire(acquisition(c, 1)) },
			want:  "stale", requests: 2,
		}, {
			name:  "a late acquisition is a refused write and one that lists it for revocation",
			given: func(c string) []op { return []op{disconnect(disconnection(c, 2))} },
			call:  func(c string) op { return acquire(acquisition(c, 1)) },
			want:  "revoking", requests: 2,
		}, {
			name:  "a disconnect of a token set is one write",
			given: func(c string) []op { return []op{acquire(acquisition(c, 1))} },
			call:  func(c string) op { return disconnect(disconnection(c, 2)) },
			want:  "applied", requests: 1,
		}, {
			name:  "a disconnect that comes first is two",
			given: func(string) []op { return nil },
			call:  func(c string) op { return disconnect(disconnection(c, 1)) },
			want:  "applied", requests: 2,
		}, {
			name: "an acquisition beside a revocation that is under way is two",
			given: func(c string) []op {
				return []op{acquire(acquisition(c, 1)), disconnect(disconnection(c, 2)), update(known(c), c, sweep(1))}
			},
			call: func(c string) op { return acquire(acquisition(c, 3)) },
			want: "applied", requests: 2,
		}, {
			name:  "an update of what was read is one write",
			given: func(c string) []op { return []op{acquire(acquisition(c, 1)), read(known(c), c)} },
			call:  func(c string) op { return update(known(c), c, claiming(1)) },
			want:  "applied", requests: 1,
		}, {
			name: "an update of what an update returned is one write",
			given: func(c string) []op {
				return []op{acquire(acquisition(c, 1)), read(known(c), c), update(known(c), c, claiming(1))}
			},
			call: func(c string) op { return update(known(c), c, tokenworker.Committing(refresh(c, 1))) },
			want: "applied", requests: 1,
		}, {
			name:  "an update of a key alone is a read and a write",
			given: func(c string) []op { return []op{acquire(acquisition(c, 1))} },
			call:  func(c string) op { return claim(c, 1) },
			want:  "applied", requests: 2,
		}, {
			name: "an update of what was noted on since is a refused write and another",
			given: func(c string) []op {
				return []op{acquire(acquisition(c, 2)), read(known(c), c), acquire(acquisition(c, 1))}
			},
			call: func(c string) op { return update(known(c), c, tokenworker.Committing(refresh(c, 2))) },
			want: "applied", requests: 2,
		}, {
			name: "an update that lost to a disconnect is a refused write and another",
			given: func(c string) []op {
				return []op{acquire(acquisition(c, 1)), read(known(c), c), disconnect(disconnection(c, 2))}
			},
			call: func(c string) op { return update(known(c), c, tokenworker.Committing(refresh(c, 1))) },
			want: "revoking", requests: 2,
		}, {
			name:  "an update with nothing to write makes sure by a read",
			given: func(c string) []op { return []op{acquire(acquisition(c, 1)), read(known(c), c)} },
			call:  func(c string) op { return update(known(c), c, tokenworker.Committing(refresh(c, 7))) },
			want:  "stale", requests: 1,
		},
	} {
		// Reply 0 is none: the undisturbed call, whose record the others must leave too.
		for lose := range c.requests + 1 {
			t.Run(fmt.Sprintf("%s, reply %d lost", c.name, lose), func(t *testing.T) {
				table, w := wired(t, name)
				company, undisturbed := fmt.Sprintf("company %d %d", i, lose), fmt.Sprintf("undisturbed %d %d", i, lose)
				for _, given := range append(c.given(company), append(c.given(undisturbed), c.call(undisturbed))...) {
					if _, err := given(t.Context(), table); err != nil {
						t.Fatal(err)
					}
				}
				w.requests, w.lose = 0, lose
				got, err := c.call(company)(t.Context(), table)
				if err != nil || got != c.want {
					t.Errorf("%q, error %v; want %q", got, err, c.want)
				}
				want := c.requests
				if lose > 0 {
					want++
				}
				if w.requests != want {
					t.Errorf("%d requests, want %d", w.requests, want)
				}
				requireAlike(t, table, company, undisturbed)
			})
		}
	}
}

// requireAlike fails unless the two connections' records differ in their keys only.
func requireAlike(t *testing.T, table *dynamo.Table, company, other string) {
	t.Helper()
	a, err := table.Get(t.Context(), event(company, 1).Key)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	b, err := table.Get(t.Context(), event(other, 1).Key)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	a.Key, b.Key = tokenworker.Key{}, tokenworker.Key{}
	a.Revision, b.Revision = tokenworker.AttemptID{}, tokenworker.AttemptID{}
	byHash := func(x, y tokenworker.EventID) int { return bytes.Compare(x.Hash[:], y.Hash[:]) }
	slices.SortFunc(a.Seen, byHash)
	slices.SortFunc(b.Seen, byHash)
	if !reflect.DeepEqual(a, b) {
		t.Errorf("record is\n\t%+v, want\n\t%+v", a, b)
	}
}

func TestAnotherWriteBetweenALostReplyAndTheNextTry(t *testing.T) {
	_, name := setUp(t, localstack.Config(t))
	other := open(t, dynamo.NewClient(localstack.Config(t)), name)

	t.Run("an acquisition that took place is a repeat, and what came after it stays", func(t *testing.T) {
		table, w := wired(t, name)
		w.lose = 1
		w.between = func() { mustDo(t, other, acquire(acquisition("overtaken", 2))) }
		if v, err := table.Acquire(t.Context(), acquisition("overtaken", 1)); err != nil || v != tokenworker.Repeated {
			t.Errorf("verdict %v, error %v; want repeated", v, err)
		}
		requireStamp(t, other, "overtaken", 2)
	})

	t.Run("a claim that was taken is known as one's own, although an event was noted since", func(t *testing.T) {
		mustDo(t, other, acquire(acquisition("claimed", 2)))
		table, w := wired(t, name)
		w.lose = 2
		w.between = func() { mustDo(t, other, acquire(acquisition("claimed", 1))) }
		if got, err := claim("claimed", 2)(t.Context(), table); err != nil || got != "applied" {
			t.Errorf("%q, error %v; want applied", got, err)
		}
		if r, err := other.Get(t.Context(), event("claimed", 2).Key); err != nil || len(r.Seen) != 2 || len(r.Acquired) != 1 {
			t.Errorf("%d ids, %d spent, error %v; want 2 and 1", len(r.Seen), len(r.Acquired), err)
		}
	})

	t.Run("a refresh that was saved is saved once, and what was noted since stays", func(t *testing.T) {
		mustDo(t, other, acquire(acquisition("saved", 2)))
		table, w := wired(t, name)
		var rec tokenworker.Record
		mustDo(t, table, read(&rec, "saved"))
		w.lose = 1
		w.between = func() { mustDo(t, other, acquire(acquisition("saved", 1))) }
		got, err := update(&rec, "saved", tokenworker.Committing(refresh("saved", 2)))(t.Context(), table)
		if err != nil || got != "repeated" {
			t.Errorf("%q, error %v; want repeated", got, err)
		}
		if stored, err := other.Get(t.Context(), rec.Key); err != nil || !reflect.DeepEqual(stored, rec) || rec.Generation != 1 {
			t.Errorf("returned %+v, stored %+v, error %v", rec, stored, err)
		}
	})
}

func TestAWrappedKeyPutByALostReplyIsOnesOwn(t *testing.T) {
	_, name := setUp(t, localstack.Config(t))
	table, w := wired(t, name)
	k := tokenworker.WrappedKey{Name: "pool/1", KeyID: "key", Wrapped: []byte("wrapped"), CreatedAt: day}
	w.lose = 1
	if got, err := table.PutWrappedKey(t.Context(), k, nil); err != nil || !reflect.DeepEqual(got, k) {
		t.Errorf("%+v, error %v; want %+v", got, err, k)
	}
}

func TestALostReplyLosesAnEpoch(t *testing.T) {
	_, name := setUp(t, localstack.Config(t))
	table, w := wired(t, name)
	w.lose = 1
	if epoch, err := table.TakeEpoch(t.Context()); err != nil || epoch != 2 {
		t.Errorf("epoch %d, error %v; want 2", epoch, err)
	}
}

func mustDo(t *testing.T, table *dynamo.Table, o op) {
	t.Helper()
	if _, err := o(t.Context(), table); err != nil {
		t.Fatal(err)
	}
}

func requireStamp(t *testing.T, table *dynamo.Table, company string, want uint64) {
	t.Helper()
	if r, err := table.Get(t.Context(), event(company, 1).Key); err != nil || r.Stamp.Sequence != want {
		t.Errorf("stamp %s, error %v; want sequence %d", r.Stamp, err, want)
	}
}
