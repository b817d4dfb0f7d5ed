package events

import "github.com/tokenworker/tokenworker"

// StampHeader names the place of the event that a parked or rescued message stems from, as epoch/sequence: its own sequence
// is another stream's.
const StampHeader = "Tokenworker-Stamp"

// ParkedIDHeader holds the message id of the event that a parked message is, whose own is another.
const ParkedIDHeader = "Tokenworker-Message-Id"

// About lists patterns that match every subject that names key, or, of a key with its organization alone, any key of that
// organization: requests, notices, dead letters, replays, parked and rescued messages. They match others besides, where a
// code or a kind is spelled like a part of the key; [KeyOf] tells.
func About(key tokenworker.Key) []string {
	rests := []string{joinKey(key, ".")}
	if key.ProviderID == "" {
		rests = append(rests, rests[0]+".>")
	}
	var patterns []string
	for _, head := range []string{
		"*.", // requests and rescued messages
		noticeToken + ".*.", parkedToken + ".*.", replayToken + ".*.*.", deadLetterToken + ".*.*.",
		deadLetterToken + ".*." + replayToken + ".*.*.", // a replay that was refused
	} {
		for _, rest := range rests {
			patterns = append(patterns, Prefix+head+rest)
		}
	}
	return patterns
}

// KeyOf is the key that a subject of any stream names, which may lack its company, or company and provider. It is false for
// a subject that names none.
func KeyOf(subject string) (tokenworker.Key, bool) {
	if key, err := ParseRescueSubject(subject); err == nil {
		return key, true
	}
	if _, key, err := ParseSubject(subject); err == nil {
		return key, true
	}
	if original, err := ParseParkedSubject(subject); err == nil {
		return KeyOf(original)
	}
	for _, parse := range []func(string) (Code, string, error){ParseDeadLetterSubject, ParseReplaySubject} {
		if _, original, err := parse(subject); err == nil {
			return KeyOf(original)
		}
	}
	return tokenworker.Key{}, false
}
