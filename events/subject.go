package events

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tokenworker/tokenworker"
)

// Prefix begins every subject of the contract.
const Prefix = "tokens.v1."

// The second token of every subject that is not a request's.
const (
	noticeToken     = "event"
	replayToken     = "replay"
	deadLetterToken = "dlq"
	parkedToken     = "parked"
	rescueToken     = "rescue"
	sweepToken      = "sweep"
	getToken        = "get"
	auditToken      = "audit"
)

// maxRestBytes bounds the rest of an original subject that is repeated in another one. The longest rest of a valid
// request is 1,165 bytes; a NATS server cuts the connection of a client whose subject makes a line of over 4,096.
const maxRestBytes = 1400

// unnamed stands for an original subject that cannot be repeated: too long, or not made of valid tokens. The dead
// letter holds it.
const unnamed = "unnamed"

// Subject is where events of kind k about key travel: tokens.v1.acquired.<org>.<provider>[.<company>] and the like for
// requests, tokens.v1.event.<kind>.<org>… for what the worker did. Empty trailing parts of key are left out; which
// kinds allow that is for [ParseSubject] to say.
func (k Kind) Subject(key tokenworker.Key) string {
	head := Prefix + string(k)
	if k.isNotice() {
		head = Prefix + noticeToken + "." + string(k)
	}
	return head + "." + joinKey(key, ".")
}

// ParseSubject reads the subject of a request or of an event of the worker's. The key lacks its company, or company and
// provider, where the subject ends early. The error is [CodeBadSubject].
func ParseSubject(subject string) (Kind, tokenworker.Key, error) {
	rest, ok := strings.CutPrefix(subject, Prefix)
	if !ok || len(rest) > maxRestBytes {
		return "", tokenworker.Key{}, CodeBadSubject
	}
	name, rest, _ := strings.Cut(rest, ".")
	isKind := Kind.isRequest
	if name == noticeToken {
		name, rest, _ = strings.Cut(rest, ".")
		isKind = Kind.isNotice
	}
	kind := Kind(name)
	key, ok := splitKey(rest, ".")
	if !ok || !isKind(kind) || !kind.takes(key) {
		return "", tokenworker.Key{}, CodeBadSubject
	}
	return kind, key, nil
}

// takes reports whether events of the kind may be about a key without company, or without company and provider.
func (k Kind) takes(key tokenworker.Key) bool {
	switch {
	case key.CompanyID != "":
		return true
	case key.ProviderID != "":
		return k == Acquired || k == Rejected
	default:
		return k == Erase || k == Erased || k == Rejected
	}
}

// KeyText is the text form of a key whose trailing parts may be missing: org:provider:company, org:provider or org. It
// is the CloudEvents subject of every event.
func KeyText(key tokenworker.Key) string { return joinKey(key, ":") }

// ParseKeyText undoes [KeyText].
func ParseKeyText(text string) (key tokenworker.Key, ok bool) { return splitKey(text, ":") }

// joinKey joins the escaped parts of a key, up to the first empty one.
func joinKey(key tokenworker.Key, sep string) string {
	s := tokenworker.EscapePart(key.OrgID)
	if key.ProviderID == "" {
		return s
	}
	s += sep + tokenworker.EscapePart(key.ProviderID)
	if key.CompanyID == "" {
		return s
	}
	return s + sep + tokenworker.EscapePart(key.CompanyID)
}

// splitKey undoes joinKey.
func splitKey(s, sep string) (key tokenworker.Key, ok bool) {
	for _, dst := range []*string{&key.OrgID, &key.ProviderID, &key.CompanyID} {
		part, rest, more := strings.Cut(s, sep)
		var err error
		if *dst, err = tokenworker.UnescapePart(part); err != nil {
			return tokenworker.Key{}, false
		}
		if !more {
			return key, true
		}
		s = rest
	}
	return tokenworker.Key{}, false // a fourth part
}

// DeadLetterSubject is where a message with the given original subject goes when it is refused:
// tokens.v1.dlq.<code>.<rest>.
func DeadLetterSubject(code Code, original string) string {
	return Prefix + deadLetterToken + "." + string(code) + "." + restOf(original)
}

// ParseDeadLetterSubject reads what [DeadLetterSubject] builds. The code may be one that only a newer version knows.
// The error is [CodeBadSubject].
func ParseDeadLetterSubject(subject string) (code Code, original string, err error) {
	return parseCoded(subject, deadLetterToken)
}

// ReplaySubject is where an operator publishes the dead letter of the given subject, unchanged, to have it handled
// again: tokens.v1.replay.<code>.<rest>. The error is [CodeBadSubject].
func ReplaySubject(deadLetter string) (string, error) {
	code, original, err := ParseDeadLetterSubject(deadLetter)
	if err != nil {
		return "", err
	}
	return Prefix + replayToken + "." + string(code) + "." + restOf(original), nil
}

// ParseReplaySubject reads what [ReplaySubject] builds. The error is [CodeBadSubject].
func ParseReplaySubject(subject string) (code Code, original string, err error) {
	return parseCoded(subject, replayToken)
}

