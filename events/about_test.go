package events_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

// subjectsOf are subjects of every stream that name a key.
func subjectsOf(k tokenworker.Key) []string {
	request := events.Disconnect.Subject(k)
	if k.ProviderID == "" {
		request = events.Erase.Subject(k)
	}
	letter := events.DeadLetterSubject(events.CodeTooOld, request)
	replay, _ := events.ReplaySubject(letter)
	return []string{
		request, strings.Replace(request, "tokens.v1.", "tokens.v1.event.", 1), events.ParkedSubject(request), letter, replay,
		events.DeadLetterSubject(events.CodeSealBroken, replay),
	}
}

func TestEverySubjectAboutAKeyIsFoundAndNamesIt(t *testing.T) {
	connection, organization := key("acme", "finch", "c.17"), key("acme")
	other, lookalike := key("acme2", "finch", "c.17"), key("finch", "acme", "c.17")
	found := func(k tokenworker.Key, subject string) bool {
		return slices.ContainsFunc(events.About(k), func(pattern string) bool { return covers(pattern, subject) })
	}
	all := append(subjectsOf(connection), events.RescueSubject(connection), events.Stored.Subject(connection), events.Acquired.Subject(connection))
	for _, subject := range all {
		if !found(connection, subject) || !found(organization, subject) {
			t.Errorf("%s is not found", subject)
		}
		if strings.Contains(subject, "event.disconnect.") {
			continue // a notice that there is not
		}
		if k, ok := events.KeyOf(subject); !ok || k != connection {
			t.Errorf("%s names %v", subject, k)
		}
	}
	for _, subject := range []string{events.Erase.Subject(organization), events.Erased.Subject(organization), events.Acquired.Subject(key("acme", "finch"))} {
		if k, ok := events.KeyOf(subject); !found(organization, subject) || !ok || k.OrgID != "acme" {
			t.Errorf("%s is not found, or names %v", subject, k)
		}
	}
	for _, k := range []tokenworker.Key{other, lookalike} {
		for _, subject := range append(subjectsOf(k), events.RescueSubject(k)) {
			if named, ok := events.KeyOf(subject); ok && (named == connection || named.OrgID == "acme") {
				t.Errorf("%s names %v", subject, named)
			}
		}
	}
	if k, ok := events.KeyOf("tokens.v1.dlq.bad_subject.unnamed"); ok {
		t.Errorf("a subject without a key names %v", k)
	}
}

// covers is NATS' rule: * stands for one token, > for one or more at the end.
func covers(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i := range p {
		switch {
		case i >= len(s):
			return false
		case p[i] == ">":
			return true
		case p[i] != "*" && p[i] != s[i]:
			return false
		}
	}
	return len(p) == len(s)
}
