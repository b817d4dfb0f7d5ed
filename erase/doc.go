// Package erase deletes what is stored about a connection, or about every connection of an organization, and says what
// became of it in a receipt.
//
// # One erasure
//
//	request ──► disconnect every row ──► revoke, for a bounded time ──► tombstones ──► messages ──► receipt ──► ack
//	            (and a tombstone where                                  (what could not be
//	            only a message names one)                               revoked is dropped)
//
// For the order of events an erasure is a disconnect under its own stamp: what is older stays away, what is newer (a
// customer who came back) is left alone. So late events, replays and refreshes in flight are dealt with by the rules of
// package tokenworker that docs/model checks, and nothing here decides about order anew.
//
// An organization's rows are read a page at a time. Before the rows the streams are looked through: an event that is not
// settled yet, or a dead letter that an operator could replay, may name a connection that has no row, and it gets its
// tombstone ahead. Whatever is settled meanwhile has a row by the time that rows are read.
//
// Messages are deleted from their streams, one by one and by sequence. What they hold is sealed, and its bytes stay until NATS
// compacts the file; what is not proven to be sealed is overwritten, within the limits of package wipe. Messages with a stamp above
// the request's stay, and so do receipts.
//
// What was deleted unsettled a worker may still have in hand. So the last two steps come once more when it cannot any
// longer, ahead of the receipt.
//
// # Crashes and repeats
//
// Every step is harmless when done again, so a request that is delivered again, after a crash or to another replica, is
// gone through from its beginning, and finds most of it done. The receipt comes last. A request whose receipt is in the
// stream, be it a redelivery or an outbox's repeat, has no effect: a repeat must not take a connection that came after
// the original.
//
// # Rights
//
// Deleting from every stream is a right that the worker's own NATS user does not have. An [Eraser] works over a connection
// of a user of its own, which may publish receipts and nothing that leads to an effect.
package erase
