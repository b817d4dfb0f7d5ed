package events

import (
	"time"

	"github.com/tokenworker/tokenworker"
)

const maxTimeBytes = 64

// parseTime reads RFC 3339 with upper-case T and Z, in the years that RFC 3339 and Unix time share: 1970 to 9999 UTC.
func parseTime(b []byte) (time.Time, bool) {
	var t time.Time
	if len(b) > maxTimeBytes || !looksRFC3339(b) || t.UnmarshalText(b) != nil {
		return time.Time{}, false
	}
	year := t.UTC().Year()
	return t, 1970 <= year && year <= 9999
}

// looksRFC3339 checks the form, which package time is lax about (go.dev/issue/54580): it takes hours of one digit,
// fractions after a comma and offsets of 99 hours. Other readers would not, and a seal is bound to the spelling.
func looksRFC3339(b []byte) bool {
	const form = "0000-00-00T00:00:00"
	if len(b) <= len(form) || !hasForm(b[:len(form)], form) {
		return false
	}
	b = b[len(form):]
	if b[0] == '.' {
		n := 1
		for n < len(b) && isDigit(b[n]) {
			n++
		}
		if n == 1 {
			return false
		}
		b = b[n:]
	}
	switch {
	case string(b) == "Z":
		return true
	case hasForm(b, "+00:00"), hasForm(b, "-00:00"):
		return string(b[1:3]) < "24" && string(b[4:]) < "60"
	}
	return false
}

// hasForm reports whether b is form with any digits for its zeros.
func hasForm(b []byte, form string) bool {
	if len(b) != len(form) {
		return false
	}
	for i, c := range b {
		if form[i] == '0' && !isDigit(c) || form[i] != '0' && c != form[i] {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// formatTime spells a time for an event: UTC, milliseconds, which every language can represent.
func formatTime(t time.Time) string {
	return t.UTC().Truncate(time.Millisecond).Format(time.RFC3339Nano)
}

// CheckAge reports whether an event with the given time may still enter the stream at entered (the stream's clock), as
// [CodeTooOld] or [CodeFromFuture]. An event's id has to be remembered no longer than that.
func CheckAge(entered, eventTime time.Time) error {
	switch {
	case entered.After(eventTime.Add(tokenworker.Window)):
		return CodeTooOld
	case entered.Before(eventTime.Add(-tokenworker.ClockSkew)):
		return CodeFromFuture
	}
	return nil
}