func parseCoded(subject, token string) (Code, string, error) {
	rest, ok := strings.CutPrefix(subject, Prefix+token+".")
	if !ok {
		return "", "", CodeBadSubject
	}
	name, rest, _ := strings.Cut(rest, ".")
	if code := Code(name); code.wellFormed() && isRest(rest) {
		return code, Prefix + rest, nil
	}
	return "", "", CodeBadSubject
}

// ParkedSubject is where a message with the given original subject waits while it can be settled neither way:
// tokens.v1.parked.<rest>.
func ParkedSubject(original string) string {
	return Prefix + parkedToken + "." + restOf(original)
}

// ParseParkedSubject reads what [ParkedSubject] builds. The error is [CodeBadSubject].
func ParseParkedSubject(subject string) (original string, err error) {
	rest, ok := strings.CutPrefix(subject, Prefix+parkedToken+".")
	if !ok || !isRest(rest) {
		return "", CodeBadSubject
	}
	return Prefix + rest, nil
}

// restOf is what follows the prefix in a subject, if it can be repeated in another subject.
func restOf(subject string) string {
	if rest, ok := strings.CutPrefix(subject, Prefix); ok && isRest(rest) {
		return rest
	}
	return unnamed
}

// isRest reports whether s is a bounded sequence of non-empty tokens made of the bytes that escaped key parts use.
func isRest(s string) bool {
	if s == "" || len(s) > maxRestBytes {
		return false
	}
	for token := range strings.SplitSeq(s, ".") {
		if token == "" || strings.ContainsFunc(token, func(r rune) bool { return !isTokenRune(r) }) {
			return false
		}
	}
	return true
}

func isTokenRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_-~%", r)
}

// RescueSubject is where an answer for key goes that could not be stored.
func RescueSubject(key tokenworker.Key) string { return Prefix + rescueToken + "." + joinKey(key, ".") }

// ParseRescueSubject reads what [RescueSubject] builds. The error is [CodeBadSubject].
func ParseRescueSubject(subject string) (tokenworker.Key, error) {
	rest, ok := strings.CutPrefix(subject, Prefix+rescueToken+".")
	if ok {
		if key, ok := splitKey(rest, "."); ok && key.CompanyID != "" {
			return key, nil
		}
	}
	return tokenworker.Key{}, CodeBadSubject
}

// SweepSubject is where the sweep job of one shard of a provider's connections goes.
func SweepSubject(provider string, shard int) string {
	return fmt.Sprintf("%s%s.%s.%d", Prefix, sweepToken, tokenworker.EscapePart(provider), shard)
}

// ParseSweepSubject reads what [SweepSubject] builds. The error is [CodeBadSubject].
func ParseSweepSubject(subject string) (provider string, shard int, err error) {
	rest, _ := strings.CutPrefix(subject, Prefix+sweepToken+".")
	name, number, _ := strings.Cut(rest, ".")
	if provider, err = tokenworker.UnescapePart(name); err != nil {
		return "", 0, CodeBadSubject
	}
	shard, err = strconv.Atoi(number)
	if err != nil || shard < 0 || subject != SweepSubject(provider, shard) { // one spelling only: no +7, no 007
		return "", 0, CodeBadSubject
	}
	return provider, shard, nil
}

// GetSubjects is the pattern of every subject on which tokens are asked for.
const GetSubjects = Prefix + getToken + ".*.*.*.*"

// GetSubject is where caller asks for the token of key.
func GetSubject(caller string, key tokenworker.Key) string {
	return Prefix + getToken + "." + tokenworker.EscapePart(caller) + "." + joinKey(key, ".")
}

// InboxPrefix is what the inboxes of a caller begin with, before a dot: replies go nowhere else, or a reader could have them sent
// to others. It is for [github.com/nats-io/nats.go.CustomInboxPrefix], or its like.
func InboxPrefix(caller string) string { return "_INBOX." + tokenworker.EscapePart(caller) }

// ParseGetSubject reads what [GetSubject] builds. The error is [CodeBadSubject]; the caller is given nevertheless where it
// can be read.
func ParseGetSubject(subject string) (caller string, key tokenworker.Key, err error) {
	rest, ok := strings.CutPrefix(subject, Prefix+getToken+".")
	if !ok {
		return "", tokenworker.Key{}, CodeBadSubject
	}
	name, rest, _ := strings.Cut(rest, ".")
	if caller, err = tokenworker.UnescapePart(name); err != nil {
		return "", tokenworker.Key{}, CodeBadSubject
	}
	if key, ok = splitKey(rest, "."); !ok || key.CompanyID == "" {
		return caller, tokenworker.Key{}, CodeBadSubject
	}
	return caller, key, nil
}

// AuditSubject is where a record of the audit trail goes. The connection is a pseudonym. * stands for any, of either.
func AuditSubject(action tokenworker.AuditAction, connection string) string {
	return Prefix + auditToken + "." + string(action) + "." + connection
}
