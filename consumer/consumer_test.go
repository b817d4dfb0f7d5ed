package consumer_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/consumer"
	"github.com/tokenworker/tokenworker/events"
	"github.com/tokenworker/tokenworker/streams"
)

func TestAnAcquiredSetIsStoredAnnouncedAndSettled(t *testing.T) {
	r := newRig(t)
	r.start(func(c *consumer.Config) {
		c.Due = func(_ tokenworker.Key, _ time.Time, s tokenworker.TokenSet) time.Time {
			return s.ExpiresAt.Add(-time.Minute)
		}
	})
	now := time.Now()
	seq := r.publish(r.acquired(acme, "a", now))
	r.settled(streams.In)
	if got := r.token(acme); got != "a" {
		t.Fatalf("stored %q, want a", got)
	}
	rec, err := r.db.Get(t.Context(), acme)
	must(t, err)
	if rec.Stamp != (tokenworker.Stamp{Epoch: epoch, Sequence: seq}) {
		t.Errorf("stamp is %s, want %d/%d", rec.Stamp, epoch, seq)
	}
	if want := rec.ExpiresAt.Add(-time.Minute); !rec.DueAt.Equal(want) || rec.ExpiresAt.IsZero() {
		t.Errorf("due at %s, want %s", rec.DueAt, want)
	}
	if got := r.notices(); got != "stored acme:google:42" {
		t.Errorf("announced %q", got)
	}
}

func TestEventsOfOneConnectionApplyByTheirOrder(t *testing.T) {
	r := newRig(t)
	now := time.Now()
	r.publish(r.acquired(acme, "a", now))
	r.publish(r.acquired(acme, "b", now))
	r.publish(r.disconnect(acme, now))
	r.publish(r.acquired(other, "c", now))
	r.publish(r.disconnect(other, now))
	r.publish(r.acquired(other, "d", now))
	r.start()
	r.settled(streams.In)
	if got := r.token(acme); got != string(tokenworker.Disconnecting) {
		t.Errorf("after the disconnect: %q", got)
	}
	if got := r.token(other); got != "d" {
		t.Errorf("after the return: %q", got)
	}
}

func TestADisconnectKeepsTheSetForItsRevocationAndServesNothing(t *testing.T) {
	r := newRig(t)
	r.start()
	now := time.Now()
	seq := r.publish(r.acquired(acme, "a", now))
	r.settled(streams.In)
	r.publish(r.disconnect(acme, now))
	r.settled(streams.In)
	rec, err := r.db.Get(t.Context(), acme)
	must(t, err)
	if rec.Status != tokenworker.Disconnecting || rec.Sealed != nil || len(rec.Revoke) != 1 {
		t.Fatalf("status %s, set %t, %d to revoke", rec.Status, rec.Sealed != nil, len(rec.Revoke))
	}
	from := tokenworker.Fence{Stamp: tokenworker.Stamp{Epoch: epoch, Sequence: seq}}
	if got := r.open(acme, from, rec.Revoke[0].Sealed); got != "a" {
		t.Errorf("the set to revoke holds %q", got)
	}
	if got := r.notices(); got != "stored acme:google:42, disconnected acme:google:42" {
		t.Errorf("announced %q", got)
	}
}

