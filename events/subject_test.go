package events_test

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

func key(parts ...string) tokenworker.Key {
	parts = append(parts, "", "", "")
	return tokenworker.Key{OrgID: parts[0], ProviderID: parts[1], CompanyID: parts[2]}
}

func TestSubjectsOfKindsReadBack(t *testing.T) {
	for _, c := range []struct {
		kind events.Kind
		key  tokenworker.Key
		want string
	}{
		{events.Acquired, key("acme", "finch", "c-17"), "tokens.v1.acquired.acme.finch.c-17"},
		{events.Acquired, key("acme", "finch"), "tokens.v1.acquired.acme.finch"},
		{events.Disconnect, key("a.b", "p*", ">"), "tokens.v1.disconnect.a%2Eb.p%2A.%3E"},
		{events.Refresh, key("acme", "finch", "c"), "tokens.v1.refresh.acme.finch.c"},
		{events.Erase, key("acme"), "tokens.v1.erase.acme"},
		{events.Erase, key("acme", "finch", "c"), "tokens.v1.erase.acme.finch.c"},
		{events.Stored, key("acme", "finch", "c"), "tokens.v1.event.stored.acme.finch.c"},
		{events.RefreshFailed, key("acme", "finch", "c"), "tokens.v1.event.refresh_failed.acme.finch.c"},
		{events.Erased, key("acme"), "tokens.v1.event.erased.acme"},
		{events.Rejected, key("acme", "finch"), "tokens.v1.event.rejected.acme.finch"},
	} {
		t.Run(c.want, func(t *testing.T) {
			if got := c.kind.Subject(c.key); got != c.want {
				t.Fatalf("subject is %s", got)
			}
			kind, key, err := events.ParseSubject(c.want)
			if err != nil || kind != c.kind || key != c.key {
				t.Errorf("read back as %s %v, %v", kind, key, err)
			}
		})
	}
}

func TestParseSubjectRefusesEveryOtherSpelling(t *testing.T) {
	for _, subject := range []string{
		"", "tokens", "tokens.v1", "tokens.v1.", "tokens.v1.acquired", "tokens.v1.acquired.", "tokens.v1.acquired.acme",
		"tokens.v1.acquired.acme.finch.", "tokens.v1.acquired.acme..c", "tokens.v1.acquired.acme.finch.c.d",
		"tokens.v1.acquired.acme.fin ch.c", "tokens.v1.acquired.*.finch.c", "tokens.v1.acquired.acme.>",
		"tokens.v1.acquired.acme.finch.%63", "tokens.v1.acquired.acme.finch.%2e", "tokens.v1.acquired.acme.finch.%0A",
		"tokens.v1.acquired.acme.finch.é", "tokens.v2.acquired.acme.finch.c", "Tokens.v1.acquired.acme.finch.c",
		"tokens.v1.disconnect.acme.finch", "tokens.v1.refresh.acme", "tokens.v1.erase.acme.finch", "tokens.v1.stored.a.b.c",
		"tokens.v1.event.acquired.a.b.c", "tokens.v1.event.a.b.c", "tokens.v1.event.stored.a.b", "tokens.v1.other.a.b.c",
		"tokens.v1.replay.too_old.acquired.a.b.c", "tokens.v1.acquired.a.b." + strings.Repeat("c", 129),
		"tokens.v1.acquired.a.b." + strings.Repeat("c", 2000),
	} {
		if kind, key, err := events.ParseSubject(subject); !errors.Is(err, events.CodeBadSubject) {
			t.Errorf("%q was read as %s %v, %v", subject, kind, key, err)
		}
	}
}

func TestTheLongestSubjectStillHasADeadLetterAndAReplay(t *testing.T) {
	part := strings.Repeat("%", tokenworker.MaxPartBytes) // three bytes each when escaped
	original := events.Disconnect.Subject(key(part, part, part))
	first := events.DeadLetterSubject(events.CodeMissingMessageID, original)
	replay, err := events.ReplaySubject(first)
	if err != nil {
		t.Fatal(err)
	}
	again := events.DeadLetterSubject(events.CodeSealBroken, replay)
	if _, got, err := events.ParseDeadLetterSubject(again); err != nil || got != replay {
		t.Errorf("the dead letter of a replay reads back as %.60s…, %v", got, err)
	}
}

