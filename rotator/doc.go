// Package rotator decides when a token set is due. It holds the schedule alone so far, a pure function of the set; what
// sweeps due records, refreshes and revokes will live beside it.
//
// # When
//
//	acquired                        due                 expiry
//	   |-------------------------------|~~~~~~~|-----------|
//	                                   <------- lead ------>
//	                                   <jitter>
//
// A set is refreshed a lead before it expires. The lead is a share of the lifetime and not a constant, because lifetimes
// reach from five minutes to months: a constant that leaves time for retries in the one is longer than the other. A cap
// keeps long-lived sets from being refreshed weeks early, which only spends rotations.
//
// Up to a quarter of the lead is given up as jitter, so that connections that expire together (an import, or the
// provider's recovery after an outage) do not come due together. It follows from the key alone: it needs no state, two
// replicas agree on it, and a connection keeps its place from refresh to refresh.
//
// What cannot be refreshed is due when it expires, so that its end can be announced. What can neither be refreshed nor
// expire is never due, and costs a sweep nothing.
package rotator