func TestARefusedEventBecomesADeadLetterAndIsGoneFromTheStream(t *testing.T) {
	now := time.Now()
	plain := func(*rig) events.Message {
		e, err := events.NewAcquired(acme, "test", tokenworker.TokenSet{AccessToken: tokenworker.SecretString(secret)}, now)
		must(t, err)
		m, err := e.PlainMessage()
		must(t, err)
		return m
	}
	body := func(f func(string) string) func(*rig) events.Message {
		return func(r *rig) events.Message {
			m := r.acquired(acme, "a", now)
			m.Body = []byte(f(string(m.Body)))
			return m
		}
	}
	for _, c := range []struct {
		name string
		make func(r *rig) events.Message
		want events.Code
	}{
		{"a token in clear", plain, events.CodePlainRefused},
		{"no JSON", body(func(string) string { return secret }), events.CodeNotJSON},
		{"a field twice", body(func(b string) string { return strings.Replace(b, `{`, `{"id":"x",`, 1) }), events.CodeDuplicateField},
		{"nesting without end", body(func(string) string { return strings.Repeat("[", 1000) + strings.Repeat("]", 1000) }), events.CodeTooDeep},
		{"a body over 64 KiB", body(func(b string) string { return b + strings.Repeat(" ", 70<<10) }), events.CodeTooLarge},
		{"as much as the stream takes", body(func(string) string { return strings.Repeat("x", 255<<10) }), events.CodeTooLarge},
		{"no message id", func(r *rig) events.Message { m := r.acquired(acme, "a", now); m.ID = ""; return m }, events.CodeMissingMessageID},
		{"moved to another connection", func(r *rig) events.Message {
			m := r.acquired(acme, "a", now)
			m.Subject = events.Acquired.Subject(other)
			return m
		}, events.CodeKeyMismatch},
		{"a day too late", func(r *rig) events.Message { return r.acquired(acme, "a", now.Add(-25*time.Hour)) }, events.CodeTooOld},
		{"from tomorrow", func(r *rig) events.Message { return r.acquired(acme, "a", now.Add(24*time.Hour)) }, events.CodeFromFuture},
		{"sealed to nobody", body(func(b string) string { return strings.Replace(b, `"kid":"`, `"kid":"x`, 1) }), events.CodeUnknownKey},
		{"a flipped seal", body(func(b string) string { return strings.Replace(b, `"ct":"`, `"ct":"AAAA`, 1) }), events.CodeSealBroken},
		{"without a company", func(r *rig) events.Message {
			return r.acquired(tokenworker.Key{OrgID: "acme", ProviderID: "finch"}, "a", now)
		}, events.CodeUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			m := c.make(r)
			seq := r.publish(m)
			good := r.acquired(other, "good", now)
			r.publish(good)
			r.start()
			r.settled(streams.In)
			r.settled(streams.Parked)

			letters := r.messages(streams.DLQ)
			if len(letters) != 1 {
				t.Fatalf("%d dead letters, want 1", len(letters))
			}
			if bytes.Contains(letters[0].Body, []byte(secret)) {
				t.Error("the dead letter shows the token")
			}
			d, err := r.keys.OpenDeadLetter(t.Context(), letters[0])
			must(t, err)
			if d.Code != c.want || d.Stamp.Sequence != seq || d.Original.Subject != m.Subject || d.Original.ID != m.ID ||
				string(d.Original.Body) != string(m.Body) {
				t.Errorf("dead letter of code %s (want %s), sequence %d (want %d), or not what was published", d.Code, c.want,
					d.Stamp.Sequence, seq)
			}
			if got := r.token(other); got != "good" {
				t.Errorf("the good event beside it: %q", got)
			}
			if got := r.token(acme); got != "none" {
				t.Errorf("the bad event left %q", got)
			}
			if strings.Contains(r.logs.String(), secret) {
				t.Error("the log shows the token")
			}
			if got := r.notices(); !strings.Contains(got, "rejected ") {
				t.Errorf("announced %q, no rejection", got)
			}
		})
	}
}

// newPinnedRig is a rig whose stream of events is never empty, so that NATS keeps its file. The worker cannot store anything.
func newPinnedRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.beforeStore = func(ctx context.Context, _ tokenworker.Key) error {
		<-ctx.Done()
		return ctx.Err()
	}
	r.publish(r.acquired(other, "unsettled", time.Now()))
	return r
}

// inClear makes an event with a token in clear.
func (r *rig) inClear(k tokenworker.Key, token string) events.Message {
	r.t.Helper()
	e, err := events.NewAcquired(k, "test", tokenworker.TokenSet{AccessToken: tokenworker.SecretString(token)}, time.Now())
	must(r.t, err)
	m, err := e.PlainMessage()
	must(r.t, err)
	return m
}

