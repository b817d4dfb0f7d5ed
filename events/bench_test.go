package events_test

import (
	"strings"
	"testing"

	"github.com/tokenworker/tokenworker"
	"github.com/tokenworker/tokenworker/events"
)

var suites = []struct {
	name  string
	suite events.Suite
}{{"hybrid", events.SuiteHybrid}, {"x25519", events.SuiteX25519}}

// typicalSet is a token set whose sealed event, by X25519, is a body of about 2 KB.
func typicalSet() tokenworker.TokenSet {
	set := tokenSet()
	set.AccessToken = tokenworker.SecretString(strings.Repeat("a", 900))
	return set
}

func typicalEvent(b *testing.B, key events.PublicKey) *events.Event {
	b.Helper()
	e, err := events.NewAcquired(acme, source, typicalSet(), noon)
	if err != nil {
		b.Fatal(err)
	}
	if err := e.Seal(key); err != nil {
		b.Fatal(err)
	}
	return e
}

func BenchmarkDecode(b *testing.B) {
	for _, s := range suites {
		b.Run(s.name, func(b *testing.B) {
			m := message(b, typicalEvent(b, newRing(b, s.suite).key))
			b.SetBytes(int64(len(m.Body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := (events.Decoder{}).Decode(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSeal(b *testing.B) {
	for _, s := range suites {
		b.Run(s.name, func(b *testing.B) {
			key, set := newRing(b, s.suite).key, typicalSet()
			e := typicalEvent(b, key)
			b.ReportAllocs()
			for b.Loop() {
				e.Plain = &set
				if err := e.Seal(key); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, s := range suites {
		b.Run(s.name, func(b *testing.B) {
			r := newRing(b, s.suite)
			e := typicalEvent(b, r.key)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Open(b.Context(), e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