func TestDeadLetterReplayAndParkedSubjectsReadBack(t *testing.T) {
	const original = "tokens.v1.acquired.acme.finch.c%2E1"
	deadLetter := events.DeadLetterSubject(events.CodeTooOld, original)
	if want := "tokens.v1.dlq.too_old.acquired.acme.finch.c%2E1"; deadLetter != want {
		t.Fatalf("dead letter is %s, want %s", deadLetter, want)
	}
	if code, got, err := events.ParseDeadLetterSubject(deadLetter); code != events.CodeTooOld || got != original || err != nil {
		t.Errorf("dead letter reads back as %s %s, %v", code, got, err)
	}
	replay, err := events.ReplaySubject(deadLetter)
	if want := "tokens.v1.replay.too_old.acquired.acme.finch.c%2E1"; replay != want || err != nil {
		t.Fatalf("replay is %s, %v, want %s", replay, err, want)
	}
	if code, got, err := events.ParseReplaySubject(replay); code != events.CodeTooOld || got != original || err != nil {
		t.Errorf("replay reads back as %s %s, %v", code, got, err)
	}
	parked := events.ParkedSubject(original)
	if want := "tokens.v1.parked.acquired.acme.finch.c%2E1"; parked != want {
		t.Fatalf("parked is %s, want %s", parked, want)
	}
	if got, err := events.ParseParkedSubject(parked); got != original || err != nil {
		t.Errorf("parked reads back as %s, %v", got, err)
	}
}

func TestASubjectThatCannotBeRepeatedIsUnnamed(t *testing.T) {
	for _, original := range []string{
		"", "other.subject", "tokens.v1.", "tokens.v1.acquired..b", "tokens.v1.acquired.*.b", "tokens.v1.acquired.a b",
		"tokens.v1.acquired.é", "tokens.v1." + strings.Repeat("a", 5000), "tokens.v1.a\r\nPUB x 0\r\n",
	} {
		subject := events.DeadLetterSubject(events.CodeBadSubject, original)
		if want := "tokens.v1.dlq.bad_subject.unnamed"; subject != want {
			t.Errorf("%.30q: dead letter is %.60q", original, subject)
		}
	}
}

func TestSubjectsOfOtherFamiliesAreRefused(t *testing.T) {
	for _, subject := range []string{
		"", "tokens.v1.dlq", "tokens.v1.dlq.too_old", "tokens.v1.dlq.too_old.", "tokens.v1.dlq.Too.acquired.a.b.c",
		"tokens.v1.dlq.t00.a", "tokens.v1.dlq." + strings.Repeat("a", 33) + ".a", "tokens.v1.dlq.too_old.a..b",
		"tokens.v1.dlq.too_old.a b", "tokens.v1.acquired.a.b.c",
	} {
		if _, _, err := events.ParseDeadLetterSubject(subject); !errors.Is(err, events.CodeBadSubject) {
			t.Errorf("%q is taken for a dead letter's", subject)
		}
		if _, err := events.ReplaySubject(subject); !errors.Is(err, events.CodeBadSubject) {
			t.Errorf("%q has a replay", subject)
		}
		if _, _, err := events.ParseReplaySubject(subject); !errors.Is(err, events.CodeBadSubject) {
			t.Errorf("%q is taken for a replay's", subject)
		}
		if _, err := events.ParseParkedSubject(subject); !errors.Is(err, events.CodeBadSubject) {
			t.Errorf("%q is taken for a parked one", subject)
		}
		if _, err := events.ParseRescueSubject(subject); !errors.Is(err, events.CodeBadSubject) {
			t.Errorf("%q is taken for a rescue's", subject)
		}
		if _, _, err := events.ParseSweepSubject(subject); !errors.Is(err, events.CodeBadSubject) {
			t.Errorf("%q is taken for a sweep's", subject)
		}
		if _, _, err := events.ParseGetSubject(subject); !errors.Is(err, events.CodeBadSubject) {
			t.Errorf("%q is taken for a read", subject)
		}
	}
	for _, subject := range []string{
		"tokens.v1.sweep.p", "tokens.v1.sweep.p.", "tokens.v1.sweep.p.-1", "tokens.v1.sweep.p.+1", "tokens.v1.sweep.p.01",
		"tokens.v1.sweep..1", "tokens.v1.sweep.p.1.2", "tokens.v1.sweep.p.99999999999999999999", "tokens.v1.sweep.p.x",
	} {
		if _, _, err := events.ParseSweepSubject(subject); !errors.Is(err, events.CodeBadSubject) {
			t.Errorf("%q is taken for a sweep's", subject)
		}
	}
	for _, subject := range []string{"tokens.v1.get.c", "tokens.v1.get.c.o.p", "tokens.v1.get..o.p.c", "tokens.v1.get.c.o.p.x.y"} {
		if _, _, err := events.ParseGetSubject(subject); !errors.Is(err, events.CodeBadSubject) {
			t.Errorf("%q is taken for a read", subject)
		}
	}
	if _, err := events.ParseRescueSubject("tokens.v1.rescue.o.p"); !errors.Is(err, events.CodeBadSubject) {
		t.Error("a rescue without company is accepted")
	}
}