func TestOnlyWhatMayHoldATokenInClearIsOverwritten(t *testing.T) {
	extended := func(m events.Message) events.Message {
		m.Body = []byte(strings.Replace(string(m.Body), "{", `{"debug":"`+secret+`",`, 1))
		return m
	}
	for _, c := range []struct {
		name        string
		message     func(r *rig) events.Message
		overwritten bool
	}{
		{"sealed, and too old", func(r *rig) events.Message { return r.acquired(acme, "a", time.Now().Add(-25*time.Hour)) }, false},
		{"the same, with an attribute that is ignored", func(r *rig) events.Message {
			return extended(r.acquired(acme, "a", time.Now().Add(-25*time.Hour)))
		}, true},
		{"a disconnect, too old", func(r *rig) events.Message { return r.disconnect(acme, time.Now().Add(-25*time.Hour)) }, false},
		{"a seal that does not open", func(r *rig) events.Message {
			m := r.acquired(acme, "a", time.Now())
			m.Body = []byte(strings.Replace(string(m.Body), `"ct":"`, `"ct":"AAAA`, 1))
			return m
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newPinnedRig(t)
			m := c.message(r)
			r.publish(m)
			text := string(m.Body[len(m.Body)/2:])
			if !r.onDisk(text) {
				t.Fatal("the event is not found on disk, where it must be for now: the search is no good")
			}
			r.start(func(c *consumer.Config) { c.Grace = time.Millisecond })
			r.eventually("only the unsettled event is left", func() bool { return r.count(streams.In) == 1 })
			if got := !r.onDisk(text); got != c.overwritten {
				t.Errorf("overwritten: %t, want %t", got, c.overwritten)
			}
		})
	}
}

func TestAFloodOfTokensInClearIsOverwrittenWithinItsLimit(t *testing.T) {
	r, metrics := newPinnedRig(t), prometheus.NewRegistry()
	const flood = 40
	for i := range flood {
		k := acme
		k.CompanyID = fmt.Sprint(i)
		r.publish(r.inClear(k, "one-of-many"))
	}
	start := time.Now()
	r.start(func(c *consumer.Config) { c.Grace, c.Registerer = time.Millisecond, metrics })
	r.eventually("all are refused", func() bool { return counter(t, metrics, "tokenworker_dead_letters_total") == flood })
	within := 5 + int(time.Since(start)/(8*time.Second)) + 1
	left := strings.Count(r.logs.String(), "was not overwritten in its stream")
	if left < flood-within || left >= flood {
		t.Errorf("of %d %d were not overwritten, want all but %d at most", flood, left, within)
	}
	// The limit of one organization takes nothing from another.
	r.publish(r.inClear(other, secret))
	r.eventually("only the unsettled event is left", func() bool { return r.count(streams.In) == 1 })
	if r.onDisk(secret) {
		t.Error("another organization's token is still on disk")
	}
	if got := len(r.messages(streams.DLQ)); got != flood+1 {
		t.Errorf("%d dead letters, want %d", got, flood+1)
	}
}

func TestATokenInClearIsOverwrittenOnDisk(t *testing.T) {
	r := newPinnedRig(t)
	r.publish(r.inClear(acme, secret))
	if !r.onDisk(secret) {
		t.Fatal("the token is not found on disk, where it must be for now: the search is no good")
	}
	r.start(func(c *consumer.Config) { c.Grace = time.Millisecond })
	r.eventually("only the unsettled event is left", func() bool { return r.count(streams.In) == 1 })
	if got := len(r.messages(streams.DLQ)); got != 1 {
		t.Errorf("%d dead letters, want 1", got)
	}
	if r.onDisk(secret) {
		t.Error("the token is still on disk")
	}
}

