package events

import "slices"

// Kinds lists every kind, in the order of the contract document.
func Kinds() []Kind { return slices.Concat(requests, notices) }