// anyPart draws ids as hostile as a key allows.
var anyPart = rapid.Custom(func(t *rapid.T) string {
	return rapid.StringN(1, 40, tokenworker.MaxPartBytes).
		Filter(func(s string) bool { return tokenworker.ValidatePart(s) == nil }).Draw(t, "part")
})

func TestEverySubjectOfEveryKeyReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := key(anyPart.Draw(t, "org"), anyPart.Draw(t, "provider"), anyPart.Draw(t, "company"))
		subject := events.Acquired.Subject(k)
		if kind, got, err := events.ParseSubject(subject); kind != events.Acquired || got != k || err != nil {
			t.Fatalf("%s reads back as %s %v, %v", subject, kind, got, err)
		}
		if _, got, err := events.ParseDeadLetterSubject(events.DeadLetterSubject(events.CodeTooOld, subject)); got != subject || err != nil {
			t.Fatalf("dead letter of %s reads back as %s, %v", subject, got, err)
		}
		if got, err := events.ParseRescueSubject(events.RescueSubject(k)); got != k || err != nil {
			t.Fatalf("rescue subject reads back as %v, %v", got, err)
		}
		caller := anyPart.Draw(t, "caller")
		if c, got, err := events.ParseGetSubject(events.GetSubject(caller, k)); c != caller || got != k || err != nil {
			t.Fatalf("get subject reads back as %s %v, %v", c, got, err)
		}
		shard := rapid.IntRange(0, 4096).Draw(t, "shard")
		if p, n, err := events.ParseSweepSubject(events.SweepSubject(k.ProviderID, shard)); p != k.ProviderID || n != shard || err != nil {
			t.Fatalf("sweep subject reads back as %s %d, %v", p, n, err)
		}
	})
}

// FuzzSubjects: no parser panics, and what one reads, its builder writes again.
func FuzzSubjects(f *testing.F) {
	for _, seed := range []string{
		"tokens.v1.acquired.a.b.c", "tokens.v1.erase.a", "tokens.v1.event.stored.a.b.c", "tokens.v1.dlq.too_old.x.y",
		"tokens.v1.replay.too_old.acquired.a.b", "tokens.v1.parked.x", "tokens.v1.rescue.a.b.c", "tokens.v1.sweep.p.7",
		"tokens.v1.get.c.a.b.c%2E", "tokens.v1.dlq.%41.x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, subject string) {
		check := func(built string, err error) {
			if err == nil && built != subject {
				t.Fatalf("%q was read, but is built as %q", subject, built)
			}
		}
		kind, key, err := events.ParseSubject(subject)
		check(kind.Subject(key), err)
		code, original, err := events.ParseDeadLetterSubject(subject)
		check(events.DeadLetterSubject(code, original), err)
		if code, original, err = events.ParseReplaySubject(subject); err == nil {
			check(events.ReplaySubject(events.DeadLetterSubject(code, original)))
		}
		original, err = events.ParseParkedSubject(subject)
		check(events.ParkedSubject(original), err)
		rescued, err := events.ParseRescueSubject(subject)
		check(events.RescueSubject(rescued), err)
		provider, shard, err := events.ParseSweepSubject(subject)
		check(events.SweepSubject(provider, shard), err)
		caller, key, err := events.ParseGetSubject(subject)
		check(events.GetSubject(caller, key), err)
	})
}