func TestAReplayedDeadLetterAppliesUnderItsOriginalStamp(t *testing.T) {
	for _, c := range []struct {
		name, want string
		between    func(r *rig)
	}{
		{"nothing came after it: it applies", "a", func(*rig) {}},
		{"a newer set came after it: it changes nothing", "b", func(r *rig) { r.publish(r.acquired(acme, "b", time.Now())) }},
		{"a disconnect came after it: it brings nothing back", "disconnecting", func(r *rig) { r.publish(r.disconnect(acme, time.Now())) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			e, err := events.NewAcquired(acme, "test", tokenworker.TokenSet{AccessToken: tokenworker.SecretString(secret + "-a")}, time.Now())
			must(t, err)
			m, err := e.PlainMessage()
			must(t, err)
			seq := r.publish(m)
			stop := r.start() // refuses what is plain
			r.settled(streams.In)
			c.between(r)
			r.settled(streams.In)
			must(t, stop())

			letters := r.messages(streams.DLQ)
			if len(letters) != 1 {
				t.Fatalf("%d dead letters", len(letters))
			}
			replay, err := events.Replay(letters[0])
			must(t, err)
			r.publish(replay)
			r.start(func(c *consumer.Config) { c.AllowPlain = true })
			r.settled(streams.In)
			if got := r.token(acme); got != c.want {
				t.Fatalf("after the replay: %q, want %q", got, c.want)
			}
			if rec, err := r.db.Get(t.Context(), acme); err != nil || c.want == "a" && rec.Stamp.Sequence != seq {
				t.Errorf("stamp %s, %v; want the original sequence %d", rec.Stamp, err, seq)
			}
		})
	}
}

func TestAReplayThatIsRefusedAgainIsKeptAgain(t *testing.T) {
	r := newRig(t)
	e, err := events.NewAcquired(acme, "test", tokenworker.TokenSet{AccessToken: tokenworker.SecretString(secret)}, time.Now())
	must(t, err)
	m, err := e.PlainMessage()
	must(t, err)
	r.publish(m)
	r.start()
	r.settled(streams.In)
	for replays := 1; replays <= 2; replays++ {
		letters := r.messages(streams.DLQ)
		replay, err := events.Replay(letters[len(letters)-1])
		must(t, err)
		r.publish(replay)
		r.settled(streams.In)
		if got := len(r.messages(streams.DLQ)); got != 1+replays {
			t.Fatalf("%d dead letters after %d replays, want one more each time", got, replays)
		}
	}
}

func TestAStoreThatIsDownIsWaitedOutWithoutAHotLoop(t *testing.T) {
	r := newRig(t)
	var down atomic.Bool
	var attempts atomic.Int64
	down.Store(true)
	r.beforeStore = func(context.Context, tokenworker.Key) error {
		attempts.Add(1)
		if down.Load() {
			return fmt.Errorf("test: %w", tokenworker.ErrUnavailable)
		}
		return nil
	}
	const n = 20
	for i := range n {
		r.publish(r.acquired(tokenworker.Key{OrgID: "acme", ProviderID: "p", CompanyID: fmt.Sprint(i)}, "a", time.Now()))
	}
	r.start()
	r.eventually("each event tried twice", func() bool { return attempts.Load() >= 2*n })
	if got := r.count(streams.In); got != n {
		t.Errorf("%d of %d events are still in the stream while the store is down", got, n)
	}
	down.Store(false)
	r.settled(streams.In)
	if got := attempts.Load(); got > 5*n {
		t.Errorf("%d attempts for %d events", got, n)
	}
	if got := strings.Count(r.notices(), "stored"); got != n {
		t.Errorf("%d stored, want %d", got, n)
	}
}

func TestACommitWhoseReplyWasLostIsAnnouncedOnce(t *testing.T) {
	r := newRig(t)
	var once sync.Once
	r.afterStore = func(context.Context, tokenworker.Key) (err error) {
		once.Do(func() { err = fmt.Errorf("test: the reply was lost: %w", tokenworker.ErrUnavailable) })
		return err
	}
	r.publish(r.acquired(acme, "a", time.Now()))
	r.start()
	r.settled(streams.In)
	if got := r.notices(); got != "stored acme:google:42" {
		t.Errorf("announced %q", got)
	}
}

