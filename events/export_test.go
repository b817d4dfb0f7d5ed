package events

import (
	"crypto/hpke"
	"slices"
)

// Kinds lists every kind, in the order of the contract document.
func Kinds() []Kind { return slices.Concat(requests, notices) }

// FixedGet is a request whose id, subject and one-time key are given, where [NewGet] makes them.
func FixedGet(q GetRequest, subject string, suite Suite, private hpke.PrivateKey) *Get {
	q.subject = subject
	return &Get{q, suite, private}
}