func TestARefusedOrganizationKeyParksItsEventsAlone(t *testing.T) {
	r := newRig(t)
	var once sync.Once
	r.beforeSeal = func(k tokenworker.Key) (err error) {
		if k.OrgID == acme.OrgID {
			once.Do(func() { err = fmt.Errorf("test: %w", tokenworker.ErrKeyRefused) })
		}
		return err
	}
	r.publish(r.acquired(other, "b", time.Now()))
	seq := r.publish(r.acquired(acme, "a", time.Now())) // not the sequence that it has when parked
	r.start()
	r.settled(streams.In)
	if got := r.token(other); got != "b" {
		t.Errorf("the other organization: %q", got)
	}
	r.settled(streams.Parked)
	if got := r.token(acme); got != "a" {
		t.Errorf("the refused organization, once its key is back: %q", got)
	}
	if rec, err := r.db.Get(t.Context(), acme); err != nil || rec.Stamp.Sequence != seq {
		t.Errorf("stamp %s, %v; want the original sequence %d", rec.Stamp, err, seq)
	}
}

func TestARefreshRequestIsPassedOn(t *testing.T) {
	r := newRig(t)
	e, err := events.NewRefresh(acme, "test", "token_rejected", time.Now())
	must(t, err)
	m, err := e.Message()
	must(t, err)
	r.publish(m)
	r.start()
	r.settled(streams.In)
	if got := r.refreshed.String(); got != "acme:google:42\n" {
		t.Errorf("asked to refresh %q", got)
	}
}

func TestAPanicParksTheEventAndShowsNoToken(t *testing.T) {
	r := newRig(t)
	var once sync.Once
	r.beforeStore = func(context.Context, tokenworker.Key) error {
		once.Do(func() { panic(secret) })
		return nil
	}
	r.publish(r.acquired(acme, "a", time.Now()))
	r.start()
	r.settled(streams.In)
	r.settled(streams.Parked)
	if got := r.token(acme); got != "a" {
		t.Errorf("after the panic: %q", got)
	}
	if logs := r.logs.String(); strings.Contains(logs, secret) || !strings.Contains(logs, "panicked") {
		t.Errorf("the log shows the token, or no panic:\n%s", logs)
	}
}

func TestARepeatWaitsForItsUnsettledOriginal(t *testing.T) {
	r := newRig(t)
	forgetMessageIDs(t, r)
	// In order: a is stored, b replaces it, the repeat of a changes nothing. Were the repeat applied first, it would be the
	// newest, and a would be back.
	old := time.Now().Add(-time.Hour)
	first := r.acquired(acme, "a", old)
	seq := r.publish(first)
	r.publish(r.acquired(acme, "b", old))
	r.eventually("the stream takes the repeat for new", func() bool { return !r.tryPublish(first).Duplicate })

	original, repeated := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r.beforeStore = func(ctx context.Context, _ tokenworker.Key) error {
		held := false
		once.Do(func() { held = true }) // whichever comes first; by hold-back never the repeat
		if held {
			close(original)
			select {
			case <-repeated:
			case <-ctx.Done(): // the test has failed
			}
		}
		return ctx.Err()
	}
	r.start()
	<-original
	r.eventually("the repeat was held back", func() bool { return strings.Contains(r.logs.String(), "earlier message") })
	close(repeated)
	r.settled(streams.In)
	if got := r.token(acme); got != "b" {
		t.Errorf("stored %q, want b; the first sequence was %d", got, seq)
	}
}

// An organization whose key is refused publishes all its events again. Were the repeats held back in place, they would hold the slots
// that all organizations share.
func TestARepeatOfWhatIsParkedIsParkedAtOnce(t *testing.T) {
	r := newRig(t)
	forgetMessageIDs(t, r)
	r.beforeSeal = func(tokenworker.Key) error { return tokenworker.ErrKeyRefused }
	r.start()
	event := r.acquired(acme, "a", time.Now().Add(-time.Hour))
	r.publish(event)
	r.settled(streams.In)
	r.eventually("the stream takes the repeat for new", func() bool { return !r.tryPublish(event).Duplicate })
	r.settled(streams.In)
	if got := r.count(streams.Parked); got != 2 || strings.Contains(r.logs.String(), "is unsettled") {
		t.Errorf("%d events are parked, want 2, and none held back in place:\n%s", got, r.logs.String())
	}
}

// forgetMessageIDs makes the stream's memory of message ids as short as NATS allows.
func forgetMessageIDs(t *testing.T, r *rig) {
	s, err := r.js.Stream(t.Context(), streams.In)
	must(t, err)
	c := s.CachedInfo().Config
	c.Duplicates = 100 * time.Millisecond
	_, err = r.js.UpdateStream(t.Context(), c)
	must(t, err)
}

func TestShutdownFinishesWhatIsUnderWay(t *testing.T) {
	r := newRig(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	r.beforeStore = func(context.Context, tokenworker.Key) error {
		close(entered)
		<-leave
		return nil
	}
	r.publish(r.acquired(acme, "a", time.Now()))
	stop := r.start()
	<-entered
	ended := make(chan error)
	go func() { ended <- stop() }()
	close(leave)
	must(t, <-ended)
	if got := r.token(acme); got != "a" {
		t.Errorf("after shutdown: %q", got)
	}
	r.settled(streams.In)
}

func TestShutdownReleasesWhatDoesNotFinishInTime(t *testing.T) {
	r := newRig(t)
	entered := make(chan struct{}, 2)
	r.beforeStore = func(ctx context.Context, _ tokenworker.Key) error {
		entered <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	r.publish(r.acquired(acme, "a", time.Now()))
	stop := r.start(func(c *consumer.Config) { c.Grace = 50 * time.Millisecond })
	<-entered
	must(t, stop())
	if got := r.count(streams.In); got != 1 {
		t.Fatalf("%d events in the stream, want the unfinished one", got)
	}
	r.beforeStore = nil
	r.start() // another replica: released, the event comes at once and not after AckWait
	r.settled(streams.In)
	if got := r.token(acme); got != "a" {
		t.Errorf("stored %q", got)
	}
	if got := strings.Count(r.logs.String(), `"settled":"retry"`); got != 0 {
		t.Errorf("%d failed tries were logged; a shutdown is none", got)
	}
}

func TestALostConsumerIsWaitedFor(t *testing.T) {
	r := newRig(t)
	r.start()
	r.publish(r.acquired(acme, "a", time.Now()))
	r.settled(streams.In)
	must(t, r.js.DeleteConsumer(t.Context(), streams.In, streams.Durable(streams.Acquired, epoch)))
	r.publish(r.acquired(acme, "b", time.Now()))
	r.eventually("the loss was noticed", func() bool { return strings.Contains(r.logs.String(), "pulling messages failed") })
	must(t, streams.Setup(t.Context(), r.js, 1, nil))
	r.settled(streams.In)
	if got := r.token(acme); got != "b" {
		t.Errorf("stored %q", got)
	}
}

func TestARequestToRefreshIsOnRecordBeforeItIsMet(t *testing.T) {
	r := newRig(t)
	var mu sync.Mutex
	var entries []tokenworker.AuditEntry
	r.start(func(c *consumer.Config) {
		c.Record = func(_ context.Context, e tokenworker.AuditEntry) error {
			mu.Lock()
			defer mu.Unlock()
			entries = append(entries, e)
			if len(entries) == 1 {
				if r.refreshed.String() != "" {
					t.Error("it is met first")
				}
				return tokenworker.ErrUnavailable
			}
			return nil
		}
	})
	e, err := events.NewRefresh(acme, "crm", "token_rejected", time.Now())
	must(t, err)
	m, err := e.Message()
	must(t, err)
	r.publish(m)
	r.settled(streams.In)
	if got := r.refreshed.String(); got != "acme:google:42\n" {
		t.Errorf("refreshed %q, want once", got)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(entries) != 2 {
		t.Fatalf("%d entries, want the one that failed and the next try", len(entries))
	}
	got := entries[1]
	got.Time = time.Time{}
	want := tokenworker.AuditEntry{
		Action: tokenworker.AuditRefresh, Key: acme, Actor: "crm", Reason: "token_rejected", Outcome: tokenworker.AuditAsked,
		Fence: tokenworker.Fence{Stamp: tokenworker.Stamp{Epoch: epoch, Sequence: 1}}, Event: e.EventID(), ID: "event/3/1",
	}
	if got != want {
		t.Errorf("entry %+v, want %+v", got, want)
	}
}
